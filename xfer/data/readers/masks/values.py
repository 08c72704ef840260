"""What the values of a set's masks mean: by its class table, or by a look at the masks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.decode import DecodeError
from xfer.data.images.mask_file import RawMask, read_mask_file
from xfer.data.images.threads import cores
from xfer.data.images.walk import readable
from xfer.data.readers.masks.class_table import ClassRow, ignored_rows
from xfer.data.sources.mask_codes import MaskCode, colour_codes, make_code
from xfer.errors import DataError
from xfer.types import IGNORE

LOOKED_AT = 32
MOST_CLASSES = 254
TABLE = "a file classes.txt beside the folders: a name a line, or `name r g b`"


def meaning(
    path: Path,
    masks: Sequence[Path],
    found: tuple[Path, list[ClassRow]] | None,
    ignore: str = "",
) -> tuple[tuple[str, ...], MaskCode, list[str]]:
    """The classes, what the masks' values mean, and lines that say so.

    Args:
        path: the set; masks: its mask files; found: its class table, see `find_table`; ignore: what
            the user says is ignored, see `ignored_rows`.

    Raises: DataError where the masks and the table don't fit each other.
    """
    looked = [raw for raw in _look(_evenly(masks)) if raw is not None]
    if found is None:
        if masks and not looked:  # with a table, verifying names them all
            try:
                read_mask_file(masks[0])
            except DecodeError as error:
                raise DataError(f"{path}: no mask can be read: {error.message}") from None
        coloured = [raw for raw in looked if raw.coloured]
        if _most(looked):
            colours = np.unique(coloured[0].values.reshape(-1, 3), axis=0)
            first = ", ".join(str(tuple(c)) for c in colours[:3].tolist())
            raise DataError(
                f"{path}: the masks are coloured ({len(colours)} colours in one, such as {first}) "
                "and no table says what the colours mean",
                TABLE,
            )
        pixels, numbers = _all_values(masks)
        if _numbers_objects(numbers) and not ignore:
            return _objects(max(numbers))
        rows = _named_by_value(path, pixels, ignore)
        where = "no class table: the classes are the values in the masks"
    else:
        table, rows = found
        where = f"classes from {readable(os.path.relpath(table, path))}"
        if _by_colour(path, table, rows, looked):
            return code_of(path, rows, [_number(row) for row in rows], "colour", where, ignore)
        rows = _with_values(rows, looked)
    values = [row.value if row.value is not None else -1 for row in rows]
    return code_of(path, rows, values, "value", where, ignore)


def _evenly(masks: Sequence[Path]) -> list[Path]:
    places = np.linspace(0, len(masks) - 1, min(LOOKED_AT, len(masks))).astype(int)
    return [masks[i] for i in np.unique(places).tolist()]


def _look(masks: Sequence[Path]) -> list[RawMask | None]:
    """The masks; None for what can't be read: verifying names it."""

    def look(path: Path) -> RawMask | None:
        try:
            return read_mask_file(path)
        except DecodeError:
            return None

    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(look, masks))


def _all_values(masks: Sequence[Path]) -> tuple[dict[int, int], list[int]]:
    """Every number that occurs in any mask, rising, and in how many pixels; and of each mask n
    where its values are 1 to n, with or without 0, else -1. Coloured masks are left to verifying.
    """

    def look(path: Path) -> NDArray[np.int64] | None:
        try:
            raw = read_mask_file(path)
        except DecodeError:
            return None
        return None if raw.coloured else np.bincount(raw.values.ravel())

    total = np.zeros(65536, np.int64)
    numbers: list[int] = []
    with ThreadPoolExecutor(cores()) as pool:
        for counts in pool.map(look, masks):
            if counts is not None:
                total[: len(counts)] += counts
                numbers.append(len(counts) - 1 if counts[1:].all() else -1)
    return {int(value): int(total[value]) for value in np.flatnonzero(total)}, numbers


def _numbers_objects(numbers: Sequence[int]) -> bool:
    """Whether masks without a table number their objects, as Penn-Fudan's do: in each the values
    are 1 to n, n differs, and is too large for parts that lie within each other (liver, tumour)."""
    return len(numbers) >= 8 and min(numbers) >= 0 and max(numbers) >= 4 and len(set(numbers)) >= 3


def _objects(most: int) -> tuple[tuple[str, ...], MaskCode, list[str]]:
    """Two classes, whatever an object's number is."""
    return ("background", "object"), make_code("value", {v: int(v > 0) for v in range(most + 1)}), [
        "no class table: in each mask the values are 1 to n, as objects are numbered: read as two "
        f"classes, background and object; if they are classes: {TABLE}",
        "ignored: nothing",
    ]  # fmt: skip


def _named_by_value(path: Path, pixels: Mapping[int, int], ignore: str) -> list[ClassRow]:
    """Classes of masks without a table, of which `pixels` have each value."""
    if set(pixels) == {0, IGNORE}:
        return [ClassRow("background", 0), ClassRow("foreground", IGNORE)]
    named = [v for v in pixels if v != IGNORE]
    if len(named) > MOST_CLASSES or (named and named[-1] > IGNORE):
        raise DataError(
            f"{path}: the masks hold {len(named)} different values, up to {named[-1]}: these are "
            "no classes (numbered objects, or blurred edges?)",
            f"a class is one of 0 to {MOST_CLASSES}; or {TABLE}",
        )
    if len(named) < 2:
        raise DataError(
            f"{path}: all masks hold {named[0] if named else 'nothing to learn'}",
            "there must be two classes to tell apart",
        )
    if not ignore and IGNORE in pixels and named[-1] >= 100:
        # classes are numbered from 0 on; black, white and greys between are a picture of a mask
        often = max(pixels[v] for v in named if v)
        if pixels[IGNORE] > often or 2 * len(named) < named[-1]:
            listed = ", ".join(map(str, named[:5])) + (" ..." if len(named) > 5 else "")
            raise DataError(
                f"{path}: the masks hold {listed} and 255: is 255 a class (and are the others "
                "edges that were blurred?), or to be ignored",
                f"{TABLE}, or `value name`; data.ignore=255 ignores it",
            )
    return [ClassRow(str(v), v) for v in named]


def _with_values(rows: list[ClassRow], looked: Sequence[RawMask]) -> list[ClassRow]:
    """The rows with their values: those of the table, else their places in it."""
    if all(row.value is not None for row in rows):
        return rows
    plain = [replace(row, value=i) for i, row in enumerate(rows)]
    values = {v for raw in looked if not raw.coloured for v in np.unique(raw.values).tolist()}
    if IGNORE in values and values <= {0, IGNORE}:
        if len(rows) == 1:
            return [ClassRow("background", 0), replace(rows[0], value=IGNORE)]
        if len(rows) == 2:
            return [plain[0], replace(rows[1], value=IGNORE)]
    return plain


def _by_colour(
    path: Path, table: Path, rows: Sequence[ClassRow], looked: Sequence[RawMask]
) -> bool:
    """Whether the masks are read by their colours. Raises DataError where they need colours that
    the table does not give."""
    with_colours = [raw for raw in looked if raw.coloured or raw.palette is not None]
    known = {_number(row) for row in rows if row.colour is not None}
    if not known:
        if _most(looked):
            raise DataError(
                f"{path}: the masks are coloured, and {table.name} has no colours", "`name r g b`"
            )
        return False
    if _most(looked):
        return True
    if with_colours:
        seen: set[int] = set()
        for raw in with_colours:
            if raw.palette is None:
                continue
            used = np.unique(raw.values)
            seen |= set(colour_codes(raw.palette[used[used < len(raw.palette)]]).tolist())
        return bool(seen & known) and len(seen - known) * 2 < len(seen)
    # grey masks: numbers, unless the table's colours are greys that are other numbers
    greys = [row.colour[0] for row in rows if row.colour and len(set(row.colour)) == 1]
    values = {v for raw in looked for v in np.unique(raw.values).tolist()}
    return len(greys) == len(rows) and values <= set(greys)


def _most(looked: Sequence[RawMask]) -> bool:
    """Whether most masks are coloured; the others are then named when they are verified."""
    return sum(raw.coloured for raw in looked) * 2 > len(looked)


def _number(row: ClassRow) -> int:
    assert row.colour is not None
    return (row.colour[0] << 16) + (row.colour[1] << 8) + row.colour[2]


def numbered(
    path: Path, rows: Sequence[ClassRow], ignore: str
) -> tuple[tuple[str, ...], NDArray[np.uint8], list[int]]:
    """Classes without the ignored ones; the class index of each row, 255 = ignored; and the places
    of the rows that are ignored. Raises DataError for too few or too many classes."""
    gone = sorted(ignored_rows(rows, ignore))
    kept = [i for i in range(len(rows)) if i not in gone]
    classes = tuple(rows[i].name for i in kept)
    if len(classes) < 2:
        raise DataError(
            f"{path}: one class only ({', '.join(classes)})", "there must be two to tell apart"
        )
    if len(classes) > MOST_CLASSES:
        raise DataError(f"{path}: {len(classes)} classes; masks hold {MOST_CLASSES} at most")
    labels = np.full(len(rows), IGNORE, np.uint8)
    labels[kept] = np.arange(len(kept))
    return classes, labels, gone


def code_of(
    path: Path,
    rows: Sequence[ClassRow],
    values: Sequence[int],
    by: Literal["value", "colour"],
    where: str,
    ignore: str,
    void: Sequence[int] = (),
) -> tuple[tuple[str, ...], MaskCode, list[str]]:
    """Classes without the ignored ones, the code that leads to them, and lines that say so.

    Args:
        values: number or colour of each row; void: more values that are of no class.
    """
    if by == "value":
        rows = [replace(row, value=value) for row, value in zip(rows, values, strict=True)]
    classes, numbers, gone = numbered(path, rows, ignore)
    labels = dict(zip(values, numbers.tolist(), strict=True))
    said = "data.ignore" if ignore else "by name"
    told = [
        f"{rows[i].name} ({said})" if by == "colour" or str(values[i]) == rows[i].name
        else f"{values[i]} {rows[i].name} ({said})"
        for i in gone
    ]  # fmt: skip
    others = [v for v in (*void, IGNORE) if by == "value" and v not in labels]
    labels |= dict.fromkeys(others, IGNORE)
    told += [", ".join(map(str, dict.fromkeys(others)))] if others else []
    what = "colours" if by == "colour" else "values"
    return classes, make_code(by, labels), [
        f"{where}; {len(classes)} classes by the masks' {what}",
        f"ignored: {', '.join(told) or 'nothing'}",
    ]  # fmt: skip
