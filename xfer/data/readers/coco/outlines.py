"""Masks and objects drawn from outlines that are kept in a file for each picture: YOLO, labelme.

They are drawn by COCO's rule, see `segment`: the smaller object is on top, and where an object has
only a box, its pixels are ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfer.boxes import Boxes
from xfer.data.images.walk import readable
from xfer.data.readers.base import Reading, ReadOptions
from xfer.data.readers.coco.polygons import object_mask
from xfer.data.readers.coco.segment import BACKGROUND, CocoMasks, Outline
from xfer.data.readers.masks.class_table import ClassRow
from xfer.data.readers.masks.values import BACKGROUNDS, numbered
from xfer.data.sources.instances import InstanceSource, outlined
from xfer.data.sources.masks import file_stamp
from xfer.data.sources.split_names import role_of
from xfer.errors import DataError
from xfer.types import DataInfo


@dataclass(frozen=True, slots=True)
class Shape:
    """One object: its class, the points x y x y ... of its outlines in pixels, () if it has only a
    box, and its box."""

    label: int
    outlines: tuple[tuple[float, ...], ...]
    box_xyxy: tuple[float, float, float, float]

    @property
    def area(self) -> float:
        """Of the outlines, in pixels."""
        return sum(_area(points) for points in self.outlines)


def _area(points: Sequence[float]) -> float:
    """The area of a polygon, by the shoelace formula."""
    x, y = np.array(points[::2]), np.array(points[1::2])
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def outline_masks(
    root: Path,
    split: str,
    classes: Sequence[str],
    files: Sequence[str],
    sizes: NDArray[np.int64],
    shapes: Sequence[Sequence[Shape]],
    labels: Sequence[Path | None],
    options: ReadOptions,
    reading: Reading,
) -> OutlineMasks:
    """The source of one split; adds a line to `reading`.

    Args:
        classes: those of `Shape.label`; one that is called background is the background.
        files, sizes, shapes, labels: of each picture its file, height and width, objects, and the
            file that lists these.

    Raises: DataError if no object has an outline.
    """
    bare = sum(not shape.outlines for own in shapes for shape in own)
    total = sum(map(len, shapes))
    if bare == total:
        raise DataError(
            f"{root}, {split}: {'its labels are boxes' if total else 'no objects'}, and masks need "
            "outlines",
            "--task detect learns from boxes",
        )
    plain = ["".join(c for c in name.casefold() if c.isalpha()) for name in classes]
    own = [k for k in range(len(classes)) if plain[k] not in BACKGROUNDS]
    rows = [ClassRow(BACKGROUND), *(ClassRow(classes[k], k) for k in own)]
    names, look_up, gone = numbered(root, rows, options.ignore)
    place = {k: number for number, k in enumerate(own, 1)}
    objects = [
        [Outline(place.get(s.label, 0), [list(o) for o in s.outlines], s.area, False, s.box_xyxy)
         for s in own_shapes]
        for own_shapes in shapes
    ]  # fmt: skip
    ignored = [rows[k].name for k in gone]
    if bare:
        ignored.append(f"the pixels of {bare} boxes without an outline")
    reading.notes.append(
        f"{split}: {len(names)} classes with {BACKGROUND}, by outlines; "
        f"ignored: {', '.join(ignored) or 'nothing'}"
    )
    info = DataInfo(readable(root.absolute().name), "segment", names, role_of(split) or split)
    return OutlineMasks(info, root, files, objects, look_up, sizes, labels)


def outline_instances(
    info: DataInfo,
    root: Path,
    files: Sequence[str],
    ids: Sequence[str],
    picture: NDArray[np.int64],
    boxes: Boxes,
    outlines: Sequence[Sequence[Sequence[float]]],
    sizes: NDArray[np.int64],
    reading: Reading,
) -> InstanceSource:
    """The source of one split's objects; adds a line to `reading`.

    Args:
        picture, boxes, outlines: of each object the index of its picture, its box, and its polygons
            in pixels, () if it has only a box; sizes: of the pictures.

    Raises: DataError if no object has an outline.
    """
    bare = sum(not one for one in outlines)
    if bare == len(outlines):
        raise DataError(
            f"{root}, {info.split}: {'its labels are boxes' if bare else 'no objects'}, and "
            "instances need outlines",
            "--task detect learns from boxes",
        )
    if bare:
        reading.notes.append(
            f"{info.split}: {bare} boxes without an outline: neither learnt nor scored"
        )
    # as a json's polygons are: lists
    polygons = [[list(points) for points in one] for one in outlines]
    objects = outlined(picture, boxes, polygons, sizes)
    return InstanceSource(info, root, files, objects, ids, draw=object_mask)


class OutlineMasks(CocoMasks):
    """Pictures whose masks are drawn from outlines, with a file of them for each.

    Args: labels: the file of each picture; None: it has none. Others: as in CocoMasks.
    """

    def __init__(
        self,
        info: DataInfo,
        root: Path,
        files: Sequence[str],
        objects: Sequence[Sequence[Outline]],
        look_up: NDArray[np.uint8],
        sizes: NDArray[np.int64],
        labels: Sequence[Path | None],
    ) -> None:
        ids = [readable(Path(file).as_posix()) for file in files]
        super().__init__(info, root, files, objects, look_up, sizes, root, ids)
        self.label_files, self._look_up_mark = tuple(labels), str(look_up.tolist())

    def mask_stamp(self, i: int) -> str:
        """Text that changes with the picture's file of outlines, and with what is ignored."""
        file = self.label_files[i]
        return f"{'' if file is None else file_stamp(file)} {self._look_up_mark}"
