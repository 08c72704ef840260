"""Masks on a small grid over a box, as pixels of their picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xfer.objects.mask import ObjectMask
from xfer.objects.rle import from_runs

LEAST = 0.5  # probability from which a pixel is in the object


def paste(
    masks: NDArray[np.float32], boxes_xyxy: NDArray[np.float32], size: tuple[int, int]
) -> list[ObjectMask]:
    """The pixels whose probability is at least a half, read bilinearly at their centres.

    Args: masks: (R, s, s), over boxes (R, 4) of a picture of (H, W). A pixel of which a box holds
        the centre belongs to it; beyond the outermost readings a mask goes on as it is there.

    Only the box's part of the picture is looked at, so that the cost does not grow with it.
    Source: He et al. 2017, sec. 3.2: resized to the size of the box, and binarised at 0.5.
    """
    return [_paste(mask, box, size) for mask, box in zip(masks, boxes_xyxy, strict=True)]


def _paste(
    mask: NDArray[np.float32], box: NDArray[np.float32], size: tuple[int, int]
) -> ObjectMask:
    x1, y1, x2, y2 = (float(v) for v in box)
    rows = _readings(y1, y2, size[0], len(mask))
    columns = _readings(x1, x2, size[1], len(mask))
    (top, down), (left, across) = rows, columns
    inside = down @ np.asarray(mask, np.float32) @ across.T >= LEAST
    return encode_at(inside, top, left, size)


def _readings(low: float, high: float, limit: int, side: int) -> tuple[int, NDArray[np.float32]]:
    """The first pixel of an axis whose centre is in a box, and how each of its pixels reads the
    grid: (pixels, side)."""
    first = max(0, int(np.ceil(low - 0.5)))
    last = min(limit, int(np.ceil(high - 0.5)))
    centres = np.arange(first, max(first, last)) + 0.5
    places = (centres - low) / max(high - low, 1e-6) * side - 0.5
    places = np.clip(places, 0, side - 1)
    weights = 1 - np.abs(places[:, None] - np.arange(side))
    return first, np.maximum(weights, 0).astype(np.float32)


def encode_at(crop: NDArray[np.bool_], top: int, left: int, size: tuple[int, int]) -> ObjectMask:
    """The mask of a part of a picture (H, W) whose first pixel is at (top, left); it is empty
    elsewhere."""
    height, width = size
    columns = np.zeros((crop.shape[1], crop.shape[0] + 2), np.int8)
    columns[:, 1:-1] = crop.T
    steps = np.diff(columns, axis=1)
    column, row = np.nonzero(steps)
    # where runs begin and end, in turn, counted down the columns of the picture
    edges = (column + left) * height + row + top
    edges = edges.reshape(-1, 2)
    if len(edges) > 1:  # a run that goes on at the top of the next column
        joined = edges[1:, 0] == edges[:-1, 1]
        starts = edges[np.concatenate([[True], ~joined]), 0]
        ends = edges[np.concatenate([~joined, [True]]), 1]
        edges = np.stack([starts, ends], 1)
    runs = np.diff(np.concatenate([[0], edges.ravel(), [height * width]]))
    return from_runs(runs[: len(runs) - (runs[-1] == 0)].tolist(), size)
