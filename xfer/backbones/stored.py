"""A tensor that still lies in its file: what is known of it before its numbers are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xfer.errors import DataError

# numpy's names of numbers, without the byte order
NUMBERS = {
    "f2": torch.float16, "f4": torch.float32, "f8": torch.float64, "b1": torch.bool,
    "i1": torch.int8, "i2": torch.int16, "i4": torch.int32, "i8": torch.int64,
    "u1": torch.uint8, "u2": torch.uint16, "u4": torch.uint32, "u8": torch.uint64,
    "c8": torch.complex64, "c16": torch.complex128,
}  # fmt: skip

# safetensors' names of numbers
SAFE_NUMBERS = {
    "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
    "BOOL": torch.bool, "I8": torch.int8, "I16": torch.int16, "I32": torch.int32,
    "I64": torch.int64, "U8": torch.uint8, "U16": torch.uint16, "U32": torch.uint32,
    "U64": torch.uint64, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor of a weight file, read when it is needed.

    shape | as in the file
    dtype | as in the file
    read  | returns the tensor, on the CPU; it may repeat few numbers by strides of 0
    odd   | why its numbers can't be used ("a sparse tensor"), or empty
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]
    odd: str = ""

    @property
    def count(self) -> int:
        """How many numbers it has."""
        count = 1
        for side in self.shape:
            count *= side
        return count

    @property
    def bytes(self) -> int:
        """Size in memory, without repeats by strides of 0."""
        return self.count * self.dtype.itemsize


def of_tensor(tensor: Tensor) -> Stored:
    """A tensor in memory, as if it were in a file."""
    return Stored(tuple(tensor.shape), tensor.dtype, lambda: tensor)


def of_oddity(shape: Sequence[int], odd: str) -> Stored:
    """A tensor that is only named."""

    def read() -> Tensor:
        raise DataError(f"{odd} can't be read")

    return Stored(tuple(shape), torch.float32, read, odd)


def shape_of(values: object) -> tuple[int, ...]:
    """A shape or strides as a file gives them. Raises DataError if they can't be any."""
    if not isinstance(values, tuple | list):
        raise DataError("a shape that is not a tuple")
    sides = tuple(side for side in values if isinstance(side, int) and 0 <= side < 2**48)
    if len(sides) != len(values) or len(sides) > 64:
        raise DataError("a tensor whose shape is not of whole numbers")
    count = 1
    for side in sides:
        count *= side
        if count >= 2**48:
            raise DataError(f"a tensor of shape {sides}")
    return sides


def from_bytes(
    data: bytearray | memoryview, dtype: torch.dtype, shape: Sequence[int], swapped: bool = False
) -> Tensor:
    """The tensor whose numbers are these bytes, in C order; `swapped`: big-endian."""
    if not data:
        return torch.empty(tuple(shape), dtype=dtype)
    if swapped:
        width = dtype.itemsize // (2 if dtype.is_complex else 1)
        raw = torch.frombuffer(data, dtype=torch.uint8).reshape(-1, width)
        return raw.flip(1).contiguous().view(-1).view(dtype).reshape(tuple(shape))
    return torch.frombuffer(data, dtype=dtype).reshape(tuple(shape))


def bad_numbers(tensor: Tensor) -> int:
    """How many numbers are NaN or infinite; those that strides of 0 repeat are counted once."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return 0
    for dim, stride in enumerate(tensor.stride()):
        if stride == 0:
            tensor = tensor.narrow(dim, 0, min(1, tensor.shape[dim]))
    if tensor.dtype.itemsize == 1:  # torch has no sums of 8-bit floats
        tensor = tensor.to(torch.float16)
    if bool(torch.isfinite(tensor.sum())):  # one pass without a copy decides nearly always
        return 0
    return int((~torch.isfinite(tensor)).sum())
