"""The masks of objects as the net learns them: each on a small grid over its own box."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xfer.objects.mask import ObjectMask
from xfer.objects.segments import Segments

# cells on a side of a grid: twice as many as a mask head has (He et al. 2017), which reads it
# bilinearly from wherever its region lies
GRID = 56


@dataclass(frozen=True, slots=True)
class ObjectGrids:
    """The masks of R objects.

    shares | uint8 (R, GRID, GRID) | how much of each cell is in the object, 0..255
    places | float32 (R, 4)        | the rectangle that each grid covers, xyxy in pixels
    """

    shares: NDArray[np.uint8]
    places: NDArray[np.float32]

    def take(self, rows: NDArray[np.bool_]) -> ObjectGrids:
        """Those of these objects."""
        return ObjectGrids(self.shares[rows], self.places[rows])

    def moved(self, shift: NDArray[np.float32], factor: NDArray[np.float32]) -> ObjectGrids:
        """After the picture is shifted and then scaled; both (4,), of xyxy."""
        return ObjectGrids(self.shares, (self.places - shift) * factor)

    def mirrored(self, width: float) -> ObjectGrids:
        """In the mirror image of a picture `width` pixels wide."""
        x1, y1, x2, y2 = self.places.T
        places = np.stack([width - x2, y1, width - x1, y2], 1)
        return ObjectGrids(np.ascontiguousarray(self.shares[:, :, ::-1]), places)

    @property
    def empty(self) -> NDArray[np.bool_]:
        """bool (R,): no pixel of the object is left."""
        return np.asarray(~self.shares.any((1, 2)), np.bool_)


def object_grids(masks: Sequence[ObjectMask], boxes_xyxy: NDArray[np.float32]) -> ObjectGrids:
    """The masks inside boxes (R, 4) of their pictures, which lie in these: a box is widened to
    whole pixels, and what is outside it is left out."""
    return _grids((mask.pixels() for mask in masks), boxes_xyxy)


def segment_grids(
    segments: Segments, rows: NDArray[np.intp], boxes_xyxy: NDArray[np.float32]
) -> ObjectGrids:
    """The same of some segments, by their numbers (R,); boxes (R, 4) are theirs."""
    return _grids((segments.map == row for row in rows.tolist()), boxes_xyxy)


def _grids(masks: Iterable[NDArray[Any]], boxes_xyxy: NDArray[np.float32]) -> ObjectGrids:
    places = np.concatenate([np.floor(boxes_xyxy[:, :2]), np.ceil(boxes_xyxy[:, 2:])], 1)
    shares = np.zeros((len(places), GRID, GRID), np.uint8)
    for k, mask in enumerate(masks):
        x1, y1, x2, y2 = places[k].astype(int)
        crop = mask[max(0, y1) : y2, max(0, x1) : x2].astype(np.uint8)
        if crop.any():
            shrinks = min(crop.shape) > GRID
            how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            shares[k] = cv2.resize(crop * 255, (GRID, GRID), interpolation=how)
    return ObjectGrids(shares, places.astype(np.float32))
