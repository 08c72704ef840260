"""Remarks on pictures that are read but may look wrong, collected while they are looked at.

`decode` makes them; whoever checks pictures before training asks for them. Any source's pictures
are remarked on, whatever lies between: the one who asks and the decoder share a thread.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

_asked = threading.local()


@dataclass(frozen=True, slots=True)
class Remark:
    """What is odd about a picture.

    check | a word for programs: few_bits, channels, pages, damaged_part
    line  | about one picture or several, without their names
    rank  | of several remarks of one check the line of the highest holds for all
    """

    check: str
    line: str
    rank: int = 0


@contextlib.contextmanager
def remarks() -> Iterator[list[Remark]]:
    """Within, the list gets what is odd about the pictures that this thread decodes."""
    before: list[Remark] | None = getattr(_asked, "found", None)
    found: list[Remark] = []
    _asked.found = found
    try:
        yield found
    finally:
        _asked.found = before


def asked() -> bool:
    """Whether anyone collects remarks in this thread; else nothing need be looked for."""
    return getattr(_asked, "found", None) is not None


def remark(check: str, line: str, rank: int = 0) -> None:
    """Remarks on the picture that is being decoded, see `Remark`."""
    found: list[Remark] | None = getattr(_asked, "found", None)
    if found is not None:
        found.append(Remark(check, line, rank))
