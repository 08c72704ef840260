"""Reads what `torch.save`, TorchScript and `pickle` wrote, without running anything in it.

Formats: torch/serialization.py (zip: data.pkl and data/KEY; before 1.6: pickles, then the numbers),
torch/_utils.py (`_rebuild_tensor_v2` and its siblings), numpy's `_reconstruct`.
"""

from __future__ import annotations

import io
import mmap
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

import torch
from torch import Tensor

from xfer.backbones.pickled import Global, Made, Saved, read_pickle
from xfer.backbones.stored import NUMBERS, Stored, from_bytes, of_oddity, shape_of
from xfer.backbones.zipped import open_zip, read_member, read_part
from xfer.errors import DataError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_START = pickle.dumps(LEGACY_MAGIC, protocol=2)
_DTYPES = {str(d)[6:]: d for d in vars(torch).values() if isinstance(d, torch.dtype)}
_STORAGES = {
    "FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32",
    "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
    "BoolStorage": "bool", "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128", "UntypedStorage": "uint8",
}  # fmt: skip
_ODD = {
    "_rebuild_sparse_tensor": "a sparse tensor", "_rebuild_sparse_csr_tensor": "a sparse tensor",
    "_rebuild_qtensor": "a quantised tensor", "_rebuild_nested_tensor": "a nested tensor",
    "_rebuild_meta_tensor_no_storage": "a tensor without numbers",
    "_rebuild_wrapper_subclass": "a tensor of a class of its own",
}  # fmt: skip

Open = Callable[[], IO[bytes]]
# key, first byte, number of bytes -> the bytes
Read = Callable[[str, int, int], bytearray]


@dataclass(frozen=True, slots=True)
class Storage:
    """A row of numbers that tensors are views of.

    start, count | in numbers, within what `read` reads
    """

    read: Read
    key: str
    dtype: torch.dtype
    count: int
    start: int = 0
    swapped: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """A saved object, and where its numbers are."""

    root: Any
    read: Read
    swapped: bool = False

    def tensor(self, node: Any) -> Stored | None:
        """The tensor that a node of the object stands for, or None.

        Raises: DataError if it stands for a tensor that can't be.
        """
        if not isinstance(node, Made) or not isinstance(node.what, Global):
            return None
        module, name, args = node.what.module, node.what.name, node.args
        if not isinstance(args, tuple):
            return None
        if module.startswith("numpy"):
            return _array(node)
        if not module.startswith("torch."):
            return None
        if name in ("_rebuild_parameter", "_rebuild_parameter_with_state", "Parameter") and args:
            return self.tensor(args[0])
        if name == "_rebuild_from_type_v2" and len(args) > 2:
            return self.tensor(Made(args[0], args[2]))
        if name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3"):
            return self._view(name, args)
        return of_oddity((), _ODD[name]) if name in _ODD else None

    def _view(self, name: str, args: tuple[Any, ...]) -> Stored:
        if len(args) < 4 or not isinstance(args[1], int) or not 0 <= args[1] < 2**48:
            raise DataError("a tensor without a place")
        storage, shape, steps = self._storage(args[0]), shape_of(args[2]), shape_of(args[3])
        if len(steps) != len(shape):
            raise DataError(f"a tensor of shape {shape} with {len(steps)} strides")
        if storage is None:
            return of_oddity(shape, "a tensor of unknown numbers")
        dtype = storage.dtype
        if name == "_rebuild_tensor_v3" and len(args) > 6 and isinstance(args[6], Global):
            dtype = _DTYPES.get(args[6].name, dtype)
        first, width = args[1] * dtype.itemsize, dtype.itemsize
        span = 0 if 0 in shape else 1 + sum((n - 1) * s for n, s in zip(shape, steps, strict=True))
        if span and first + span * width > storage.count * storage.dtype.itemsize:
            raise DataError(f"a tensor of shape {shape} goes beyond its {storage.count} numbers")
        first += storage.start * storage.dtype.itemsize

        def read() -> Tensor:
            if not span:
                return torch.empty(shape, dtype=dtype)
            data = storage.read(storage.key, first, span * width)
            return from_bytes(data, dtype, (span,), storage.swapped).as_strided(shape, steps)

        return Stored(shape, dtype, read)

    def _storage(self, node: Any) -> Storage | None:
        if isinstance(node, Made) and isinstance(node.what, Global):
            if node.what.name != "_load_from_bytes" or not isinstance(node.args, tuple):
                return None
            data = node.args[0] if node.args else None
            if not isinstance(data, bytes | bytearray):
                return None
            inner = read_torch(lambda: io.BytesIO(data))
            return inner._storage(inner.root)
        if not isinstance(node, Saved) or not isinstance(node.key, tuple) or len(node.key) < 5:
            return None
        _, kind, key, _, count = node.key[:5]
        dtype = dtype_of(kind)
        if dtype is None or not isinstance(key, str | int) or not _is_count(count):
            return None
        view = node.key[5] if len(node.key) > 5 else None
        if isinstance(view, tuple) and len(view) == 3:
            if not _is_count(view[1]) or not _is_count(view[2]) or view[1] + view[2] > count:
                raise DataError("a view beyond its storage")
            return Storage(self.read, str(key), dtype, view[2], view[1], self.swapped)
        return Storage(self.read, str(key), dtype, count, 0, self.swapped)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and 0 <= value < 2**48


def dtype_of(kind: Any) -> torch.dtype | None:
    """The numbers of a storage class that a file names."""
    if not isinstance(kind, Global) or not kind.module.startswith("torch"):
        return None
    return _DTYPES.get(_STORAGES.get(kind.name, ""))


def _array(node: Made) -> Stored | None:
    """numpy's array, whose state is (version, shape, dtype, Fortran order, bytes), or which
    pickle's fifth protocol makes of (bytes, dtype, shape, order)."""
    name = node.what.name
    if name == "_frombuffer" and len(node.args) == 4:
        raw, kind, shape, fortran = *node.args[:3], node.args[3] == "F"
    elif name == "_reconstruct" and isinstance(node.state, tuple) and len(node.state) == 5:
        _, shape, kind, fortran, raw = node.state
    else:
        return None
    if not isinstance(kind, Made) or not isinstance(kind.args, tuple) or not kind.args:
        return None
    dtype = NUMBERS.get(kind.args[0]) if isinstance(kind.args[0], str) else None
    if isinstance(raw, str):  # of Python 2
        raw = raw.encode("latin-1", "replace")
    sides = shape_of(shape)
    if dtype is None or not isinstance(raw, bytes | bytearray):
        return of_oddity(sides, "an array of something other than numbers")
    order = kind.state[1] if isinstance(kind.state, tuple) and len(kind.state) > 1 else "<"
    data = bytearray(raw)
    stored = sides[::-1] if fortran else sides

    def read() -> Tensor:
        made = from_bytes(data, dtype, stored, order == ">")
        return made.permute(tuple(reversed(range(len(sides))))) if fortran else made

    array = Stored(sides, dtype, read)
    if array.bytes != len(data):
        raise DataError(f"an array of shape {sides} with {len(data)} bytes")
    return array


def read_torch(opened: Open) -> Source:
    """The object in a file of torch.save, of either format, or in a plain pickle.

    Raises: DataError, without the file's name, if it is damaged.
    """
    with opened() as file:
        start = file.read(max(4, len(LEGACY_START)))
    if start[:4] == b"PK\x03\x04":
        return read_zip(opened)
    with opened() as file:
        mapped = _mapped(file)
        try:
            if start == LEGACY_START:
                return _read_legacy(mapped, opened)
            return Source(read_pickle(mapped), _nowhere)
        finally:
            mapped.close()


def _mapped(file: IO[bytes]) -> Any:
    """The file in memory: a read of too many bytes then allocates no more than there are."""
    if isinstance(file, io.BytesIO):
        return io.BytesIO(file.getvalue())
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _nowhere(key: str, first: int, count: int) -> bytearray:
    raise DataError("its numbers are not in the file")


def read_zip(opened: Open) -> Source:
    """The object in data.pkl of a zip archive, TorchScript's among them."""
    with open_zip(opened) as archive:
        members = {info.filename: info for info in archive.infolist()}
        main = next(n for n in members if n == "data.pkl" or n.endswith("/data.pkl"))
        folder = main[: -len("data.pkl")]
        swapped = folder + "byteorder" in members and b"big" in read_member(
            archive, folder + "byteorder", 16
        )
        root = read_pickle(io.BytesIO(read_member(archive, main)))

    def read(key: str, first: int, count: int) -> bytearray:
        info = members.get(f"{folder}data/{key}")
        if info is None:
            raise DataError(f"cut off: it lacks {folder}data/{key}")
        return read_part(opened, info, first, count)

    return Source(root, read, swapped)


def _read_legacy(file: Any, opened: Open) -> Source:
    """Before PyTorch 1.6: magic, version, machine, object and keys, then each storage's numbers."""
    _, _, machine, root, keys = (read_pickle(file) for _ in range(5))
    swapped = isinstance(machine, dict) and machine.get("little_endian") is False
    widths = _widths(root)
    at, size = file.tell(), file.seek(0, 2) or file.tell()
    places: dict[str, tuple[int, int]] = {}
    for key in keys if isinstance(keys, list) else ():
        width = widths.get(str(key)) if isinstance(key, str | int) else None
        if width is None:
            raise DataError("a storage that no tensor uses")
        file.seek(at)
        count = int.from_bytes(file.read(8), "big" if swapped else "little", signed=True)
        places[str(key)] = (at + 8, count * width)
        at += 8 + count * width
        if count < 0 or at > size:
            raise DataError(f"cut off: {max(at - size, 1)} bytes are missing")

    def read(key: str, first: int, count: int) -> bytearray:
        start, length = places.get(key, (0, -1))
        if first + count > length:
            raise DataError(f"cut off: it lacks numbers of storage {key}")
        with opened() as again:
            again.seek(start + first)
            data = bytearray(again.read(count))
        if len(data) != count:
            raise DataError("cut off since it was opened")
        return data

    return Source(root, read, swapped)


def _widths(root: Any) -> dict[str, int]:
    """Bytes per number of each storage that an object mentions."""
    widths: dict[str, int] = {}
    seen: set[int] = set()
    waiting: list[Any] = [root]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, dict | list | tuple | Made | Saved) or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, Saved):
            key = node.key
            if isinstance(key, tuple) and len(key) > 4 and isinstance(key[2], str | int):
                dtype = dtype_of(key[1])
                if dtype is not None:
                    widths[str(key[2])] = dtype.itemsize
        elif isinstance(node, dict):
            waiting.extend(node.values())
        elif isinstance(node, Made):
            waiting += [node.what, node.args, node.state, node.parts, node.items]
        else:
            waiting.extend(node)
    return widths
