"""What the columns of a table say of its pictures: one label, several, a column a class, none."""

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
    classes | names, by code point; a column a class: in the columns' order
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
    """Labels from those columns that are not the picture's name or split.

    Args: several: where each picture has one label it is read as one of several all the same.

    Raises: XferError where several readings are possible, naming them; DataError for rows without
        a label.
    """
    made = _read(table, columns, rows)
    if not several or kinds.get(made.kind).several:
        return made
    table_of = np.eye(len(made.classes), dtype=np.int8)[made.values]
    return replace(made, kind="multilabel", values=table_of)


def _read(table: Table, columns: Sequence[int], rows: Sequence[int]) -> Labels:
    if not columns:
        none = np.full(len(rows), -1, np.int64)
        return Labels("images", (), none, "no labels")
    names = {k: table.header[k].casefold() for k in columns}
    for known in (ONE, SEVERAL, EITHER):
        called = [k for k in columns if names[k] in known]
        if called and all(_say_the_same(table, called[0], k, rows) for k in called[1:]):
            return _one_column(table, (_of_words(table, called, rows) or called)[0], rows)
        if called:
            raise _ambiguous(table, called)
    if len(columns) == 1 and not _is_yes_no(table, columns[0]):
        return _one_column(table, columns[0], rows)
    if len(columns) > 1 and all(_is_yes_no(table, k) for k in columns):
        return _a_column_a_class(table, columns, rows)
    if len(columns) == 1:
        return _one_column(table, columns[0], rows)
    words = _of_words(table, columns, rows)
    if len(columns) == 2 and len(words) == 1 and _say_the_same(table, columns[0], columns[1], rows):
        return _one_column(table, words[0], rows)  # index and name
    raise _ambiguous(table, columns)


def _of_words(table: Table, columns: Sequence[int], rows: Sequence[int]) -> list[int]:
    """Those of the columns that hold anything but numbers."""
    return [k for k in columns if not all(table.rows[r][k].isdigit() for r in rows)]


def _say_the_same(table: Table, one: int, other: int, rows: Sequence[int]) -> bool:
    """Whether two columns tell the same classes apart, whatever they call them."""
    pairs = {(table.rows[r][one], table.rows[r][other]) for r in rows}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def _ambiguous(table: Table, columns: Sequence[int]) -> XferError:
    listed = ", ".join(repr(table.header[k]) for k in columns[:8])
    return XferError(
        f"{table.file}: which column is the label: {listed}?",
        "call it `label` in the header (`labels` for several a picture), or drop the others",
    )


def _is_yes_no(table: Table, column: int) -> bool:
    return all(row[column].casefold() in YES_NO for row in table.rows)


def _a_column_a_class(table: Table, columns: Sequence[int], rows: Sequence[int]) -> Labels:
    values = np.array(
        [[YES_NO[table.rows[r][k].casefold()] for k in columns] for r in rows], np.int8
    ).reshape(len(rows), len(columns))
    classes = tuple(table.header[k] for k in columns)
    if len(set(classes)) < len(classes):
        raise DataError(f"{table.file}: two columns have the same name")
    if len(rows) and ((values == 1).sum(1) == 1).all() and (values >= 0).all():
        # as many ones as rows: the classes exclude each other
        order = sorted(range(len(classes)), key=lambda c: classes[c])
        place = np.argsort(order)
        one = place[values.argmax(1)].astype(np.int64)
        names = tuple(classes[c] for c in order)
        return Labels("classify", names, one, f"a column a class, one of {len(names)} each")
    return Labels("multilabel", classes, values, f"a column a class, {len(classes)} of them")


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
        how = f"several labels a picture in {name!r}, between {SEPARATORS[separator]}"
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
    return Labels("classify", classes, one, f"one label a picture in {name!r}")


def _separator(table: Table, column: int, cells: Sequence[str]) -> str | None:
    """What stands between the labels in a column's cells; None where each holds one label.

    Bars, semicolons and commas are hardly ever part of a class's name. Blanks are: they part labels
    where the column's name is a plural, or where the words of the cells are fewer than the cells
    and come in varying numbers, as labels do and names don't. A plural is no proof where the same
    few cells come again and again, as class names do.
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
        "call the column `label` for one a picture, "
        + ("or write a;b for several" if name in SEVERAL else "`labels` for several"),
    )
