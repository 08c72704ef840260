"""Masks of detected objects as a column, and the overlaps of detected and true masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xfer.metrics.boxes import FoundBoxes, TrueBoxes, group_keys, pairs_of
from xfer.objects.mask import ObjectMask
from xfer.objects.rle import areas, boxes_around, encode, ious

RIM = 0.02  # width of the boundary, share of the picture's diagonal (Cheng 2021, sec. 4)
LEAST = 0.5  # lowest overlap that a score looks at


@dataclass(frozen=True, slots=True)
class FoundObjects(FoundBoxes):
    """The detected objects: boxes, and beside them

    masks | object (N,) of ObjectMask
    """

    masks: NDArray[np.object_]


def masks_in(boxes: FoundBoxes | TrueBoxes) -> list[ObjectMask]:
    """The masks of detected or true objects, in their order; these must have some."""
    masks = boxes.boxes.masks if isinstance(boxes, TrueBoxes) else getattr(boxes, "masks", None)
    assert masks is not None or not len(boxes), "objects without masks"
    return [] if masks is None else masks.tolist()


def segmentations(boxes: FoundBoxes | TrueBoxes) -> list[dict[str, Any]]:
    """The masks as pycocotools takes them: {"size": [H, W], "counts": bytes}."""
    return [{"size": list(m.size), "counts": m.counts} for m in masks_in(boxes)]


def object_areas(boxes: FoundBoxes | TrueBoxes) -> NDArray[np.int64]:
    """int64 (N,): pixels of each mask."""
    return areas(masks_in(boxes))


def mask_overlaps(
    found: FoundBoxes, truth: TrueBoxes, *, same_class: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """`xfer.metrics.boxes.overlaps` for masks: the same pairs, in the same order."""
    found_keys, true_keys = group_keys(found, truth, same_class)
    rows, others = pairs_of(found_keys, true_keys)
    overlap = np.zeros(len(rows))
    one, two, crowd = masks_in(found), masks_in(truth), truth.boxes.crowd
    # pairs of one group lie apart, but in the order of its own table, row by row
    order = np.argsort(found_keys[rows], kind="stable")
    starts = np.flatnonzero(np.diff(found_keys[rows][order], prepend=-1))
    for own in np.split(order, starts[1:]) if len(order) else ():
        mine, theirs = np.unique(rows[own]), np.unique(others[own])
        table = ious([one[k] for k in mine], [two[k] for k in theirs], crowd[theirs])
        overlap[own] = table[np.searchsorted(mine, rows[own]), np.searchsorted(theirs, others[own])]
    return rows, others, overlap


def boundary_overlaps(
    found: FoundBoxes, truth: TrueBoxes, *, same_class: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """As `mask_overlaps`, of boundaries: the smaller of a pair's mask and boundary overlaps. Where
    masks overlap by less than half, which no score looks at, boundaries are not compared.

    Source: Cheng, Girshick, Dollar, Berg, Kirillov, "Boundary IoU", CVPR 2021, sec. 5, and its
        code: a boundary is two per cent of the picture's diagonal wide.
    """
    rows, others, overlap = mask_overlaps(found, truth, same_class=same_class)
    near = np.flatnonzero(overlap >= LEAST)
    one = _rims(masks_in(found), rows[near])
    two = _rims(masks_in(truth), others[near])
    crowd = truth.boxes.crowd
    for k, row, other in zip(
        near.tolist(), rows[near].tolist(), others[near].tolist(), strict=True
    ):
        rim = ious([one[row]], [two[other]], crowd[[other]])[0, 0]
        overlap[k] = min(overlap[k], rim)
    return rows, others, overlap


def _rims(masks: Sequence[ObjectMask], rows: NDArray[np.int64]) -> dict[int, ObjectMask]:
    return {row: boundary(masks[row]) for row in np.unique(rows).tolist()}


def boundary(mask: ObjectMask) -> ObjectMask:
    """The pixels of a mask that lie within two per cent of the picture's diagonal of its outline;
    the picture's edge belongs to it."""
    width = max(1, round(RIM * math.hypot(*mask.size)))
    x1, y1, x2, y2 = boxes_around([mask])[0].astype(int)
    pixels = mask.pixels()
    if x2 > x1:
        crop = pixels[y1:y2, x1:x2]
        side = 2 * width + 1
        kernel = np.ones((side, side), np.uint8)
        inner = cv2.erode(crop, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
        pixels[y1:y2, x1:x2] = crop - inner
    return encode(pixels)
