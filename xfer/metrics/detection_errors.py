"""Where a detector's errors come from, and what each kind costs: the analysis of TIDE.

Boxes are matched at an overlap of 0.5, per class, by falling score; at most 100 boxes per picture
and class count. A box that is neither right nor on an ignored box is the first that fits of:

loc   | overlaps a true box of its class by 0.1 to 0.5: detected, but badly placed
cls   | overlaps a true box of another class by 0.5 or more
dupe  | overlaps a true box of its class by 0.5 or more, which a better box has already matched
bkg   | overlaps no true box by more than 0.1
both  | the rest: wrong class and badly placed

and `miss` are the true boxes that no box matches and that no loc or cls error would match if
corrected. What a kind costs (dAP) is the gain in AP50 if only that kind were corrected: cls gets
the true class and loc the true place, unless a better loc or cls would match the same box or it is
matched already (then they are removed); both, dupe and bkg are removed; missed boxes are removed
from the truth, and a class without any left is dropped from the mean if nothing is predicted as
this class. The gains do not add up.

Source: Bolya, Foley, Hays, Hoffman, "TIDE: A General Toolbox for Identifying Object Detection
Errors", ECCV 2020, sec. 2.2-2.3, and its code. Differs: boxes on ignored ones (crowd, difficult)
are not errors; 100 boxes count per class instead of per picture, and the mean is over classes that
occur, so that the corrected AP is coco_ap50; gains are not clipped at 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xfer.metrics.boxes import Compare, FoundBoxes, TrueBoxes, overlaps, ranks
from xfer.metrics.coco_figures import MAX_DETECTIONS

KINDS = ("cls", "loc", "both", "dupe", "bkg", "miss")
FOREGROUND, BACKGROUND = 0.5, 0.1
_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, slots=True)
class Matching:
    """The fate of each box at an overlap of 0.5.

    kept     | int64 (K,), rows of the detected boxes that count, by falling score
    right    | bool (K,)
    ignored  | bool (K,), on a crowd or a difficult box
    kind     | K words: one of KINDS, or "" for right and ignored ones
    target   | int64 (K,), the true box that it matches, or would if corrected; -1: none
    found    | bool (T,), true boxes that are matched
    missed   | bool (T,), true boxes that count as missed
    """

    kept: NDArray[np.int64]
    right: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    kind: NDArray[np.str_]
    target: NDArray[np.int64]
    found: NDArray[np.bool_]
    missed: NDArray[np.bool_]


def match(truth: TrueBoxes, found: FoundBoxes, compare: Compare = overlaps) -> Matching:
    """Match boxes as COCO does, or masks, whichever `compare` compares, and classify each error."""
    kept = np.argsort(-found.score, kind="stable")
    kept = kept[ranks(found.image[kept], found.label[kept]) < MAX_DETECTIONS]
    boxes = found.take(kept)
    rows, others, overlap = compare(boxes, truth, same_class=False)
    own = boxes.label[rows] == truth.label[others]
    ignored_truth = truth.ignored[others]
    target = np.full(len(boxes), -1)
    taken = np.zeros(len(truth), bool)
    near = np.flatnonzero(own & (overlap >= FOREGROUND) & ~ignored_truth)
    near = near[np.lexsort((-overlap[near], rows[near]))]  # rows are by falling score
    for row, other in zip(rows[near].tolist(), others[near].tolist(), strict=True):
        if target[row] < 0 and not taken[other]:
            target[row], taken[other] = other, True
    right = target >= 0
    ignored = np.zeros(len(boxes), bool)
    ignored[rows[own & ignored_truth & (overlap >= FOREGROUND)]] = True
    ignored &= ~right

    real = ~ignored_truth
    same, same_best = _largest(rows, others, overlap, own & real, len(boxes))
    other_class, other_best = _largest(rows, others, overlap, ~own & real, len(boxes))
    loc = (same_best >= BACKGROUND) & (same_best < FOREGROUND)
    cls = other_best >= FOREGROUND
    kind = np.select(
        [right | ignored, loc, cls, same_best >= FOREGROUND,
         np.maximum(same_best, other_best) <= BACKGROUND],
        ["", "loc", "cls", "dupe", "bkg"], "both",
    )  # fmt: skip
    target = np.where(kind == "loc", same, np.where(kind == "cls", other_class, target))
    correctable = np.zeros(len(truth), bool)
    correctable[target[target >= 0]] = True
    return Matching(
        kept, right, ignored, kind, target, taken, ~truth.ignored & ~taken & ~correctable
    )


def error_costs(
    truth: TrueBoxes, found: FoundBoxes, classes: int, compare: Compare = overlaps
) -> tuple[float | None, dict[str, float | None], dict[str, int]]:
    """AP50, the cost of each kind of error in AP50, and the number of errors of each kind.

    Returns: AP50 in 0..1, {kind: gain in AP50}, {kind: count}; None if no true box counts.
    """
    state = match(truth, found, compare)
    counts = {kind: int((state.kind == kind).sum()) for kind in KINDS}
    counts["miss"] = int(state.missed.sum())
    totals = np.bincount(truth.label[~truth.ignored], minlength=classes)
    if not totals.any():
        return None, dict.fromkeys(KINDS), counts
    label = found.label[state.kept]
    counted = ~state.ignored
    base = _mean_ap(label[counted], state.right[counted], totals)
    costs: dict[str, float | None] = {}
    # the best loc or cls error for each true box that nothing matches
    correctable = np.flatnonzero(np.isin(state.kind, ("cls", "loc")) & ~state.found[state.target])
    first = np.zeros(len(label), bool)
    first[correctable[np.unique(state.target[correctable], return_index=True)[1]]] = True
    for kind in KINDS:
        if kind == "miss":
            left = totals - np.bincount(truth.label[state.missed], minlength=classes)
            predicted = np.bincount(label[counted], minlength=classes) > 0
            stays = (left > 0) | (predicted & (totals > 0))
            costs[kind] = _mean_ap(label[counted], state.right[counted], left, stays) - base
            continue
        of_kind = state.kind == kind
        corrected = of_kind & first
        keep = counted & (~of_kind | corrected)
        new = np.where(corrected, truth.label[state.target], label) if len(truth) else label
        costs[kind] = _mean_ap(new[keep], (state.right | corrected)[keep], totals) - base
    return base, costs, counts


def _largest(
    rows: NDArray[np.int64],
    others: NDArray[np.int64],
    overlap: NDArray[np.float64],
    which: NDArray[np.bool_],
    count: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The true box that each detected box overlaps most, -1 for none, and the overlap."""
    rows, others, overlap = rows[which], others[which], overlap[which]
    best = np.zeros(count)
    np.maximum.at(best, rows, overlap)
    top = np.flatnonzero(overlap == best[rows])
    hit, first = np.unique(rows[top], return_index=True)
    box = np.full(count, -1)
    box[hit] = others[top[first]]
    return box, best


def _mean_ap(
    label: NDArray[np.int64],
    right: NDArray[np.bool_],
    totals: NDArray[np.int64],
    counting: NDArray[np.bool_] | None = None,
) -> float:
    """Mean of COCO's AP (101 recalls) over the classes; boxes are by falling score.

    Args:
        counting: bool (C,), the classes that count; None: those that occur. A class that does not
            occur counts as 0.
    """
    order = np.argsort(label, kind="stable")
    right = right[order]
    ends = np.searchsorted(label[order], np.arange(len(totals) + 1))
    values: list[float] = []
    for c in np.flatnonzero(totals if counting is None else counting):
        if not totals[c]:
            values.append(0.0)
            continue
        hits = np.cumsum(right[ends[c] : ends[c + 1]])
        precision = hits / np.arange(1, len(hits) + 1)
        envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
        places = np.searchsorted(hits / totals[c], _RECALLS, "left")
        values.append(float(envelope[places].mean()))
    return float(np.mean(values)) if values else 0.0
