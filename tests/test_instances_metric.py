"""Scores of masks: equal to pycocotools' segm, boundaries as in the boundary API."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from xfer import kinds
from xfer.boxes import Boxes
from xfer.errors import DataError
from xfer.metrics.instances import MASK_FIGURES, InstanceAP
from xfer.metrics.object_masks import boundary
from xfer.objects.mask import as_column
from xfer.objects.rle import areas, boxes_around, encode
from xfer.types import Batch, InstancePrediction

NAMES = ("a", "b", "c")


def ellipse(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    pixels = np.zeros(size, np.uint8)
    centre = int(rng.integers(size[1])), int(rng.integers(size[0]))
    axes = int(rng.integers(3, 50)), int(rng.integers(3, 50))
    return np.asarray(cv2.ellipse(pixels, centre, axes, rng.random() * 180, 0, 360, 1, -1))  # type: ignore[call-overload]


def scene(rng: np.random.Generator, name: str) -> tuple[InstancePrediction, Boxes]:
    """True objects, some of them crowds, and several shifted detections of each, with equal scores
    and wrong classes among them."""
    size = (int(rng.integers(60, 160)), int(rng.integers(60, 160)))
    true = [ellipse(rng, size) for _ in range(int(rng.integers(0, 6)))]
    masks = [encode(one) for one in true]
    labels = rng.integers(0, 3, len(true))
    boxes = Boxes.of(
        boxes_around(masks), labels, crowd=rng.random(len(true)) < 0.1, size=size, masks=masks,
        area=areas(masks) * rng.uniform(0.9, 1.1, len(true)),
    )  # fmt: skip
    found = [
        (np.roll(one, rng.integers(-6, 7, 2), (0, 1)), int(label))
        for one, label in zip(true, labels, strict=True)
        for _ in range(rng.integers(0, 4))
    ]
    own = [encode(one) for one, _ in found]
    said = [label if rng.random() < 0.8 else int(rng.integers(3)) for _, label in found]
    scores = np.sort(rng.random(len(own)).round(1).astype(np.float32))[::-1].copy()
    return InstancePrediction(
        name, boxes_around(own).astype(np.float32), scores, np.array(said, np.int64), size,
        as_column(own),
    ), boxes  # fmt: skip


def scored(engine: Any, seed: int, pictures: int = 12) -> InstanceAP:
    rng, metric = np.random.default_rng(seed), InstanceAP(NAMES, engine=engine)
    for i in range(pictures):
        prediction, boxes = scene(rng, str(i))
        batch: Any = Batch(None, (str(i),), {"annotations": [boxes]})  # type: ignore[arg-type]
        metric.update([prediction], batch)
    return metric


@pytest.mark.parametrize("seed", [0, 1])
def test_both_engines_give_the_same_bits_and_so_do_our_own_matches(seed: int) -> None:
    pytest.importorskip("hotcoco")
    fast, slow = scored("hotcoco", seed), scored("pycocotools", seed)
    one, two = fast.mask_scores(), slow.mask_scores()
    assert np.array_equal(one.figures, two.figures)
    assert np.array_equal(one.precision, two.precision)
    assert np.array_equal(one.scores, two.scores)
    scores = fast.compute()
    assert [scores[n] for n in MASK_FIGURES] == [v if v > -1 else None for v in two.figures]
    for name in ("coco_mask_ap", "coco_mask_ap50", "coco_mask_ap75", "boundary_ap", "coco_ap"):
        ranked = fast.per_picture(name)
        assert ranked is not None
        assert ranked.scores(np.ones((1, 12), np.int64))[0] == pytest.approx(scores[name])
    assert fast.per_picture("coco_mask_ar1") is None
    assert scores["boundary_ap"] < scores["coco_mask_ap"]
    assert scores["per_class"]["a"].keys() >= {"mask_ap", "mask_ap50", "ap"}


def test_a_boundary_is_what_eroding_takes_away() -> None:
    rng = np.random.default_rng(0)
    for size in ((40, 60), (150, 90)):
        pixels = ellipse(rng, size)
        times = max(1, round(0.02 * float(np.hypot(*size))))
        padded = np.pad(pixels, 1)  # as boundary_iou_api's mask_to_boundary
        inner = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=times)[1:-1, 1:-1]
        assert np.array_equal(boundary(encode(pixels)).pixels(), pixels - inner)


def test_states_of_two_processes_add_up_and_examples_carry_masks() -> None:
    one, two, both = scored("auto", 0, 5), scored("auto", 0, 9), scored("auto", 0, 9)
    joined = InstanceAP(NAMES)
    joined.load_states([one.state(), two.state()])  # pictures 0 to 4 twice
    assert joined.compute() == both.compute()
    marks = [mark for example in both.examples() for mark in (*example.marks, *example.truth)]
    assert marks and all(mark.mask is not None for mark in marks)
    assert both.protocol()["coco_mask"].startswith("pycocotools' segm")


def test_perfect_masks_score_one_and_truth_without_masks_is_an_error() -> None:
    _, boxes = scene(np.random.default_rng(4), "x")
    boxes = boxes[~boxes.crowd]
    sure = np.ones(len(boxes), np.float32)
    assert boxes.masks is not None and len(boxes)
    said = InstancePrediction(
        "x", boxes.xyxy.astype(np.float32), sure, boxes.labels, boxes.size, boxes.masks
    )
    metric = InstanceAP(NAMES)
    metric.update([said], Batch(None, ("x",), {"annotations": [boxes]}))  # type: ignore[arg-type]
    scores = metric.compute()
    assert scores["coco_mask_ap"] == scores["boundary_ap"] == pytest.approx(1)
    bare = Boxes.of(boxes.xyxy, boxes.labels, size=boxes.size)
    with pytest.raises(DataError, match="no masks"):
        InstanceAP(NAMES).update([said], Batch(None, ("x",), {"annotations": [bare]}))  # type: ignore[arg-type]


def test_predictions_are_rows_csv_and_coco_results() -> None:
    said, _ = scene(np.random.default_rng(1), "7.jpg")
    kind = kinds.get("instance")
    row = kind.describe(said, NAMES)
    assert row["boxes"][0]["segmentation"]["size"] == list(said.size)
    columns, lines = kind.csv_rows([said], NAMES)
    assert columns[-1] == "pixels" and lines[0]["pixels"] == areas(said.masks.tolist())[0]
    results = kind.coco_results([said], [1, 2, 3])
    assert results[0]["image_id"] == 7 and isinstance(results[0]["segmentation"]["counts"], str)
    best = kind.at_least(said, float(said.scores.max()))
    assert len(best.masks) == len(best.scores) < len(said.scores)
    layer = kind.layer(said, NAMES, 64)
    assert layer is not None and layer.shape[2] == 4 and max(layer.shape[:2]) == 64
