"""Boxes of many pictures as columns, and the overlaps of detected and true boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from xfer.boxes import Boxes, overlap_xyxy


class _Columns:
    """Columns of equal length; each row is a box."""

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))  # pyright: ignore[reportArgumentType]

    def take(self, rows: Any) -> Self:
        """The boxes of these rows: indices or a mask."""
        names = [f.name for f in fields(self)]  # pyright: ignore[reportArgumentType]
        return type(self)(**{name: getattr(self, name)[rows] for name in names})

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """The boxes of all parts in order; there must be at least one part."""
        columns: dict[str, Any] = {}
        for field in fields(cls):  # pyright: ignore[reportArgumentType]
            column = [getattr(part, field.name) for part in parts]
            boxes = isinstance(column[0], Boxes)
            columns[field.name] = Boxes.join(column) if boxes else np.concatenate(column)
        return cls(**columns)

    @property
    def xyxy(self) -> NDArray[np.float64]:
        """float64 (N, 4): left, top, right, bottom, exclusive."""
        return _to_xyxy(self.xywh)  # pyright: ignore[reportAttributeAccessIssue]


@dataclass(frozen=True, slots=True)
class TrueBoxes(_Columns):
    """The true boxes.

    image | int64 (N,)     | index of the picture
    boxes | Boxes of N     | float64
    sides | float64 (N, 2) | width and height exactly as in the file, as pycocotools uses them;
          |                | right minus left may differ in the last bit
    """

    image: NDArray[np.int64]
    boxes: Boxes
    sides: NDArray[np.float64]

    @classmethod
    def of(cls, image: NDArray[np.int64], boxes: Boxes) -> Self:
        """Make them from boxes whose file gives corners, or whose exact widths aren't known."""
        boxes = boxes.astype(np.float64)
        return cls(image, boxes, to_xywh(boxes.xyxy)[:, 2:])

    @classmethod
    def of_xywh(
        cls, image: NDArray[np.int64], xywh: NDArray[np.float64], labels: NDArray[np.int64],
        *, area: NDArray[np.float64] | None = None, crowd: NDArray[np.bool_] | None = None,
        difficult: NDArray[np.bool_] | None = None,
    ) -> Self:  # fmt: skip
        """Make them from a file that gives left, top, width, height, float64 (N, 4); the defaults
        are those of `Boxes.of`."""
        sides = xywh[:, 2:]
        boxes = Boxes.of(
            _to_xyxy(xywh), labels, difficult=difficult, crowd=crowd,
            area=sides.prod(1) if area is None else area,
        )  # fmt: skip
        return cls(image, boxes, sides)

    @property
    def label(self) -> NDArray[np.int64]:
        """int64 (N,): class index."""
        return self.boxes.labels

    @property
    def ignored(self) -> NDArray[np.bool_]:
        """bool (N,): neither rewarded nor punished."""
        return self.boxes.ignored

    @property
    def xywh(self) -> NDArray[np.float64]:
        """float64 (N, 4): left, top, width, height, pixels."""
        return np.concatenate([self.boxes.xyxy[:, :2], self.sides], axis=1)


@dataclass(frozen=True, slots=True)
class FoundBoxes(_Columns):
    """The detected boxes.

    image | int64 (N,)     | index of the picture
    label | int64 (N,)     | class index
    xywh  | float64 (N, 4) | left, top, width, height, pixels
    score | float64 (N,)   | higher is more certain; boxes with equal scores keep their order
    """

    image: NDArray[np.int64]
    label: NDArray[np.int64]
    xywh: NDArray[np.float64]
    score: NDArray[np.float64]


def _to_xyxy(xywh: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)


def to_xywh(boxes_xyxy: NDArray[Any]) -> NDArray[np.float64]:
    """Convert (N, 4) left, top, right, bottom to float64 (N, 4) left, top, width, height.

    A width of at most six decimals that gives exactly the same right edge is preferred to right
    minus left, which may differ in the last bit: so the exact widths of a file are recovered.
    """
    boxes = np.asarray(boxes_xyxy, np.float64).reshape(-1, 4)
    corner, sides = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    short = sides.round(6)
    sides = np.where(corner + short == boxes[:, 2:], short, sides)
    return np.concatenate([corner, sides], axis=1)


class Compare(Protocol):
    """What `overlaps` does for boxes, and `xfer.metrics.object_masks` for masks."""

    def __call__(
        self, found: Any, truth: TrueBoxes, *, same_class: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]: ...


def overlaps(
    found: FoundBoxes, truth: TrueBoxes, *, same_class: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Every pair of a detected and a true box of one picture, and if `same_class` of one class.

    Returns: rows of `found`, rows of `truth`, and overlaps: intersection over union, or over the
        detected box's own area if the true one is a crowd (as in pycocotools). Ordered by the row
        of `found`, then of `truth`.
    """
    rows, others = pairs_of(*group_keys(found, truth, same_class))
    areas = found.xywh[:, 2:].prod(1)[rows], truth.sides.prod(1)[others]
    crowd = truth.boxes.crowd[others]
    return rows, others, overlap_xyxy(found.xyxy[rows], truth.xyxy[others], areas, of_one=crowd)


def group_keys(
    found: FoundBoxes, truth: TrueBoxes, same_class: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A number for the picture, or the picture and class, of each detected and each true box."""
    classes = 1 + int(max(found.label.max(initial=0), truth.label.max(initial=0)))
    if not same_class:
        return found.image, truth.image
    return found.image * classes + found.label, truth.image * classes + truth.label


def pairs_of(
    found_keys: NDArray[np.int64], true_keys: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Every pair of a detected and a true box with equal keys, by the rows of both."""
    order = np.argsort(true_keys, kind="stable")
    sorted_keys = true_keys[order]
    start = np.searchsorted(sorted_keys, found_keys, "left")
    count = np.searchsorted(sorted_keys, found_keys, "right") - start
    rows = np.repeat(np.arange(len(found_keys)), count)
    before = np.cumsum(count) - count
    place = np.arange(len(rows)) - np.repeat(before, count) + np.repeat(start, count)
    return rows, order[place]


def ranks(*keys: NDArray[Any]) -> NDArray[np.int64]:
    """Rank of each row among those with equal keys, in the rows' order: int64 (N,), from 0."""
    order = np.lexsort(keys[::-1])
    new = np.zeros(len(order), bool)
    new[:1] = True
    for column in keys:
        new[1:] |= np.diff(column[order]) != 0
    first = np.flatnonzero(new)
    rank = np.empty(len(order), np.int64)
    lengths = np.diff(np.append(first, len(order)))
    rank[order] = np.arange(len(order)) - np.repeat(first, lengths)
    return rank
