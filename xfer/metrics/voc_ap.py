"""Pascal VOC's average precision, by the devkit's rules: 11 points (2007) and area (2010 on)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.metrics.boxes import FoundBoxes, TrueBoxes, overlaps


@dataclass(frozen=True, slots=True)
class VocScore:
    """One class.

    points, area | average precision by 11 points and as area, 0..1; None where `count` is 0
    count        | true boxes that count: neither difficult nor crowd
    """

    points: float | None
    area: float | None
    count: int


def voc_scores(
    truth: TrueBoxes, found: FoundBoxes, classes: int, iou: float = 0.5
) -> list[VocScore]:
    """The score of each class.

    A found box looks at the true box of its class and picture that it overlaps most. Overlap below
    `iou`: wrong. That box is difficult (or a crowd): counts for nothing. Else the first one to look
    at a true box, by falling score, is right and all later ones are wrong, even where another true
    box is left: the rule by which VOC differs from COCO.

    Args:
        iou: overlap that makes a found box right, 0.5 in VOC.

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
    """Which found boxes are right, and which count at all: bool (N,) each."""
    # a crowd is an ordinary box here: VOC knows no overlap by the found box's own area
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
    """Mean over recall 0, .1, ... 1 of the best precision at that recall or more (VOC 2007).

    The eleven recalls are numpy's, of which .3, .6 and .7 are a bit above those numbers, so that 9
    of 15 found do not reach .6: so it is in py-faster-rcnn and whatever came from it, and published
    values depend on it. Exact comparison would give more, by up to a few hundredths in small sets.

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
    """Area under the curve of the best precision at each recall or more (VOC 2010 on)."""
    if not total:
        return None
    return float(_envelope(np.cumsum(right))[right].sum()) / total


def _envelope(hits: NDArray[Any]) -> NDArray[np.float64]:
    """The best precision at each place or later."""
    precision = hits / np.arange(1, len(hits) + 1)
    return np.maximum.accumulate(precision[::-1])[::-1]
