"""The class tables of a set of masks: one for all, or one in each folder, matched by names.

labelme writes label_names.txt into each picture's folder, and exports of several splits may have a
table in each, which number the classes in other ways: a number then means what its own folder's
table says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from xfer.data.images.walk import subfolders
from xfer.data.readers.masks.class_table import ClassRow, find_table, is_ignored
from xfer.data.readers.masks.values import BACKGROUNDS, meaning, numbered
from xfer.data.sources.mask_codes import MaskCode, make_code
from xfer.errors import DataError, listed
from xfer.types import IGNORE

Table = tuple[Path, list[ClassRow]]


def meanings(
    path: Path, masks: Sequence[Path], folders: Sequence[Path], ignore: str
) -> tuple[tuple[str, ...], Mapping[Path, MaskCode], list[str]]:
    """The classes, the code of each mask's folder, and lines that describe them.

    Args: path: the set; folders: those of the masks; ignore: see `ignored_rows`.

    Raises: DataError if the masks and the tables don't fit each other.
    """
    own = sorted({mask.parent for mask in masks})
    tables = _own_tables(path, own)
    if tables is None:
        above = [f for folder in folders for f in (folder, folder.parent)]
        table = find_table([path, *above, *subfolders(path)])
        classes, code, lines = meaning(path, masks, table, ignore)
        return classes, dict.fromkeys(own, code), lines
    rows = _merged(tables)
    classes, numbers, gone = numbered(path, rows, ignore)
    index = {row.name: int(number) for row, number in zip(rows, numbers, strict=True)}
    made: dict[object, MaskCode] = {}
    for _, known in tables.values():
        if (key := _key(known)) not in made:
            labels = {IGNORE: IGNORE, **{value: index[name] for name, value, _ in key}}
            made[key] = make_code("value", labels)
    codes = {folder: made[_key(known)] for folder, (_, known) in tables.items()}
    ignored = listed([rows[k].name for k in gone]) if gone else "255"
    file = next(iter(tables.values()))[0].name
    return classes, codes, [
        f"classes by name from the {file} of each folder, whose numbers differ; "
        f"{len(classes)} classes",
        f"ignored: {ignored}",
    ]  # fmt: skip


def _own_tables(path: Path, folders: Sequence[Path]) -> dict[Path, Table] | None:
    """The table in, or just above, each folder of masks; None unless they differ.

    Raises: DataError if one folder has none though those of the others differ.
    """
    found: dict[Path, Table] = {}
    for folder in folders if path not in folders else ():
        table = find_table([f for f in (folder, folder.parent) if f != path])
        if table is not None:
            found[folder] = table
    if len({_key(rows) for _, rows in found.values()}) < 2:
        return None
    bare = [folder for folder in folders if folder not in found]
    if bare:
        table = next(iter(found.values()))[0]
        raise DataError(
            f"{bare[0]}: no class table there, and those of other folders ({table}) differ",
            "add one to each folder, or one to the set, without theirs",
        )
    coloured = next((file for file, rows in found.values() if rows[0].colour is not None), None)
    if coloured is not None:
        raise DataError(
            f"{coloured} differs from the class tables of other folders",
            "put one table with all colours next to the folders, and remove theirs",
        )
    return found


def _key(rows: Sequence[ClassRow]) -> tuple[tuple[str, int, object], ...]:
    """Name, value and colour of each class."""
    return tuple(
        (row.name, k if row.value is None else row.value, row.colour) for k, row in enumerate(rows)
    )


def _merged(tables: Mapping[Path, Table]) -> list[ClassRow]:
    """The classes of all tables: the background first, the others by name."""
    names = dict.fromkeys(row.name for _, rows in tables.values() for row in rows)
    plain = {name: "".join(c for c in name.casefold() if c.isalpha()) for name in names}
    order = sorted(names, key=lambda n: (plain[n] not in BACKGROUNDS, is_ignored(n), n))
    return [ClassRow(name) for name in order]
