"""Render COCO's objects to one class per pixel: background, and the json's classes.

Objects may overlap, so there is one rule: crowds and objects without an outline are drawn first, as
ignored pixels (a crowd's region, an object's box), then all others by falling `area`, so that the
smaller of two objects is on top; with equal areas, the later one in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.decode import DecodeError
from xfer.data.images.limits import check_size
from xfer.data.images.walk import readable
from xfer.data.readers.base import Reading, ReadOptions
from xfer.data.readers.coco.json import CocoTable
from xfer.data.readers.coco.polygons import render
from xfer.data.readers.masks.class_table import ClassRow
from xfer.data.readers.masks.values import numbered
from xfer.data.sources import door
from xfer.data.sources.box_forms import are_shares
from xfer.data.sources.box_frames import settle_frames
from xfer.data.sources.masks import MaskSource, file_stamp
from xfer.data.sources.split_names import role_of
from xfer.errors import DataError
from xfer.types import IGNORE, DataInfo

BACKGROUND = "background"


@dataclass(frozen=True)
class Placed:
    """The pictures of a json that exist: `kept` are their indices in it; files and ids as in
    FileSource; sizes int64 (N, 2), height and width."""

    kept: list[int]
    files: list[str]
    sizes: NDArray[np.int64]
    ids: list[str]


@dataclass(frozen=True, slots=True)
class Outline:
    """One object: its class index in the mask, its outline as in the json, and what else the rule
    needs. box_xyxy is drawn if there is no outline."""

    label: int
    segmentation: Any
    area: float
    crowd: bool
    box_xyxy: tuple[float, float, float, float]


def draw_objects(objects: Sequence[Outline], height: int, width: int) -> NDArray[np.uint8]:
    """Draws the mask of one picture, uint8 (height, width). Raises DataError for a bad outline."""
    check_size(width, height)
    mask = np.zeros((height, width), np.uint8)
    drawn: list[tuple[Outline, NDArray[np.bool_]]] = []
    for one in objects:
        pixels = render(one.segmentation, height, width)
        if one.crowd or not pixels.any():
            mask[pixels if pixels.any() else _box(one, height, width)] = IGNORE
        else:
            drawn.append((one, pixels))
    for one, pixels in sorted(drawn, key=lambda pair: -pair[0].area):
        mask[pixels] = one.label
    return mask


def _box(one: Outline, height: int, width: int) -> tuple[slice, slice]:
    """The pixels that a box touches."""
    x1, y1, x2, y2 = one.box_xyxy
    left, top = max(0, int(np.floor(x1))), max(0, int(np.floor(y1)))
    right, bottom = min(width, int(np.ceil(x2))), min(height, int(np.ceil(y2)))
    return slice(top, max(top, bottom)), slice(left, max(left, right))


def coco_masks(
    table: CocoTable,
    root: Path,
    split: str,
    pictures: Placed,
    classes: Sequence[int],
    options: ReadOptions,
    reading: Reading,
) -> CocoMasks:
    """The source of one json read with its segmentations; adds notes to `reading`.

    Args:
        pictures: those that exist; classes: indices of the categories that are classes.
    """
    named = [(c, table.categories[c], table.category_ids[c]) for c in classes]
    # a category with this name is the background itself
    own = [one for one in named if one[1].casefold() != BACKGROUND]
    rows = [ClassRow(BACKGROUND)] + [ClassRow(n, i if isinstance(i, int) else None)
                                     for _, n, i in own]  # fmt: skip
    names, labels, gone = numbered(table.path, rows, options.ignore)
    place = {c: label for label, (c, _, _) in enumerate(own, 1)}
    objects: list[list[Outline]] = [[] for _ in pictures.files]
    bare = 0
    where = {i: k for k, i in enumerate(pictures.kept)}
    shown = np.flatnonzero(np.isin(table.picture, pictures.kept))
    sizes, lines = settle_frames(
        root, pictures.files, pictures.sizes,
        np.array([where[i] for i in table.picture[shown].tolist()], np.int64),
        table.boxes_xyxy[shown],
    )  # fmt: skip
    reading.notes.extend(f"{table.path.name}: {line}" for line in lines)
    shares = are_shares(table.boxes_xywh[shown], sizes[[where[i] for i in table.picture[shown]]])
    if shares:
        reading.notes.append(f"{table.path.name}: warning: the outlines look like shares of the "
                             "picture, 0 to 1, not pixels: they are read as shares")  # fmt: skip
    for row, (picture, category) in enumerate(
        zip(table.picture.tolist(), table.category.tolist(), strict=True)
    ):
        if picture not in where:
            continue
        outline = table.segmentations[row]
        bare += not outline
        x, y, w, h = table.boxes_xywh[row].tolist()
        if shares:
            height, width = sizes[where[picture]].tolist()
            x, y, w, h = x * width, y * height, w * width, h * height
            outline = _scaled(outline, width, height)
        objects[where[picture]].append(
            Outline(place.get(category, 0), outline, float(table.areas[row]),
                    bool(table.crowd[row]), (x, y, x + w, y + h))
        )  # fmt: skip
    if len(table.crowd) and table.crowd.all():
        what = f"all {len(table.crowd)} objects are crowds (iscrowd 1), which masks ignore"
        raise DataError(f"{table.path}: {what}", "set iscrowd to 0 for single objects")
    reading.notes.append(
        f"{table.path.name}: {len(names)} classes with {BACKGROUND}; ignored: crowds"
        + "".join(f", {rows[i].name}" for i in gone)
        + (f"; {bare} objects without an outline: their boxes are ignored" if bare else "")
    )
    info = DataInfo(readable(root.name), "segment", names, role_of(split) or split)
    return CocoMasks(info, root, pictures.files, objects, labels, sizes, table.path, pictures.ids)


def outlines_of(
    table: CocoTable,
    rows: NDArray[np.int64],
    sizes: NDArray[np.int64],
    shares: bool,
    reading: Reading,
) -> list[Any]:
    """The outlines of some annotations in pixels, as in the json; () for those without one.

    Args: rows: of the table; sizes: int64 (R, 2), height and width of each one's picture; shares:
        whether polygons may be written as shares of it.
    Raises: DataError if none has an outline.
    """
    outlines = [table.segmentations[row] or () for row in rows.tolist()]
    bare = sum(not one for one in outlines)
    if bare == len(outlines):
        raise DataError(
            f"{table.path}: {'its objects have no outlines' if bare else 'no objects'}, which "
            "instances need",
            "--task detect learns from boxes",
        )
    if bare:
        reading.notes.append(
            f"{table.path.name}: {bare} objects without an outline: neither learnt nor scored"
        )
    if shares and are_shares(table.boxes_xywh[rows], sizes):
        outlines = [
            _scaled(one, width, height)
            for one, (height, width) in zip(outlines, sizes.tolist(), strict=True)
        ]
    return outlines


def _scaled(outline: Any, width: int, height: int) -> Any:
    """Polygons of shares in pixels; an RLE stays as it is."""
    if not isinstance(outline, list):
        return outline
    return [[v * (height if k % 2 else width) for k, v in enumerate(points)] for points in outline]


class CocoMasks(MaskSource):
    """Pictures whose masks are drawn from outlines when they are read.

    Args:
        objects: of each picture; labels: uint8 (1 + C,), for the background and the json's classes
            in order, the class index of each, 255 = ignored; sizes: int64 (N, 2), height and width.
        file: the json; the masks change with it.
    """

    def __init__(
        self,
        info: DataInfo,
        root: Path,
        files: Sequence[str],
        objects: Sequence[Sequence[Outline]],
        labels: NDArray[np.uint8],
        sizes: NDArray[np.int64],
        file: Path,
        ids: Sequence[str],
    ) -> None:
        super().__init__(info, root, files, ids)
        self.objects = tuple(tuple(own) for own in objects)
        self.look_up = np.full(IGNORE + 1, IGNORE, np.uint8)
        self.look_up[: len(labels)] = labels
        self.sizes = sizes
        self._mark = f"{file_stamp(file)} {labels.tolist()}"

    @door.sample
    def read_mask(self, i: int) -> NDArray[np.uint8]:
        height, width = self.sizes[i].tolist()
        try:
            return self.look_up[draw_objects(self.objects[i], height, width)]
        except DataError as error:
            reason = error.reason if isinstance(error, DecodeError) else error.message
            raise DecodeError(reason, self.ids[i]) from None

    def mask_stamp(self, i: int) -> str:
        """Text that changes with the json, and with what is ignored."""
        return self._mark
