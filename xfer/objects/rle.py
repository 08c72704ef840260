"""The one file that uses pycocotools' masks: run lengths drawn, counted and compared in C.

It trusts run lengths; those of a file are checked where they are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from xfer.objects.mask import ObjectMask


def encode(pixels: NDArray[Any]) -> ObjectMask:
    """The mask of the pixels (H, W) that are not 0."""
    height, width = pixels.shape
    rle: Any = coco_mask.encode(np.asfortranarray(pixels != 0, np.uint8))
    return ObjectMask((height, width), rle["counts"])


def from_runs(runs: Sequence[int], size: tuple[int, int]) -> ObjectMask:
    """The mask of run lengths by column, zeros first, which add up to H * W."""
    plain: Any = {"size": list(size), "counts": list(runs)}
    rle: Any = coco_mask.frPyObjects(plain, *size)
    return ObjectMask(size, rle["counts"])


def from_polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int]) -> ObjectMask:
    """The union of polygons x y x y ..., as pycocotools draws them; each of three points or more,
    finite and not far larger than a picture."""
    # one by one: pycocotools reads a list whose first entry has four numbers as boxes
    drawn: list[Any] = []
    for polygon in polygons:
        one: Any = [list(polygon)]
        drawn += coco_mask.frPyObjects(one, *size)  # pyright: ignore[reportOperatorIssue]
    if not drawn:
        return encode(np.zeros(size, np.uint8))
    return ObjectMask(size, _merged(drawn, False)["counts"])


def union(masks: Sequence[ObjectMask]) -> ObjectMask:
    """All pixels of masks of one size; there must be at least one."""
    return ObjectMask(masks[0].size, _merged([_plain(m) for m in masks], False)["counts"])


def intersection(masks: Sequence[ObjectMask]) -> ObjectMask:
    """The pixels that masks of one size share; there must be at least one."""
    return ObjectMask(masks[0].size, _merged([_plain(m) for m in masks], True)["counts"])


def areas(masks: Sequence[ObjectMask]) -> NDArray[np.int64]:
    """int64 (R,): the number of pixels of each."""
    if not len(masks):
        return np.zeros(0, np.int64)
    found: Any = coco_mask.area([_plain(m) for m in masks])  # pyright: ignore[reportArgumentType]
    return np.asarray(found, np.int64)


def boxes_around(masks: Sequence[ObjectMask]) -> NDArray[np.float64]:
    """float64 (R, 4): xyxy around the pixels, right and bottom exclusive; an empty mask's is 0."""
    if not len(masks):
        return np.zeros((0, 4))
    xywh: Any = coco_mask.toBbox([_plain(m) for m in masks])  # pyright: ignore[reportArgumentType]
    boxes = np.asarray(xywh, np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def ious(
    one: Sequence[ObjectMask], two: Sequence[ObjectMask], of_one: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """float64 (R, S) in 0..1: intersection over union, or over the area of the first where `of_one`
    (S,) says so, as pycocotools compares with a crowd."""
    if not len(one) or not len(two):
        return np.zeros((len(one), len(two)))
    a, b = [_plain(m) for m in one], [_plain(m) for m in two]
    crowd: Any = of_one.astype(np.uint8).tolist()
    found: Any = coco_mask.iou(a, b, crowd)  # pyright: ignore[reportArgumentType]
    return np.asarray(found, np.float64)


def _plain(mask: ObjectMask) -> dict[str, Any]:
    return {"size": list(mask.size), "counts": mask.counts}


def _merged(rles: list[Any], intersect: bool) -> Any:
    merged: Any = coco_mask.merge(rles, intersect)
    return merged
