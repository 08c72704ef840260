"""Recognise splits in the names of folders and files: training_set is train."""

from __future__ import annotations

import re
from pathlib import Path

WHOLE = "all"

# names of the splits' folders and files -> role
ROLES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


# a single folder with such a name just holds the pictures: it is not a class
PLAIN = frozenset(("images", "imgs", "img", "jpegs", "jpg", "pictures", "pics", "photos"))

_REST = re.compile(r"[-_ ]?((19|20)\d\d|set|data)$")


def role_of(name: str) -> str | None:
    """The role of a split by its name: validation is val, train2017 and training_set are train."""
    return ROLES.get(_REST.sub("", name.casefold()))


def is_trainval(name: str) -> bool:
    """Whether a name says that it is train and val together: trainval, train_val."""
    joined = re.sub(r"[-_ &+]", "", name.casefold())
    return _REST.sub("", joined) in ("trainval", "trainvalid")


def role_word(name: str) -> str | None:
    """The only word of a name that names a split: train in train_labels; None if there is none, or
    more than one."""
    words = [word for word in re.findall(r"[A-Za-z]+", name) if role_of(word)]
    if len(words) > 1:  # test-dev is a test split
        words = [word for word in words if word.casefold() != "dev"]
    return words[0] if len(words) == 1 else None


def is_plain(folders: list[Path]) -> bool:
    """Whether a folder's only subfolder is one for pictures, not a class."""
    return len(folders) == 1 and folders[0].name.casefold() in PLAIN


def split_folders(top: Path, named: tuple[str, ...], folders: list[Path]) -> list[Path]:
    """The subfolders that are splits: by their names, or because the user named them.

    Without a train folder, names count only if every subfolder is named like a split, since a class
    may be called `test`.
    """
    recognised = [f for f in folders if role_of(f.name) or is_trainval(f.name)]
    chosen = [f for f in folders if f.name in named]
    learnt = any(role_of(f.name) == "train" or is_trainval(f.name) for f in recognised)
    if learnt or len(recognised) == len(folders):
        return [f for f in folders if f in recognised or f in chosen]
    return chosen
