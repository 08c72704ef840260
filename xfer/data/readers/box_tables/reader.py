"""`boxes`: a table with a box in each row, and the picture that it is in.

    filename,width,height,class,xmin,ymin,xmax,ymax   TensorFlow's object detection, Roboflow
    path,x1,y1,x2,y2,class                            RetinaNet: without a header; nothing but the
                                                      path: a picture without boxes
    ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,...   Open Images: shares of the picture
    image_id,width,height,bbox,source                 boxes in one cell, as lists: global wheat
    image,x,y,w,h,label                               left, top, width, height

One table, or one per split: train.csv, train_labels.csv, train/_annotations.csv; or a column of
splits. Pictures are found as for tables of labels (`data.path`), by the longest end of their path
else. See `table/box_columns` for the names of columns, `cells` for what cells hold.

| what  | rule | otherwise |
|--|--|--|
| form  | by the names of the columns; of a single column: in a header with xyxy or xywh, else
|       | corners if they are in order nearly everywhere, else left, top, width, height | asked |
| class | called class, label, category or name, or after the box without a header; numbers and
|       | codes are looked up in a table beside, classes.csv | asked, `data.label=COLUMN`; `none`
|       | or no such column: one class, `object` |
| size  | width and height, if they are not the box's | read from the pictures |
| flags | IsGroupOf and iscrowd are crowds, difficult is difficult | |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from xfer.boxes import Boxes
from xfer.data.images.size import sizes_of
from xfer.data.images.walk import readable
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.readers.box_tables.found import find_tables
from xfer.data.readers.box_tables.rows import Rows, read_rows, size_columns
from xfer.data.readers.table.box_columns import box_columns
from xfer.data.readers.table.columns import PATHS, column_named
from xfer.data.readers.table.found import read
from xfer.data.readers.table.locate import Locator
from xfer.data.readers.table.reader import place
from xfer.data.readers.table.text import Table
from xfer.data.readers.unlisted import note_unlisted
from xfer.data.sources.box_rules import leave_out, settle
from xfer.data.sources.boxes import BoxSource, box_table
from xfer.data.sources.split_names import WHOLE, role_of
from xfer.data.sources.written import number
from xfer.errors import DataError
from xfer.files import at_home
from xfer.types import DataInfo


@FORMATS.register("boxes")
class BoxTables:
    """A table of boxes, or one per split."""

    kinds: ClassVar[tuple[str, ...]] = ("detect",)
    low_priority: ClassVar[bool] = False
    takes_images: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("path", "label", "split")

    def recognise(self, path: Path) -> str | None:
        tables, _ = find_tables(path)
        names = [f.relative_to(path).as_posix() if path.is_dir() else f.name
                 for f in tables.values()]  # fmt: skip
        return f"a table of boxes, {', '.join(names)}" if names else None

    def load(self, path: Path, options: ReadOptions) -> Reading:
        tables, others = find_tables(path)
        if not tables:
            raise DataError(f"{path}: no table of boxes in it", "columns xmin, ymin, xmax, ymax")
        reading = Reading({})
        used: set[Path] = set()
        for name, file in tables.items():
            _read(file, name, options, reading, others, used)
        note_unlisted(reading)
        reading.leave("table", "tables", [f.name for f in others if f not in used])
        return reading


def _read(
    file: Path, name: str, options: ReadOptions, reading: Reading, others: Sequence[Path],
    used: set[Path],
) -> None:  # fmt: skip
    """Read one table into the reading's parts."""
    table = read(file, name)
    if not table.rows:
        raise DataError(f"{file}: no rows")
    table, column, locator = _pictures(table, name, options)
    rows = read_rows(table, column, options, reading)
    found = locator.find_all(rows.cells)
    reading.notes.extend(f"{file.name}: {line}" for line in found.notes(rows.cells))
    lost = found.lost(rows.cells)
    if len(lost) == len(rows.cells):
        where = f"looked in {locator.places()}; data.images=DIR names their folder"
        raise DataError(f"{file}: none of its {len(lost)} pictures is there: {lost[0][0]}", where)
    leave_out(str(file), "pictures are not there", lost, options.skip_bad, reading.skipped)
    names = _names(file, rows.labels, others, used, reading)
    classes = tuple(sorted(set(names)))
    for split in dict.fromkeys(rows.split):
        kept = [i for i, (s, f) in enumerate(zip(rows.split, found.places, strict=True))
                if s == split and f is not None]  # fmt: skip
        if kept:
            part = split or name
            files = [str(found.places[i]) for i in kept]
            reading.parts[part] = _source(file, part, rows, kept, files, names, classes, reading)


def _source(
    file: Path, part: str, rows: Rows, kept: list[int], files: list[str], names: list[str],
    classes: tuple[str, ...], reading: Reading,
) -> BoxSource:  # fmt: skip
    root = file.parent
    where = np.full(len(rows.cells), -1)
    where[kept] = np.arange(len(kept))
    picture = where[rows.picture]
    own = np.flatnonzero(picture >= 0)
    picture = picture[own]
    sizes = rows.sizes[kept]
    unsized = np.flatnonzero(~sizes.all(1))
    if len(unsized):
        sizes[unsized] = sizes_of([root / files[i] for i in unsized.tolist()])
    ids = [readable(Path(f).as_posix()) for f in files]
    written = rows.written[own]
    if rows.shares:
        written = written * sizes[picture][:, [1, 0, 1, 0]]
    settled = settle(written, picture, sizes, ids, root, files, rows.form)
    reading.notes.extend(f"{file.name}: {line}" for line in settled.lines)
    keep, places = settled.keep, {name: c for c, name in enumerate(classes)}
    labels = np.array([places[names[k]] for k in own.tolist()], np.int64)
    boxes = Boxes.of(settled.boxes_xyxy[keep], labels[keep], difficult=rows.difficult[own][keep],
                     crowd=rows.crowd[own][keep])  # fmt: skip
    info = DataInfo(readable(file.stem), "detect", classes, role_of(part) or part)
    return BoxSource(info, root, files, box_table(picture[keep], boxes, settled.sizes), ids)


def _pictures(table: Table, name: str, options: ReadOptions) -> tuple[Table, int, Locator]:
    """The table, the column that names its pictures, and what finds them."""
    boxes = box_columns(table)
    numeric = {*boxes, *size_columns(table, boxes)}
    text = [k for k in range(len(table.header)) if k not in numeric]
    if options.images:
        folder = at_home(options.images).absolute()
        if not folder.is_dir():
            raise DataError(f"data.images={options.images}: no such folder")
        locator = Locator(table.file.absolute(), [folder, folder / name], role_of(name))
        return table, _by_header(table, text, options), locator
    # columns of numbers are no names, though pictures may be called so
    narrow = replace(table, header=[table.header[k] for k in text],
                     rows=[[row[k] for k in text] for row in table.rows])  # fmt: skip
    placed = place(narrow, name, True, options.path)
    if placed is None:
        locator = Locator(table.file.absolute(), ["", "images", name], role_of(name))
        return table, _by_header(table, text, options), locator
    if placed.column < len(text):
        return table, text[placed.column], placed.locator
    joined = [row[placed.column] for row in placed.table.rows]
    rows = [[*row, cell] for row, cell in zip(table.rows, joined, strict=True)]
    wide = replace(table, header=[*table.header, placed.table.header[placed.column]], rows=rows)
    return wide, len(table.header), placed.locator


def _by_header(table: Table, columns: Sequence[int], options: ReadOptions) -> int:
    """The column that is called like one of names of pictures, else the first."""
    if options.path:
        return column_named(table, options.path, "path")[0]
    usual = [k for k in columns if table.header[k].casefold() in PATHS]
    return (usual or list(columns) or [0])[0]


def _names(
    file: Path, labels: list[str], others: Sequence[Path], used: set[Path], reading: Reading
) -> list[str]:
    """The classes of boxes by name: numbers and codes are looked up in a table beside."""
    codes = set(labels)
    if not codes or not all(number(c) is not None or c.startswith("/") for c in codes):
        return labels
    for other in others:
        try:
            table = read(other, WHOLE)
        except DataError:
            continue
        rows = [table.header, *table.rows] if table.header[0] != "column 1" else table.rows
        if len(table.header) != 2:
            continue
        for code, name in ((0, 1), (1, 0)):
            names = {row[code]: row[name] for row in rows}
            if codes <= names.keys() and len(set(names.values())) == len(names):
                used.add(other)
                reading.notes.append(f"{file.name}: the names of the classes are in {other.name}")
                return [names[label] for label in labels]
    return labels
