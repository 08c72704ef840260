"""Boundary F: how well the outlines of a segmentation match the true ones."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

TOLERANCE = 0.0075  # of the picture's diagonal
IGNORE = 255
_WORD = 64  # classes per pass, one bit each


def boundary_counts(
    truth: NDArray[np.uint8], predicted: NDArray[np.uint8], classes: int
) -> NDArray[np.int64]:
    """Count the boundary pixels of one picture per class.

    A pixel is on the boundary of its class if one of its four neighbours has another class; the
    picture's edge is not a boundary. Ignored pixels take, in both masks, the class of the nearest
    labelled pixel, so that predictions for them never count; boundary pixels further than the
    tolerance from any labelled pixel are left out. The tolerance is 0.75 % of the diagonal.

    Args:
        truth: (H, W), 255 = ignore; predicted: (H, W), without 255.

    Returns: int64 (4, classes): true boundary pixels, and those that have a predicted boundary
        pixel of their class within the tolerance; predicted boundary pixels, and those that have a
        true one.
    Source: Csurka, Larlus, Perronnin, "What is a good evaluation measure for semantic
        segmentation?", BMVC 2013. Differs: see `boundary_f`.
    """
    reach = TOLERANCE * math.hypot(*truth.shape)
    counts = np.zeros((4, classes), np.int64)
    ignored = truth == IGNORE
    far = None
    if ignored.any():
        if ignored.all():
            return counts
        away, nearest = cv2.distanceTransformWithLabels(
            ignored.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5,
            labelType=cv2.DIST_LABEL_PIXEL,
        )  # fmt: skip
        # labelled pixels are numbered from 1; the numbers' pixels are read from the result
        number = nearest[~ignored]
        values = np.zeros((2, int(nearest.max()) + 1), np.uint8)
        values[:, number] = truth[~ignored], predicted[~ignored]
        truth, predicted = values[0][nearest], values[1][nearest]
        far = away > reach
    edges = [np.flatnonzero(_edge(mask, far)) for mask in (truth, predicted)]
    owners = [mask.ravel()[at] for mask, at in zip((truth, predicted), edges, strict=True)]
    there = np.unique(np.concatenate(owners))
    for start in range(0, len(there), _WORD):
        part = there[start : start + _WORD]
        bits = np.zeros(256, np.min_scalar_type(1 << (len(part) - 1)))
        bits[part] = np.left_shift(1, np.arange(len(part), dtype=np.uint64)).astype(bits.dtype)
        around = []
        for at, owner in zip(edges, owners, strict=True):
            marks = np.zeros(truth.shape, bits.dtype)
            marks.ravel()[at] = bits[owner]
            around.append(_spread(marks, reach).ravel())
        for row, (at, owner, other) in enumerate(zip(edges, owners, around[::-1], strict=True)):
            near = (other[at] & bits[owner]) != 0
            counts[2 * row + 1] += np.bincount(owner[near], minlength=classes)
    for row, owner in enumerate(owners):
        counts[2 * row] = np.bincount(owner, minlength=classes)
    return counts


def boundary_f(counts: NDArray[np.int64]) -> list[float | None]:
    """The F measure of each class from its summed counts (4, classes); None: no true boundary.

    Differs from Csurka 2013: counts are summed over the set before precision and recall are
    computed, as for mean IoU, while the paper averages the F of pictures; and boundaries in only
    one of the masks are counted in the sum.
    """
    true, recalled, predicted, right = counts.tolist()
    scores: list[float | None] = []
    for c in range(len(true)):
        if not true[c]:
            scores.append(None)
            continue
        recall = recalled[c] / true[c]
        precision = right[c] / predicted[c] if predicted[c] else 0.0
        both = precision + recall
        scores.append(2 * precision * recall / both if both else 0.0)
    return scores


def _edge(mask: NDArray[np.uint8], far: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Pixels with a neighbour, above, below, left or right, of another class."""
    edge = np.zeros(mask.shape, bool)
    down, right = mask[1:] != mask[:-1], mask[:, 1:] != mask[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    if far is not None:
        edge &= ~far
    return edge


def _spread(marks: NDArray, reach: float) -> NDArray:
    """Combine the bits of all pixels within `reach` of each pixel by or.

    A disc is a stack of runs: runs of every half-width are made by widening the last one, then
    combined row by row; the cost doesn't depend on the number of bits.
    """
    rows: dict[int, list[int]] = {}
    deepest = int(reach)
    for y in range(deepest + 1):
        rows.setdefault(math.isqrt(math.floor(reach * reach - y * y)), []).append(y)
    spread = np.zeros_like(marks)
    run = marks.copy()
    height, width = marks.shape
    for half in range(max(rows) + 1):
        if 0 < half < width:
            run[:, half:] |= marks[:, :-half]
            run[:, :-half] |= marks[:, half:]
        for y in rows.get(half, []):
            if y == 0:
                spread |= run
            elif y < height:
                spread[y:] |= run[:-y]
                spread[:-y] |= run[y:]
    return spread
