"""The segments of one picture: objects and regions that do not overlap, as panoptic data have them.

In files a segment has an id of its own, which a PNG writes as a colour (COCO) or a number
(Cityscapes); here it is a row of a table, and the map holds the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xfer.boxes import Boxes
from xfer.errors import DataError

VOID = -1  # in a map: a pixel of no segment


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """The S segments of one picture, no two of which share a pixel.

    map    | int32 (H, W) | the segment of each pixel, 0 .. S - 1; VOID (-1): none, not labelled
    labels | int64 (S,)   | class index
    crowd  | bool (S,)    | COCO iscrowd: several objects in one segment, neither learnt as one nor
           |              | counted as missed

    Two are equal if all of these are. A segment may have no pixel.
    """

    map: NDArray[np.int32]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]

    @classmethod
    def of(cls, map: ArrayLike, labels: ArrayLike, crowd: ArrayLike | None = None) -> Segments:
        """Segments from arrays or lists.

        Raises: DataError for a map that is not (H, W), for labels that are not one whole number
            per segment, and for a map with numbers of segments that there are not.
        """
        whole = np.asarray(map, np.int32)
        numbers = np.asarray(labels, np.int64).reshape(-1)
        marks = np.zeros(len(numbers), bool) if crowd is None else np.asarray(crowd, bool)
        if whole.ndim != 2:
            raise DataError(f"segments: a map of shape {whole.shape}, not (H, W)")
        if marks.shape != numbers.shape:
            raise DataError(f"segments: crowd has shape {marks.shape}, for {len(numbers)} segments")
        if whole.size and not VOID <= whole.min() <= whole.max() < len(numbers):
            raise DataError(
                f"segments: the map holds {whole.min()} to {whole.max()}, for {len(numbers)} "
                "segments"
            )
        return cls(whole, numbers, marks)

    @classmethod
    def from_ids(
        cls, ids: NDArray[Any], known: Mapping[int, tuple[int, bool]], void: int = 0
    ) -> Segments:
        """Segments from a map of ids.

        Args: ids: whole numbers (H, W); known: id -> class index and whether it is a crowd, in the
            order that the segments take; a class below 0 makes void; void: the id of void.
        Raises: DataError naming ids of the map that are not known.
        """
        kept = {key: row for key, row in known.items() if row[0] >= 0}
        table = {void: VOID} | dict.fromkeys(known, VOID) | {k: n for n, k in enumerate(kept)}
        values, places = _runs(ids)
        unknown = sorted(set(values.tolist()) - table.keys())
        if unknown:
            raise DataError(f"no segment has the id {', '.join(map(str, unknown[:5]))}")
        rows = np.array([table[key] for key in values.tolist()], np.int32)
        labels = np.array([label for label, _ in kept.values()], np.int64)
        crowd = np.array([mark for _, mark in kept.values()], bool)
        return cls(np.repeat(rows, places).reshape(ids.shape), labels, crowd)

    def __len__(self) -> int:
        return len(self.labels)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Segments):
            return NotImplemented
        return (
            np.array_equal(self.map, other.map)
            and np.array_equal(self.labels, other.labels)
            and np.array_equal(self.crowd, other.crowd)
        )

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the picture."""
        return self.map.shape[0], self.map.shape[1]

    def areas(self) -> NDArray[np.int64]:
        """(S,) pixels of each segment."""
        return np.bincount(self.map.ravel() + 1, minlength=len(self) + 1)[1:]

    def classes(self, void: int = 255) -> NDArray[np.uint8]:
        """uint8 (H, W): the class of each pixel, `void` where there is no segment."""
        return np.append(self.labels, void).astype(np.uint8)[self.map]

    def boxes(self) -> NDArray[np.float64]:
        """float64 (S, 4), xyxy, right and bottom exclusive: tight around each segment's pixels;
        zeros for one without any."""
        boxes = np.zeros((len(self) + 1, 4), np.float64)
        rows, columns = np.nonzero(self.map >= 0)
        which = self.map[rows, columns]
        low = np.full((len(self), 2), max(self.map.shape, default=0), np.int64)
        high = np.zeros((len(self), 2), np.int64)
        for axis, places in enumerate((columns, rows)):
            np.minimum.at(low[:, axis], which, places)
            np.maximum.at(high[:, axis], which, places + 1)
        boxes = np.concatenate([low, high], 1).astype(np.float64)
        boxes[high.max(1, initial=0) == 0] = 0
        return boxes

    def as_boxes(self, chosen: NDArray[np.bool_] | None = None) -> Boxes:
        """The boxes of some segments (default: all), those without pixels left out."""
        areas = self.areas()
        rows = np.flatnonzero((areas > 0) & (True if chosen is None else chosen))
        return Boxes.of(
            self.boxes()[rows], self.labels[rows], crowd=self.crowd[rows],
            area=areas[rows].astype(np.float64), size=self.size,
        )  # fmt: skip

    def presence(self, classes: int) -> NDArray[np.int8]:
        """int8 (C,): 1 for the classes that have a segment with pixels."""
        present = np.zeros(classes, np.int8)
        present[self.labels[self.areas() > 0]] = 1
        return present

    def relabelled(self, table: NDArray[np.int64]) -> Segments:
        """The same with other class indices: `table` int64 (C,) maps old to new; segments of a
        class below 0 become void."""
        return self._with(table[self.labels])

    def _with(self, labels: NDArray[np.int64]) -> Segments:
        kept = labels >= 0
        rows = np.where(kept, np.cumsum(kept) - 1, VOID)
        moved = np.append(rows, VOID).astype(np.int32)[self.map]
        return Segments(moved, labels[kept], self.crowd[kept])

    def chosen(self, which: NDArray[np.bool_]) -> Segments:
        """Some of the segments, bool (S,), in order; the others become void."""
        return self._with(np.where(which, self.labels, VOID))

    def without_empty(self) -> Segments:
        """The segments that have a pixel, in order."""
        return self.chosen(self.areas() > 0)

    def mapped(self, map: NDArray[np.int32]) -> Segments:
        """The same segments on another map: of a crop, a mirror image, a scaled picture."""
        return replace(self, map=np.ascontiguousarray(map))

    def resized(self, size: tuple[int, int]) -> Segments:
        """The same segments on a map of another size (H, W): a pixel is that under its centre."""
        rows, columns = (
            (np.arange(wanted) * 2 + 1) * own // (2 * wanted)
            for own, wanted in zip(self.size, size, strict=True)
        )
        return self.mapped(self.map[rows][:, columns])


def _runs(ids: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The run lengths of a flattened map: values, and how often each is repeated."""
    flat = ids.ravel()
    if not flat.size:
        return flat, np.zeros(0, np.int64)
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    return flat[starts], np.diff(np.append(starts, len(flat)))
