"""Masks whose values number objects, as in Penn-Fudan: an object for each value of each picture.

    images/x.jpg, masks/x_mask.png      0 is the background, every other value an object
    classes.txt                         the name of the objects, alone or after background

255 is an object only where 254 is one, too. Values with gaps, and masks that all hold one value,
may be classes instead: only a table with a single name says that they are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfer.boxes import Boxes
from xfer.data.images.decode import DecodeError
from xfer.data.images.mask_file import read_mask_file
from xfer.data.images.threads import cores
from xfer.data.images.walk import readable, subfolders
from xfer.data.readers.base import Reading, ReadOptions
from xfer.data.readers.masks.class_table import find_table
from xfer.data.readers.masks.values import BACKGROUNDS
from xfer.data.readers.object_maps import map_source, object_boxes
from xfer.data.sources.instances import InstanceSource
from xfer.errors import DataError, XferError
from xfer.objects.mask import ObjectMask
from xfer.objects.numbered import masks_by_number
from xfer.types import IGNORE, DataInfo

NAME = "object"
CONTIGUOUS = 0.7  # share of masks with values 1 to n, without gaps, from which they number objects
ONE_NAME = (
    "if each value is one object, say so by a classes.txt with one name: what the objects are"
)


def object_class(path: Path, masks: Sequence[Path], folders: Sequence[Path]) -> tuple[str, str]:
    """The name of the objects that the values of a set's masks number, and a line that says so.

    Raises: XferError where the values may be classes, DataError where a table says that they are.
    """
    above = [f for folder in folders for f in (folder, folder.parent)]
    table = find_table([path, *above, *subfolders(path)])
    if table is not None:
        file, rows = table
        plain = {row.name: "".join(filter(str.isalpha, row.name.casefold())) for row in rows}
        names = [name for name in plain if plain[name] not in BACKGROUNDS]
        if len(names) != 1:
            raise DataError(
                f"{path}: {readable(file.name)} names {len(names)} classes: the masks' values are "
                "classes, not objects",
                "--task segment learns from these",
            )
        return names[0], f"in each mask every value is an object: {names[0]}, by {file.name}"
    seen = _values(masks)
    held = [own for own in seen if len(own)]
    if held and max(own[-1] for own in held) > 1 and not all(len(own) == 1 for own in held):
        contiguous = sum(own[-1] == len(own) for own in held)
        if contiguous >= CONTIGUOUS * len(held):
            return NAME, "in each mask every value is an object; classes.txt may name them"
        gaps = next(own for own in held if own[-1] != len(own))
        what = f"a mask holds {', '.join(map(str, gaps[:6].tolist()))}, with gaps as classes have"
    else:
        what = "each mask holds one value besides 0, as masks of one class do"
    raise XferError(f"{path}: {what}: --task segment learns from masks of classes", ONE_NAME)


def _values(masks: Sequence[Path]) -> list[NDArray[np.int64]]:
    """The values above 0 of each mask that can be read, rising."""

    def look(path: Path) -> NDArray[np.int64] | None:
        try:
            return np.array(sorted(_numbers(path)), np.int64)
        except DecodeError:  # told when its objects are read
            return None

    with ThreadPoolExecutor(cores()) as pool:
        return [own for own in pool.map(look, masks) if own is not None]


def _numbers(path: Path) -> list[int]:
    raw = read_mask_file(path)
    if raw.coloured:
        raise DecodeError("the mask holds colours, not numbers of objects", readable(str(path)))
    found = np.flatnonzero(np.bincount(raw.values.ravel()))
    values = [int(v) for v in found if v]
    return values if IGNORE - 1 in values else [v for v in values if v != IGNORE]


def numbered_objects(
    info: DataInfo, path: Path, files: Sequence[str], masks: Sequence[Sequence[str]],
    options: ReadOptions, reading: Reading,
) -> InstanceSource:  # fmt: skip
    """The source of one split. Args: masks: of each picture, one file or more, whose objects are
    told apart; others: as in `MaskFiles`."""

    def read(i: int) -> Boxes:
        objects: list[ObjectMask] = []
        for name in masks[i]:
            raw = read_mask_file(path / name)
            if raw.coloured:
                raise DecodeError("the mask holds colours, not numbers of objects", name)
            by_number = masks_by_number(raw.values)
            objects += [m for v, m in by_number.items()
                        if v and (v != IGNORE or IGNORE - 1 in by_number)]  # fmt: skip
            height, width = raw.values.shape
        if len({mask.size for mask in objects}) > 1:
            raise DecodeError("its masks differ in size", files[i])
        count = len(objects)
        return object_boxes(objects, [0] * count, [False] * count, (height, width))

    return map_source(info, path, files, read, options, reading)
