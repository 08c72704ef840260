"""Pascal VOC's average precision against a slow reading of the devkit and known answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from box_sets import found, scene, truth
from hypothesis import given
from hypothesis import strategies as st

from xfer.metrics.boxes import FoundBoxes, TrueBoxes
from xfer.metrics.voc_ap import eleven_points, every_point, voc_matches, voc_scores


def overlap(a: list[float], b: list[float]) -> float:
    """Intersection over union of two boxes, x, y, width, height."""
    wide = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    high = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    inside = max(0.0, wide) * max(0.0, high)
    union = a[2] * a[3] + b[2] * b[3] - inside
    return inside / union if union > 0 else 0.0


def devkit(true: TrueBoxes, said: FoundBoxes, c: int, iou: float) -> tuple[list[bool], int]:
    """VOCevaldet.m, line by line: whether each box that counts is right, by falling score."""
    taken: set[int] = set()
    right: list[bool] = []
    rows = [i for i in range(len(said)) if said.label[i] == c]
    for i in sorted(rows, key=lambda i: -said.score[i]):
        best, which = -1.0, -1
        for j in range(len(true)):
            if true.image[j] == said.image[i] and true.label[j] == c:
                value = overlap(said.xywh[i].tolist(), true.xywh[j].tolist())
                if value > best:
                    best, which = value, j
        if which >= 0 and best >= iou:
            if true.ignored[which]:
                continue
            right.append(which not in taken)
            taken.add(which)
        else:
            right.append(False)
    return right, int(((true.label == c) & ~true.ignored).sum())


def slow_points(right: list[bool], total: int) -> float:
    """Mean over recall 0, .1 ... 1 of the best precision where recall is as high."""
    values: list[float] = []
    for tenth in range(11):
        best = 0.0
        for i in range(len(right)):
            hits = sum(right[: i + 1])
            if hits / total >= tenth * 0.1:
                best = max(best, hits / (i + 1))
        values.append(best)
    return sum(values) / 11


def slow_area(right: list[bool], total: int) -> float:
    """Area under precision made falling: VOCap.m."""
    recall, precision = [0.0], [0.0]
    for i in range(len(right)):
        recall.append(sum(right[: i + 1]) / total)
        precision.append(sum(right[: i + 1]) / (i + 1))
    recall.append(1.0)
    precision.append(0.0)
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))


@given(st.integers(0, 10_000), st.sampled_from([0.1, 0.3, 0.5, 0.75]))
def test_scores_are_the_devkits(seed: int, iou: float) -> None:
    true, said = scene(seed, images=4, classes=3)
    for c, score in enumerate(voc_scores(true, said, 3, iou)):
        right, total = devkit(true, said, c, iou)
        assert score.count == total
        if not total:
            assert score.points is None and score.area is None
            continue
        assert score.points == pytest.approx(slow_points(right, total), abs=1e-12)
        assert score.area == pytest.approx(slow_area(right, total), abs=1e-12)


def test_the_eleven_recalls_are_those_of_published_values() -> None:
    right = np.ones(9, bool)
    assert eleven_points(right, 15) == pytest.approx(6 / 11)  # not 7: .6 is a bit more than 9 / 15
    assert eleven_points(right[:6], 15) == pytest.approx(5 / 11)
    assert every_point(right, 15) == pytest.approx(0.6)
    assert eleven_points(np.zeros(0, bool), 4) == 0 == every_point(np.zeros(0, bool), 4)


def test_a_box_looks_at_the_true_one_it_overlaps_most_even_if_it_is_taken() -> None:
    true = truth([(0, 0, [0, 0, 10, 10]), (0, 0, [2, 0, 10, 10])])
    said = found([(0, 0, [0, 0, 10, 10], 0.9), (0, 0, [0.5, 0, 10, 10], 0.8)])
    right, counted = voc_matches(true, said)
    assert right.tolist() == [True, False] and counted.all()


def test_difficult_boxes_and_crowds_are_neither_rewarded_nor_punished() -> None:
    rows = [(0, 0, [0, 0, 10, 10]), (0, 0, [50, 0, 10, 10]), (0, 0, [80, 0, 10, 10])]
    true = truth(rows, difficult=[1], crowd=[2])
    said = found([(0, 0, box, 0.9 - i / 10) for i, (_, _, box) in enumerate(reversed(rows))])
    right, counted = voc_matches(true, said)
    assert right.tolist() == [False, False, True] and counted.tolist() == [False, False, True]
    assert [s.area for s in voc_scores(true, said, 1)] == [1.0]


@pytest.mark.data
def test_the_values_of_another_tool_come_out(picture_data: Path) -> None:
    folder = picture_data / "eval-fixtures" / "rodm-test_case_1"
    expected = json.loads((folder / "expected.json").read_text())
    true: list[tuple[int, int, list[float]]] = []
    said: list[tuple[int, int, list[float], float]] = []
    for image, file in enumerate(sorted((folder / "gts").glob("*.txt"))):
        for line in file.read_text().split("\n"):
            if line.strip():
                true.append((image, 0, _inclusive(line.split()[1:])))
        for line in (folder / "dets" / file.name).read_text().split("\n"):
            if line.strip():
                words = line.split()
                said.append((image, 0, _inclusive(words[2:]), float(words[1])))
    assert len(true) == 15 and len(said) == 24
    for iou in ("0.1", "0.3", "0.5", "0.75"):
        (score,) = voc_scores(truth(true), found(said), 1, float(iou))
        assert score.points == pytest.approx(expected["eleven_point"][iou], abs=1e-6)
        assert score.area == pytest.approx(expected["every_point"][iou], abs=1e-6)


def _inclusive(words: list[str]) -> list[float]:
    """That tool takes x + width as the last pixel that is in the box: one more than its width."""
    x, y, width, height = map(float, words)
    return [x, y, width + 1, height + 1]
