"""COCO's stuff maps: the class of every pixel, numbered from 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from xfer.data.images.walk import readable, subfolders
from xfer.data.readers.base import Reading, ReadOptions
from xfer.data.readers.masks.class_table import ClassRow, find_table
from xfer.data.readers.masks.split_lists import find_all, stems
from xfer.data.readers.masks.values import code_of
from xfer.data.sources.masks import MaskFiles
from xfer.data.sources.split_names import role_of
from xfer.errors import DataError
from xfer.types import DataInfo

FOLDERS = ("stuffthingmaps", "stuffthingmaps_trainval2017")
CLASSES = 182


def stuff_maps(path: Path) -> Path | None:
    """The folder of stuff maps, if there is one."""
    return next((path / name for name in FOLDERS if (path / name).is_dir()), None)


def read_stuff(
    path: Path, maps: Path, places: Callable[[str], Sequence[Path]], options: ReadOptions,
    reading: Reading,
) -> None:  # fmt: skip
    """Add the splits of stuff maps to a reading. `places`: where the pictures of a split may be."""
    table = find_table([path, maps])
    rows = [ClassRow(str(v + 1), v) for v in range(CLASSES)]
    where = "no labels.txt: classes by number"
    if table is not None:
        where = f"classes from {table[0].name}"
        # labels.txt counts from 1, and 0 is unlabeled; maps count from 0
        named = [(row.value if row.value is not None else i, row.name)
                 for i, row in enumerate(table[1])]  # fmt: skip
        rows = [ClassRow(name, value - 1) for value, name in named if value > 0]
    values = [row.value or 0 for row in rows]
    classes, code, lines = code_of(path, rows, values, "value", where, options.ignore)
    reading.notes.extend(lines)
    for folder in subfolders(maps):
        masks, split = stems([folder]), folder.name
        if not masks:
            continue
        kept, files, own = find_all(
            path, split, tuple(masks), places(split), masks, options.skip_bad, reading
        )
        info = DataInfo(readable(path.name), "segment", classes, role_of(split) or split)
        reading.parts[split] = MaskFiles(info, path, files, own, code, kept)
    if not reading.parts:
        raise DataError(f"{maps}: no masks in it", "train2017/*.png")
