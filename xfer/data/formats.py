"""The contract of a data format: a module of xfer.data that registers itself.

A new format is one file here: a class with `recognise` and `load` under `@FORMATS.register(name)`.
A set that comes with xfer is a function under `@EMBEDDED.register(name)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

from xfer.data.source import Source
from xfer.registry import Registry

WHOLE = "all"

# what the splits' folders and files are called -> the role
ROLES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """What a format found.

    parts   | split name as found (train, valid, ..., or "all" when not split) -> Source; the
            | sources' classes may differ: they are matched by name afterwards
    notes   | lines for people
    skipped | (file, reason) of what was left out on request
    """

    parts: dict[str, Source]
    notes: list[str] = field(default_factory=list[str])
    skipped: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])


class Format(Protocol):
    """How data lie on disk.

    weak             | True: gives way where another format recognises the same path
    recognise(path)  | what was found, in words, or None; quick: reads no more than it must
    load(path, named, skip_bad) | Reading; raises DataError for what can't be used
                     |   named: split names that the user gave, as a help to find them
                     |   skip_bad: leave out rows and files that can't be used, and record them
    """

    weak: ClassVar[bool]

    def recognise(self, path: Path) -> str | None: ...
    def load(self, path: Path, named: tuple[str, ...] = (), skip_bad: bool = False) -> Reading: ...


# a folder called so, alone, holds the pictures of a table or of nothing: it is no class
PLAIN = frozenset(("images", "imgs", "img", "jpegs", "jpg", "pictures", "pics", "photos"))

FORMATS: Registry[type[Format]] = Registry("data format", "xfer.data")
EMBEDDED: Registry[Callable[[], Reading]] = Registry("data set", "xfer.data")


def role_of(name: str) -> str | None:
    """The role that a split's name stands for: validation is val."""
    return ROLES.get(name.casefold())


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
