"""Pictures in which each object's pixels hold its number."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.objects.mask import ObjectMask
from xfer.objects.rle import from_runs


def masks_by_number(values: NDArray[Any]) -> dict[int, ObjectMask]:
    """Each number that occurs in whole numbers (H, W), rising, with the mask of its pixels.

    All masks are made from one pass over the picture's runs, however many objects there are.
    """
    height, width = values.shape
    flat = np.ascontiguousarray(values.T).ravel()  # by column, as COCO's run lengths
    if not flat.size:
        return {}
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    ends = np.append(starts[1:], flat.size)
    order = np.argsort(flat[starts], kind="stable")
    numbers, first = np.unique(flat[starts][order], return_index=True)
    found: dict[int, ObjectMask] = {}
    for number, own in zip(numbers.tolist(), np.split(order, first[1:]), strict=True):
        # where a run begins and ends, in turn: differences are the lengths, zeros first
        edges = np.stack([starts[own], ends[own]], 1).ravel()
        runs = np.diff(np.concatenate([[0], edges, [flat.size]]))
        found[number] = from_runs(runs[: len(runs) - (runs[-1] == 0)].tolist(), (height, width))
    return found
