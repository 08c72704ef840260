"""The metric of detection: what it says, that processes add up, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from box_sets import found, scene, truth
from hypothesis import given, settings
from hypothesis import strategies as st

from xfer.boxes import Boxes
from xfer.errors import DataError, DivergedError, XferError
from xfer.metrics.coco_figures import FIGURES
from xfer.metrics.detection import DetectionAP, usual_primary
from xfer.types import Batch, BoxPrediction

CLASSES = ("cat", "dog", "owl")


def batch(names: list[str], truths: list[Boxes]) -> Batch:
    images = torch.zeros(len(names), 3, 1, 1, dtype=torch.uint8)
    return Batch(images, tuple(names), {"annotations": truths})


def annotation(boxes: list[list[float]], labels: list[int], **marks: Any) -> Boxes:
    return Boxes.of(boxes, labels, size=(200, 300), **marks)


def said(name: str, boxes: list[list[float]], labels: list[int], scores: list[float]) -> Any:
    return BoxPrediction(
        name, np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32),
        np.array(labels, np.int64), (200, 300),
    )  # fmt: skip


BOX, OTHER = [10.0, 10.0, 60.0, 60.0], [100.0, 20.0, 180.0, 90.0]


def test_a_batch_is_scored() -> None:
    metric = DetectionAP(CLASSES)
    truths = [annotation([BOX, OTHER], [0, 1]), annotation([], [])]
    predictions = [
        said("a.jpg", [BOX, OTHER], [0, 1], [0.9, 0.8]), said("b.jpg", [BOX], [0], [0.95]),
    ]  # fmt: skip
    metric.update(predictions, batch(["a.jpg", "b.jpg"], truths))
    scores = metric.compute()
    assert set(FIGURES) <= set(scores)
    assert scores["coco_ap50"] == pytest.approx((0.5 + 1) / 2)
    assert scores["coco_ap_large"] is None and scores["coco_ap_small"] is None
    assert scores["voc_ap50_area"] == scores["voc_ap50_11pt"] == pytest.approx(0.75)
    assert scores["per_class"]["dog"] == {
        "ap": pytest.approx(1), "ap50": pytest.approx(1), "voc_ap50_11pt": 1, "voc_ap50_area": 1,
        "n": 1,
    }  # fmt: skip
    assert scores["per_class"]["owl"]["ap"] is None and scores["per_class"]["owl"]["n"] == 0
    assert scores["error_counts"]["bkg"] == 1
    assert scores["errors"]["bkg"] == pytest.approx(0.25)
    assert metric.primary == "coco_ap" and set(metric.protocol()) == {"coco", "voc", "errors"}
    assert set(metric.curves()) == {"cat", "dog"}


def test_difficult_boxes_are_in_no_count() -> None:
    metric = DetectionAP(CLASSES, "voc_ap50_area")
    truths = [annotation([BOX, OTHER], [0, 0], difficult=[False, True])]
    predictions = [said("a", [OTHER, BOX], [0, 0], [0.9, 0.8])]
    metric.update(predictions, batch(["a"], truths))
    scores = metric.compute()
    assert scores["voc_ap50_area"] == 1 and scores["coco_ap50"] == pytest.approx(1)
    assert scores["per_class"]["cat"]["n"] == 1 and sum(scores["error_counts"].values()) == 0


def test_rows_and_examples_are_by_picture() -> None:
    metric = DetectionAP(CLASSES)
    truths = [annotation([BOX, OTHER], [0, 1]), annotation([BOX], [2])]
    predictions = [
        said("img10.jpg", [OTHER, BOX, OTHER], [0, 0, 1], [0.5, 0.75, 0.25]),
        said("img2.jpg", [BOX], [2], [0.5]),
    ]  # fmt: skip
    metric.update(predictions, batch(["img10.jpg", "img2.jpg"], truths))
    rows = metric.rows()
    assert [(row["id"], row["class"], row["score"]) for row in rows] == [
        ("img2.jpg", "owl", 0.5), ("img10.jpg", "cat", 0.75), ("img10.jpg", "cat", 0.5),
        ("img10.jpg", "dog", 0.25),
    ]  # fmt: skip
    assert [rows[0][key] for key in ("x1", "y1", "x2", "y2")] == BOX
    good, bad = metric.examples()
    assert good.good and good.lines == ("1 of 1 found",) and good.loss == 0.5
    assert not bad.good and bad.lines == ("1 of 2 found", "1 wrong")
    # the dog that is said with 0.25 is not said at all: missed, at the full price
    assert [mark.role for mark in bad.marks] == ["missed", "wrong", "right"]
    assert bad.loss == pytest.approx(1 + 0.5 + 0.25)
    assert bad.marks[2].box_xyxy == tuple(BOX)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 5000), st.integers(1, 4))
def test_processes_add_up_to_one_whatever_each_has_seen(seed: int, world: int) -> None:
    true, boxes = scene(seed, images=11, classes=3)
    names = [f"img{i}" for i in range(11)]
    whole = DetectionAP(CLASSES)
    whole.add(names, true, boxes)
    states: list[dict[str, Any]] = []
    for rank in range(world):
        part = DetectionAP(CLASSES)
        # padded as loaders pad: some pictures are seen by two processes
        mine = [*range(rank, 11, world), rank]
        for image in mine:
            one_true = true.take(true.image == image)
            one_said = boxes.take(boxes.image == image)
            one_true.image[:] = one_said.image[:] = 0
            part.add([names[image]], one_true, one_said)
        states.append(part.state())
    merged = DetectionAP(CLASSES)
    merged.load_states(states)
    if true.ignored.all():
        return
    assert merged.compute() == whole.compute()
    assert merged.rows() == whole.rows() and merged.examples() == whole.examples()


def test_scores_are_computed_anew_when_more_is_added() -> None:
    metric = DetectionAP(CLASSES)
    metric.add(["a"], truth([(0, 0, [0, 0, 50, 50])]), found([]))
    assert metric.compute()["coco_ap"] == 0
    metric.add(["b"], truth([(0, 1, [0, 0, 50, 50])]), found([(0, 1, [0, 0, 50, 50], 0.5)]))
    assert metric.compute()["coco_ap"] == pytest.approx(0.5)


def test_what_does_not_fit_is_refused() -> None:
    metric = DetectionAP(CLASSES)
    with pytest.raises(DataError, match="no boxes"):
        metric.update([], Batch(torch.zeros(0, 3, 1, 1), (), {}))
    with pytest.raises(XferError, match="belong together"):
        metric.update([], batch(["a"], [annotation([], [])]))
    with pytest.raises(DivergedError, match=r"boxes of a\.jpg are not finite"):
        one = said("a.jpg", [BOX], [0], [float("nan")])
        metric.update([one], batch(["a.jpg"], [annotation([], [])]))
    with pytest.raises(XferError, match=r"labels must be 0\.\.2"):
        metric.update([said("a", [BOX], [3], [0.5])], batch(["a"], [annotation([], [])]))
    with pytest.raises(XferError, match="unknown score 'map'"):
        DetectionAP(CLASSES, "map")
    metric.update([said("a", [BOX], [0], [0.5])], batch(["a"], [annotation([], [])]))
    with pytest.raises(DataError, match="nothing to score"):
        metric.compute()


def test_voc_data_are_judged_by_vocs_scores() -> None:
    assert usual_primary("coco", "data/voc07") == "coco_ap"
    assert usual_primary("voc", "voc07") == "voc_ap50_11pt"
    assert usual_primary("voc", "VOCdevkit/VOC2007") == "voc_ap50_11pt"
    assert usual_primary("voc", "bccd") == "voc_ap50_area"
