"""Split the pictures of class folders by lists of their names: train.txt, val.txt, test.txt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from xfer.data.images.walk import is_junk, is_picture, listing, subfolders
from xfer.data.readers.base import Reading
from xfer.data.readers.table.found import LISTS, MOST_LISTS
from xfer.data.readers.table.records import split_lines
from xfer.data.readers.table.text import as_text
from xfer.data.sources.base import subset
from xfer.data.sources.split_names import role_of, role_word
from xfer.errors import DataError
from xfer.types import Source

# folders of lists
_NEAR = ("splits", "split", "lists", "list", "meta", "imagesets")


def split_by_lists(
    top: Path, whole: Source, reading: Reading
) -> tuple[dict[str, Source], list[Path]]:
    """The splits that lists make of a source, and the lists; none if there are no lists, or if they
    name other things. Pictures that no list names are left out and counted."""
    lists = _lists(top)
    if not lists:
        return {}, []
    places = _places(whole)
    chosen: dict[str, list[int]] = {}
    for name, (_, lines) in lists.items():
        found = [_find(line, places) for line in lines]
        lost = [line for line, at in zip(lines, found, strict=True) if at is None]
        if lost:
            if len(lost) * 2 < len(lines):
                reading.notes.append(
                    f"warning: {lists[name][0].name} is not used to split: {len(lost)} of its "
                    f"{len(lines)} lines name no picture, first {lost[0]!r}"
                )
            return {}, []
        chosen[name] = list(dict.fromkeys(at for at in found if at is not None))
    used = {at for indices in chosen.values() for at in indices}
    rest = [whole.ids[i] for i in range(len(whole)) if i not in used]
    reading.leave("picture in no list", "pictures in no list", rest)
    files = [file for file, _ in lists.values()]
    reading.notes.append(f"split by {' and '.join(f.name for f in files)}")
    parts: dict[str, Source] = {
        name: subset(whole, np.array(indices), role_of(name) or name)
        for name, indices in chosen.items()
    }
    return parts, files


def _lists(top: Path) -> dict[str, tuple[Path, list[str]]]:
    """Split -> list and its lines, for the lists of train and others near a folder's top."""
    for folder in (top, *(f for f in subfolders(top) if f.name.casefold() in _NEAR)):
        files = [Path(e.path) for e in listing(folder) if not is_junk(e.name)]
        files = [f for f in files if f.suffix.casefold() in LISTS and role_word(f.stem)]
        if not 1 < len(files) <= MOST_LISTS:
            continue
        lists = {f.stem if role_of(f.stem) else role_word(f.stem) or "": f for f in files}
        if len({role_of(name) for name in lists}) < len(files) or "train" not in map(
            role_of, lists
        ):
            continue
        lines = {name: (f, own) for name, f in lists.items() if (own := _lines(f))}
        if len(lines) == len(files):
            return lines
    return {}


def _lines(file: Path) -> list[str]:
    """What the lines of a list name, without a label after it."""
    try:
        text = as_text(file, file.read_bytes())
    except (OSError, DataError):
        return []
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    rows = split_lines(lines)
    return lines if rows is None else [row[0] for row in rows]


def _places(whole: Source) -> dict[str, int]:
    """Index of each picture by its name, with and without its ending; -1 if two share it."""
    places: dict[str, int] = {}
    for i, name in enumerate(whole.ids):
        for form in {name, _stem(name)}:
            places[form] = i if form not in places else -1
    return places


def _stem(name: str) -> str:
    return name.rpartition(".")[0] if is_picture(name) else name


def _find(line: str, places: Mapping[str, int]) -> int | None:
    """The picture that a line names, perhaps with more folders before it."""
    parts = line.replace("\\", "/").removeprefix("./").split("/")
    for k in range(len(parts) - 1):  # a name without its folder says too little
        at = places.get("/".join(parts[k:]))
        if at is not None and at >= 0:
            return at
    return None
