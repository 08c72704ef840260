"""Reads .caffemodel files: only the parts of protobuf's wire format that weights need.

Field numbers: BVLC/caffe, src/caffe/proto/caffe.proto. The file is memory-mapped; floats are
copied out of it once. Solver states, mean files and text protobufs are not read.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
# NetParameter: new layers and V1 layers
_LAYER, _V1_LAYER = 100, 2


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer with its weights.

    name  | as in the prototxt
    blobs | float32 arrays: weights, then bias; old files pad shapes with leading ones to 4-D
    """

    name: str
    blobs: list[NDArray[np.float32]]


def read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """An unsigned integer of at most 64 bits, and the position after it."""
    value = shift = 0
    while True:
        if at >= len(data):
            raise DataError("cut off inside a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), at
        shift += 7
        if shift >= 70:
            raise DataError("a number of more than 64 bits")


def fields(data: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """(field number, wire type, value) of a message; fixed-width and nested values as bytes.

    Raises: DataError if the bytes are no protobuf message.
    """
    at = 0
    while at < len(data):
        key, at = read_varint(data, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise DataError("field number 0")
        if wire == VARINT:
            value, at = read_varint(data, at)
            yield number, wire, value
            continue
        if wire == BYTES:
            length, at = read_varint(data, at)
        elif wire in (FIXED32, FIXED64):
            length = 4 if wire == FIXED32 else 8
        else:
            raise DataError(f"wire type {wire}")
        if at + length > len(data):
            raise DataError(f"cut off: {at + length - len(data)} bytes are missing")
        yield number, wire, data[at : at + length]
        at += length


def _text(value: int | memoryview) -> str:
    if isinstance(value, int):
        raise DataError("a name that is a number")
    return bytes(value).decode("utf-8", "replace")


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise DataError("a message that is a number")
    return value


def _shape(data: memoryview) -> list[int]:
    """BlobShape: repeated int64 dim = 1, packed or not."""
    dims: list[int] = []
    for number, _, value in fields(data):
        if number != 1:
            continue
        if isinstance(value, int):
            dims.append(value)
            continue
        at = 0
        while at < len(value):
            dim, at = read_varint(value, at)
            dims.append(dim)
    return dims


def _floats(values: NDArray[np.floating]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # doubles beyond float32 become infinite
        return values.astype(np.float32)


def _blob(data: memoryview) -> NDArray[np.float32]:
    """BlobProto -> an array that owns its memory."""
    old = {1: 1, 2: 1, 3: 1, 4: 1}
    shape: list[int] | None = None
    packed: list[NDArray[np.float32]] = []
    single: list[float] = []
    for number, wire, value in fields(data):
        if number in old and isinstance(value, int):
            old[number] = value
        elif number == 7:
            shape = _shape(_message(value))
        elif number in (5, 8):
            body = _message(value)
            width = 4 if number == 5 else 8
            if wire != BYTES:
                single.append(struct.unpack("<f" if wire == FIXED32 else "<d", body)[0])
            elif len(body) % width:
                raise DataError(f"{len(body)} bytes of {width}-byte numbers")
            else:
                kind = np.dtype("<f4" if width == 4 else "<f8")
                packed.append(_floats(np.frombuffer(body, kind)))
    if single:
        packed.append(_floats(np.asarray(single)))
    values = packed[0] if len(packed) == 1 else np.concatenate([np.empty(0, np.float32), *packed])
    dims = shape if shape is not None else [old[i] for i in (1, 2, 3, 4)]
    count = 1
    for dim in dims:
        count *= dim
    if count != values.size or not count:
        raise DataError(f"a blob of shape {dims} with {values.size} numbers")
    return values.reshape(dims)


def _layer(data: memoryview, v1: bool) -> Layer:
    name_field, blobs_field = (4, 6) if v1 else (1, 7)
    name, blobs = "", list[NDArray[np.float32]]()
    for number, wire, value in fields(data):
        if number == name_field and wire == BYTES:
            name = _text(value)
        elif number == blobs_field and wire == BYTES:
            blobs.append(_blob(_message(value)))
        elif v1 and number == 1 and wire == BYTES and not name and not blobs:
            old = _v0(_message(value))
            name, blobs = old.name, old.blobs
    return Layer(name, blobs)


def _v0(data: memoryview) -> Layer:
    """V0LayerParameter: name 1, blobs 50."""
    name, blobs = "", list[NDArray[np.float32]]()
    for number, wire, value in fields(data):
        if number == 1 and wire == BYTES:
            name = _text(value)
        elif number == 50 and wire == BYTES:
            blobs.append(_blob(_message(value)))
    return Layer(name, blobs)


def parse(data: memoryview) -> list[Layer]:
    """Layers that have weights, in file order. Raises DataError if `data` is no NetParameter."""
    layers: list[Layer] = []
    for number, wire, value in fields(data):
        if wire == BYTES and number in (_LAYER, _V1_LAYER):
            layer = _layer(_message(value), v1=number == _V1_LAYER)
            if layer.blobs:
                layers.append(layer)
    return layers


def looks_like_caffe(start: bytes) -> bool:
    """Whether a file's first bytes are those of a net: its name, or a layer."""
    if start[:1] == b"\x0a" and len(start) > 1:
        name = start[2 : 2 + start[1]]
        return start[1] < 0x80 and all(32 <= byte < 127 for byte in name)
    return start[:1] == b"\x12" or start[:2] == b"\xa2\x06"


def read_caffemodel(path: Path) -> dict[str, NDArray[np.float32]]:
    """Weights of a .caffemodel: "conv1.weight", "conv1.bias", ...

    Raises: DataError, naming the file, if it is empty, cut off or no caffemodel with weights.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            view = memoryview(data)
            try:
                layers = parse(view)
            finally:
                view.release()
    except (DataError, ValueError, BufferError, MemoryError) as error:
        why = error.message if isinstance(error, DataError) else str(error)
        raise DataError(
            f"{path}: not a readable caffemodel ({why})", "download or copy the file again"
        ) from None
    if not layers:
        raise DataError(f"{path}: no layer with weights in this caffemodel")
    weights: dict[str, NDArray[np.float32]] = {}
    for layer in layers:
        for index, blob in enumerate(layer.blobs):
            part = ("weight", "bias")[index] if index < 2 else f"blob{index}"
            weights[f"{layer.name}.{part}"] = blob
    return weights
