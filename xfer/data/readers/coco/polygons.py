"""Render a COCO segmentation as a mask: pycocotools draws polygons, run lengths are decoded here.

Polygons are flat lists x y x y ...; RLE is {"size": [h, w], "counts"}, with counts a list of run
lengths by column, zeros first, or pycocotools' compressed text.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from xfer.errors import DataError
from xfer.objects.mask import ObjectMask, check_runs, run_lengths
from xfer.objects.rle import from_polygons, from_runs

MIN_NUMBERS = 6  # of a polygon with an area
# pixels along a polygon: pycocotools keeps 40 bytes for each, and trusts that there is the memory
LONGEST = 1 << 22


def object_mask(segmentation: Any, height: int, width: int) -> ObjectMask:
    """The pixels of one object, those of `render`, as run lengths: polygons are drawn as such.

    Raises: as `render`.
    """
    size = (height, width)
    if isinstance(segmentation, dict):
        runs = _plain(_counts(segmentation, height, width))
        check_runs(np.array(runs, np.int64), size)
        return from_runs(runs, size)
    return from_polygons(_polygons(segmentation or []), size)


def render(segmentation: Any, height: int, width: int) -> NDArray[np.bool_]:
    """Returns the pixels of one object, as pycocotools draws them.

    Polygons with fewer than three points or an odd number of coordinates are left out; if there are
    no others, the mask is empty, as for `[]` or None.

    Returns: bool (height, width).
    Raises: DataError for an RLE of another size or with counts that don't fill it, and for anything
        that is neither polygons nor RLE.
    """
    empty = np.zeros((height, width), bool)
    if not segmentation:
        return empty
    if isinstance(segmentation, dict):
        return _expanded(_plain(_counts(segmentation, height, width)), height, width)
    whole = empty
    for polygon in _polygons(segmentation):
        # one by one: pycocotools reads a list whose first entry has four numbers as boxes
        one: Any = [polygon]
        drawn: Any = coco_mask.frPyObjects(one, height, width)[0]
        whole = whole | _expanded(_plain(drawn["counts"]), height, width)
    return whole


def _counts(rle: dict[str, Any], height: int, width: int) -> Any:
    """The counts of an RLE. Raises DataError if it is of another size."""
    if rle.get("size") != [height, width]:
        raise DataError(f"an RLE's size is {rle.get('size')}, the picture's {[height, width]}")
    return rle.get("counts")


def _polygons(segmentation: Any) -> list[list[float]]:
    """The polygons that have an area. Raises DataError for anything else than polygons."""
    if not isinstance(segmentation, list):
        raise DataError(f"a segmentation is a {type(segmentation).__name__}")
    try:
        polygons = [[float(v) for v in polygon] for polygon in segmentation]
    except (TypeError, ValueError, OverflowError):
        raise DataError("a polygon holds something that is not a number") from None
    usable = [p for p in polygons if len(p) >= MIN_NUMBERS and len(p) % 2 == 0]
    for polygon in usable:
        if not np.isfinite(polygon).all():
            raise DataError("a polygon's coordinate is not finite")
        _check_length(polygon)
    return usable


def _check_length(polygon: list[float]) -> None:
    """Raises DataError for a polygon that is far larger than any picture."""
    points = np.array(polygon).reshape(-1, 2)
    steps = np.abs(points - np.roll(points, 1, axis=0)).max(1).sum()
    if not (steps <= LONGEST and np.abs(points).max() <= LONGEST):
        raise DataError(f"a polygon is {steps:.3g} pixels long, far beyond its picture")


def box_around(segmentation: Any) -> list[float] | None:
    """x, y, width and height of the box around polygons or an RLE; None for anything else, and for
    an outline without a pixel."""
    if isinstance(segmentation, dict):
        return _box_of_rle(segmentation)
    try:
        points = np.concatenate([np.reshape(p, (-1, 2)) for p in segmentation]).astype(np.float64)
        low, high = points.min(0), points.max(0)
    except (TypeError, ValueError, OverflowError):
        return None
    return [*low.tolist(), *(high - low).tolist()]


def _box_of_rle(rle: dict[str, Any]) -> list[float] | None:
    """The box around the ones of an RLE, from its run lengths."""
    try:
        height, counts = int(rle["size"][0]), np.array(_plain(rle.get("counts")), np.int64)
    except (DataError, KeyError, IndexError, TypeError, ValueError, OverflowError):
        return None
    ends = np.cumsum(counts)
    first, last = (ends - counts)[1::2], ends[1::2] - 1
    some = last >= first
    first, last = first[some], last[some]
    if not len(first) or height < 1:
        return None
    left, right = int((first // height).min()), int((last // height).max()) + 1
    whole = first // height != last // height  # a run that goes on in the next column
    top = 0 if whole.any() else int((first % height).min())
    bottom = height if whole.any() else int((last % height).max()) + 1
    return [float(left), float(top), float(right - left), float(bottom - top)]


def _expanded(counts: list[int], height: int, width: int) -> NDArray[np.bool_]:
    """Expand run lengths by column, zeros first, to a mask."""
    if sum(counts) != height * width:
        raise DataError("an RLE's counts do not add up to the picture")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


def _plain(counts: Any) -> list[int]:
    """The run lengths of either form of RLE. Raises DataError if they are damaged."""
    if isinstance(counts, list):
        if all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in counts):
            return counts
        raise DataError("an RLE's counts are not whole numbers")
    if not isinstance(counts, (str, bytes)):
        raise DataError("an RLE has no counts")
    text = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
    return run_lengths(text).tolist()
