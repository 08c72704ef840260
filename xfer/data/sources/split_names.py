"""What splits are called in the names of folders and files: training_set is train."""

from __future__ import annotations

import re
from pathlib import Path

WHOLE = "all"

# what the splits' folders and files are called -> the role
ROLES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


# a folder called so, alone, holds the pictures of a table or of nothing: it is no class
PLAIN = frozenset(("images", "imgs", "img", "jpegs", "jpg", "pictures", "pics", "photos"))

_REST = re.compile(r"[-_ ]?((19|20)\d\d|set|data)$")


def role_of(name: str) -> str | None:
    """The role that a split's name stands for: validation is val, train2017 and training_set are
    train."""
    return ROLES.get(_REST.sub("", name.casefold()))


def role_word(name: str) -> str | None:
    """The one word of a name that is called like a split: train in train_labels; None for none, or
    for several."""
    words = [word for word in re.findall(r"[A-Za-z]+", name) if role_of(word)]
    return words[0] if len(words) == 1 else None


def is_plain(folders: list[Path]) -> bool:
    """Whether a folder's only folder is one for pictures, not a class."""
    return len(folders) == 1 and folders[0].name.casefold() in PLAIN


def split_folders(top: Path, named: tuple[str, ...], folders: list[Path]) -> list[Path]:
    """Those of a folder's folders that are splits: called so, or named by the user.

    Without a train folder and without names, only when every folder is called like a split:
    a class may be called `test`.
    """
    called = [f for f in folders if role_of(f.name)]
    given = [f for f in folders if f.name in named]
    if any(role_of(f.name) == "train" for f in called) or len(called) == len(folders):
        return [f for f in folders if f in called or f in given]
    return given
