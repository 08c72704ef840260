"""`csv`: a table of pictures and labels.

    path,label                 files relative to the table, or absolute
    id,label                   as on Kaggle: with or without extension, the files next to the table,
                               in a folder of its name, in images/ or in train/; else in any folder
                               next to it
    path,labels                several per picture, separated by blanks, commas, semicolons or bars
    path,cat,dog,bird          one column per class, 0 or 1 (-1: unknown)
    ... and a column `split`   train, val, test, or any names; fastai's `is_valid`, True or False

A folder with train.csv, val.csv, test.csv has three splits, and so has one with a table in each of
train/, valid/, test/; a single table is read alone. A submission to Kaggle is not read, and a test
table may have no labels. Ids keep their leading zeros. Columns may be separated by , ; tab or |; a
byte order mark is not part of a name.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar

import numpy as np

from xfer.data.images.walk import is_junk, is_picture, listing, readable, subfolders
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.readers.imagenet.trees import find_tree
from xfer.data.readers.masks.run_lengths import run_length_column
from xfer.data.readers.table.labels import YES_NO, Labels, read_labels
from xfer.data.readers.table.locate import Locator
from xfer.data.readers.table.text import Table, read_table
from xfer.data.sources.base import subset
from xfer.data.sources.files import FileSource
from xfer.data.sources.split_names import WHOLE, role_of, role_word
from xfer.errors import SKIP_BAD, DataError, XferError, listed
from xfer.types import DataInfo

SUFFIXES = (".csv", ".tsv")
PATHS = (
    "path", "file", "filename", "file_name", "filepath", "file_path", "image", "img", "image_path",
    "image_name", "image_id", "imageid", "img_id", "id", "name", "photo", "picture", "fname",
    "filepaths",
)  # fmt: skip
SPLITS = ("split", "set", "subset", "partition", "data set")
IS_VAL = ("is_valid", "is_val")
CORNERS = ("xmin", "ymin", "xmax", "ymax")
# columns of a table of the colours and values of masks
COLOURS = (("r", "g", "b"), ("pixel value",))
PROBED = 50
NAMED = 10


@FORMATS.register("csv")
class Csv:
    """A table of pictures and labels, or one per split."""

    kinds: ClassVar[tuple[str, ...]] = ("classify", "multilabel", "images")
    low_priority: ClassVar[bool] = False
    takes_images: ClassVar[bool] = False

    def recognise(self, path: Path) -> str | None:
        if path.is_dir() and find_tree(path) is not None:
            return None  # a table next to folders by WordNet id: Imagenette's noisy labels
        tables = _tables(path)
        for name, file in tables.items():
            try:
                table = _table(file, name)
                if run_length_column(table) is not None:
                    return None
                column = _placed(table, name, wide=False)[0]
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
        reading = _read_all(tables, options.skip_bad)
        if not reading.parts:
            raise DataError(f"{path}: no table names pictures that exist")
        if {"classify", "multilabel"} <= {part.info.kind for part in reading.parts.values()}:
            return _read_all(tables, options.skip_bad, several=True)
        return reading


def _tables(path: Path) -> dict[str, Path]:
    """Split name -> table."""
    if path.is_file():
        return {WHOLE: path} if path.suffix.casefold() in SUFFIXES else {}
    files = _inside(path)
    splits = {f.stem: f for f in files if role_of(f.stem)}
    if splits:
        return splits
    if len(files) == 1:
        return {WHOLE: files[0]}
    words = [(word, f) for f in files if (word := role_word(f.stem))]
    if not files:  # Roboflow's train/_classes.csv
        words = [(f.name, own[0]) for f in subfolders(path)
                 if role_of(f.name) and len(own := _inside(f)) == 1]  # fmt: skip
    return dict(words) if len({word for word, _ in words}) == len(words) else {}


def _inside(folder: Path) -> list[Path]:
    """The tables of a folder, except submissions to Kaggle."""
    files = [Path(e.path) for e in listing(folder) if not is_junk(e.name)]
    files = [f for f in files if f.suffix.casefold() in SUFFIXES and f.is_file()]
    return [f for f in files if "submission" not in f.stem.casefold()]


def unread_tables(folder: Path) -> list[str]:
    """A line about the tables of a folder that is read as something else."""
    files = _inside(folder)
    if len(files) > 1:
        return [f"{listed([f.name for f in files], 3)} are not read: csv:FILE reads one"]
    return [f"{f.name} is not read: csv:{f} reads it, or says why it can't" for f in files]


def _table(file: Path, name: str) -> Table:
    """A split's table; that of a test split may hold only ids."""
    return read_table(file, 1 if role_of(name) == "test" else 2)


def _placed(table: Table, name: str, wide: bool) -> tuple[int | None, Locator]:
    """The column that names pictures, None if there is none, and the locator that finds them.

    Args: wide: also search the folders next to the table if there is more than one.

    Raises: DataError if two of these hold a picture of the same name.
    """
    file = table.file
    own = [n for n in (file.stem, name) if n != WHOLE]
    near = ["", *own, *(f"{n}_images" for n in own), "images"]
    # a picture that is missing from test/ must not be taken from train/
    if role_of(name) in (None, "train") or not any((file.parent / n).is_dir() for n in near[1:-1]):
        near += ["train", "train_images"]
    locator = Locator(file, near)
    column = _path_column(table, locator)
    beside = [f.name for f in subfolders(file.parent)]
    if column is not None or not (wide or len(beside) == 1):
        return column, locator
    locator = Locator(file, [*near, *beside])
    column = _path_column(table, locator)
    each = {f: Locator(file, [f]) for f in beside}
    for cell in [] if column is None else [row[column] for row in table.rows[:PROBED]]:
        holders = [f for f, own in each.items() if own.find(cell) is not None]
        if len(holders) > 1:
            raise DataError(f"{file}: {cell!r} is in {holders[0]}/ and in {holders[1]}/",
                            "write the folders into the table")  # fmt: skip
    return column, locator


def _path_column(table: Table, locator: Locator) -> int | None:
    """The column with the most cells that are existing pictures; of equals, the one with a usual
    name. If there is none, leading folders are dropped from the names one by one."""
    heads = [h.casefold() for h in table.header]
    if any(set(names) <= set(heads) for names in COLOURS):
        return None
    probe = table.rows[:PROBED]
    longest = max((len(Path(c.replace("\\", "/")).parts) for row in probe for c in row
                   if is_picture(c)), default=1)  # fmt: skip
    for locator.drop in range(longest):
        hits = [
            sum(locator.find(row[k]) is not None for row in probe if not locator.drop
                or is_picture(row[k]))
            for k in range(len(heads))
        ]  # fmt: skip
        best = max(hits, default=0)
        if best:
            full = [k for k, n in enumerate(hits) if n == best]
            return ([k for k in full if heads[k] in PATHS] or full)[0]
    locator.drop = 0
    return None


def _split_column(table: Table) -> tuple[int | None, list[str]]:
    """The column with each row's split, and the splits; None if there is none."""
    for k, head in enumerate(table.header):
        cells = [row[k] for row in table.rows]
        if head.casefold() in SPLITS:
            return k, cells
        flags = [YES_NO.get(cell.casefold(), -1) for cell in cells]
        if head.casefold() in IS_VAL and min(flags, default=-1) >= 0:
            return k, ["val" if is_val else "train" for is_val in flags]
    return None, []


def _read_all(tables: dict[str, Path], skip_bad: bool, several: bool = False) -> Reading:
    reading = Reading({})
    for name, file in tables.items():
        _read(file, name, reading, skip_bad, several)
    return reading


def _read(file: Path, name: str, reading: Reading, skip_bad: bool, several: bool) -> None:
    """Read one table into the reading's parts.

    Args: several: another table has several labels per picture.
    """
    table = _table(file, name)
    if set(CORNERS) <= {h.casefold() for h in table.header}:
        raise DataError(
            f"{file}: a table of boxes; boxes are read from COCO, VOC or YOLO files",
            f"to read its labels, remove the columns {', '.join(CORNERS)}",
        )
    if not table.rows:
        raise DataError(f"{file}: no rows")
    if (runs := run_length_column(table)) is not None:
        raise DataError(f"{file}: {table.header[runs]!r} holds masks as run lengths, not labels",
                        f"rle:{file} reads them, with --task segment")  # fmt: skip
    column, locator = _placed(table, name, wide=True)
    if column is None and len(table.header) == 1:
        reading.notes.append(f"{file.name}: only ids, and no such pictures: left out")
        return
    if column is None:
        names = [k for k, h in enumerate(table.header) if h.casefold() in PATHS]
        example = table.rows[0][names[0] if names else 0]
        raise DataError(f"{file}: no column names pictures that exist ({example!r} is not found)",
                        f"looked in {locator.places()}")  # fmt: skip
    split, splits = _split_column(table)
    places = [locator.find(row[column]) for row in table.rows]
    lost = [
        (row[column], "no such picture") for row, f in zip(table.rows, places, strict=True) if not f
    ]
    if lost and not skip_bad:
        shown = ", ".join(repr(cell) for cell, _ in lost[:NAMED])
        more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
        raise DataError(
            f"{file}: {len(lost)} of {len(places)} pictures are not there: {shown}{more}",
            SKIP_BAD,
        )
    reading.skipped.extend(lost)
    rows = [k for k, f in enumerate(places) if f]
    others = [k for k in range(len(table.header)) if k not in (column, split)]
    labels = read_labels(table, others, rows, several)
    files = [str(places[k]) for k in rows]
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
            f"give only the table: csv:{file}",
        )
    named = np.array([splits[rows[k]] for k in keep], dtype=object)
    if (empty := int((named == "").sum())) > 0:
        raise DataError(f"{file}: {empty} rows have nothing in {table.header[split]!r}")
    for value in dict.fromkeys(named):
        chosen = np.flatnonzero(named == value)
        reading.parts[value] = subset(whole, chosen, role_of(value) or value)


def _once(file: Path, files: list[str], labels: Labels, reading: Reading) -> list[int]:
    """Rows without repetitions. Raises DataError if a picture has different labels."""
    first: dict[str, int] = {}
    for k, name in enumerate(files):
        at = first.setdefault(name, k)
        if at != k and not np.array_equal(labels.values[at], labels.values[k]):
            raise DataError(
                f"{file}: {name} has several rows with different labels",
                "for several labels per picture, write them into one cell: a;b",
            )
    again = Counter(files)
    if len(again) < len(files):
        reading.notes.append(f"{file.name}: {len(files) - len(again)} repeated rows are read once")
    return sorted(first.values())
