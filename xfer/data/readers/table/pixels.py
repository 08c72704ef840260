"""`pixels`: a table in which each row is a picture, grey, its pixels in the cells.

    emotion,pixels,Usage          FER2013: the values of a square as text, `70 80 82 ...`
    label,pixel0,pixel1,...       Kaggle's MNIST: a column per value

The other columns are labels and splits, as in `csv`: data.label and data.split name them. A folder
with train.csv and test.csv has two splits. Pictures are kept in memory, a byte per pixel; their ids
are the numbers of the rows, counted from 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.walk import readable
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.readers.table.columns import column_named, is_index
from xfer.data.readers.table.found import head, read, tables_of
from xfer.data.readers.table.labels import read_labels
from xfer.data.readers.table.pixel_columns import pixel_columns, side_of, without
from xfer.data.readers.table.splits import find_splits
from xfer.data.readers.table.text import Table
from xfer.data.sources.base import ArraySource, subset
from xfer.data.sources.split_names import role_of
from xfer.errors import DataError, XferError
from xfer.types import DataInfo


@FORMATS.register("pixels")
class Pixels:
    """A table that holds the pixels of its pictures, or one per split."""

    kinds: ClassVar[tuple[str, ...]] = ("classify", "multilabel", "images")
    low_priority: ClassVar[bool] = False
    takes_images: ClassVar[bool] = False
    takes: ClassVar[tuple[str, ...]] = ("label", "split")

    def recognise(self, path: Path) -> str | None:
        tables = tables_of(path)
        try:
            if not tables or not all(pixel_columns(head(f, n)) for n, f in tables.items()):
                return None
        except XferError:
            return None
        return f"pixels in {', '.join(file.name for file in tables.values())}"

    def load(self, path: Path, options: ReadOptions) -> Reading:
        tables = tables_of(path)
        if not tables:
            raise DataError(f"{path}: no table in it", "a csv with a column of pixels")
        reading = Reading({})
        for name, file in tables.items():
            _read(read(file, name), name, options, reading)
        return reading


class Grey(Sequence[NDArray[np.uint8]]):
    """Grey pictures as RGB: uint8 (N, H, W) in memory, (H, W, 3) when asked for."""

    def __init__(self, values: NDArray[np.uint8]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, i: int) -> NDArray[np.uint8]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return np.repeat(self.values[i][:, :, None], 3, axis=2)


def _read(table: Table, name: str, options: ReadOptions, reading: Reading) -> None:
    """Read one table into the reading's parts."""
    columns = pixel_columns(table)
    if not columns:
        raise DataError(f"{table.file}: no column holds the pixels of pictures")
    images = Grey(_values(table, columns))
    table = without(table, columns)
    splits = find_splits(table, range(len(table.header)), options.split)
    rest = [k for k in range(len(table.header)) if splits is None or k != splits.column]
    rows = range(len(table.rows))
    chosen: list[int] = []
    if options.label:
        chosen = column_named(table, options.label, "label")
    labels = read_labels(table, rest, rows, chosen=chosen, sure=bool(chosen))
    unused = [table.header[k] for k in rest if k not in (*labels.columns, *labels.same)]
    reading.leave("column", "columns", [h for h in unused if not is_index(h)])
    side = images.values.shape[1]
    reading.notes.append(
        f"{table.file.name}: {len(images):,} pictures of {side} x {side} pixels; {labels.how}"
    )
    reading.notes.extend([*labels.notes, *(splits.notes if splits is not None else ())])
    info = DataInfo(readable(table.file.stem), labels.kind, labels.classes, role_of(name) or name)
    whole = ArraySource(info, images, labels.values, [str(k) for k in rows])
    if splits is None:
        reading.parts[name] = whole
        return
    of = np.array(splits.of, dtype=object)
    for value in dict.fromkeys(splits.of):
        reading.parts[value] = subset(whole, np.flatnonzero(of == value), role_of(value) or value)


def _values(table: Table, columns: Sequence[int]) -> NDArray[np.uint8]:
    """uint8 (N, side, side). Raises DataError, naming the row, for values outside of 0..255, or if
    there are more or fewer of them than in the first row."""
    text = len(columns) == 1
    count = len(table.rows[0][columns[0]].split()) if text else len(columns)
    side = side_of(count)
    values = np.zeros((len(table.rows), count), np.uint8)
    for number, row in enumerate(table.rows):
        cells = row[columns[0]].split() if text else [row[k] for k in columns]
        try:
            found = np.array(cells, np.int64)
        except (ValueError, OverflowError):
            found = np.full(count, -1)
        if len(cells) != count or found.min() < 0 or found.max() > 255:
            raise DataError(
                f"{table.file}, row {number}: not {count} pixels of 0 to 255",
                "each row holds one grey picture, all of one size",
            )
        values[number] = found
    return values.reshape(len(table.rows), side, side)
