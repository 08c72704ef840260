"""`csv`: a table of pictures and labels.

    path,label                 files relative to the table, or absolute
    id,label                   as Kaggle gives them: with or without extension, the files beside the
                               table, in a folder of its name, in images/ or in train/
    path,labels                several a picture, between blanks, commas, semicolons or bars
    path,cat,dog,bird          a column a class, 0 or 1 (-1: not judged)
    ... and a column `split`   train, val, test, or any names

A folder with train.csv, val.csv, test.csv is three splits; with a single table, that one. Ids keep
their leading zeros. Any of , ; tab | may part the columns; a byte order mark is no part of a name.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar

import numpy as np

from xfer.data.csv_labels import Labels, read_labels
from xfer.data.csv_table import Table, read_table
from xfer.data.files import FileSource
from xfer.data.formats import FORMATS, WHOLE, Reading, ReadOptions, role_of
from xfer.data.imagenet_trees import find_tree
from xfer.data.locate import Locator
from xfer.data.source import subset
from xfer.data.walk import is_junk, listing, readable
from xfer.errors import DataError, XferError
from xfer.types import DataInfo, Kind

SUFFIXES = (".csv", ".tsv")
PATHS = (
    "path", "file", "filename", "file_name", "filepath", "file_path", "image", "img", "image_path",
    "image_name", "image_id", "imageid", "img_id", "id", "name", "photo", "picture",
)  # fmt: skip
SPLITS = ("split", "set", "subset", "partition")
PROBED = 50
NAMED = 10


@FORMATS.register("csv")
class Csv:
    """A table of pictures and labels, or one a split."""

    kinds: ClassVar[tuple[Kind, ...]] = ("classify", "multilabel", "images")
    weak: ClassVar[bool] = False
    takes_images: ClassVar[bool] = False

    def recognise(self, path: Path) -> str | None:
        if path.is_dir() and find_tree(path) is not None:
            return None  # a table beside folders by WordNet id: Imagenette's noisy labels
        tables = _tables(path)
        for file in tables.values():
            try:
                table = read_table(file)
                column = _path_column(table, Locator(file))
            except DataError:
                if path.is_file():
                    raise
                continue
            if column is not None or path.is_file():
                files = ", ".join(f.name for f in tables.values())
                return f"{'table' if len(tables) == 1 else 'tables'} {files}"
        return None

    def load(self, path: Path, options: ReadOptions) -> Reading:
        tables = _tables(path)
        if not tables:
            raise DataError(f"{path}: no table in it", f"it should end in {' or '.join(SUFFIXES)}")
        reading = Reading({})
        for name, file in tables.items():
            _read(file, name, reading, options.skip_bad)
        return reading


def _tables(path: Path) -> dict[str, Path]:
    """Split name -> table."""
    if path.is_file():
        return {WHOLE: path} if path.suffix.casefold() in SUFFIXES else {}
    files = [Path(e.path) for e in listing(path) if not is_junk(e.name)]
    files = [f for f in files if f.suffix.casefold() in SUFFIXES and f.is_file()]
    splits = {f.stem: f for f in files if role_of(f.stem)}
    if splits:
        return splits
    return {WHOLE: files[0]} if len(files) == 1 else {}


def _path_column(table: Table, locator: Locator) -> int | None:
    """The column whose cells are pictures that exist: the fullest; of equals, by its name."""
    probe = table.rows[:PROBED]
    hits = [
        sum(locator.find(row[k]) is not None for row in probe) for k in range(len(table.header))
    ]
    best = max(hits, default=0)
    if best == 0:
        return None
    full = [k for k, n in enumerate(hits) if n == best]
    called = [k for k in full if table.header[k].casefold() in PATHS]
    return (called or full)[0]


def _read(file: Path, name: str, reading: Reading, skip_bad: bool) -> None:
    """Reads one table into the reading's parts."""
    table = read_table(file)
    locator = Locator(file)
    if not table.rows:
        raise DataError(f"{file}: no rows")
    column = _path_column(table, locator)
    if column is None:
        names = [k for k, h in enumerate(table.header) if h.casefold() in PATHS]
        example = table.rows[0][names[0] if names else 0]
        raise DataError(f"{file}: no column names pictures that exist ({example!r} is not found)",
                        f"looked in {locator.places()}")  # fmt: skip
    split = next((k for k, h in enumerate(table.header) if h.casefold() in SPLITS), None)
    found = [locator.find(row[column]) for row in table.rows]
    lost = [
        (row[column], "no such picture") for row, f in zip(table.rows, found, strict=True) if not f
    ]
    if lost and not skip_bad:
        shown = ", ".join(repr(cell) for cell, _ in lost[:NAMED])
        more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
        raise DataError(
            f"{file}: {len(lost)} of {len(found)} pictures are not there: {shown}{more}",
            "--set data.skip_bad=true leaves them out",
        )
    reading.skipped.extend(lost)
    rows = [k for k, f in enumerate(found) if f]
    others = [k for k in range(len(table.header)) if k not in (column, split)]
    labels = read_labels(table, others, rows)
    files = [str(found[k]) for k in rows]
    keep = _once(file, files, labels, reading)
    reading.notes.append(f"{file.name}: pictures by column {table.header[column]!r}; {labels.how}")
    info = DataInfo(readable(file.stem), labels.kind, labels.classes, role_of(name) or name)
    whole = FileSource(
        info, file.parent, [files[k] for k in keep], labels.values[keep],
        [readable(Path(files[k]).as_posix()) for k in keep],
    )  # fmt: skip
    if split is None:
        reading.parts[name] = whole
        return
    if name != WHOLE:
        raise XferError(
            f"{file}: a column {table.header[split]!r} in a table that is a split itself",
            f"give the table alone: csv:{file}",
        )
    named = np.array([table.rows[rows[k]][split] for k in keep], dtype=object)
    if (empty := int((named == "").sum())) > 0:
        raise DataError(f"{file}: {empty} rows with nothing in {table.header[split]!r}")
    for value in dict.fromkeys(named):
        chosen = np.flatnonzero(named == value)
        reading.parts[value] = subset(whole, chosen, role_of(value) or value)


def _once(file: Path, files: list[str], labels: Labels, reading: Reading) -> list[int]:
    """Rows without repetitions. Raises DataError where one picture has two labels."""
    first: dict[str, int] = {}
    for k, name in enumerate(files):
        at = first.setdefault(name, k)
        if at != k and not np.array_equal(labels.values[at], labels.values[k]):
            raise DataError(
                f"{file}: {name} has several rows with different labels",
                "for several labels a picture, write them into one cell: a;b",
            )
    again = Counter(files)
    if len(again) < len(files):
        reading.notes.append(f"{file.name}: {len(files) - len(again)} repeated rows are read once")
    return sorted(first.values())
