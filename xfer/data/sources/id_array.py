"""Names of very many samples in one array of bytes instead of a million Python strings.

A list of 1,281,167 ids takes 120 MB and half a second to make; here they are stored end to end, in
memory or in a mapped file, and a string is made only when it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError


class Names(Sequence[str]):
    """A sequence of names.

    text | uint8 (bytes,): the names in UTF-8, end to end
    ends | int64 (N,): where each of them ends
    """

    def __init__(self, text: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        self.text, self.ends = text, ends

    @classmethod
    def of(cls, names: Sequence[str]) -> Names:
        """Make it from a sequence of strings."""
        coded = [name.encode("utf-8") for name in names]
        ends = np.cumsum([len(c) for c in coded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(coded), np.uint8), ends)

    @classmethod
    def join(cls, parts: Sequence[Names]) -> Names:
        """The names of all parts, in order."""
        sizes = np.cumsum([0, *(len(part.text) for part in parts)])
        ends = [part.ends + start for part, start in zip(parts, sizes[:-1], strict=True)]
        none = np.zeros(0, np.int64)
        return cls(np.concatenate([none.astype(np.uint8), *(part.text for part in parts)]),
                   np.concatenate([none, *ends]))  # fmt: skip

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> Chosen: ...
    def __getitem__(self, i: int | slice) -> str | Chosen:
        if isinstance(i, slice):
            return Chosen(self, np.arange(len(self))[i])
        place = range(len(self))[i]
        start = int(self.ends[place - 1]) if place else 0
        return _decoded(self.text[start : int(self.ends[place])].tobytes())

    def __iter__(self) -> Iterator[str]:
        start = 0
        for first in range(0, len(self), 4096):  # one access to the array for many names
            ends = self.ends[first : first + 4096].tolist()
            block = self.text[start : ends[-1]].tobytes()
            offset = start
            for end in ends:
                yield _decoded(block[start - offset : end - offset])
                start = end


def _decoded(name: bytes) -> str:
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        raise DataError(
            f"the name {name[:40]!r} in a stored index is damaged",
            "xfer data cache --clear makes it anew, `xfer data pack` a pack",
        ) from None


class Chosen(Sequence[str]):
    """Some names of a longer list, in a given order, made only when they are needed.

    names  | the list; indices | int64 (N,), places in it
    """

    def __init__(self, names: Sequence[str], indices: NDArray[np.int64]) -> None:
        self.names, self.indices = names, indices

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> Chosen: ...
    def __getitem__(self, i: int | slice) -> str | Chosen:
        if isinstance(i, slice):
            return Chosen(self.names, self.indices[i])
        return self.names[int(self.indices[i])]


def choose(names: Sequence[str], indices: NDArray[np.int64]) -> Sequence[str]:
    """The names at these indices: a tuple, or a view if they are stored in arrays."""
    if isinstance(names, Chosen):
        return Chosen(names.names, names.indices[indices])
    if isinstance(names, Names):
        return Chosen(names, indices)
    chosen = [str(names[i]) for i in indices.tolist()]
    return tuple(chosen)
