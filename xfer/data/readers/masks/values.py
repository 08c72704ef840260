"""What the values of a set's masks mean: from its class table, or from the masks themselves."""

from __future__ import annotations

import os
import re
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
from xfer.data.readers.masks.class_table import ClassRow, ignored_rows, is_ignored
from xfer.data.readers.masks.palettes import check_palettes
from xfer.data.sources.mask_codes import MaskCode, colour_codes, make_code
from xfer.errors import DataError
from xfer.types import IGNORE

MAX_SAMPLED = 32
MAX_CLASSES = 254
BACKGROUND = "background"
BACKGROUNDS = frozenset((BACKGROUND, "bg", "back", "backgrounds", "backgroundclass"))
TABLE = "add classes.txt next to the folders: a name per line, or `name r g b`"


def meaning(
    path: Path,
    masks: Sequence[Path],
    class_table: tuple[Path, list[ClassRow]] | None,
    ignore: str = "",
) -> tuple[tuple[str, ...], MaskCode, list[str]]:
    """The classes, what the masks' values mean, and lines that describe both.

    Args:
        path: the set; masks: its mask files; class_table: see `find_table`; ignore: the classes
            that the user wants to ignore, see `ignored_rows`.

    Raises: DataError if the masks and the table don't fit each other.
    """
    some = evenly(masks)
    seen = [(f, raw) for f, raw in zip(some, look(some), strict=True) if raw is not None]
    looked = [raw for _, raw in seen]
    notes: list[str] = []
    if class_table is None:
        if masks and not looked:  # with a table, verifying reports them all
            try:
                read_mask_file(masks[0])
            except DecodeError as error:
                raise DataError(f"{path}: no mask can be read: {error.message}") from None
        coloured = [raw for raw in looked if raw.coloured]
        if _mostly_coloured(looked):
            colours = np.unique(coloured[0].values.reshape(-1, 3), axis=0)
            first = ", ".join(str(tuple(c)) for c in colours[:3].tolist())
            raise DataError(
                f"{path}: the masks are coloured ({len(colours)} colours in one, such as {first}), "
                "but no table says what the colours mean",
                TABLE,
            )
        pixels, numbers = _all_values(masks)
        if _numbers_objects(numbers) and not ignore:
            return _objects(max(numbers))
        check_palettes(path, seen)
        rows = _named_by_value(path, pixels, ignore)
        where = "no class table: the classes are the values in the masks"
    else:
        table, rows = class_table
        where = f"classes from {readable(os.path.relpath(table, path))}"
        if _by_colour(path, table, rows, looked):
            return code_of(path, rows, [_number(row) for row in rows], "colour", where, ignore)
        if any(row.value is None for row in rows):
            check_palettes(path, seen)
        rows, line = _with_values(table, rows, looked, masks)
        notes += [line] if line else []
    values = [row.value if row.value is not None else -1 for row in rows]
    classes, code, lines = code_of(path, rows, values, "value", where, ignore)
    return classes, code, [*notes, *lines]


def evenly(masks: Sequence[Path]) -> list[Path]:
    """A few of the masks, evenly chosen."""
    places = np.linspace(0, len(masks) - 1, min(MAX_SAMPLED, len(masks))).astype(int)
    return [masks[i] for i in np.unique(places).tolist()]


def look(masks: Sequence[Path]) -> list[RawMask | None]:
    """The masks; None for those that can't be read, which verifying reports."""

    def one(path: Path) -> RawMask | None:
        try:
            return read_mask_file(path)
        except DecodeError:
            return None

    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(one, masks))


def _all_values(masks: Sequence[Path]) -> tuple[dict[int, int], list[int]]:
    """Every number in any mask, rising, with its number of pixels; and for each mask n if its
    values are 1 to n, with or without 0, else -1. Coloured masks are left to verifying.
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
    """Whether masks without a table number their objects, as in Penn-Fudan: in each the values are
    1 to n, and n varies and is too large for nested parts (liver, tumour)."""
    return len(numbers) >= 8 and min(numbers) >= 0 and max(numbers) >= 4 and len(set(numbers)) >= 3


def _objects(largest: int) -> tuple[tuple[str, ...], MaskCode, list[str]]:
    """Background and object, whatever the number of an object."""
    code = make_code("value", {v: int(v > 0) for v in range(largest + 1)})
    return ("background", "object"), code, [
        "no class table: in each mask the values are 1 to n, like object numbers: read as two "
        f"classes, background and object; if they are classes: {TABLE}",
        "ignored: nothing",
    ]  # fmt: skip


def _named_by_value(path: Path, pixels: Mapping[int, int], ignore: str) -> list[ClassRow]:
    """Classes of masks without a table; `pixels` is the number of pixels of each value."""
    if set(pixels) == {0, IGNORE}:
        return [ClassRow("background", 0), ClassRow("foreground", IGNORE)]
    named = [v for v in pixels if v != IGNORE]
    if len(named) > MAX_CLASSES or (named and named[-1] > IGNORE):
        raise DataError(
            f"{path}: the masks hold {len(named)} different values, up to {named[-1]}: these are "
            "not classes (numbered objects, or blurred edges?)",
            f"a class is one of 0 to {MAX_CLASSES}; or {TABLE}",
        )
    if len(named) < 2:
        raise DataError(
            f"{path}: all masks hold {named[0] if named else 'nothing to learn'}",
            "there must be at least two classes",
        )
    if not ignore and IGNORE in pixels and named[-1] >= 100:
        # classes are numbered from 0; black, white and the greys between suggest blurred edges
        often = max(pixels[v] for v in named if v)
        if pixels[IGNORE] > often or 2 * len(named) < named[-1]:
            listed = ", ".join(map(str, named[:5])) + (" ..." if len(named) > 5 else "")
            raise DataError(
                f"{path}: the masks hold {listed} and 255: is 255 a class (and are the others "
                "blurred edges?), or to be ignored?",
                f"{TABLE}, or `value name`; data.ignore=255 ignores it",
            )
    return [ClassRow(str(v), v) for v in named]


def _with_values(
    table: Path, rows: list[ClassRow], looked: Sequence[RawMask], masks: Sequence[Path]
) -> tuple[list[ClassRow], str]:
    """The rows with their values: those of the table, else their positions in it; and a line.

    Many tables leave out the background. It is added where the masks hold one value more than there
    are names, 0 among them; where they hold 1 to n, names are numbered from 1.
    """
    if all(row.value is not None for row in rows):
        return rows, ""
    plain = [replace(row, value=i) for i, row in enumerate(rows)]
    values = {v for raw in looked if not raw.coloured for v in np.unique(raw.values).tolist()}
    if IGNORE in values and values <= {0, IGNORE}:
        if len(rows) == 1:
            return [ClassRow(BACKGROUND, 0), replace(rows[0], value=IGNORE)], ""
        if len(rows) == 2:
            return [plain[0], replace(rows[1], value=IGNORE)], ""
    count = len(rows)
    own = values - {IGNORE}
    first = re.sub("[^a-z]", "", rows[0].name.casefold())
    if first in BACKGROUNDS or is_ignored(rows[0].name):
        if count == 2 and len(own) == 2 and min(own) == 0:
            return [plain[0], replace(rows[1], value=max(own))], ""
        return plain, ""
    if own and max(own) < count - 1 and len(masks) > len(looked):
        own = _all_values(masks)[0].keys() - {IGNORE}  # few masks may lack the last classes
    if own == {0, max(own, default=0)} and count == 1:
        return [ClassRow(BACKGROUND, 0), replace(rows[0], value=max(own))], ""
    if not own or max(own) != count:
        return plain, ""
    numbered_rows = [replace(row, value=i) for i, row in enumerate(rows, 1)]
    if 0 not in own:
        return numbered_rows, f"{table.name}: the masks hold no 0, so its names are numbered from 1"
    return [ClassRow(BACKGROUND, 0), *numbered_rows], (
        f"warning: {table.name} names {count} classes, the masks hold 0 to {count}: 0 is read as "
        f"{BACKGROUND}; data.ignore=0 leaves its pixels out"
    )


def _by_colour(
    path: Path, table: Path, rows: Sequence[ClassRow], looked: Sequence[RawMask]
) -> bool:
    """Whether the masks are read by their colours. Raises DataError if they need colours that the
    table does not give."""
    with_colours = [raw for raw in looked if raw.coloured or raw.palette is not None]
    known = {_number(row) for row in rows if row.colour is not None}
    if not known:
        if _mostly_coloured(looked):
            raise DataError(
                f"{path}: the masks are coloured, but {table.name} has no colours", "`name r g b`"
            )
        return False
    if _mostly_coloured(looked):
        return True
    if with_colours:
        seen: set[int] = set()
        for raw in with_colours:
            if raw.palette is None:
                continue
            used = np.unique(raw.values)
            seen |= set(colour_codes(raw.palette[used[used < len(raw.palette)]]).tolist())
        return bool(seen & known) and len(seen - known) * 2 < len(seen)
    # grey masks: numbers, unless all colours of the table are greys and the masks hold these
    greys = [row.colour[0] for row in rows if row.colour and len(set(row.colour)) == 1]
    values = {v for raw in looked for v in np.unique(raw.values).tolist()}
    return len(greys) == len(rows) and values <= set(greys)


def _mostly_coloured(looked: Sequence[RawMask]) -> bool:
    """Whether most masks are coloured; verifying then reports the others."""
    return sum(raw.coloured for raw in looked) * 2 > len(looked)


def _number(row: ClassRow) -> int:
    assert row.colour is not None
    return (row.colour[0] << 16) + (row.colour[1] << 8) + row.colour[2]


def numbered(
    path: Path, rows: Sequence[ClassRow], ignore: str
) -> tuple[tuple[str, ...], NDArray[np.uint8], list[int]]:
    """Classes without the ignored ones; the class index of each row, 255 = ignored; and the indices
    of the ignored rows. Raises DataError for too few or too many classes."""
    gone = sorted(ignored_rows(rows, ignore))
    kept = [i for i in range(len(rows)) if i not in gone]
    classes = tuple(rows[i].name for i in kept)
    if len(classes) < 2:
        raise DataError(
            f"{path}: only one class ({', '.join(classes)})", "there must be at least two"
        )
    if len(classes) > MAX_CLASSES:
        raise DataError(f"{path}: {len(classes)} classes; masks hold at most {MAX_CLASSES}")
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
    """Classes without the ignored ones, the code of their values, and lines that describe both.

    Args:
        values: number or colour of each row; void: other values that have no class.
    """
    if by == "value":
        rows = [replace(row, value=value) for row, value in zip(rows, values, strict=True)]
    classes, numbers, gone = numbered(path, rows, ignore)
    labels = dict(zip(values, numbers.tolist(), strict=True))
    reason = "data.ignore" if ignore else "by name"
    ignored = [
        f"{rows[i].name} ({reason})" if by == "colour" or str(values[i]) == rows[i].name
        else f"{values[i]} {rows[i].name} ({reason})"
        for i in gone
    ]  # fmt: skip
    others = [v for v in (*void, IGNORE) if by == "value" and v not in labels]
    labels |= dict.fromkeys(others, IGNORE)
    ignored += [", ".join(map(str, dict.fromkeys(others)))] if others else []
    what = "colours" if by == "colour" else "values"
    return classes, make_code(by, labels), [
        f"{where}; {len(classes)} classes by the masks' {what}",
        f"ignored: {', '.join(ignored) or 'nothing'}",
    ]  # fmt: skip
