"""Split the pictures of class folders by lists of their names: train.txt, val.txt, test.txt; or by
numbers, as in CUB: images.txt has `1 a/b.jpg`, train_test_split.txt `1 0`."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from xfer.data.images.walk import is_junk, is_picture, listing, subfolders
from xfer.data.readers.base import Reading
from xfer.data.readers.table.found import LISTS, MOST_LISTS, SUFFIXES
from xfer.data.readers.table.records import split_lines
from xfer.data.readers.table.text import as_text, parse_table
from xfer.data.sources.base import subset
from xfer.data.sources.split_names import WHOLE, role_of, role_word
from xfer.errors import DataError
from xfer.files import bytes_of
from xfer.types import Source

NUMBERED = "images.txt"  # of CUB
# folders of lists
_NEAR = ("splits", "split", "lists", "list", "meta", "imagesets")


def use_lists(top: Path, reading: Reading) -> list[Path]:
    """Split the only part of a reading by lists of its pictures, if there are such lists in `top`
    or a folder of lists in it, and they name nothing else.

    Pictures that no list names are left out and counted. Returns: the lists that are used.
    """
    whole = reading.parts[WHOLE]
    near = [top, *(f for f in subfolders(top) if f.name.casefold() in _NEAR)]
    lists = next((own for folder in near if (own := _by_split(_texts(folder)))), {})
    named = {name: (file, _lines(file)) for name, file in lists.items()} or _by_number(top)
    if not named:
        return []
    places = _places(whole)
    chosen: dict[str, list[int]] = {}
    for name, (file, lines) in named.items():
        found = [_find(line, places) for line in lines]
        lost = [line for line, at in zip(lines, found, strict=True) if at is None]
        if lost or not lines:
            if len(lost) * 2 < len(lines):
                reading.notes.append(
                    f"warning: {file.name} is not used to split: {len(lost)} of its {len(lines)} "
                    f"lines name no picture, first {lost[0]!r}"
                )
            return []
        chosen[name] = list(dict.fromkeys(at for at in found if at is not None))
    used = {at for indices in chosen.values() for at in indices}
    rest = [whole.ids[i] for i in range(len(whole)) if i not in used]
    reading.leave("picture in no list", "pictures in no list", rest)
    files = list(dict.fromkeys(file for file, _ in named.values()))
    if not lists:
        files.append(top / NUMBERED)
    reading.notes.append(f"split by {' and '.join(file.name for file in files)}")
    del reading.parts[WHOLE]
    for name, indices in chosen.items():
        reading.parts[name] = subset(whole, np.array(indices), role_of(name) or name)
    return files


def splits_by_lists(top: Path) -> bool:
    """Whether there are lists in `top`, or a folder of lists in it, that may split pictures."""
    near = [top, *(f for f in subfolders(top) if f.name.casefold() in _NEAR)]
    return any(_by_split(_texts(folder)) for folder in near) or bool(_by_number(top))


def _by_number(top: Path) -> dict[str, tuple[Path, list[str]]]:
    """Split -> its file and the pictures, where one file numbers them and another says which are
    for training (CUB)."""
    numbered, split = top / NUMBERED, top / "train_test_split.txt"
    if not (numbered.is_file() and split.is_file()):
        return {}
    names = dict(row for row in _pairs(numbered) if len(row) == 2)
    flags = dict(row for row in _pairs(split) if len(row) == 2)
    if not names or set(flags) != set(names) or not set(flags.values()) <= {"0", "1"}:
        return {}
    chosen = {
        role: (split, [name for number, name in names.items() if flags[number] == flag])
        for role, flag in (("train", "1"), ("test", "0"))
    }
    return {role: own for role, own in chosen.items() if own[1]}


def _pairs(file: Path) -> list[list[str]]:
    try:
        text = as_text(file, bytes_of(file))
    except (OSError, DataError):
        return []
    return [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]


def _texts(folder: Path) -> list[Path]:
    files = [Path(e.path) for e in listing(folder) if not is_junk(e.name)]
    files = [f for f in files if f.suffix.casefold() in (*LISTS, *SUFFIXES)]
    return files if len(files) <= MOST_LISTS else []


def _by_split(files: Sequence[Path]) -> dict[str, Path]:
    """Split -> list, for a list of train and one or two others; none if two are for one split."""
    named = [(_split(f.stem), f) for f in files]
    lists = {name: file for name, file in named if name}
    roles = {role_of(name) or "train" for name in lists}
    unique = len(lists) == len([name for name, _ in named if name]) == len(roles)
    return lists if unique and "train" in roles and len(lists) > 1 else {}


def _split(stem: str) -> str:
    """The split in a list's name: train, val or test; trainval for train_val_list; "" for none."""
    if role_of(stem):
        return stem
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", stem)  # TrainImages
    words = [part.casefold() for part in parts]
    joined = "".join(word for word in words if role_of(word))
    return "trainval" if joined in ("trainval", "trainvalid") or "trainval" in words else (
        role_word(" ".join(parts)) or ""
    )  # fmt: skip


def _lines(file: Path) -> list[str]:
    """What the lines of a list name, without a label after it; of a table with one column, its
    cells."""
    try:
        text = as_text(file, bytes_of(file))
    except (OSError, DataError):
        return []
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if file.suffix.casefold() in SUFFIXES:
        with contextlib.suppress(DataError):
            table = parse_table(file, text.encode(), 1)
            return [row[0] for row in table.rows] if len(table.header) == 1 else []
        return []
    rows = split_lines(lines)
    return lines if rows is None else [row[0] for row in rows]


def _places(whole: Source) -> dict[str, int]:
    """Index of each picture by its path and by its name, with and without its ending, and without
    the folder that all are in; -1 if two share it."""
    places: dict[str, int] = {}
    tops = {path.partition("/")[0] for path in whole.ids}
    first = f"{tops.pop()}/" if len(tops) == 1 else ""
    for i, path in enumerate(whole.ids):
        name = path.rpartition("/")[2]
        below = path.removeprefix(first)
        for form in {path, _stem(path), below, _stem(below), name, _stem(name)}:
            places[form] = i if form not in places else -1
    return places


def _stem(name: str) -> str:
    return name.rpartition(".")[0] if is_picture(name) else name


def _find(line: str, places: Mapping[str, int]) -> int | None:
    """The picture that a line names, perhaps with more folders before it."""
    parts = line.replace("\\", "/").removeprefix("./").split("/")
    # of a name with folders at least one has to agree
    for k in range(max(1, len(parts) - 1)):
        at = places.get("/".join(parts[k:]))
        if at is not None and at >= 0:
            return at
    return None
