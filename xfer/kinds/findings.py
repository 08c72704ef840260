"""What is odd in data: a line for people, and the pictures that it is about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from xfer.errors import listed

Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class Finding:
    """One thing that is odd in data.

    check | its name, a word for programs: copy, two_labels, empty_class, ...
    text  | a line for people, which counts and names
    items | ids of the pictures that it is about, those that belong together in one tuple
    head  | the line without its names, for a list of all below it; empty: the whole text
    lines | the items in that list, for people; empty: their ids
    boxes | of each item, the boxes that it is about, in pixels of the picture
    """

    check: str
    text: str
    items: tuple[tuple[str, ...], ...] = ()
    head: str = ""
    lines: tuple[str, ...] = ()
    boxes: tuple[tuple[Corners, ...], ...] = ()


def finding(
    check: str,
    head: str,
    items: Iterable[Sequence[str]],
    lines: Iterable[str] = (),
    boxes: Iterable[Sequence[Corners]] = (),
    most: int = 4,
) -> Finding:
    """A finding whose text names the first `most` items after its head."""
    items = tuple(tuple(item) for item in items)
    lines = tuple(lines) or tuple(map(_together, items))
    about = tuple(tuple(some) for some in boxes)
    return Finding(check, f"{head}: {listed(lines, most)}", items, head, lines, about)


def counted(n: int, one: str, many: str = "") -> str:
    """ "1 picture", "2 pictures"."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def named(names: Iterable[str], most: int = 5) -> str:
    """The first few of some names, each once, and how many more there are."""
    return listed(list(dict.fromkeys(names)), most)


def _together(item: Sequence[str]) -> str:
    """The pictures of an item in a line: the first few, and how many more."""
    names = list(dict.fromkeys(item))
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return " = ".join(names[:4]) + more
