"""What the masks of a source's objects look like: their shapes, and how neighbours meet."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from xfer.boxes import Boxes, overlap_xyxy
from xfer.data.images.threads import cores
from xfer.kinds.annotation import annotation
from xfer.objects.rle import areas, boxes_around, ious
from xfer.types import Source

SHARED = 0.1  # of the smaller of two objects, from which they overlap
# IoU of an object's box and the box around its mask, below which they disagree, and by how many
# pixels a side must differ at least: files round, and polygons are drawn between pixels
BOX_IOU, BOX_SLACK = 0.8, 3.0
HOLE = 4  # pixels of the smallest hole


@dataclass(frozen=True)
class MaskStats:
    """The objects of a source, without crowds, end to end, and the pairs that meet.

    picture | int64 (R,); label int64 (R,); xyxy float64 (R, 4): the box
    area    | int64 (R,): pixels of the mask; fill: float64 (R,): of its box, a share
    sliver  | bool (R,): nowhere three pixels wide; holed: it has a hole
    off_box | bool (R,): the box is not the one around the mask
    touching, overlapping | int64 (P, 2): rows of neighbours, and of those that share pixels
    """

    picture: NDArray[np.int64]
    label: NDArray[np.int64]
    xyxy: NDArray[np.float64]
    area: NDArray[np.int64]
    fill: NDArray[np.float64]
    sliver: NDArray[np.bool_]
    holed: NDArray[np.bool_]
    off_box: NDArray[np.bool_]
    touching: NDArray[np.int64]
    overlapping: NDArray[np.int64]

    @property
    def empty(self) -> NDArray[np.bool_]:
        """bool (R,): objects whose outline holds no pixel."""
        return self.area == 0


def mask_stats(source: Source) -> MaskStats:
    """Looks at every object's mask; a source of files opens no picture. One thread per core."""
    with ThreadPoolExecutor(cores()) as pool:
        each = list(pool.map(lambda i: _of_picture(annotation(source, i)), range(len(source))))
    counts = [len(one.label) for one in each]
    starts = np.cumsum([0, *counts])[:-1]
    return MaskStats(
        np.repeat(np.arange(len(each)), counts),
        *(_end_to_end([getattr(one, name) for one in each], empty)
          for name, empty in (("label", np.zeros(0, np.int64)), ("xyxy", np.zeros((0, 4))),
                              ("area", np.zeros(0, np.int64)), ("fill", np.zeros(0)),
                              ("sliver", np.zeros(0, bool)), ("holed", np.zeros(0, bool)),
                              ("off_box", np.zeros(0, bool)))),
        *(_end_to_end([getattr(one, name) + start for one, start in zip(each, starts, strict=True)],
                      np.zeros((0, 2), np.int64))
          for name in ("touching", "overlapping")),
    )  # fmt: skip


def _end_to_end(parts: Sequence[NDArray], empty: NDArray) -> NDArray:
    return np.concatenate([empty, *parts])


def _of_picture(boxes: Boxes) -> MaskStats:
    own = boxes[~boxes.crowd]
    masks = [] if own.masks is None else own.masks.tolist()
    own = own if masks else own[:0]
    area, around = areas(masks), boxes_around(masks)
    xyxy = own.xyxy.astype(np.float64)
    sliver, holed = np.zeros(len(own), bool), np.zeros(len(own), bool)
    owner = np.full(own.size, -1, np.int32)
    for k, mask in enumerate(masks):
        if not area[k]:
            continue
        x1, y1, x2, y2 = around[k].astype(int)
        crop = np.ascontiguousarray(mask.pixels()[y1:y2, x1:x2])
        sliver[k] = not cv2.erode(np.pad(crop, 1), np.ones((3, 3), np.uint8)).any()
        holed[k] = _has_hole(crop)
        owner[y1:y2, x1:x2][crop > 0] = k
    apart = overlap_xyxy(xyxy, around) < BOX_IOU
    off_box = apart & (np.abs(xyxy - around).max(1, initial=0) > BOX_SLACK) & (area > 0)
    inside = ious(masks, masks, np.ones(len(masks), bool))  # over the area of the first
    shared = np.triu(np.maximum(inside, inside.T) >= SHARED, 1)
    overlapping = np.argwhere(shared).astype(np.int64)
    touching = _neighbours(owner, shared)
    box_area = np.maximum((xyxy[:, 2:] - xyxy[:, :2]).prod(1), 1e-9)
    return MaskStats(np.zeros(len(own), np.int64), own.labels, xyxy, area,
                     np.minimum(area / box_area, 1), sliver, holed, off_box,
                     touching, overlapping)  # fmt: skip


def _has_hole(crop: NDArray[np.uint8]) -> bool:
    """Whether background is enclosed by a mask."""
    outside = np.pad((crop == 0).astype(np.uint8), 1, constant_values=1)
    found = cv2.connectedComponentsWithStats(outside, connectivity=4)
    sizes = found[2][1:, cv2.CC_STAT_AREA]
    return bool((np.sort(sizes)[:-1] >= HOLE).any())


def _neighbours(owner: NDArray[np.int32], shared: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Pairs of objects with pixels side by side, without those that overlap: int64 (P, 2)."""
    pairs: list[NDArray[np.int64]] = []
    for one, two in ((owner[1:], owner[:-1]), (owner[:, 1:], owner[:, :-1])):
        meet = (one != two) & (one >= 0) & (two >= 0)
        both = np.stack([one[meet], two[meet]], 1).astype(np.int64)
        pairs.append(np.sort(both, 1))
    found = np.unique(np.concatenate([np.zeros((0, 2), np.int64), *pairs]), axis=0)
    return found[~shared[found[:, 0], found[:, 1]]]
