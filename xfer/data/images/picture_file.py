"""The bytes of picture files: only of files, and only as many as a picture can need."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from xfer.data.images.decode_error import DecodeError
from xfer.data.images.exif import read_jpeg_header
from xfer.data.images.limits import large
from xfer.data.images.pixels_alone import PNG
from xfer.data.images.unread import kind_of, what_is
from xfer.files import GB, MB, NotAFile, open_regular

HEAD_BYTES = 1 << 16
MAX_FILE = GB
# files above this are looked at before they are read whole
_LOOKED_AT = 64 * MB
# a pixel takes at most four channels of 16 bits; phones append films to their pictures
_PER_PIXEL, _BESIDE = 8, 64 * MB


@contextlib.contextmanager
def picture_file(path: Path | str) -> Iterator[tuple[int, int]]:
    """An open picture file: its descriptor, and its size in bytes. Of large files one is open at a
    time, so that threads together don't hold more than memory has.

    Raises: DecodeError, without the file's name, for what is no regular file, and for a file that
        is too large, or large and either no picture or far larger than its pixels; OSError.
    """
    try:
        handle = open_regular(path)
    except NotAFile as error:
        raise DecodeError(f"not a picture file: {error.what}") from None
    try:
        size = os.fstat(handle).st_size
        check_large(handle, 0, size, str(path))
        with large(size):
            yield handle, size
    finally:
        os.close(handle)


def picture_bytes(path: Path | str) -> bytes:
    """The bytes of a picture file. Raises: as `picture_file`."""
    with picture_file(path) as (handle, size):
        return read_all(handle, size)


def read_all(handle: int, size: int) -> bytes:
    """The `size` bytes of an open file, or those that it still has. A file that says that it is
    empty, as those of /proc do, is not read."""
    data = os.read(handle, size)
    if len(data) == size:
        return data
    parts = [data]
    while parts[-1] and (size := size - len(parts[-1])):  # a read may give less than is there
        parts.append(os.read(handle, size))
    return b"".join(parts)


def check_large(handle: int, start: int, size: int, name: str) -> None:
    """Raises DecodeError for a picture of many bytes that is not read.

    Args: handle, start, size: the file that holds it, and where; name: looked at only if its first
        bytes say nothing.
    """
    if size <= _LOOKED_AT:
        return
    if size > MAX_FILE:
        raise DecodeError(f"a file of {size / 1e9:.1f} GB, where at most {MAX_FILE >> 30} is read")
    head = os.pread(handle, HEAD_BYTES, start)
    if kind_of(head) is None:
        raise DecodeError(what_is(head, name))
    pixels = _pixels(head)
    if pixels and size > _PER_PIXEL * pixels + _BESIDE:
        raise DecodeError(
            f"a file of {size / 1e6:,.0f} MB, far more than its {pixels / 1e6:.1f} million pixels "
            "need: save it anew"
        )


def _pixels(head: bytes) -> int:
    """The pixels of a JPEG or PNG by its first bytes; 0 for others, which may hold many pages."""
    if head.startswith(PNG):
        return int.from_bytes(head[16:20], "big") * int.from_bytes(head[20:24], "big")
    header = read_jpeg_header(head) if head.startswith(b"\xff\xd8\xff") else None
    return header.width * header.height if header else 0
