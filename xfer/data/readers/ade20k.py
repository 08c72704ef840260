"""`ade20k`: ADE20K's scene parsing challenge, 150 classes.

    ADEChallengeData2016/{images, annotations}/{training, validation}/, objectInfo150.txt

A mask's value is the class number from 1; 0 means no class and is ignored. The class names are the
first names in each line of objectInfo150.txt (tab-separated, with a header); without that file, the
numbers.

Source: CSAILVision/placeschallenge, sceneparsing.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from xfer.data.images.walk import readable, subfolders
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.readers.masks.class_table import ClassRow
from xfer.data.readers.masks.layout import Place, pair
from xfer.data.readers.masks.values import code_of
from xfer.data.sources.box_rules import leave_out
from xfer.data.sources.masks import MaskFiles
from xfer.data.sources.split_names import role_of
from xfer.data.sources.written import whole_number
from xfer.errors import DataError, reader
from xfer.files import NOTE, text_of
from xfer.types import DataInfo

CLASSES = 150
TABLE = "objectInfo150.txt"


@FORMATS.register("ade20k")
class Ade20k:
    """The folder tree of ADE20K."""

    kinds: ClassVar[tuple[str, ...]] = ("segment",)
    low_priority: ClassVar[bool] = False
    takes_images: ClassVar[bool] = False

    def recognise(self, path: Path) -> str | None:
        own = (path / TABLE).is_file() and (path / "annotations").is_dir()
        return f"ADE20K, {TABLE}" if own else None

    def load(self, path: Path, options: ReadOptions) -> Reading:
        rows = _rows(path / TABLE)
        values = [row.value or 0 for row in rows]
        classes, code, lines = code_of(
            path, rows, values, "value", "ADE20K's classes", options.ignore, [0]
        )
        reading = Reading({}, lines)
        for masks in subfolders(path / "annotations"):
            split = masks.name
            part = pair(Place(split, path / "images" / split, masks))
            lost = [(readable(p.name), "no mask") for p in part.without_mask]
            leave_out(f"{path}, {split}", "pictures have no mask", lost, options.skip_bad,
                      reading.skipped)  # fmt: skip
            if part.files:
                info = DataInfo(readable(path.name), "segment", classes, role_of(split) or split)
                reading.parts[split] = MaskFiles(
                    info, path, [str(p.relative_to(path)) for p, _ in part.files],
                    [str(m.relative_to(path)) for _, m in part.files], code,
                )  # fmt: skip
        if not reading.parts:
            raise DataError(f"{path}: no ADE20K in it", "images/training/, annotations/training/")
        return reading


@reader
def _rows(table: Path) -> list[ClassRow]:
    if not table.is_file():
        return [ClassRow(str(value), value) for value in range(1, CLASSES + 1)]
    try:
        lines = text_of(table, NOTE).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{table}: {error}") from None
    cells = [line.split("\t") for line in lines if line.strip()]
    cells = [[c.strip() for c in row] for row in cells if whole_number(row[0].strip()) is not None]
    if not cells or any(len(row) < 2 or not row[-1] for row in cells):
        raise DataError(f"{table}: not a table of classes", "Idx, Ratio, Train, Val, Stuff, Name")
    full = [row[-1] for row in cells]
    short = [name.replace(",", ";").partition(";")[0].strip() for name in full]
    # classes that share their first name keep all of their names
    names = [s if short.count(s) == 1 else f for s, f in zip(short, full, strict=True)]
    return [ClassRow(name, int(row[0])) for name, row in zip(names, cells, strict=True)]
