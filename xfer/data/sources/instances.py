"""A source of picture files with their objects' outlines, used by all readers of instances."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.boxes import Boxes
from xfer.data.images.decode import DecodeError
from xfer.data.images.limits import check_size
from xfer.data.sources import door
from xfer.data.sources.boxes import BoxSource, BoxTable, box_table
from xfer.errors import DataError
from xfer.objects.mask import ObjectMask, as_column
from xfer.objects.rle import encode
from xfer.types import DataInfo

# (outline as in a file, height, width) -> its pixels; DataError for one that can't be drawn
Draw = Callable[[Any, int, int], ObjectMask]


@dataclass(frozen=True)
class Outlined:
    """Boxes of N pictures, end to end, and what is known of each object's pixels.

    table    | the boxes
    outlines | R, in the order of the table: an ObjectMask, or whatever `draw` makes one from
    """

    table: BoxTable
    outlines: tuple[Any, ...]


def outlined(
    picture: NDArray[np.int64], boxes: Boxes, outlines: Sequence[Any], sizes: NDArray[np.int64]
) -> Outlined:
    """A table of boxes with outlines, in any order; those of one picture keep theirs.

    Args: as in `box_table`; outlines: of each box; one that is empty belongs to an object of which
        only the box is known: a crowd, neither learnt nor scored.
    """
    bare = np.array([not isinstance(one, ObjectMask) and not one for one in outlines], bool)
    boxes = replace(boxes, crowd=boxes.crowd | bare)
    order = np.argsort(picture, kind="stable")
    return Outlined(box_table(picture, boxes, sizes), tuple(outlines[k] for k in order.tolist()))


class InstanceSource(BoxSource):
    """Picture files whose objects have outlines; masks are drawn when they are asked for.

    A mask is in the frame of the boxes, see BoxSource. An object without an outline fills its box.

    Args:
        info, root, files, ids, image_ids, category_ids: as in BoxSource; kind is instance.
        objects: boxes and outlines; draw: makes the pixels of outlines that are not ObjectMasks.
    """

    def __init__(
        self,
        info: DataInfo,
        root: Path,
        files: Sequence[str],
        objects: Outlined,
        ids: Sequence[str] | None = None,
        image_ids: Sequence[int | str] = (),
        category_ids: Sequence[int | str] = (),
        draw: Draw | None = None,
    ) -> None:
        super().__init__(info, root, files, objects.table, ids, image_ids, category_ids)
        self.outlines, self.draw, self._whole = objects.outlines, draw, ""

    @door.sample
    def annotation(self, i: int) -> Boxes:
        """The boxes of picture i with their masks; its file is not opened."""
        boxes = self.table.of(i)
        first = int(self.table.first[i])
        size = boxes.size
        try:
            if len(boxes):
                check_size(size[1], size[0])
            masks = [self._mask(first + k, size, boxes.xyxy[k]) for k in range(len(boxes))]
        except DataError as error:
            reason = error.reason if isinstance(error, DecodeError) else error.message
            raise DecodeError(reason, self.ids[i]) from None
        return replace(boxes, masks=as_column(masks))

    def _mask(self, row: int, size: tuple[int, int], box_xyxy: NDArray[np.float64]) -> ObjectMask:
        outline = self.outlines[row]
        if isinstance(outline, ObjectMask):
            if outline.size != size:
                raise DataError(
                    f"a mask's size is {list(outline.size)}, the picture's {list(size)}"
                )
            return outline
        if not outline:
            return box_mask(box_xyxy, size)
        assert self.draw is not None
        return self.draw(outline, *size)

    @door.sample
    def verify(self, i: int) -> None:
        """As for BoxSource; raises DecodeError for an outline that can't be drawn, too."""
        super().verify(i)
        self.annotation(i)

    def fingerprint(self) -> str:
        """As for BoxSource, and of the outlines."""
        if not self._whole:
            digest = hashlib.sha256(super().fingerprint().encode())
            for outline in self.outlines:
                digest.update(_bytes(outline))
            self._whole = digest.hexdigest()
        return self._whole


def box_mask(box_xyxy: NDArray[np.float64], size: tuple[int, int]) -> ObjectMask:
    """The pixels of a picture (H, W) that a box touches."""
    left, top = np.floor(box_xyxy[:2]).astype(int).clip(0)
    right, bottom = np.ceil(box_xyxy[2:]).astype(int)
    pixels = np.zeros(size, np.uint8)
    pixels[top:bottom, left:right] = 1
    return encode(pixels)


def _bytes(outline: Any) -> bytes:
    """What a fingerprint reads of an outline."""
    if isinstance(outline, ObjectMask):
        return outline.counts
    if isinstance(outline, dict):
        return repr(outline).encode()
    try:
        return b";".join(np.asarray(points, np.float64).tobytes() for points in outline)
    except (TypeError, ValueError, OverflowError):  # no polygons: said when they are drawn
        return repr(outline).encode()
