"""A detector's matches per picture, from which its average precision is computed again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from xfer.metrics.boxes import Compare, FoundBoxes, TrueBoxes, overlaps, ranks
from xfer.metrics.coco_figures import MAX_DETECTIONS
from xfer.metrics.resampled import Curve, Ranked
from xfer.metrics.voc_ap import voc_matches

_ALL = np.linspace(0.5, 0.95, 10)
# figure -> thresholds of the overlap, and how precisions are averaged
COCO = {"coco_ap": _ALL, "coco_ap50": _ALL[:1], "coco_ap75": _ALL[5:6]}
VOC: dict[str, Curve] = {"voc_ap50_11pt": "11pt", "voc_ap50_area": "area"}


def matches_of(
    truth: TrueBoxes, found: FoundBoxes, pictures: int, figure: str, compare: Compare = overlaps
) -> Ranked | None:
    """The matched boxes behind one of a detector's scores; None for COCO's scores by size and its
    recalls, which are not resampled.

    Args:
        pictures: `image` columns are indices below it, in the order of equal scores.
        compare: what overlaps are of, in COCO's scores: boxes or masks.
    """
    if figure in VOC:
        order = np.argsort(-found.score, kind="stable")
        right, counted = voc_matches(truth, found)
        return _ranked(truth, found, order, right[None, order], counted[None, order],
                       pictures, VOC[figure])  # fmt: skip
    if figure not in COCO:
        return None
    kept, right, ignored = coco_matches(truth, found, COCO[figure], compare)
    return _ranked(truth, found, kept, right, ~ignored, pictures, "coco")


def coco_matches(
    truth: TrueBoxes,
    found: FoundBoxes,
    thresholds: NDArray[np.float64],
    compare: Compare = overlaps,
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """COCO's matching of boxes of all sizes.

    Returns: int64 (K,), rows of the detected boxes that count, by falling score; bool (T, K) each,
        which are right, and which are on an ignored box.
    Source: COCOeval.evaluateImg of github.com/cocodataset/cocoapi.
    """
    kept = np.argsort(-found.score, kind="stable")
    kept = kept[ranks(found.image[kept], found.label[kept]) < MAX_DETECTIONS]
    # an ignored box is a crowd to COCO, which has no other mark for it
    crowds = replace(truth, boxes=replace(truth.boxes, crowd=truth.ignored))
    rows, others, overlap = compare(found.take(kept), crowds, same_class=True)
    real = ~truth.ignored[others]
    # the best first, of equal ones the last true box; rows are by falling score
    order = np.lexsort((-others, -overlap, rows))
    order = order[real[order]]
    right = np.zeros((len(thresholds), len(kept)), bool)
    ignored = np.zeros_like(right)
    for t, least in enumerate(thresholds.tolist()):
        near = order[overlap[order] >= least]
        taken: set[int] = set()
        matched: set[int] = set()
        for row, other in zip(rows[near].tolist(), others[near].tolist(), strict=True):
            if other not in taken and row not in matched:
                matched.add(row)
                taken.add(other)
        right[t, list(matched)] = True
        ignored[t, rows[~real & (overlap >= least)]] = True
    return kept, right, ignored & ~right


def _ranked(
    truth: TrueBoxes, found: FoundBoxes, rows: NDArray[np.int64], right: NDArray[np.bool_],
    counted: NDArray[np.bool_], pictures: int, curve: Curve,
) -> Ranked:  # fmt: skip
    """Args: rows: of the detected boxes, by falling score; right, counted: (T, K) of these."""
    order = np.argsort(found.label[rows], kind="stable")
    rows, real = rows[order], ~truth.ignored
    return Ranked(
        pictures, curve, found.image[rows], found.label[rows],
        found.score[rows].astype(np.float32), right[:, order], counted[:, order],
        truth.image[real], truth.label[real],
    )  # fmt: skip
