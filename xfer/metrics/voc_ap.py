"""Pascal VOC's average precision by the devkit's rules: 11 points (2007) and area (from 2010)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.metrics.boxes import FoundBoxes, TrueBoxes, overlaps


@dataclass(frozen=True, slots=True)
class VocScore:
    """The score of one class.

    points, area | average precision by 11 points and as area, 0..1; None if `count` is 0
    count        | true boxes that count: neither difficult nor crowd
    """

    points: float | None
    area: float | None
    count: int


def voc_scores(
    truth: TrueBoxes, found: FoundBoxes, classes: int, iou: float = 0.5
) -> list[VocScore]:
    """The score of each class.

    A detected box is compared with the true box of its class and picture that it overlaps most. If
    the overlap is below `iou`, it is wrong. If the true box is difficult (or a crowd), it counts
    for nothing. Otherwise the first box compared with a true box, by falling score, is right and
    all later ones are wrong, even if another true box is left: this rule differs from COCO's.

    Args:
        iou: overlap that makes a detected box right, 0.5 in VOC.

    Source: Everingham 2010, sec. 4.2, and VOCevaldet.m of the devkit. Differs: of boxes with equal
        scores the earlier one ranks first (the devkit leaves it to its sort). VOC counts pixels
        inclusively, our right and bottom are exclusive, so that widths are the same.
    """
    right, counted = voc_matches(truth, found, iou)
    totals = np.bincount(truth.label[~truth.ignored], minlength=classes)
    order = np.lexsort((-found.score, found.label))
    order = order[counted[order]]
    ends = np.searchsorted(found.label[order], np.arange(classes + 1))
    return [
        VocScore(
            eleven_points(right[order[a:b]], int(n)), every_point(right[order[a:b]], int(n)), int(n)
        )
        for a, b, n in zip(ends[:-1], ends[1:], totals, strict=True)
    ]


def voc_matches(
    truth: TrueBoxes, found: FoundBoxes, iou: float = 0.5
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which detected boxes are right, and which count at all: bool (N,) each."""
    # a crowd is an ordinary box here: VOC does not divide overlaps by the detected box's own area
    plain = replace(truth, boxes=replace(truth.boxes, crowd=np.zeros(len(truth), bool)))
    rows, others, overlap = overlaps(found, plain, same_class=True)
    best = np.zeros(len(found))
    np.maximum.at(best, rows, overlap)
    top = (overlap == best[rows]) & (overlap >= iou)
    # of equal overlaps the first true box
    hit, first = np.unique(rows[top], return_index=True)
    which = np.full(len(found), -1)
    which[hit] = others[top][first]
    on_ignored = np.zeros(len(found), bool)
    on_ignored[hit] = truth.ignored[which[hit]]
    order = np.argsort(-found.score, kind="stable")
    order = order[(which[order] >= 0) & ~on_ignored[order]]
    _, first = np.unique(which[order], return_index=True)
    right = np.zeros(len(found), bool)
    right[order[first]] = True
    return right, ~on_ignored


def eleven_points(right: NDArray[np.bool_], total: int) -> float | None:
    """Mean of the best precision at recall 0, .1, ... 1 or more (VOC 2007).

    The eleven recalls are numpy's, of which .3, .6 and .7 are slightly above those numbers, so that
    9 hits of 15 do not reach .6: py-faster-rcnn and its descendants do the same, and published
    values depend on it. Exact comparison would give up to a few hundredths more in small sets.

    Args:
        right: bool (N,), by falling score; total: true boxes that count.
    """
    if not total:
        return None
    hits = np.cumsum(right)
    envelope = _envelope(hits)
    places = np.searchsorted(hits / total, np.linspace(0, 1, 11))
    values = [float(envelope[p]) for p in places if p < len(hits)]
    return sum(values) / 11


def every_point(right: NDArray[np.bool_], total: int) -> float | None:
    """Area under the curve of the best precision at each recall or more (from VOC 2010)."""
    if not total:
        return None
    return float(_envelope(np.cumsum(right))[right].sum()) / total


def _envelope(hits: NDArray[Any]) -> NDArray[np.float64]:
    """The best precision at each position or later."""
    precision = hits / np.arange(1, len(hits) + 1)
    return np.maximum.accumulate(precision[::-1])[::-1]
