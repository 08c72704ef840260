"""A COCO segmentation as a mask: the adapter of pycocotools.

Polygons are flat lists x y x y ...; RLE is {"size": [h, w], "counts"}, a list of run lengths by
column, zeros first, or pycocotools' compressed text.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from xfer.errors import DataError

LEAST = 6  # numbers of a polygon with an area


def render(segmentation: Any, height: int, width: int) -> NDArray[np.bool_]:
    """The pixels of one object, as pycocotools draws them.

    Polygons with fewer than three points or an odd number of coordinates are left out; what holds
    no other is an empty mask, as is `[]` or None.

    Returns: bool (height, width).
    Raises: DataError for an RLE of another size or with counts that don't fill it, and for what
        is neither polygons nor RLE.
    """
    empty = np.zeros((height, width), bool)
    if not segmentation:
        return empty
    if isinstance(segmentation, dict):
        return np.asarray(coco_mask.decode(_rle(segmentation, height, width)), bool)
    if not isinstance(segmentation, list):
        raise DataError(f"a segmentation is a {type(segmentation).__name__}")
    try:
        polygons = [[float(v) for v in polygon] for polygon in segmentation]
    except (TypeError, ValueError):
        raise DataError("a polygon holds what is no number") from None
    polygons = [p for p in polygons if len(p) >= LEAST and len(p) % 2 == 0]
    if not polygons:
        return empty
    if not np.isfinite(np.concatenate(polygons)).all():
        raise DataError("a polygon's coordinate is not finite")
    # one by one: pycocotools takes a list whose first entry has four numbers for boxes
    parts: list[Any] = []
    for polygon in polygons:
        one: Any = [polygon]
        parts += coco_mask.frPyObjects(one, height, width)
    return np.asarray(coco_mask.decode(coco_mask.merge(parts)), bool)


def _rle(found: dict[str, Any], height: int, width: int) -> Any:
    """pycocotools' own form of an RLE, checked: it would read past the end of a wrong one."""
    size, counts = found.get("size"), found.get("counts")
    if size != [height, width]:
        raise DataError(f"an RLE's size is {size}, the picture's {[height, width]}")
    if isinstance(counts, list):
        whole = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in counts)
        if not whole or sum(counts) != height * width:
            raise DataError("an RLE's counts do not add up to the picture")
        plain: Any = {"size": size, "counts": counts}
        return coco_mask.frPyObjects(plain, height, width)
    if not isinstance(counts, (str, bytes)):
        raise DataError("an RLE has no counts")
    data = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
    if _length(data) != height * width:
        raise DataError("an RLE's counts do not add up to the picture")
    return {"size": size, "counts": data}


def _length(data: bytes) -> int:
    """The number of pixels that a compressed RLE speaks of; -1 where it is damaged.

    Source: cocoapi, common/maskApi.c, rleFrString: five bits a sign from 48 on, the sixth says
    that more follow, the fifth of the last is the number's sign; from the third count on the
    difference to the one before the last is written.
    """
    counts: list[int] = []
    at = 0
    while at < len(data):
        value = shift = 0
        more = True
        while more:
            if at >= len(data) or not 48 <= data[at] < 112:
                return -1
            bits = data[at] - 48
            value |= (bits & 31) << shift
            more = bool(bits & 32)
            at, shift = at + 1, shift + 5
            if not more and bits & 16:
                value -= 1 << shift
        if len(counts) > 2:
            value += counts[-2]
        if value < 0:
            return -1
        counts.append(value)
    return sum(counts)
