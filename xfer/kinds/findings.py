"""What is odd in data: a line for people, and the pictures that it is about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from xfer.errors import listed


@dataclass(frozen=True)
class Finding:
    """One thing that is odd in data.

    check | its name, a word for programs: copy, two_labels, empty_class, ...
    text  | a line for people, which counts and names
    items | ids of the pictures that it is about, those that belong together in one tuple; as
          | (split, id) pairs are written: "val/a.jpg" where ids are not unique over the splits
    """

    check: str
    text: str
    items: tuple[tuple[str, ...], ...] = ()


def counted(n: int, one: str, many: str = "") -> str:
    """ "1 picture", "2 pictures"."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def named(names: Iterable[str], most: int = 5) -> str:
    """The first few of some names, each once, and how many more there are."""
    return listed(list(dict.fromkeys(names)), most)
