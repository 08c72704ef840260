"""Labels from the columns of a table: one or several per picture, one column per class, none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xfer import kinds
from xfer.data.readers.table.text import Table
from xfer.errors import DataError, XferError

ONE = ("label", "class", "category", "class_name", "label_name", "class_id", "label_id")
SEVERAL = ("labels", "classes", "tags", "categories", "targets")
EITHER = ("target", "species", "breed", "y", "wnid")
SEPARATORS = {"|": "bars", ";": "semicolons", ",": "commas", " ": "blanks"}
REPEATED = 3
YES_NO = {"1": 1, "1.0": 1, "true": 1, "0": 0, "0.0": 0, "false": 0, "-1": -1, "": -1}


@dataclass(frozen=True)
class Labels:
    """Labels of some rows.

    kind    | classify, multilabel or images
    classes | names, sorted by code point; with one column per class: in the columns' order
    values  | int64 (N,) or int8 (N, C), as in `Source`
    how     | how they were read, in words
    """

    kind: str
    classes: tuple[str, ...]
    values: NDArray[np.int64] | NDArray[np.int8]
    how: str


def read_labels(
    table: Table, columns: Sequence[int], rows: Sequence[int], several: bool = False
) -> Labels:
    """Read labels from the columns other than the picture's name and split.

    Args: several: read labels as several per picture even if each picture has one.

    Raises: XferError if several readings are possible, naming them; DataError for rows without a
        label.
    """
    labels = _read(table, columns, rows)
    if not several or kinds.get(labels.kind).several:
        return labels
    one_hot = np.eye(len(labels.classes), dtype=np.int8)[labels.values]
    return replace(labels, kind="multilabel", values=one_hot)


def _read(table: Table, columns: Sequence[int], rows: Sequence[int]) -> Labels:
    if not columns:
        none = np.full(len(rows), -1, np.int64)
        return Labels("images", (), none, "no labels")
    names = {k: table.header[k].casefold() for k in columns}
    for known in (ONE, SEVERAL, EITHER):
        named = [k for k in columns if names[k] in known]
        if named and all(_equivalent(table, named[0], k, rows) for k in named[1:]):
            return _one_column(table, (_of_words(table, named, rows) or named)[0], rows)
        if named:
            raise _ambiguous(table, named)
    if len(columns) == 1 and not _is_yes_no(table, columns[0]):
        return _one_column(table, columns[0], rows)
    if len(columns) > 1 and all(_is_yes_no(table, k) for k in columns):
        return _column_per_class(table, columns, rows)
    if len(columns) == 1:
        return _one_column(table, columns[0], rows)
    words = _of_words(table, columns, rows)
    if len(columns) == 2 and len(words) == 1 and _equivalent(table, columns[0], columns[1], rows):
        return _one_column(table, words[0], rows)  # index and name
    raise _ambiguous(table, columns)


def _of_words(table: Table, columns: Sequence[int], rows: Sequence[int]) -> list[int]:
    """The columns that hold anything but numbers."""
    return [k for k in columns if not all(table.rows[r][k].isdigit() for r in rows)]


def _equivalent(table: Table, one: int, other: int, rows: Sequence[int]) -> bool:
    """Whether two columns distinguish the same classes, under whatever names."""
    pairs = {(table.rows[r][one], table.rows[r][other]) for r in rows}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def _ambiguous(table: Table, columns: Sequence[int]) -> XferError:
    listed = ", ".join(repr(table.header[k]) for k in columns[:8])
    return XferError(
        f"{table.file}: which column is the label: {listed}?",
        "name it `label` in the header (`labels` for several per picture), or drop the others",
    )


def _is_yes_no(table: Table, column: int) -> bool:
    return all(row[column].casefold() in YES_NO for row in table.rows)


def _column_per_class(table: Table, columns: Sequence[int], rows: Sequence[int]) -> Labels:
    values = np.array(
        [[YES_NO[table.rows[r][k].casefold()] for k in columns] for r in rows], np.int8
    ).reshape(len(rows), len(columns))
    classes = tuple(table.header[k] for k in columns)
    if len(set(classes)) < len(classes):
        raise DataError(f"{table.file}: two columns have the same name")
    if len(rows) and ((values == 1).sum(1) == 1).all() and (values >= 0).all():
        # exactly one class per row: the classes exclude each other
        order = sorted(range(len(classes)), key=lambda c: classes[c])
        place = np.argsort(order)
        one = place[values.argmax(1)].astype(np.int64)
        names = tuple(classes[c] for c in order)
        return Labels("classify", names, one, f"one column per class, one of {len(names)} each")
    return Labels("multilabel", classes, values, f"one column per class, {len(classes)} of them")


def _one_column(table: Table, column: int, rows: Sequence[int]) -> Labels:
    cells = [table.rows[r][column] for r in rows]
    name = table.header[column]
    separator = _separator(table, column, cells)
    if separator is not None:
        parts = [[t for t in (p.strip() for p in c.split(separator)) if t] for c in cells]
        classes = tuple(sorted({label for part in parts for label in part}))
        place = {label: k for k, label in enumerate(classes)}
        several = np.zeros((len(rows), len(classes)), np.int8)
        for row, part in enumerate(parts):
            several[row, [place[label] for label in part]] = 1
        how = f"several labels per picture in {name!r}, separated by {SEPARATORS[separator]}"
        return Labels("multilabel", classes, several, how)
    if "" in cells:
        empty = cells.count("")
        first = next(table.rows[r] for r, c in zip(rows, cells, strict=True) if not c)
        raise DataError(
            f"{table.file}: {empty} rows have no {name}, first {first[0] or first[1]!r}",
            "remove those rows; a picture of nothing needs a class of its own",
        )
    classes = tuple(sorted(set(cells)))
    place = {label: k for k, label in enumerate(classes)}
    one = np.array([place[c] for c in cells], np.int64)
    return Labels("classify", classes, one, f"one label per picture in {name!r}")


def _separator(table: Table, column: int, cells: Sequence[str]) -> str | None:
    """The separator of the labels in a column's cells; None if each cell holds one label.

    Bars, semicolons and commas are hardly ever part of a class name. Blanks may be: they separate
    labels if the column's name is a plural, or if there are fewer distinct words than distinct
    cells and the number of words varies, as with labels but not names. A plural proves nothing if
    the same few cells are repeated many times, as class names are.
    """
    name = table.header[column].casefold()
    for mark in ("|", ";", ","):
        if any(mark in cell for cell in cells):
            return mark
    split = [cell.split() for cell in cells]
    if not any(len(words) > 1 for words in split):
        return " " if name in SEVERAL else None
    distinct = len(set(cells))
    few = len({w for words in split for w in words}) < distinct
    if name in SEVERAL:
        if few or len(cells) < REPEATED * distinct:
            return " "
    elif not few:
        return None
    elif len({len(words) for words in split}) > 1:
        return " "
    if name in ONE:
        return None
    some = next(cell for cell, words in zip(cells, split, strict=True) if len(words) > 1)
    raise XferError(
        f"{table.file}: are {some!r} in column {table.header[column]!r} one label or several?",
        "name the column `label` for one per picture, "
        + ("or write a;b for several" if name in SEVERAL else "`labels` for several"),
    )
