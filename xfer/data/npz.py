"""Arrays in .npz archives, read without believing the sizes that they state.

`numpy.load` makes room for whatever shape an array's header names, and unpacks whatever a member
says that it holds: a file of 4 kB can ask for 300 GB.
"""

from __future__ import annotations

import math
import sys
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from xfer.errors import whole
from xfer.files import MB, open_file

# what a packed array may be: deflate packs zeros a thousand times, other numbers seldom fifty
_MAX_BASE, _MAX_RATIO = 64 * MB, 50


def read_npz(path: Path, wanted: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays of an archive by name, or those of the wanted ones that are in it.

    Raises: DataError, naming the file, for damage, for objects, and for arrays that are not as
        large as they say, or far larger inside than outside; OSError if it can't be opened.
    """
    with open_file(path) as file, whole(path, "damaged"), zipfile.ZipFile(file) as archive:
        members = archive.namelist()
        names = [n.removesuffix(".npy") for n in members if n.endswith(".npy")]
        if wanted is None and len(names) < len(members):
            raise ValueError("not everything in it is an array")  # by its name, which may be wrong
        return {n: array_in(archive, n) for n in names if wanted is None or n in wanted}


def array_in(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """One array of an archive. Raises: ValueError without the file's name, and what zipfile
    raises."""
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is packed in a way that numpy does not write")
    if info.file_size > _MAX_BASE + _MAX_RATIO * info.compress_size:
        raise ValueError(f"{name} has {info.file_size:,} bytes packed in {info.compress_size:,}")
    with archive.open(info) as member:
        shape, fortran, dtype = read_header(member)
        size = math.prod(shape) * dtype.itemsize
        held = info.file_size - member.tell()
        if size != held:
            raise ValueError(f"{name} has {held:,} bytes, not the {size:,} of {dtype} {shape}")
        data = bytearray(size)
        for start in range(0, size, MB):  # not all at once, which would take the memory twice
            part = member.read(min(MB, size - start))
            data[start : start + len(part)] = part
        member.read(1)  # at its end its checksum is compared
    array = np.frombuffer(data, dtype) if size else np.empty(0, dtype)
    if not _is_text(array):
        raise ValueError(f"{name} has letters that no text has")
    return array.reshape(shape, order="F" if fortran else "C")


def _is_text(array: NDArray[Any]) -> bool:
    """Whether the letters of text are Unicode's; True for numbers. Python takes others from numpy
    unseen, and fails wherever the text is used."""
    if array.dtype.names is not None:
        return all(_is_text(array[name]) for name in array.dtype.names)
    if array.dtype.kind != "U" or not array.dtype.itemsize:
        return True
    order = "<" if array.dtype.str[0] == "<" else ">"
    letters = np.ascontiguousarray(array).view(f"{order}u4")
    return bool(letters.size == 0 or letters.max() <= sys.maxunicode)


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether it lies in Fortran's order, and type of an array, from the head of an .npy.

    Raises: ValueError for objects, and for damage.
    """
    try:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except Exception as error:  # the head is a text that Python's own parser reads
        text = str(error).partition("\n")[0][:80]
        raise ValueError(f"the head of an array can't be read ({text})") from None
    if dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError(f"an array of {dtype} {shape}")
    return shape, fortran, dtype
