"""Remarks on pictures that are read but may look wrong, collected while they are looked at.

`decode` makes them; whoever checks pictures before training asks for them. Any source's pictures
are remarked on, whatever lies between: the one who asks and the decoder share a thread.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

_asked = threading.local()


@contextlib.contextmanager
def remarks() -> Iterator[list[str]]:
    """Within, the list gets a line for each thing that is odd about the pictures that this thread
    decodes: "uses only the lower 12 of its 16 bits, so it is read as almost black"."""
    before: list[str] | None = getattr(_asked, "found", None)
    found: list[str] = []
    _asked.found = found
    try:
        yield found
    finally:
        _asked.found = before


def asked() -> bool:
    """Whether anyone collects remarks in this thread; else nothing need be looked for."""
    return getattr(_asked, "found", None) is not None


def remark(line: str) -> None:
    """Adds a line on the picture that is being decoded, without its name."""
    found: list[str] | None = getattr(_asked, "found", None)
    if found is not None and line not in found:
        found.append(line)
