"""The boxes of one picture, and the geometry of boxes as numpy arrays.

A box is xyxy in pixels from 0, right and bottom exclusive: its width is x2 - x1. `xfer.ops.boxes`
has the same for tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xfer.errors import DataError
from xfer.objects.mask import ObjectMask, as_column


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """The R boxes of one picture, or of several end to end.

    xyxy      | float32 or float64 (R, 4) | pixels from 0, right and bottom exclusive
    labels    | int64 (R,)                | class index
    difficult | bool (R,)                 | VOC: neither rewarded nor penalised
    crowd     | bool (R,)                 | COCO iscrowd
    area      | float64 (R,)              | COCO's area of the object, else the box's, square pixels
    size      | (H, W)                    | of the picture; (0, 0): unknown
    masks     | object (R,) of ObjectMask | the pixels of each object, in a picture of `size`; None:
              |                           | only boxes are known

    Two are equal if all of these are. `Boxes.of` fills in defaults and checks the shapes.
    """

    xyxy: NDArray[Any]
    labels: NDArray[np.int64]
    difficult: NDArray[np.bool_]
    crowd: NDArray[np.bool_]
    area: NDArray[np.float64]
    size: tuple[int, int] = (0, 0)
    masks: NDArray[np.object_] | None = None

    @classmethod
    def of(
        cls,
        xyxy: ArrayLike,
        labels: ArrayLike,
        *,
        difficult: ArrayLike | None = None,
        crowd: ArrayLike | None = None,
        area: ArrayLike | None = None,
        size: Sequence[int] = (0, 0),
        masks: Sequence[ObjectMask] | NDArray[np.object_] | None = None,
    ) -> Boxes:
        """Boxes from arrays or lists; float32 coordinates stay float32, others become float64.

        Args: as the columns; difficult, crowd: all false by default; area: the boxes' own.
        Raises: DataError for coordinates that are not four numbers per box, for labels that are not
            whole numbers, and for a column of the wrong length.
        """
        corners = _corners(xyxy)
        indices = np.asarray(labels)
        if indices.size and indices.dtype.kind not in "iu":
            raise DataError(f"boxes: labels are {indices.dtype}, not whole numbers")
        none = np.zeros(len(corners), np.bool_)
        boxes = cls(
            corners,
            indices.astype(np.int64, copy=False),
            none if difficult is None else np.asarray(difficult, np.bool_),
            none if crowd is None else np.asarray(crowd, np.bool_),
            area_xyxy(corners.astype(np.float64)) if area is None else np.asarray(area, np.float64),
            (int(size[0]), int(size[1])),
            None if masks is None else as_column(masks),
        )
        for name in (*_COLUMNS[1:], *(("masks",) if masks is not None else ())):
            shape = getattr(boxes, name).shape
            if shape != (len(corners),):
                raise DataError(f"boxes: {name} has shape {shape}, for {len(corners)} boxes")
        return boxes

    @classmethod
    def none(cls, size: Sequence[int] = (0, 0)) -> Boxes:
        """No boxes, for a picture of this size."""
        return cls.of((), (), size=size)

    @classmethod
    def join(cls, parts: Sequence[Boxes]) -> Boxes:
        """The boxes of all parts, in order; the size is kept if all parts have the same, masks if
        all parts with boxes have them."""
        if not parts:
            return cls.none()
        sizes = {part.size for part in parts}
        columns = {name: np.concatenate([getattr(p, name) for p in parts]) for name in _COLUMNS}
        masked = any(p.masks is not None for p in parts) and all(
            p.masks is not None or not len(p) for p in parts
        )
        if masked:
            columns["masks"] = np.concatenate([p.masks for p in parts if p.masks is not None])
        return cls(**columns, size=sizes.pop() if len(sizes) == 1 else (0, 0))

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, rows: Any) -> Boxes:
        """The boxes of these rows: a slice, a mask or indices."""
        if isinstance(rows, (int, np.integer)):
            raise TypeError(f"boxes are indexed by a slice, a mask or a list: use [[{rows}]]")
        return Boxes(
            self.xyxy[rows], self.labels[rows], self.difficult[rows], self.crowd[rows],
            self.area[rows], self.size, None if self.masks is None else self.masks[rows],
        )  # fmt: skip

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Boxes):
            return NotImplemented
        masks = [None if b.masks is None else b.masks.tolist() for b in (self, other)]
        return (
            self.size == other.size
            and masks[0] == masks[1]
            and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in _COLUMNS)
        )

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    @property
    def sides(self) -> NDArray[Any]:
        """(R, 2), of the dtype of `xyxy`: width and height, pixels."""
        return self.xyxy[:, 2:] - self.xyxy[:, :2]

    @property
    def ignored(self) -> NDArray[np.bool_]:
        """bool (R,): neither rewarded nor penalised, because crowd or difficult."""
        return self.crowd | self.difficult

    def astype(self, dtype: type[np.float32] | type[np.float64]) -> Boxes:
        """The same with coordinates of this dtype; the areas stay float64."""
        return replace(self, xyxy=self.xyxy.astype(dtype, copy=False))

    def sized(self, size: Sequence[int]) -> Boxes:
        """The same, for a picture of this size (H, W); nothing is moved or clipped."""
        return replace(self, size=(int(size[0]), int(size[1])))

    def relabelled(self, table: NDArray[np.int64]) -> Boxes:
        """The same with other class indices: `table` int64 (C,) maps old to new."""
        return replace(self, labels=table[self.labels])

    def scaled(self, x: float, y: float) -> Boxes:
        """The boxes after the picture is resized by these factors, computed in float64, without
        their masks: `xfer.objects.resize` has those."""
        height, width = self.size
        return replace(
            self,
            xyxy=(self.xyxy * np.array([x, y, x, y])).astype(self.xyxy.dtype),
            area=self.area * (x * y),
            size=(round(height * y), round(width * x)),
            masks=None,
        )

    def shifted(self, dx: float, dy: float, size: Sequence[int] = (0, 0)) -> Boxes:
        """The boxes moved right and down by pixels, into a picture of this size; without masks."""
        moved = self.xyxy + np.array([dx, dy, dx, dy], self.xyxy.dtype)
        return replace(self, xyxy=moved, masks=None).sized(size)

    def clip(self, size: Sequence[int] | None = None) -> Boxes:
        """The parts of the boxes inside the picture (H, W), their own by default; none is dropped.

        If the size is unknown, right and bottom stay. A clipped object's area is at most that of
        the rest of its box.
        """
        height, width = self.size if size is None else size
        clipped = clip_xyxy(self.xyxy, (height, width))
        left = np.minimum(self.area, area_xyxy(clipped.astype(np.float64)))
        area = np.where((clipped != self.xyxy).any(1), left, self.area)
        return replace(self, xyxy=clipped, area=area).sized((height, width))

    def iou(self, other: Boxes) -> NDArray[np.float64]:
        """Intersection over union of every pair, float64 (R, S) in 0..1."""
        return overlap_xyxy(self.xyxy[:, None], other.xyxy[None])


_COLUMNS = tuple(f.name for f in fields(Boxes) if f.name not in ("size", "masks"))


def area_xyxy(xyxy: NDArray[Any]) -> NDArray[Any]:
    """Areas of boxes in square pixels, in their own dtype: (..., 4) -> (...)."""
    return (xyxy[..., 2] - xyxy[..., 0]) * (xyxy[..., 3] - xyxy[..., 1])


def clip_xyxy(
    xyxy: NDArray[Any], size: ArrayLike, corner: tuple[float, float] = (0, 0)
) -> NDArray[Any]:
    """The parts of boxes inside a rectangle; a box outside it has no area left.

    Shapes: xyxy (R, 4); size (2,) or (R, 2): height and width, where 0 means no bound;
        corner: y and x of the rectangle's top left -> (R, 4).
    """
    height_width = np.asarray(size)
    low = np.array(corner, xyxy.dtype)
    high = np.where(height_width > 0, height_width + low, np.inf).astype(xyxy.dtype)
    return np.clip(xyxy, low[[1, 0, 1, 0]], high[..., [1, 0, 1, 0]])


def overlap_xyxy(
    one: NDArray[Any],
    two: NDArray[Any],
    areas: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
    of_one: ArrayLike = False,
) -> NDArray[np.float64]:
    """Intersection over union of boxes, float64 in 0..1; 0 where neither has an area.

    Shapes: one (..., 4) and two (..., 4), broadcast -> (...).
    Args:
        areas: those of `one` and `two`, if they are not those of the corners.
        of_one: bool, broadcast: if set, the intersection over the area of `one` instead.
    """
    a, b = one.astype(np.float64, copy=False), two.astype(np.float64, copy=False)
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    inside = np.clip(high - low, 0, None).prod(-1)
    own, other = (area_xyxy(a), area_xyxy(b)) if areas is None else areas
    union = np.where(of_one, own, own + other - inside)
    return np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)


def _corners(xyxy: ArrayLike) -> NDArray[Any]:
    """Coordinates as float (R, 4). Raises DataError for any others."""
    try:
        corners = np.asarray(xyxy)
    except ValueError:  # rows of different lengths
        raise DataError("boxes: not four numbers per box") from None
    if not corners.size:
        corners = corners.reshape(0, 4)
    if corners.ndim != 2 or corners.shape[1] != 4 or corners.dtype.kind not in "fiu":
        array = f"an array {corners.shape} of {corners.dtype}"
        raise DataError(f"boxes: not four numbers per box but {array}")
    if corners.dtype == np.float32:
        return corners
    return corners.astype(np.float64, copy=False)
