"""A source of picture files with boxes, used by all readers of boxes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfer.boxes import Boxes
from xfer.data.images.decode import DecodeError, decode
from xfer.data.images.exif import laid
from xfer.data.images.size import TURNED, header_at
from xfer.data.images.walk import readable
from xfer.data.sources import door
from xfer.data.sources.base import Subset
from xfer.data.sources.files import PROBE_SIDE, FileSource
from xfer.kinds.box_stats import EveryBox
from xfer.types import DataInfo, Sample, Source


@dataclass(frozen=True)
class BoxTable:
    """The boxes of N pictures, end to end: those of picture i are first[i] .. first[i + 1].

    first | int64 (N + 1,) | index of each picture's first box
    boxes | Boxes of R     | all of them
    sizes | int64 (N, 2)   | height and width of each picture; (0, 0): not known
    """

    first: NDArray[np.int64]
    boxes: Boxes
    sizes: NDArray[np.int64]

    def of(self, i: int) -> Boxes:
        """The boxes of picture i."""
        part = slice(int(self.first[i]), int(self.first[i + 1]))
        return self.boxes[part].sized(self.sizes[i].tolist())

    def presence(self, classes: int) -> NDArray[np.int8]:
        """int8 (N, C): 1 where a class has a box in the picture, else 0."""
        present = np.zeros((len(self.sizes), classes), np.int8)
        picture = np.repeat(np.arange(len(self.sizes)), np.diff(self.first))
        present[picture, self.boxes.labels] = 1
        return present


def box_table(picture: NDArray[np.int64], boxes: Boxes, sizes: NDArray[np.int64]) -> BoxTable:
    """Make a table of boxes in any order; boxes of one picture keep their order.

    Args:
        picture: int64 (R,), the index of each box's picture; sizes: as in BoxTable.
    """
    order = np.argsort(picture, kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(picture, minlength=len(sizes)))])
    return BoxTable(first.astype(np.int64), boxes[order], sizes)


class BoxSource(FileSource):
    """Picture files with boxes.

    The picture has the orientation of its annotations. As everywhere, that is upright, unless the
    annotations give the size of the picture before its EXIF turn: then the turn is undone. So
    `annotation(i)` need not open the file, and results are in the frame of the annotation file. A
    size that fits neither way is an error that names the picture.

    Args:
        info, root, files, ids: as in FileSource; kind is detect.
        table: the boxes.
        image_ids: a COCO file's ids of the pictures; category_ids: those of the classes.
    """

    def __init__(
        self,
        info: DataInfo,
        root: Path,
        files: Sequence[str],
        table: BoxTable,
        ids: Sequence[str] | None = None,
        image_ids: Sequence[int | str] = (),
        category_ids: Sequence[int | str] = (),
    ) -> None:
        super().__init__(info, root, files, table.presence(len(info.classes)), ids)
        self.table = table
        self.image_ids, self.category_ids = tuple(image_ids), tuple(category_ids)

    @door.sample
    def annotation(self, i: int) -> Boxes:
        """The boxes of picture i; its file is not opened."""
        return self.table.of(i)

    def every_box(self) -> EveryBox:
        """All boxes of all pictures; no file is opened."""
        picture = np.repeat(np.arange(len(self)), np.diff(self.table.first))
        return EveryBox(picture, self.table.boxes, self.table.sizes)

    @door.sample
    def read(self, i: int, short_side: int = 0) -> Sample:
        """Sample i; the full picture whatever `short_side` is, since boxes are in its pixels.

        Raises: DecodeError if the picture can't be decoded or its size differs from the
            annotations.
        """
        path = self.path(i)
        image = decode(path)
        height, width = self.table.sizes[i].tolist()
        if (height, width) not in ((0, 0), image.shape[:2]):
            orientation = self._checked_turn(i)
            image = laid(image, orientation)
        boxes = self.annotation(i).astype(np.float32).sized(image.shape[:2])
        return Sample(self.ids[i], image, boxes=boxes)

    @door.sample
    def verify(self, i: int) -> None:
        """Raises DecodeError if picture i can't be decoded, or its size differs from the file's."""
        path = self.path(i)
        decode(path, PROBE_SIDE)
        if self.table.sizes[i].any():
            self._checked_turn(i)

    def _checked_turn(self, i: int) -> int:
        """The EXIF orientation to undo; 1 for none."""
        header = header_at(self.path(i))
        height, width = self.table.sizes[i].tolist()
        if header is None:
            return 1
        stored, orientation = header[:2], header[2]
        turned = orientation in TURNED
        if (height, width) == (stored[::-1] if turned else stored):
            return 1
        if turned and (height, width) == stored:
            return orientation
        raise DecodeError(
            f"the annotations say {width} x {height}, the picture is {stored[1]} x {stored[0]}",
            readable(str(self.path(i))),
        )

    def fingerprint(self) -> str:
        """As for FileSource, and of the boxes."""
        if not self._fingerprint:
            digest = hashlib.sha256(super().fingerprint().encode())
            boxes = self.table.boxes
            for array in (self.table.first, boxes.xyxy, boxes.labels, boxes.difficult, boxes.crowd,
                          boxes.area, self.table.sizes):  # fmt: skip
                digest.update(np.ascontiguousarray(array).tobytes())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint


def image_ids(source: Source) -> list[int | str] | None:
    """A COCO file's ids of the pictures of a source; None if it comes from no such file."""
    if isinstance(source, Subset):
        inner = image_ids(source.source)
        return None if inner is None else [inner[i] for i in source.indices.tolist()]
    return list(getattr(source, "image_ids", ())) or None


def category_ids(source: Source) -> dict[str, int | str] | None:
    """Class name -> its id in the COCO file, for the classes that the file has; None if the source
    comes from no such file."""
    if isinstance(source, Subset):
        inner, table = category_ids(source.source), source.table
        if inner is None or table is None:
            return inner
        own, classes = source.source.info.classes, source.info.classes
        return {classes[new]: inner[name] for name, new in zip(own, table.tolist(), strict=True)
                if new >= 0 and name in inner}  # fmt: skip
    ids = getattr(source, "category_ids", ())
    return dict(zip(source.info.classes, ids, strict=True)) if ids else None
