"""COCO's twelve figures: to the bits of pycocotools, by either engine."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from box_sets import found, scene, truth
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask

from xfer.metrics.boxes import overlaps, ranks, to_xywh
from xfer.metrics.coco_ap import coco_scores
from xfer.metrics.coco_figures import FIGURES
from xfer.metrics.detection import DetectionAP

hotcoco = pytest.importorskip("hotcoco", reason="the fast engine is not installed (extra `fast`)")


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_both_engines_give_the_same_bits(seed: int) -> None:
    true, said = scene(seed, images=12, classes=3)
    fast = coco_scores(true, said, 12, 3, "hotcoco")
    slow = coco_scores(true, said, 12, 3, "pycocotools")
    assert fast.figures.tobytes() == slow.figures.tobytes()
    assert fast.precision.tobytes() == slow.precision.tobytes()
    assert fast.scores.tobytes() == slow.scores.tobytes()


def test_both_engines_count_a_hundred_boxes_a_picture_and_class() -> None:
    true = truth([(0, 0, [0, 0, 50, 50]), (0, 1, [0, 0, 50, 50])])
    rows = [(0, 0, [300, 300, 9, 9], 0.9)] * 100
    said = found([*rows, (0, 0, [0, 0, 50, 50], 0.5), (0, 1, [0, 0, 50, 50], 0.5)])
    for engine in ("hotcoco", "pycocotools"):
        scores = coco_scores(true, said, 1, 2, engine)
        # the class with 101 boxes lost its last, the right one
        assert scores.figures[0] == pytest.approx(0.5)


@pytest.mark.parametrize("engine", ["hotcoco", "pycocotools"])
def test_nothing_found_and_nothing_there(engine: Any) -> None:
    true = truth([(0, 0, [0, 0, 50, 50])])
    assert coco_scores(true, found([]), 1, 1, engine).figures[0] == 0
    assert (coco_scores(truth([]), found([]), 1, 1, engine).figures == -1).all()
    said = found([(0, 0, [0, 0, 50, 50], 0.5)])
    figures = dict(zip(FIGURES, coco_scores(true, said, 1, 1, engine).figures, strict=True))
    assert figures["coco_ar1"] == 1 and figures["coco_ap"] == figures["coco_ap_medium"]
    assert figures["coco_ap"] == pytest.approx(1)
    assert figures["coco_ap_small"] == -1


@pytest.mark.parametrize("engine", ["hotcoco", "pycocotools"])
def test_crowds_and_difficult_boxes_are_regions_to_ignore(engine: Any) -> None:
    rows = [(0, 0, [0, 0, 50, 50]), (0, 0, [100, 0, 50, 50]), (0, 0, [200, 0, 50, 50])]
    said = found([(0, 0, box, 0.9 - i / 10) for i, (_, _, box) in enumerate(reversed(rows))])
    assert coco_scores(truth(rows[:1]), said, 1, 1, engine).figures[0] == pytest.approx(1 / 3)
    ignoring = truth(rows, crowd=[1], difficult=[2])
    assert coco_scores(ignoring, said, 1, 1, engine).figures[0] == pytest.approx(1)


def test_auto_falls_back_to_pycocotools(monkeypatch: pytest.MonkeyPatch) -> None:
    true, said = scene(1)
    expected = coco_scores(true, said, 20, 5).figures
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "hotcoco", None)  # importing it now fails
    assert coco_scores(true, said, 20, 5).figures.tobytes() == expected.tobytes()


@pytest.mark.data
@pytest.mark.parametrize("engine", ["hotcoco", "pycocotools"])
def test_official_fake_results_give_pycocotools_figures(picture_data: Path, engine: Any) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    from xfer.data.readers.coco.results import read_coco_results
    from xfer.inference.ground_truth import open_truth
    from xfer.inference.score_file import matched

    folder = picture_data / "eval-fixtures" / "coco-val2014-100"
    annotations = folder / "instances_val2014_100.json"
    results = folder / "instances_val2014_fakebbox100_results.json"
    with contextlib.redirect_stdout(io.StringIO()):
        plain = COCO(str(annotations))
        scorer = COCOeval(plain, plain.loadRes(str(results)), "bbox")
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    real = open_truth(f"coco:{annotations}")
    said, warnings = matched(read_coco_results(results), real)
    metric = DetectionAP(real.classes, engine=engine)
    metric.add(real.ids, real.boxes, said)
    scores = metric.coco()
    assert scores.figures.tobytes() == np.asarray(scorer.stats, np.float64).tobytes()
    assert scores.figures[:3].round(3).tolist() == [0.505, 0.697, 0.573]
    expected = json.loads((folder / "expected.json").read_text())["bbox"]
    assert scores.figures == pytest.approx(list(expected.values()), abs=1e-6)
    assert not warnings


@given(st.integers(0, 10_000), st.booleans())
def test_overlaps_are_pycocotools(seed: int, same_class: bool) -> None:
    true, said = scene(seed, images=3, classes=2)
    rows, others, values = overlaps(said, true, same_class=same_class)
    seen = set(zip(rows.tolist(), others.tolist(), strict=True))
    assert len(seen) == len(rows)
    for i in range(len(said)):
        for j in range(len(true)):
            together = said.image[i] == true.image[j]
            together &= not same_class or said.label[i] == true.label[j]
            assert ((i, j) in seen) == together
    for i, j, value in zip(rows.tolist(), others.tolist(), values.tolist(), strict=True):
        crowd = [int(true.boxes.crowd[j])]
        iou: Any = mask.iou
        assert value == iou(said.xywh[i : i + 1], true.xywh[j : j + 1], crowd)[0, 0]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=30))
def test_ranks_count_equal_keys_in_order(pairs: list[tuple[int, int]]) -> None:
    columns = np.array(pairs, np.int64).reshape(-1, 2)
    expected = [pairs[:i].count(pair) for i, pair in enumerate(pairs)]
    assert ranks(columns[:, 0], columns[:, 1]).tolist() == expected


@given(st.lists(st.tuples(*[st.integers(0, 64_000)] * 4), max_size=20), st.sampled_from([2, 3]))
def test_widths_of_a_file_come_back_to_the_bit(
    rows: list[tuple[int, int, int, int]], digits: int
) -> None:
    xywh = np.array(rows, np.float64).reshape(-1, 4) / 10**digits
    xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)
    assert to_xywh(xyxy).tobytes() == xywh.tobytes()
