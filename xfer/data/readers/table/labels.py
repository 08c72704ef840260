"""Labels from the columns of a table: one or several per picture, one column per class, none.

Which column it is: one called label (labels, class, ...), or whose name ends so (Finding Labels);
else the only one that can be. Row numbers, ids that never repeat, folds, measured values, and
columns that are the same in every row are none. Otherwise it is asked, `data.label=NAME`.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xfer import kinds
from xfer.data.images.walk import is_picture
from xfer.data.readers.table.cells import (
    LISTED,
    SEPARATORS,
    are_fractions,
    plain_numbers,
    separator,
    split_cells,
    yes_no,
)
from xfer.data.readers.table.columns import is_index, words_of
from xfer.data.readers.table.splits import is_fold
from xfer.data.readers.table.text import Table
from xfer.errors import DataError, XferError

ONE = ("label", "class", "category", "class_name", "label_name", "class_id", "label_id")
SEVERAL = ("labels", "classes", "tags", "categories", "targets")
EITHER = ("target", "species", "breed", "y", "wnid")
# words in headers of measures of a picture, which are classes only if nothing else is
_MEASURES = frozenset(
    ("width", "height", "size", "area", "age", "year", "month", "day", "date", "time", "count",
     "number", "num", "x", "y", "lat", "lon", "weight", "length", "bytes", "channels", "frame")
)  # fmt: skip
# a table of fewer rows does not tell ids from classes
FEW = 8
SHOWN = 8


@dataclass(frozen=True)
class Labels:
    """Labels of some rows.

    kind    | classify, multilabel or images
    classes | names, sorted by code point; with one column per class: in the columns' order
    values  | int64 (N,) or int8 (N, C), as in `Source`
    how     | how they were read, in words
    columns | where they were read; same: columns that say the same
    notes   | lines for people
    """

    kind: str
    classes: tuple[str, ...]
    values: NDArray[np.int64] | NDArray[np.int8]
    how: str
    columns: tuple[int, ...] = ()
    same: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def read_labels(
    table: Table,
    columns: Sequence[int],
    rows: Sequence[int],
    several: bool = False,
    chosen: Sequence[int] = (),
    sure: bool = False,
) -> Labels:
    """Read labels from the columns other than the picture's name and split.

    Args:
        several: read labels as several per picture even if each picture has one.
        chosen: the column to read, or one per class; none: found.
        sure: the user chose it, whatever it holds.

    Raises: XferError if several readings are possible, naming them; DataError for rows without a
        label.
    """
    if len(chosen) == 1:
        labels = _one_column(table, chosen[0], rows, sure)
    else:
        labels = _several_columns(table, chosen, rows) if chosen else _read(table, columns, rows)
    if not several or kinds.get(labels.kind).several:
        return labels
    one_hot = np.eye(len(labels.classes), dtype=np.int8)[labels.values]
    return replace(labels, kind="multilabel", values=one_hot)


def _several_columns(table: Table, columns: Sequence[int], rows: Sequence[int]) -> Labels:
    for k in columns:
        odd = next((row[k] for row in table.rows if yes_no(row[k]) is None), None)
        if odd is not None:
            raise DataError(
                f"{table.file}: {odd!r} in column {table.header[k]!r}: a column per class holds "
                "1, 0 and -1 or nothing",
                "data.label=COLUMN names a single column of any labels",
            )
    return _column_per_class(table, columns, rows)


def is_label(header: str) -> bool:
    """Whether a column is called as columns of labels are."""
    return any(known(header) for known in (_is_one, _is_several, _is_either, _ends_so))


def _read(table: Table, columns: Sequence[int], rows: Sequence[int]) -> Labels:
    columns = [k for k in columns if any(table.rows[r][k] for r in rows)]
    columns = [k for k in columns if not is_index(table.header[k])] or columns
    if not columns:
        none = np.full(len(rows), -1, np.int64)
        return Labels("images", (), none, "no labels")
    for known in (_is_one, _is_several, _is_either, _ends_so):
        named = [k for k in columns if known(table.header[k]) and not _is_point(table, k)]
        if named and all(_equivalent(table, named[0], k, rows) for k in named[1:]):
            best = (_of_words(table, named, rows) or named)[0]
            return replace(_one_column(table, best, rows), same=tuple(named))
        if named:
            raise _ambiguous(table, named)
    columns = [k for k in columns if not is_fold(table.header[k])]
    if len(columns) > 1 and all(is_yes_no(table, k) for k in columns):
        return _column_per_class(table, columns, rows)
    classes = [k for k in columns if _may_be_classes(table, k, rows)]
    unsifted, columns = columns, classes or columns
    if not columns:
        none = np.full(len(rows), -1, np.int64)
        return Labels("images", (), none, "no labels")
    if len(columns) == 1:
        return _one_column(table, columns[0], rows)
    words = _of_words(table, columns, rows)
    if len(columns) == 2 and len(words) == 1 and _equivalent(table, columns[0], columns[1], rows):
        one = _one_column(table, words[0], rows)
        return replace(one, same=tuple(columns))  # index and name
    raise _ambiguous(table, columns, unsifted)


def _is_one(header: str) -> bool:
    return header.casefold() in ONE


def _is_several(header: str) -> bool:
    return header.casefold() in SEVERAL


def _is_either(header: str) -> bool:
    return header.casefold() in EITHER


def _is_point(table: Table, column: int) -> bool:
    """Whether a column y is not the target but a place, next to x."""
    return table.header[column].casefold() == "y" and "x" in map(str.casefold, table.header)


def names_masks(table: Table) -> str:
    """The column of labels that holds names of pictures, masks; "" if there is none."""
    probe = table.rows[:SHOWN]
    of_masks = [
        head for k, head in enumerate(table.header)
        if is_label(head) and probe and all(is_picture(row[k]) for row in probe)
    ]  # fmt: skip
    return next(iter(of_masks), "")


def _ends_so(header: str) -> bool:
    return words_of(header)[-1:] in (["label"], ["labels"])


def is_measure(header: str) -> bool:
    """Whether a column is called as measures of pictures are: image_width, age."""
    return bool(_MEASURES & set(words_of(header)[-1:]))


def _may_be_classes(table: Table, column: int, rows: Sequence[int]) -> bool:
    """Whether a column's cells may be classes: some repeat, not all are equal, none is measured."""
    cells = {table.rows[r][column] for r in rows}
    numbers = all(cell.isdigit() for cell in cells)
    if are_fractions(cells) or (numbers and is_measure(table.header[column])):
        return False
    return len(rows) < FEW or 1 < len(cells) < len(rows)


def _of_words(table: Table, columns: Sequence[int], rows: Sequence[int]) -> list[int]:
    """The columns that hold anything but numbers."""
    return [k for k in columns if not all(table.rows[r][k].isdigit() for r in rows)]


def _equivalent(table: Table, one: int, other: int, rows: Sequence[int]) -> bool:
    """Whether two columns distinguish the same classes, under whatever names."""
    pairs = {(table.rows[r][one], table.rows[r][other]) for r in rows}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def _ambiguous(table: Table, columns: Sequence[int], unsifted: Sequence[int] = ()) -> XferError:
    heads = [table.header[k] for k in columns]
    more = f" and {len(heads) - SHOWN} more" if len(heads) > SHOWN else ""
    flags = [shlex.quote(f"data.label={head}") for head in heads[:SHOWN]]
    classes = [table.header[k] for k in unsifted if is_yes_no(table, k)]
    if len(classes) > 1:  # findings beside other columns: Sex,Age,Edema,Fracture
        flags = [f"{shlex.quote('data.label=' + ','.join(classes))} (a column per class)", *flags]
    return XferError(
        f"{table.file}: which column is the label: {', '.join(map(repr, heads[:SHOWN]))}{more}?",
        f"{' or '.join(flags)}; or name it `label` in the header (`labels` for several per "
        "picture)",
    )


def is_yes_no(table: Table, column: int) -> bool:
    """Whether a column holds yes, no and unknown only, and not only unknown."""
    cells = {row[column] for row in table.rows}
    return cells != {""} and all(yes_no(cell) is not None for cell in cells)


def _column_per_class(table: Table, columns: Sequence[int], rows: Sequence[int]) -> Labels:
    known = {cell: yes_no(cell) for k in columns for cell in {row[k] for row in table.rows}}
    values = np.array([[known[table.rows[r][k]] for k in columns] for r in rows], np.int8)
    values = values.reshape(len(rows), len(columns))
    notes: tuple[str, ...] = ()
    if 0 not in known.values() and "" not in known and -1 in known.values():
        # 1 and -1 alone, as CelebA has them: with -1 unknown, nothing would be a no
        values[values < 0] = 0
        notes = (f"{table.file.name}: the columns hold 1 and -1 only: -1 is read as no",)
    classes = tuple(table.header[k] for k in columns)
    if len(set(classes)) < len(classes):
        raise DataError(f"{table.file}: two columns have the same name")
    if len(rows) and ((values == 1).sum(1) == 1).all() and (values >= 0).all():
        # exactly one class per row: the classes exclude each other
        order = sorted(range(len(classes)), key=lambda c: classes[c])
        place = np.argsort(order)
        one = place[values.argmax(1)].astype(np.int64)
        names = tuple(classes[c] for c in order)
        how = f"one column per class, one of {len(names)} each"
        return Labels("classify", names, one, how, tuple(columns), notes=notes)
    how = f"one column per class, {len(classes)} of them"
    return Labels("multilabel", classes, values, how, tuple(columns), notes=notes)


def _one_column(table: Table, column: int, rows: Sequence[int], sure: bool = False) -> Labels:
    """Labels from one column. Args: sure: the user named it."""
    cells = plain_numbers([table.rows[r][column] for r in rows])
    name = table.header[column]
    notes = _about_numbers(table, column, cells, sure)
    mark = None if notes else _separator(table, column, cells)
    if mark is not None:
        parts = split_cells(cells, mark)
        classes = tuple(sorted({label for part in parts for label in part}))
        place = {label: k for k, label in enumerate(classes)}
        several = np.zeros((len(rows), len(classes)), np.int8)
        for row, part in enumerate(parts):
            several[row, [place[label] for label in part]] = 1
        way = mark if mark == LISTED else f"separated by {SEPARATORS[mark]}"
        how = f"several labels per picture in {name!r}, {way}"
        return Labels("multilabel", classes, several, how, (column,), notes=tuple(notes))
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
    if FEW <= len(rows) == len(classes) and not (sure or is_label(name)):
        raise XferError(
            f"{table.file}: column {name!r} holds a different value in each of {len(rows)} rows: "
            "they look like names or texts, not like classes",
            f"{shlex.quote(f'data.label={name}')} takes them for classes; images:FOLDER reads the "
            "pictures alone",
        )
    if len(rows) >= FEW and len(classes) * 2 > len(rows):
        notes.append(
            f"warning: {table.file.name}: column {name!r} has {len(classes)} different labels in "
            f"{len(rows)} rows: are they classes? data.label=COLUMN names another column"
        )
    how = f"one label per picture in {name!r}"
    return Labels("classify", classes, one, how, (column,), notes=tuple(notes))


def _about_numbers(table: Table, column: int, cells: Sequence[str], sure: bool) -> list[str]:
    """A warning about decimal numbers as classes; raises XferError unless the user asked for it."""
    name = table.header[column]
    if not are_fractions(cells):
        return []
    commas = [cell for cell in set(cells) if "," in cell]
    if commas and (not sure or {part for cell in commas for part in cell.split(",")} & set(cells)):
        return []  # 1,5 may be two labels: asked by `_separator`
    distinct = sorted(set(cells) - {""})
    some = f"{', '.join(distinct[:3])}{', ...' if len(distinct) > 3 else ''}"
    what = f"column {name!r} holds decimal numbers ({some}), {len(distinct)} different ones"
    if sure:
        return [f"warning: {table.file.name}: {what}: each is a class of its own"]
    raise XferError(
        f"{table.file}: {what}: they look measured (a regression target), not like classes",
        f"{shlex.quote(f'data.label={name}')} takes each for a class; or name another column",
    )


def _separator(table: Table, column: int, cells: Sequence[str]) -> str | None:
    """The separator of the labels in a column's cells; None if each cell holds one label."""
    name = table.header[column]
    plural = _is_several(name) or words_of(name)[-1:] == ["labels"]
    singular = _is_one(name) or (words_of(name)[-1:] == ["label"])
    try:
        return separator(cells, plural, singular)
    except ValueError as error:
        some = str(error)
    if are_fractions([some]):
        raise XferError(
            f"{table.file}: are {some!r} in column {name!r} decimal numbers or several labels?",
            f"{shlex.quote(f'data.label={name}')} takes each number for a class; or name another "
            "column; or write a;b for several labels",
        )
    raise XferError(
        f"{table.file}: are {some!r} in column {name!r} one label or several?",
        "name the column `label` for one per picture, "
        + ("or write a;b for several" if plural else "`labels` for several"),
    )
