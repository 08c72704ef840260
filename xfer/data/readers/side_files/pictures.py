"""The picture of each file of annotations: by the file's own name, or by the name that it gives."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from xfer.data.images.walk import has_picture, is_junk, is_picture, listing, subfolders
from xfer.data.readers.base import Reading, ReadOptions
from xfer.data.readers.side_files.layout import Part, Sort
from xfer.data.readers.table.locate import Locator
from xfer.data.sources.box_rules import leave_out
from xfer.data.sources.split_names import role_of
from xfer.errors import DataError

NAMED = 3


def find_pictures_of(
    root: Path,
    part: Part,
    ids: list[str],
    stated: Mapping[str, str],
    sort: Sort,
    options: ReadOptions,
    reading: Reading,
) -> dict[str, Path]:
    """Id -> its picture, relative to root or absolute; adds notes to `reading`.

    Args: stated: id -> the name of the picture that its file gives, if it does.

    Raises: DataError naming missing pictures, unless they may be left out.
    """
    locator = Locator(root.absolute() / "x", [p.absolute() for p in part.pictures],
                      role_of(part.name))  # fmt: skip
    found = locator.find_all(_beside(root, part, ids))
    places = {name: place for name, place in zip(ids, found.places, strict=True) if place}
    reasons = dict(found.lost(ids))
    taken = {place: name for name, place in places.items()}
    named: list[str] = []
    other: list[str] = []
    for name, picture in stated.items():
        stem = picture.replace("\\", "/").rpartition("/")[2].rpartition(".")[0]
        if not picture or stem == name.rpartition("/")[2]:
            continue
        place = locator.find_anywhere(picture)
        if place is None or place == places.get(name):
            continue
        if name in places:
            other.append(f"{name}{sort.ending} names {picture}")
        elif place in taken:
            reasons[name] = f"it names {picture}, as {taken[place]}{sort.ending} does"
        else:
            places[name] = place
            taken[place] = name
            named.append(f"{name}{sort.ending} is of {picture}")
    if named:
        reading.notes.append(
            f"{part.name}: {len(named)} pictures by the name in their file: {_few(named)}"
        )
    if other:
        reading.notes.append(
            f"warning: {part.name}: {len(other)} annotation files name another picture than that "
            f"with their own name, which is taken: {_few(other)}"
        )
    if not places:
        where = locator.places() or ", ".join(map(str, part.pictures))
        raise DataError(f"{root}: no picture of {part.name} is there", f"looked in {where}")
    reading.notes.extend(f"{part.name}: {line}" for line in found.notes(ids)
                         if not found.reasons or named == [])  # fmt: skip
    lost = [(name, reasons[name]) for name in ids if name not in places]
    leave_out(f"{root}, {part.name}", "pictures are not there", lost, options.skip_bad,
              reading.skipped)  # fmt: skip
    return {name: places[name] for name in ids if name in places}


def _beside(root: Path, part: Part, ids: list[str]) -> list[str]:
    """The ids, those of files in several folders as paths of the pictures next to their folder:
    c1/images/0 for c1/xmls/0, if that is the only folder of pictures there."""
    folders = {name.rpartition("/")[0] for name in ids}
    if len({folder.rpartition("/")[0] for folder in folders}) < 2:
        return ids
    near: dict[str, str] = {}
    for folder in folders:
        own = part.top / folder
        beside = [f for f in subfolders(own.parent) if f != own and has_picture(f, deep=False)]
        if "/" in folder and len(beside) == 1 and not has_picture(own, deep=False):
            near[folder] = os.path.relpath(beside[0], root)
    cells: list[str] = []
    for name in ids:
        folder, _, last = name.rpartition("/")
        cells.append(f"{near[folder]}/{last}" if folder in near else name)
    return cells


def _few(texts: list[str]) -> str:
    return ", ".join(texts[:NAMED]) + (", ..." if len(texts) > NAMED else "")


def background(root: Path, part: Part, places: dict[str, Path]) -> dict[str, Path]:
    """Id -> picture, of those beside the others that have no annotation file."""
    taken: dict[str, set[str]] = {}  # text is much quicker than paths
    for place in places.values():
        folder, _, name = os.fspath(place).rpartition("/")
        taken.setdefault(folder, set()).add(name)
    known = set(part.ids)
    tops = [top.absolute() for top in (*part.pictures, root)]
    more: dict[str, Path] = {}
    for folder, names in taken.items():
        for entry in listing(root.absolute() / folder):
            if entry.name in names or is_junk(entry.name) or not is_picture(entry.name):
                continue
            place = Path(folder, entry.name)
            whole = root.absolute() / place
            top = next((top for top in tops if whole.is_relative_to(top)), whole.parent)
            name = whole.relative_to(top).with_suffix("").as_posix()
            if not {name, whole.stem} & known:  # else it has a file, which can't be used
                more[name if name not in more else str(place)] = place
    return more
