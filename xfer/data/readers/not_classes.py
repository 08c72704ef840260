"""Tell folders of pictures that are no classes by their names: parts of one set, its splits, all
its pictures beside something else, a copy of the whole set.

    images_part_1/  images_part_2/      parts: the labels are elsewhere
    train-jpg/  test-jpg/               splits, without class folders
    images/  export/                    the pictures, and something else
    cat/  dog/  all/cat/  all/dog/      all/ holds the others again
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from xfer.data.images.walk import has_picture, is_junk, is_picture, subfolders
from xfer.data.readers.table.found import unread_tables
from xfer.data.sources.split_names import is_trainval, role_of, role_word
from xfer.errors import XferError, listed

_PICTURES = frozenset(("images", "image", "imgs", "img", "jpegs", "jpg", "pictures"))
# words of names that, apart from their numbers, are alike: parts of one set
_PARTS = _PICTURES | {"photos", "pics"}
MOST = 200  # folders that are looked into for a copy of the others


def no_classes(folders: Sequence[Path]) -> str | None:
    """Why folders are no classes, in words; None if they may be.

    Args: folders: those in one folder, with or without pictures.
    """
    for why in (_parts, _splits, _pictures_and_more):
        if (text := why(folders)) is not None:
            return text
    return _copy(folders)


def which(path: Path, folders: Sequence[Path], why: str) -> XferError:
    """The question that is asked about such folders."""
    ways = [f"the classes: folder:{path}"]
    if unread_tables(path):
        ways.insert(0, "a table: give its file")
    named = _roles(folders)
    if "train" in named and len(named) > 1:
        flags = " ".join(f"--{role} {name}" for role, name in named.items())
        ways.insert(0, f"splits: {flags}")
    return XferError(f"{path}: {why}", "; ".join(ways))


def _parts(folders: Sequence[Path]) -> str | None:
    stems = {re.sub(r"[\d\W_]+", " ", f.name.casefold()).strip() for f in folders}
    if len(folders) < 2 or len(stems) > 1 or not _PARTS & set(stems.pop().split()):
        return None
    return f"{_names(folders)} are parts of one set by their names: are they the classes?"


def _splits(folders: Sequence[Path]) -> str | None:
    if "train" not in _roles(folders) or len(folders) < 2:
        return None
    if not all(_role(f.name) for f in folders):
        return None
    return f"are {_names(folders)} splits or classes?"


def _roles(folders: Sequence[Path]) -> dict[str, str]:
    """Role -> folder, in the order of the roles."""
    found: dict[str, str] = {}
    for folder in folders:
        found.setdefault(_role(folder.name), folder.name)
    return {role: found[role] for role in ("train", "val", "test") if role in found}


def _role(name: str) -> str:
    word = role_word(name)
    if is_trainval(name) or any(map(is_trainval, re.findall("[A-Za-z]+", name))):
        return "train"
    return role_of(word) or "" if word else ""


def _pictures_and_more(folders: Sequence[Path]) -> str | None:
    plain = [f for f in folders if f.name.casefold() in _PICTURES and has_picture(f)]
    others = [f for f in folders if f not in plain and has_picture(f)] if plain else []
    if len(plain) != 1 or not others:
        return None
    return f"are {_names([*plain, *others])} classes, or is {plain[0].name}/ all pictures?"


def _copy(folders: Sequence[Path]) -> str | None:
    if not 2 < len(folders) <= MOST:
        return None
    names = {f.name.casefold() for f in folders}
    for folder in folders:
        if _holds_picture(folder):
            continue
        inside = [f for f in subfolders(folder) if has_picture(f)]
        if len(inside) > 1 and {f.name.casefold() for f in inside} <= names - {folder.name}:
            return (
                f"{folder.name}/ holds {_names(inside)}, like the folder that it is in: is it a "
                "class, or a copy of the data?"
            )
    return None


def _holds_picture(folder: Path) -> bool:
    """Whether there is a picture directly in a folder; reads no further than the first."""
    try:
        with os.scandir(folder) as entries:
            return any(is_picture(e.name) and not is_junk(e.name) for e in entries)
    except OSError:
        return False


def _names(folders: Sequence[Path]) -> str:
    return listed([f"{f.name}/" for f in folders], 3)
