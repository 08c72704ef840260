"""Which entry of a proposals file is which picture."""

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

    A picture is found by what a COCO json calls it, by its id, by its file's name, by the name
    without its ending, or by the number at the end of that (COCO_val2014_000000000042 is 42): the
    first of these that one entry and one picture alone have.

    Args:
        names: of the entries, as the file has them; path: the file, for messages.
        coco: the names may be a COCO json's: these are tried first.

    Raises: DataError for pictures without an entry; the first ones are named.
    """
    own = image_ids(source) if coco else None
    place = dict[int, int]()
    if own is not None:
        _add(place, map(str, own), map(str, names))
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
    """Adds the pictures that are not found yet and whose key one picture and one entry have."""
    where = _alone(entries)
    for key, picture in _alone(pictures).items():
        if key in where:
            place.setdefault(picture, where[key])


def _alone(keys: Iterable[Key]) -> dict[Key, int]:
    """Key -> place, of the keys that occur once."""
    found: dict[Key, int] = {}
    twice: set[Key] = {None}
    for i, key in enumerate(keys):
        if key in found:
            twice.add(key)
        found[key] = i
    return {key: i for key, i in found.items() if key not in twice}


def _name(name: int | str) -> Key:
    return PurePosixPath(str(name).replace("\\", "/")).name


def _stem(name: int | str) -> Key:
    text = str(_name(name))
    # a folder with dots or an id without an ending keeps them: only a short ending of letters goes
    return re.sub(r"\.[A-Za-z][A-Za-z0-9]{1,4}$", "", text)


def _number(name: int | str) -> Key:
    digits = re.search(r"\d+$", str(_stem(name)))
    return int(digits[0]) if digits and len(digits[0]) < 19 else None
