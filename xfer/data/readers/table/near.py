"""Where the pictures of a table are: beside it, or in a folder near it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path, PurePath

from xfer.data.images.walk import is_picture, subfolders
from xfer.data.readers.table.columns import (
    LONGEST,
    PATHS,
    Placed,
    column_named,
    find_pictures_of,
    named_beside,
    names_pictures,
)
from xfer.data.readers.table.locate import Locator
from xfer.data.readers.table.text import Table
from xfer.data.sources.split_names import WHOLE, role_of
from xfer.data.sources.written import whole_number
from xfer.errors import DataError
from xfer.files import is_file

# where a table's pictures usually are
USUAL = ("images", "train", "train_images")
LOST = "no such picture"
PROBED = 50
MOST_BESIDE = 20


def place(table: Table, name: str, wide: bool, given: str = "") -> Placed | None:
    """The column of a split's table that names pictures, and the locator that finds them; None if
    there is none.

    Args:
        wide: also search the folders next to the table if there is more than one.
        given: the column that the user named.

    Raises: DataError if two of these folders hold a picture of the same name, XferError if several
        columns name pictures.
    """
    near, *further = _locators(table.file, name, wide)
    placed = find_pictures_of(table, [near, *further], given, deep=wide)
    if placed is None or placed.deep:
        return placed
    beside = [f.name for f in subfolders(table.file.parent)]
    if placed.locator is not near:
        _once_only(placed, beside, [])
    elif wide:  # of folders that may all be meant; others, such as masks/, are not
        alike = [f for f in beside if f in USUAL or role_of(f)]
        _once_only(placed, alike, _own(table.file, name))
    return placed


def _once_only(placed: Placed, folders: Sequence[str], first: Sequence[str]) -> None:
    """Raises DataError if two folders hold a picture of the same name, unless it is in one of the
    folders that come first."""
    table = placed.table
    each = [(f, Locator(table.file, [f])) for f in folders if f not in first]
    before = Locator(table.file, first)
    for _, own in (*each, ("", before)):
        own.drop = placed.locator.drop
    for row in table.rows[:PROBED] if len(each) > 1 else ():
        cell = row[placed.column]
        holders = [f for f, own in each if own.find(cell) is not None]
        if len(holders) > 1 and before.find(cell) is None:
            raise DataError(
                f"{table.file}: {cell!r} is in {holders[0]}/ and in {holders[1]}/",
                "write the folders into the table, or give it the name of its split: train.csv",
            )


def is_beside(table: Table, path: Path) -> bool:
    """Whether the table in a folder names pictures in some of a few folders next to it."""
    beside = subfolders(path) if path.is_dir() and table.file.parent == path else []
    return 1 < len(beside) <= MOST_BESIDE and named_beside(table, beside)


def lists_folders(table: Table, path: Path) -> bool:
    """Whether the table in a folder has a row for each of the folders next to it: classes."""
    names = {f.name.casefold() for f in subfolders(path)}
    if len(names) < 2 or len(names) != len(table.rows):
        return False
    columns = zip(*table.rows, strict=True)
    return any({cell.casefold() for cell in cells} == names for cells in columns)


def _own(file: Path, name: str) -> list[str]:
    """The folders that belong to a table: its own, and those of its name."""
    own = [n for n in (file.stem, name) if n != WHOLE]
    return ["", *own, *(f"{n}_images" for n in own)]


def _locators(file: Path, name: str, wide: bool) -> list[Locator]:
    """Where a split's pictures may be: near its table, and perhaps in any folder next to it."""
    near = [*_own(file, name), USUAL[0]]
    # a picture that is missing from test/ must not be taken from train/
    if role_of(name) in (None, "train") or not any((file.parent / n).is_dir() for n in near[1:-1]):
        near += USUAL[1:]
    beside = [f.name for f in subfolders(file.parent)]
    role = role_of(name)
    further = [Locator(file, [*near, *beside], role)] if wide or len(beside) == 1 else []
    return [Locator(file, near, role), *further]


def no_pictures(table: Table, name: str, given: str) -> DataError:
    names = [k for k, h in enumerate(table.header) if h.casefold() in PATHS]
    numbers = next((h for k, h in enumerate(table.header) if _is_pixels(table.rows[0][k])), None)
    if numbers is not None and not given:
        return DataError(
            f"{table.file}: column {numbers!r} holds pictures as numbers, not their names",
            "pixels:FILE reads squares of grey values; save others as files",
        )
    locator = _locators(table.file, name, True)[-1]
    cells = [(row[k], k) for row in table.rows[:PROBED] for k in range(len(table.header))]
    unread = next((cell for cell, _ in cells if why_lost(locator, cell) != LOST), None)
    if unread is not None:
        ending = PurePath(unread).suffix
        return DataError(
            f"{table.file}: its pictures are {ending} files, which are not read ({unread!r})",
            "save them as JPEG or PNG",
        )
    column = column_named(table, given, "path")[0] if given else names[0] if names else 0
    what = f"column {given!r} names no picture that exists" if given else (
        "no column names pictures that exist"
    )  # fmt: skip
    example = table.rows[0][column]
    return DataError(
        f"{table.file}: {what} ({example!r} is not found)", f"looked in {locator.places()}"
    )


def why_lost(locator: Locator, cell: str) -> str:
    """Why the picture that a cell names is not found."""
    ending = PurePath(cell).suffix
    if not 1 < len(ending) < 12 or len(cell) > LONGEST or "\0" in cell or is_picture(cell):
        return LOST
    there = any(is_file(locator.root / folder / cell) for folder in locator.folders)
    return f"{ending} files are not read" if there else LOST


def _is_pixels(cell: str) -> bool:
    """Whether a cell holds the values of many pixels."""
    values = cell.replace(",", " ").split()
    return len(values) >= 64 and all(
        (whole_number(value) or 0) < 256 and value.isdecimal() for value in values
    )


def has_no_header(placed: Placed) -> bool:
    """Whether the first line is a row: it names a picture, and has something else in common with
    the rows."""
    table, header = placed.table, placed.table.header
    name = header[placed.column]
    if names_pictures(name) or placed.taken or placed.locator.find(name) is None:
        return False
    return any(header[k] in {row[k] for row in table.rows}
               for k in range(len(header)) if k != placed.column)  # fmt: skip


def of_pairs(table: Table, pairs: Sequence[str]) -> DataError:
    names = ", ".join(pairs)
    return DataError(
        f"{table.file}: a table of pairs of pictures ({names}), which are not labels of pictures",
        f"{shlex.quote(f'data.path={pairs[0]}')} data.label=COLUMN reads that column's pictures",
    )
