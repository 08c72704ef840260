"""Zip archives of weights: opened, told apart, and numpy's arrays in them read strictly."""

from __future__ import annotations

import contextlib
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO

from torch import Tensor

from xfer.backbones.stored import NUMBERS, Stored, from_bytes, of_oddity, shape_of
from xfer.errors import DataError, XferError, reason_of

_MAX_HEADER = 1 << 16
_MAX_INFLATED = 1 << 28
_NUMPY = b"\x93NUMPY"
_DESCR = re.compile(r"""['"]descr['"]\s*:\s*['"]([<>|=]?)([a-zA-Z?]\d*)['"]""")
_FORTRAN = re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)""")
_SHAPE = re.compile(r"""['"]shape['"]\s*:\s*\(([\dL,\s]*)\)""")


@contextlib.contextmanager
def open_zip(opened: Callable[[], IO[bytes]]) -> Iterator[zipfile.ZipFile]:
    """The archive; what zipfile raises for damaged ones is a DataError without the file's name."""
    with opened() as file:
        try:
            with zipfile.ZipFile(file) as archive:
                yield archive
        except zipfile.BadZipFile as error:
            # the table of contents comes last
            cut = "not a zip file" in str(error)
            raise DataError(f"cut off: {error}" if cut else f"damaged: {error}") from None
        except XferError:
            raise
        except Exception as error:  # every way of compressing has errors of its own
            raise DataError(reason_of(error, "damaged")) from None


def read_member(archive: zipfile.ZipFile, name: str, most: int = -1) -> bytes:
    """A member's bytes, or the first `most` of them. Raises DataError for more than 256 MB that
    were compressed, if no limit is given."""
    info = archive.getinfo(name)
    if most < 0 and info.compress_type != zipfile.ZIP_STORED and info.file_size > _MAX_INFLATED:
        raise DataError(f"{name} would be {info.file_size / 1e9:.1f} GB")
    with archive.open(name) as member:
        return member.read() if most < 0 else member.read(most)


def read_part(
    opened: Callable[[], IO[bytes]], info: zipfile.ZipInfo, first: int, count: int
) -> bytearray:
    """Some bytes of a member; its checksum is checked where all of them are read.

    Raises: DataError, without the file's name, if the member has fewer bytes, or is damaged.
    """
    if first + count > info.file_size:
        raise DataError(f"cut off: {info.filename} has {info.file_size} of {first + count} bytes")
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        with open_zip(opened) as archive, archive.open(info) as member:
            data = bytearray(member.read(first + count)[first:])
            member.read(1)  # at the end of the member its checksum is checked
        return data
    data = bytearray(count)
    with opened() as file:  # the table of contents is not read again for each tensor
        file.seek(info.header_offset)
        header = file.read(30)
        skip = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        file.seek(info.header_offset + 30 + skip + first)
        have = file.readinto(data)  # pyright: ignore[reportAttributeAccessIssue]
    if have != count:
        raise DataError(f"cut off inside {info.filename}")
    if count == info.file_size and zlib.crc32(data) != info.CRC:
        raise DataError(f"damaged: {info.filename} has another checksum")
    return data


def read_arrays(opened: Callable[[], IO[bytes]]) -> dict[str, Stored]:
    """The arrays of an .npz: their headers are read now, their numbers when needed.

    Raises: DataError, without the file's name, if a header is not numpy's.
    """
    with open_zip(opened) as archive:
        return {
            name.removesuffix(".npy"): _array(archive, opened, name)
            for name in archive.namelist()
            if name.endswith(".npy")
        }


def _array(archive: zipfile.ZipFile, opened: Callable[[], IO[bytes]], member: str) -> Stored:
    with archive.open(member) as file:
        start = file.read(12)
        if start[:6] != _NUMPY or len(start) < 12 or start[6] not in (1, 2, 3):
            raise DataError(f"{member} is not an array of numpy's")
        wide = start[6] > 1
        length = int.from_bytes(start[8:12] if wide else start[8:10], "little")
        begin = 12 if wide else 10
        if length > _MAX_HEADER:
            raise DataError(f"{member} has a header of {length} bytes")
        header = start[begin:] + file.read(length - (12 - begin))
    text = header.decode("latin-1")
    descr, order, sides = _DESCR.search(text), _FORTRAN.search(text), _SHAPE.search(text)
    if descr is None or order is None or sides is None:
        return of_oddity((), "an array of something other than plain numbers")
    shape = shape_of(tuple(int(n[:18]) for n in re.findall(r"\d+", sides[1])))
    dtype = NUMBERS.get(descr[2].replace("?", "b1"))
    if dtype is None:
        return of_oddity(shape, f"an array of type {descr[2]}")
    fortran, swapped = order[1] == "True", descr[1] == ">"
    stored = shape[::-1] if fortran else shape
    size = Stored(shape, dtype, lambda: from_bytes(bytearray(), dtype, ())).bytes
    info = archive.getinfo(member)
    if begin + length + size > info.file_size:
        raise DataError(f"cut off: {member} lacks some of its {size} bytes")

    def read() -> Tensor:
        data = memoryview(read_part(opened, info, 0, begin + length + size))[begin + length :]
        made = from_bytes(data, dtype, stored, swapped)
        return made.permute(tuple(reversed(range(len(shape))))) if fortran else made

    return Stored(shape, dtype, read)
