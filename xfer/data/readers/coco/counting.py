"""Ids of a COCO json that its annotations count from another number than its lists do.

Tools that write both parts by hand often count one from 0 and the other from 1. Nearly all ids then
mean the neighbour; that they are wrong shows only at one end.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xfer.data.sources.written import Id
from xfer.errors import DataError

FEWEST = 2  # images of which a count can be told


def categories_from(ids: Sequence[Id], used: set[Id | None]) -> int | None:
    """The first number of the categories as annotations count them, if that is 0 and the list's is
    1, or the other way round: all C numbers fit that count, and one of them only that."""
    count = len(ids)
    for start, listed in ((0, 1), (1, 0)):
        if list(ids) == list(range(listed, listed + count)):
            end = start if start < listed else start + count - 1
            if end in used and used <= {*range(start, start + count)}:
                return start
    return None


def images_from(
    path: Path, ids: Sequence[Id], used: set[Id | None]
) -> tuple[Sequence[Id], list[str]]:
    """The ids of the images as annotations write them, and a warning if they are one below or above
    the list's: the list has no gaps, and the annotations have all the numbers of that count.

    Raises: DataError if their numbers fit only that count but not all of it occur: they may as well
        be right, but for those of an image that was taken out of the list.
    """
    numbers = [key for key in ids if isinstance(key, int)]
    if len(numbers) < max(len(ids), FEWEST) or used <= set(numbers):
        return ids, []
    first, last = min(numbers), max(numbers)
    if last - first + 1 != len(numbers):
        return ids, []
    for step, beyond in ((-1, first - 1), (1, last + 1)):
        own = {key + step for key in numbers}
        if used == own:
            return [key + step for key in numbers], counting_note("images", first + step, first)
        if used < own and beyond in used:
            raise DataError(
                f"{path}: no image has the id {beyond}: perhaps the annotations count the images "
                f"from {first + step}, while the list counts them from {first}",
                "number both alike; or if that image is gone, take its annotations out",
            )
    return ids, []


def counting_note(what: str, start: int | None, listed: Id) -> list[str]:
    """A warning about a list that annotations count from another number."""
    if start is None:
        return []
    return [f"warning: the annotations count the {what} from {start}, the list of {what} "
            f"from {listed}: read so"]  # fmt: skip
