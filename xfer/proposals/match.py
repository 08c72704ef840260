"""Matches the entries of a proposals file to pictures.

Ids are unique in a split alone: train and val may both have a 000.jpg. So a file of ours also names
each picture by its place in the data (`names_of`), and names with folders in them are compared with
where the pictures lie.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from xfer.data.images.walk import readable
from xfer.data.sources.base import path_of
from xfer.data.sources.boxes import image_ids
from xfer.errors import DataError
from xfer.proposals.files import FileBoxes
from xfer.types import Source

NAMED = 3

Key = int | str | None


def names_of(sources: Sequence[Source], parts: Iterable[Source]) -> tuple[list[str], str]:
    """Names that tell the pictures of several sources apart, and the folder they are relative to.

    A picture that is a file of its own is named by its path below the folder that all pictures of
    the data have in common, another one by its split and its id. The folder is "" if there are no
    such files.

    Args: parts: all the splits of the data, of which the sources may be some.
    """
    every = (_path(part, i) for part in parts for i in range(len(part)))
    folders = {path.rpartition("/")[0] or "/" for path in every if path}
    root = os.path.commonpath(folders) if folders else ""
    names: list[str] = []
    for source in sources:
        paths = [_path(source, i) for i in range(len(source))]
        both = zip(paths, _split_names(source), strict=True)
        names += [_relative(path, root) or name for path, name in both]
    return names, root


def match_entries(file: FileBoxes, source: Source, path: str) -> list[int]:
    """The entry of each picture of a source.

    A picture is matched by its id in a COCO json, by where it lies, by its id, by its file's name,
    by the name without extension, or by the number at the end of that (COCO_val2014_000000000042 is
    42): the first of these that exactly one entry and one picture have. An entry for another file
    of the same folder is for no picture but that one, whatever their ids are.

    Args: path: of the proposals file, for messages.

    Raises: DataError for pictures without an entry, or with several; the message names the first
        ones.
    """
    coco_ids = image_ids(source) if file.coco else None
    place = dict[int, int]()
    if coco_ids is not None:
        _add(place, map(str, coco_ids), map(str, file.ids))
    strangers = set[int]()
    if file.names:
        strangers = _add_by_place(place, source, file.names, file.root)
    else:
        _add(place, source.ids, map(str, file.ids))
        names = [name if "/" in name else "" for name in map(str, file.ids)]
        _add_by_place(place, source, names, "")
        _add_by_place(place, source, [*map(_bare, names)], "", _bare)
    for form in _FORMS:
        keys = [None if i in strangers else form(name) for i, name in enumerate(source.ids)]
        _add(place, keys, map(form, file.ids))
    lacking = [i for i in range(len(source)) if i not in place]
    if lacking:
        raise _refusal(file, source, path, lacking, strangers)
    return [place[i] for i in range(len(source))]


def _refusal(
    file: FileBoxes, source: Source, path: str, lacking: list[int], strangers: set[int]
) -> DataError:
    """What is wrong with the pictures that are not matched: no entry, or which one is not clear."""
    unclear: list[int] = []
    for form in (str, _name, _stem):
        entries = Counter(map(form, file.ids))
        pictures = Counter(map(form, source.ids))
        unclear += [
            i for i in lacking
            if i not in strangers and (key := form(source.ids[i])) in entries
            and (entries[key] > 1 or pictures[key] > 1)
        ]  # fmt: skip
    of = f"{len(set(unclear) or lacking)} of {len(source)} pictures"
    if unclear:
        shown = _listed([source.ids[i] for i in sorted(set(unclear))])
        return DataError(
            f"{path}: which boxes are for {of} is not clear, since several have the same name: "
            f"{shown}",
            "name pictures by their paths (train/1.jpg), or make a file for each split: "
            "`xfer data proposals -o FILE.npz` tells them apart",
        )
    known = file.names or file.ids
    return DataError(
        f"{path}: no boxes for {of}: {_listed([source.ids[i] for i in lacking])}",
        f"it has {len(known)} pictures{': ' * bool(known)}{_listed(known)}",
    )


def _listed(names: Sequence[int | str]) -> str:
    return ", ".join(map(str, names[:NAMED])) + (", ..." if len(names) > NAMED else "")


def _add_by_place(
    place: dict[int, int],
    source: Source,
    names: Sequence[str],
    root: str,
    form: Callable[[str], str] = str,
) -> set[int]:
    """Adds pictures by their paths below one folder: `root`, or, for data that have moved, the one
    below which most names are found; and those that are no such files by split and id.

    Args: form: how the names are written: "train/1.jpg", or without the extension.

    Returns: the pictures below `root` of which no name speaks.
    """
    entries = _unique(name or None for name in names)
    paths = [form(_path(source, i)) for i in range(len(source))]
    moved = not any(_relative(path, root) for path in paths)
    if moved:
        found = Counter(folder for path in paths for folder in _roots(path, entries))
        root = found.most_common(1)[0][0] if found else ""
    known = set(names)
    strangers = set[int]()
    for i, path in enumerate(paths):
        relative = _relative(path, root)
        if relative in entries:  # a file may be listed twice
            place.setdefault(i, entries[relative])
        elif relative and relative not in known and not moved:
            strangers.add(i)
    keys = [None if i in strangers else name for i, name in enumerate(_split_names(source))]
    _add(place, keys, names)
    return strangers


def _roots(path: str, entries: Container[Key]) -> Iterator[str]:
    """The folders below which an entry names this file."""
    at = len(path)
    while (at := path.rfind("/", 0, at)) >= 0:
        if path[at + 1 :] in entries:
            yield path[:at] or "/"


def _relative(path: str, root: str) -> str:
    """The path below a folder; "" if it is not below it."""
    start = root.rstrip("/") + "/"
    return path[len(start) :] if root and path.startswith(start) else ""


def _path(source: Source, i: int) -> str:
    """The absolute path of picture i, with forward slashes; "" if it is no file of its own."""
    path = path_of(source, i)
    return "" if path is None else readable(Path(os.path.abspath(path)).as_posix())  # noqa: PTH100


def _split_names(source: Source) -> list[str]:
    """SPLIT/ID of each picture, the split as the data has it: val may be cut from train."""
    inner: Any = source
    while hasattr(inner, "source"):
        inner = inner.source
    return [f"{inner.info.split}/{name}" for name in source.ids]


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
    return _bare(str(_name(name)))


def _bare(name: str) -> str:
    # only a short extension is removed: folders and ids may contain dots
    return re.sub(r"\.[A-Za-z][A-Za-z0-9]{1,4}$", "", name)


def _number(name: int | str) -> Key:
    digits = re.search(r"\d+$", str(_stem(name)))
    return int(digits[0]) if digits and len(digits[0]) < 19 else None


_FORMS = (str, _name, _stem, _number)
