"""Matches the entries of a proposals file to pictures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from xfer.data.sources.boxes import image_ids
from xfer.errors import DataError
from xfer.types import Source

NAMED = 3

Key = int | str | None


def match_entries(
    names: Sequence[int | str], source: Source, path: str, coco: bool = False
) -> list[int]:
    """The entry of each picture of a source.

    A picture is matched by its id in a COCO json, by its id, by its file's name, by the name
    without extension, or by the number at the end of that (COCO_val2014_000000000042 is 42): the
    first of these that exactly one entry and one picture have.

    Args:
        names: of the entries, as in the file; path: the file, for messages.
        coco: the names may be ids of a COCO json: these are tried first.

    Raises: DataError for pictures without an entry; the message names the first ones.
    """
    coco_ids = image_ids(source) if coco else None
    place = dict[int, int]()
    if coco_ids is not None:
        _add(place, map(str, coco_ids), map(str, names))
    for form in (str, _name, _stem, _number):
        _add(place, map(form, source.ids), map(form, names))
    lacking = [source.ids[i] for i in range(len(source)) if i not in place]
    if lacking:
        shown = ", ".join(lacking[:NAMED]) + (", ..." if len(lacking) > NAMED else "")
        known = ", ".join(map(str, names[:NAMED]))
        raise DataError(
            f"{path}: no boxes for {len(lacking)} of {len(source)} pictures: {shown}",
            f"it has {len(names)} pictures{': ' * bool(known)}{known}"
            f"{', ...' if len(names) > NAMED else ''}",
        )
    return [place[i] for i in range(len(source))]


def _add(place: dict[int, int], pictures: Iterable[Key], entries: Iterable[Key]) -> None:
    """Adds pictures not yet matched whose key exactly one picture and one entry have."""
    where = _unique(entries)
    for key, picture in _unique(pictures).items():
        if key in where:
            place.setdefault(picture, where[key])


def _unique(keys: Iterable[Key]) -> dict[Key, int]:
    """Key -> index, for keys that occur once."""
    places: dict[Key, int] = {}
    twice: set[Key] = {None}
    for i, key in enumerate(keys):
        if key in places:
            twice.add(key)
        places[key] = i
    return {key: i for key, i in places.items() if key not in twice}


def _name(name: int | str) -> Key:
    return PurePosixPath(str(name).replace("\\", "/")).name


def _stem(name: int | str) -> Key:
    text = str(_name(name))
    # only a short extension is removed: folders and ids may contain dots
    return re.sub(r"\.[A-Za-z][A-Za-z0-9]{1,4}$", "", text)


def _number(name: int | str) -> Key:
    digits = re.search(r"\d+$", str(_stem(name)))
    return int(digits[0]) if digits and len(digits[0]) < 19 else None
