"""`csv`: a table of pictures and labels.

    path,label                 files relative to the table, or absolute
    id,label                   as on Kaggle: with or without extension, the files next to the table,
                               in a folder of its name, in images/ or in train/; else in any folder
                               next to it
    folder,filename,label      the path in two columns
    path,labels                several per picture, separated by blanks, commas, semicolons or bars,
                               or written as a list: ['cat', 'dog'], ["cat", "dog"]
    path,cat,dog,bird          one column per class, 0 or 1 (-1 or nothing: unknown)
    ... and a column `split`   train, val, test, or any names; fastai's `is_valid`, True or False
    train.txt                  lines of `path label`, Caffe's lists
    metadata.jsonl             {"file_name": "a.png", "label": "cat"}, Hugging Face's

A folder with train.csv, val.csv, test.csv has three splits, and so has one with a table in each of
train/, valid/, test/; a single table is read alone, and split by lists of names beside it, such as
train.txt and test.txt. A submission to Kaggle is not read, and a test table may have no labels.
Tables of boxes, of run lengths and of mask files are refused: these are not labels of pictures.

Cells are separated by , ; tab or bar, or by what Excel's first line says (sep=;). They are text,
without blanks at the ends: 001, 1 and 10 are three labels. A byte order mark is not part of a name.

| what | rule | otherwise |
|--|--|--|
| pictures | existing files with their ending win over bare names and numbers; then a header that
|          | says image, file or path; never pandas' index, see `columns`
|          | | asked, `data.path=COLUMN` |
| folders  | the table's, else those of its name, images/ or train/, see `near`; else any below it,
|          | by the end of the path | a name in two of these is an error |
| label    | called label, or its name ends so, or the only column that can be one, see `labels`
|          | | asked, `data.label=COLUMN` |
| several  | half of the parts stand alone too, or with others; else the name of the column, labels
|          | or label, decides, see `cells` | asked |
| a column per class | 1, 0, -1 and nothing | beside others asked, `data.label=A,B,C` |
| numbers  | 1, 1.0 and 1.00 are one label | decimals are asked about, `data.label=COLUMN` |
| split    | called split, or all words are names of splits; never folds, see `splits`
|          | | `data.split=COLUMN`, or none |
| a picture in several rows | read once per split | with different labels an error |
| two names for one file    | | an error |

Columns that are not used, and pictures beside those of the table that no row names, are counted.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from xfer.data.images.walk import has_picture, is_picture, nfc, readable
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.readers.imagenet.trees import find_tree
from xfer.data.readers.masks.run_lengths import run_length_column
from xfer.data.readers.table.box_columns import box_columns
from xfer.data.readers.table.columns import (
    Placed,
    column_named,
    is_index,
    names_pictures,
    pairs_of,
)
from xfer.data.readers.table.found import (
    LISTS,
    SUFFIXES,
    head,
    lists_in,
    lists_of_ids,
    read,
    tables_in,
    tables_of,
)
from xfer.data.readers.table.labels import Labels, is_label, names_masks, read_labels
from xfer.data.readers.table.list_splits import use_lists
from xfer.data.readers.table.locate import Locator
from xfer.data.readers.table.near import (
    LOST,
    has_no_header,
    is_beside,
    lists_folders,
    no_pictures,
    of_pairs,
    place,
    why_lost,
)
from xfer.data.readers.table.pixel_columns import pixel_columns
from xfer.data.readers.table.splits import Splits, find_splits
from xfer.data.readers.table.text import Table
from xfer.data.sources.base import subset
from xfer.data.sources.files import FileSource
from xfer.data.sources.split_names import WHOLE, role_of
from xfer.errors import SKIP_BAD, DataError, XferError, listed
from xfer.types import DataInfo

NAMED = 10
COLUMNS = ("column", "columns")


@FORMATS.register("csv")
class Csv:
    """A table of pictures and labels, or one per split."""

    kinds: ClassVar[tuple[str, ...]] = ("classify", "multilabel", "images")
    low_priority: ClassVar[bool] = False
    takes_images: ClassVar[bool] = False
    takes: ClassVar[tuple[str, ...]] = ("path", "label", "split")

    def recognise(self, path: Path) -> str | None:
        if path.is_dir() and find_tree(path) is not None:
            return None  # a table next to folders by WordNet id: Imagenette's noisy labels
        tables = tables_of(path)
        for name, file in tables.items():
            try:
                table = head(file, name)
                if run_length_column(table) is not None or pixel_columns(table):
                    return None  # `rle` and `pixels` read them
                if box_columns(table) or "region_shape_attributes" in table.header:
                    return None  # `boxes` and `via` read it
                if path.is_dir() and (names_masks(table) or pairs_of(table)):
                    return None  # `masks` reads the folders; pairs are no labels
                if path.is_dir() and lists_folders(table, path):
                    continue
                found = place(table, name, wide=False) is not None or is_beside(table, path)
            except DataError:
                if path.is_file() and file.suffix.casefold() not in LISTS:
                    raise
                continue
            except XferError:  # a question, asked when the table is read
                found = True
            if found or path.is_file():
                files = ", ".join(f.name for f in tables.values())
                what = "list" if file.suffix.casefold() in LISTS else "table"
                return f"{what if len(tables) == 1 else f'{what}s'} {files}"
        try:
            lists = {} if tables else lists_of_ids(path)
        except XferError:  # a question, asked when they are read
            return "lists of names and labels"
        return f"lists {', '.join(f.name for f in lists.values())}" if lists else None

    def explain(self, path: Path) -> XferError | None:
        return boxes_instead(path) or self._nowhere(path)

    def _nowhere(self, path: Path) -> XferError | None:
        """The error for the only table of a folder, if it names no picture."""
        tables = tables_of(path)
        for name, file in tables.items() if len(tables) == 1 else ():
            try:
                table = head(file, name)
                if pairs := pairs_of(table):
                    return of_pairs(table, pairs)
                shown = any(map(names_pictures, table.header)) or has_picture(path)
                if shown and table.rows and place(table, name, wide=True) is None:
                    return no_pictures(table, name, "")
            except XferError as error:
                return error
        return None

    def load(self, path: Path, options: ReadOptions) -> Reading:
        tables = tables_of(path)
        if not tables and (tables := lists_of_ids(path, options.label)):
            options = replace(options, label="")
        if not tables:
            raise DataError(f"{path}: no table in it", f"it should end in {' or '.join(SUFFIXES)}")
        reading = _read_all(tables, options)
        if not reading.parts:
            raise DataError(f"{path}: no table names pictures that exist")
        if {"classify", "multilabel"} <= {part.info.kind for part in reading.parts.values()}:
            reading = _read_all(tables, options, several=True)
        top = path if path.is_dir() else path.parent
        used = [*tables.values()]
        if [*reading.parts] == [WHOLE] and not options.split:
            used += use_lists(top, reading)
        reading.leave("table", "tables", [f.name for f in tables_in(top) if f not in used])
        reading.leave("list", "lists", [f.name for f in lists_in(top) if f not in used])
        odd = [p for p in reading.parts if role_of(p) is None and p not in options.named]
        if len(odd) < len(reading.parts):
            reading.leave("split", "splits", odd)
        return reading


@dataclass
class _Progress:
    """What the tables of a set have in common: the label columns of the first, and the pictures
    that are named so far, by folder."""

    options: ReadOptions
    several: bool
    labels: list[str] = field(default_factory=list[str])
    named: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    listed: dict[str, set[str]] = field(default_factory=dict[str, set[str]])


def _read_all(tables: dict[str, Path], options: ReadOptions, several: bool = False) -> Reading:
    """Args: several: some tables have several labels per picture, so all are read so."""
    reading = Reading({})
    progress = _Progress(options, several)
    order = sorted(tables, key=lambda name: role_of(name) != "train")
    for name in order:  # the columns of train count for all
        _read(tables[name], name, reading, progress)
    parts = {name: reading.parts.pop(name) for name in tables if name in reading.parts}
    reading.parts.update(parts)
    extra = [
        readable(f"{folder}/{name}" if folder else name)
        for folder, names in progress.listed.items()
        for name in sorted(names - progress.named[folder])
    ]
    reading.leave("picture without a row", "pictures without a row", extra)
    return reading


def _read(file: Path, name: str, reading: Reading, progress: _Progress) -> None:
    """Read one table into the reading's parts."""
    options = progress.options
    table = read(file, name)
    if not options.label:  # with it, the user asks for that column's labels
        if columns := box_columns(table):
            raise _of_boxes(table, columns)
        _refuse_masks(table)
    if not table.rows:
        raise DataError(f"{file}: no rows")
    if not options.path and (pairs := pairs_of(table)):
        raise of_pairs(table, pairs)
    placed = place(table, name, True, options.path)
    if placed is not None and has_no_header(placed):
        table = Table(file, [f"column {k + 1}" for k in range(len(table.header))],
                      [table.header, *table.rows])  # fmt: skip
        placed = place(table, name, True, options.path)
    if placed is None and len(table.header) == 1:
        reading.notes.append(f"{file.name}: only ids, and no such pictures: left out")
        return
    if placed is None:
        raise no_pictures(table, name, options.path)
    table, column, locator = placed.table, placed.column, placed.locator
    places = _places(placed, reading)
    cells = [row[column] for row, place in zip(table.rows, places, strict=True) if place is None]
    lost = [(cell, why_lost(locator, cell)) for cell in cells]
    if lost and not options.skip_bad:
        raise _lost(file, lost, len(places))
    reading.skipped.extend(lost)
    rows = [k for k, f in enumerate(places) if f]
    others = [k for k in range(len(table.header)) if k not in (column, *placed.taken)]
    splits = _splits(table, name, others, options)
    rest = [k for k in others if splits is None or k != splits.column]
    labels = _labels(table, name, rest, rows, progress)
    files = [str(places[k]) for k in rows]
    named = [splits.of[k] if splits is not None else name for k in rows]
    keep = _once(table, column, rows, files, named, labels, reading)
    where = f"{name}/{file.name}" if file.parent.name == name else file.name
    reading.notes.append(f"{where}: pictures by column {table.header[column]!r}; {labels.how}")
    reading.notes.extend([*labels.notes, *(splits.notes if splits is not None else ())])
    unused = [table.header[k] for k in rest if k not in (*labels.columns, *labels.same)]
    before = reading.unused.get(COLUMNS, [])
    reading.leave(*COLUMNS, [h for h in unused if h not in before and not is_index(h)])
    _count(locator, files, progress)
    info = DataInfo(readable(file.stem), labels.kind, labels.classes, role_of(name) or name)
    whole = FileSource(
        info, file.parent, [files[k] for k in keep], labels.values[keep],
        [readable(Path(files[k]).as_posix()) for k in keep],
    )  # fmt: skip
    if splits is None:
        reading.parts[name] = whole
        return
    values = np.array([named[k] for k in keep], dtype=object)
    for value in dict.fromkeys(values):
        chosen = np.flatnonzero(values == value)
        reading.parts[value] = subset(whole, chosen, role_of(value) or value)


def _places(placed: Placed, reading: Reading) -> list[Path | None]:
    """The picture of each row, None if it is not there."""
    cells = [row[placed.column] for row in placed.table.rows]
    if not placed.deep:
        return [placed.locator.find(cell) for cell in cells]
    found = placed.locator.find_all(cells)
    reading.notes.extend(found.notes(cells))
    return found.places


def _lost(file: Path, lost: Sequence[tuple[str, str]], total: int) -> DataError:
    shown = [repr(cell) if why == LOST else f"{cell!r} ({why})" for cell, why in lost]
    what = "are not there" if all(why == LOST for _, why in lost) else "can't be used"
    return DataError(
        f"{file}: {len(lost)} of {total} pictures {what}: {listed(shown, NAMED)}", SKIP_BAD
    )


def boxes_instead(folder: Path) -> DataError | None:
    """The error for the tables of a folder, if they hold boxes."""
    for name, file in tables_of(folder).items():
        try:
            table = head(file, name)
        except DataError:
            return None
        if columns := box_columns(table):
            return _of_boxes(table, columns)
    return None


def _of_boxes(table: Table, columns: Sequence[int]) -> DataError:
    names = ", ".join(table.header[k] for k in columns)
    return DataError(
        f"{table.file}: a table of boxes ({names}), which are not labels of whole pictures",
        f"boxes:{table.file} reads them; csv:{table.file} data.label=COLUMN reads a label",
    )


def _refuse_masks(table: Table) -> None:
    """Raises DataError for a table of masks, as files or as run lengths."""
    if column := names_masks(table):
        raise DataError(
            f"{table.file}: column {column!r} names pictures: masks, not labels of whole pictures",
            f"masks:{table.file.parent} reads folders of pictures and masks",
        )
    if (runs := run_length_column(table)) is not None:
        raise DataError(
            f"{table.file}: {table.header[runs]!r} holds masks as run lengths, not labels",
            f"rle:{table.file} reads them, with --task segment",
        )


def _splits(table: Table, name: str, columns: Sequence[int], options: ReadOptions) -> Splits | None:
    """The splits of a table's rows. Raises XferError for a column of splits in a table that is one
    split itself, unless it says the same."""
    splits = find_splits(table, columns, options.split)
    if splits is None or name == WHOLE:
        return splits
    if {role_of(value) or value for value in splits.of} == {role_of(name) or name}:
        return replace(splits, of=[name] * len(splits.of))
    raise XferError(
        f"{table.file}: a column {table.header[splits.column]!r} in a table that is a split itself",
        f"give only the table: csv:{table.file}; or data.split=none",
    )


def _labels(
    table: Table, name: str, columns: Sequence[int], rows: Sequence[int], progress: _Progress
) -> Labels:
    """The labels of a table: from the columns that the user named, from those of train, or found;
    a test table may have none."""
    given = progress.options.label
    test = role_of(name) == "test"
    chosen: list[int] = []
    if given and not (test and progress.labels and progress.labels[0] not in table.header):
        chosen = column_named(table, given, "label")
    elif progress.labels and set(progress.labels) <= set(table.header):
        chosen = [table.header.index(head) for head in progress.labels]
    elif test and progress.labels:
        columns = [k for k in columns if is_label(table.header[k])]
    labels = read_labels(table, columns, rows, progress.several, chosen, sure=bool(given))
    progress.labels = progress.labels or [table.header[k] for k in labels.columns]
    return labels


def _count(locator: Locator, files: Sequence[str], progress: _Progress) -> None:
    """Record which pictures a table names, and which are beside them."""
    for folder, name in map(os.path.split, files):
        if folder not in progress.listed:
            progress.listed[folder] = locator.names_in(folder)
        progress.named[folder].add(name)


def _once(
    table: Table, column: int, rows: Sequence[int], files: Sequence[str], splits: Sequence[str],
    labels: Labels, reading: Reading,
) -> list[int]:  # fmt: skip
    """Which rows to read: each picture once per split.

    Raises DataError if a picture has different labels, or if two names lead to one file.
    """
    first: dict[str, int] = {}
    once: dict[tuple[str, str], int] = {}
    for k, name in enumerate(files):
        at = first.setdefault(name, k)
        once.setdefault((name, splits[k]), k)
        if at == k:
            continue
        one, other = table.rows[rows[at]][column], table.rows[rows[k]][column]
        if one != other and not _same_name(one, other):
            raise DataError(
                f"{table.file}: {one!r} and {other!r} are both found as {name}",
                "write paths that exist, or put the pictures into their folders",
            )
        if not np.array_equal(labels.values[at], labels.values[k]):
            raise DataError(
                f"{table.file}: {name} has several rows with different labels",
                "for several labels per picture, write them into one cell: a;b",
            )
    if again := len(files) - len(once):
        reading.notes.append(f"{table.file.name}: {again} repeated rows are read once")
    return list(once.values())


def _same_name(one: str, other: str) -> bool:
    """Whether two cells are the same name, perhaps one with more of its folders."""
    short, long = sorted(map(_plain, (one, other)), key=len)
    return long == short or long.endswith(f"/{short}")


def _plain(cell: str) -> str:
    """A name in one spelling, without its ending."""
    text = nfc(cell).casefold().replace("\\", "/").removeprefix("./")
    return text.rpartition(".")[0] if is_picture(text) else text
