"""MATLAB's .mat files of version 5 to 7: numbers, texts, cells and structs, and nothing that runs.

Other readers crash on damaged files, or believe the sizes that they state. Here each size is
compared with the bytes that are there, compressed data may unpack to a limited multiple of their
size, and what is not needed (sparse matrices, objects, functions) is read as None.

Source: MathWorks, "MAT-File Format" (R2019a), ch. 1.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError, whole
from xfer.files import GB, MB, bytes_of

MAX_FILE = 4 * GB
MAX_DEPTH = 32
# what a packed variable may be: deflate packs zeros a thousand times, boxes and masks seldom fifty
MAX_BASE, MAX_RATIO = 64 * MB, 50
_START = 1 << 16  # of a packed variable, for its name
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8",
            13: "u8"}  # fmt: skip
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_MATRIX, _PACKED = 14, 15
_CELL, _STRUCT, _CHAR = 1, 2, 4
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8",
            15: "u8"}  # fmt: skip
_COMPLEX = 0x800
_OLDER = "save it with -v7"


@dataclass(frozen=True)
class Cell:
    """A cell array: its shape, and its items down the columns."""

    shape: tuple[int, ...]
    items: tuple[Any, ...]


@dataclass(frozen=True)
class Struct:
    """A struct array: its shape, and of each field the values of its items, down the columns."""

    shape: tuple[int, ...]
    fields: dict[str, tuple[Any, ...]]


def read_matlab(file: Path, wanted: Collection[str]) -> dict[str, Any]:
    """The wanted variables of a .mat file that are in it, see `variables`.

    Raises: DataError, naming the file; OSError if it can't be read.
    """
    return variables(bytes_of(file, MAX_FILE), wanted, file)


def variables(data: bytes, wanted: Collection[str], name: Path | str) -> dict[str, Any]:
    """The wanted variables of a .mat file's content.

    Numbers are arrays of their own type and shape, a text of one row is a str, one of several a
    tuple of them; see `Cell` and `Struct`. None: of a kind that is not read.

    Raises: DataError, with `name`, for damage and for files of other versions.
    """
    with whole(name, "damaged"):
        return _variables(data, wanted, name)


def _variables(data: bytes, wanted: Collection[str], name: Path | str) -> dict[str, Any]:
    if data[:10] == b"MATLAB 7.3" or data[512:516] == b"\x89HDF" or data[:4] == b"\x89HDF":
        raise DataError(f"{name}: a MATLAB 7.3 file can't be read", _OLDER)
    if len(data) < 128 or data[126:128] not in (b"IM", b"MI"):
        # version 4 has no head: its first number is below 5000, in one of two orders
        older = len(data) >= 20 and 0 in data[:4]
        raise DataError(
            f"{name}: {'a MATLAB 4 file, which is not read' if older else 'no MATLAB file'}",
            _OLDER if older else None,
        )
    reader = _Reader("<" if data[126:128] == b"IM" else ">")
    found: dict[str, Any] = {}
    for kind, body in reader.elements(memoryview(data)[128:]):
        if kind == _PACKED:
            unpacked = reader.unpacked(body, wanted)
            if unpacked is None:
                continue
            kind, body = unpacked
        if kind == _MATRIX and reader.name(body) in wanted:
            found[reader.name(body)] = reader.matrix(body, 0)
    return found


class _Reader:
    """Reads the elements of a file in one order of bytes, < or >."""

    def __init__(self, order: str) -> None:
        self.order = order
        self.byteorder: Any = "little" if order == "<" else "big"

    def number(self, data: memoryview, at: int) -> int:
        return int.from_bytes(data[at : at + 4], self.byteorder)

    def elements(self, data: memoryview) -> Iterator[tuple[int, memoryview]]:
        """The type and content of each element."""
        at = 0
        while at + 8 <= len(data):
            kind, size, start = self.number(data, at), self.number(data, at + 4), at + 8
            if kind >> 16:  # a small element: its size and content are in its eight bytes
                kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
                if size > 4:
                    raise ValueError("a small element that is not small")
                at += 8
            else:
                at = start + size
                if kind != _PACKED:
                    at += -size % 8
            if start + size > len(data):
                raise ValueError(f"an element of {size:,} bytes, of which some are missing")
            yield kind, data[start : start + size]
        if any(data[at:]):
            raise ValueError("cut off")

    def unpacked(
        self, packed: memoryview, wanted: Collection[str]
    ) -> tuple[int, memoryview] | None:
        """The type and content of a packed element; None if it is not wanted."""
        unpacker = zlib.decompressobj()
        start = unpacker.decompress(packed, _START)
        view = memoryview(start)
        if len(view) < 16:
            raise ValueError("cut off")
        kind, size = self.number(view, 0), self.number(view, 4)
        if kind != _MATRIX or self.name(view[8:]) not in wanted:
            return None
        if size > MAX_BASE + MAX_RATIO * len(packed):
            raise ValueError(f"{size:,} bytes packed in {len(packed):,}")
        rest = max(0, size + 8 - len(start))
        data = start + (unpacker.decompress(unpacker.unconsumed_tail, rest) if rest else b"")
        if len(data) < size + 8:
            raise ValueError("cut off")
        return kind, memoryview(data)[8 : size + 8]

    def name(self, body: memoryview) -> str:
        """The name of a matrix, by its first elements."""
        parts = self.elements(body[: 1 << 12] if len(body) > 1 << 12 else body)
        try:
            _, _, (_, name) = next(parts), next(parts), next(parts)
        except StopIteration:
            return ""
        return bytes(name).decode("latin-1")

    def matrix(self, body: memoryview, depth: int) -> Any:
        """The value of a matrix element."""
        if not len(body):
            return np.zeros((0, 0))
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH}")
        parts = self.elements(body)
        flags, dims = self.part(parts), self.part(parts)
        self.part(parts)  # the name
        kind = self.number(flags[1], 0) & 0xFF
        shape = tuple(self.numbers(*dims).tolist())
        if len(shape) < 2 or len(shape) > 32 or min(shape) < 0:
            raise ValueError(f"a matrix of shape {shape}")
        count = math.prod(shape)
        if kind == _CHAR:
            return self.text(*self.part(parts), shape)
        if kind in _CLASSES:
            values = self.numbers(*self.part(parts))
            if self.number(flags[1], 0) & _COMPLEX:
                return None
            if len(values) != count:
                raise ValueError(f"{len(values):,} numbers for a shape of {shape}")
            return values.astype(_CLASSES[kind]).reshape(shape, order="F")
        if kind == _CELL:
            return Cell(shape, self.matrices(parts, count, len(body), depth))
        if kind == _STRUCT:
            return self.struct(parts, shape, len(body), depth)
        return None

    def part(self, parts: Iterator[tuple[int, memoryview]]) -> tuple[int, memoryview]:
        for one in parts:
            return one
        raise ValueError("cut off")

    def matrices(
        self, parts: Iterator[tuple[int, memoryview]], count: int, size: int, depth: int
    ) -> tuple[Any, ...]:
        """The values of `count` matrices that lie in `size` bytes."""
        if count > size // 8:  # each takes eight bytes or more
            raise ValueError(f"{count:,} items in {size:,} bytes")
        values: list[Any] = []
        for _ in range(count):
            kind, body = self.part(parts)
            values.append(self.matrix(body, depth + 1) if kind == _MATRIX else None)
        return tuple(values)

    def struct(
        self, parts: Iterator[tuple[int, memoryview]], shape: tuple[int, ...], size: int, depth: int
    ) -> Struct:
        length = int(self.numbers(*self.part(parts))[0])
        joined = bytes(self.part(parts)[1])
        if length < 1 or len(joined) % length:
            raise ValueError("names of fields that do not fit")
        names = [joined[k : k + length].split(b"\0")[0].decode("latin-1")
                 for k in range(0, len(joined), length)]  # fmt: skip
        items = self.matrices(parts, math.prod(shape) * len(names), size, depth)
        return Struct(shape, {name: items[k :: len(names)] for k, name in enumerate(names)})

    def numbers(self, kind: int, body: memoryview) -> NDArray[Any]:
        if kind not in _NUMBERS:
            raise ValueError(f"numbers of type {kind}")
        return np.frombuffer(body, self.order + _NUMBERS[kind])

    def text(self, kind: int, body: memoryview, shape: tuple[int, ...]) -> str | tuple[str, ...]:
        if kind not in _TEXTS:
            raise ValueError(f"text of type {kind}")
        ending = ("-le" if self.order == "<" else "-be") if kind in (4, 17, 18) else ""
        text = bytes(body).decode(_TEXTS[kind] + ending, "replace")
        rows = shape[0]
        if rows == 1:
            return text
        if len(text) != math.prod(shape) or rows > max(1, len(text)):  # 0 letters in each of 1e9
            raise ValueError(f"{len(text):,} characters for a shape of {shape}")
        return tuple(text[k::rows] for k in range(rows))
