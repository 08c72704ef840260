"""Locate the members of a tar, so that they are read in place and nothing is unpacked."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from xfer.data.images.walk import is_junk, readable
from xfer.errors import DataError
from xfer.files import MB, open_file

BLOCK = 512
AGAIN = "download or copy it again"


class Member(NamedTuple):
    """A regular file in a tar: its name, its first byte in the tar's file, its length."""

    name: str
    start: int
    length: int


def members(path: Path) -> Iterator[Member]:
    """The regular files of an uncompressed tar, in stored order.

    Raises: DataError, naming the tar, if it can't be read, is compressed or is cut off.
    """
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            yield from _members(file, 0, size, path, path.name)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None


def members_within(path: Path) -> Iterator[tuple[str, Member]]:
    """The files of the tars inside a tar: (name of the inner tar, member), with positions in the
    outer file. Otherwise like `members`."""
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            for inner in _members(file, 0, size, path, path.name):
                if not inner.name.endswith(".tar") or is_junk(inner.name.rpartition("/")[2]):
                    continue
                where = f"{path.name}/{inner.name}"
                for member in _members(file, inner.start, inner.length, path, where):
                    yield inner.name, member
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None


MAX_PLACE = 1 << 60  # in a file
_MOST = 16 * MB  # of a header
MAX_RECORD = 4 * MB  # tar fills 10 KB by default, and a few MB where it is told to write such


class _Part:
    """`length` bytes of a file from `start` on, as a file that tarfile can read.

    read | counts from the part's beginning
    """

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        self.file, self.start, self.length, self.at = file, start, length, 0

    def read(self, count: int) -> bytes:
        if count > _MOST:  # a long name or a note that says that it is
            raise tarfile.ReadError(f"a header of {count:,} bytes")
        count = max(0, min(count, self.length - self.at))
        data = os.pread(self.file.fileno(), count, self.start + self.at)
        self.at += len(data)
        return data

    def seek(self, place: int) -> int:
        if not 0 <= place <= MAX_PLACE:  # a header may give a size below 0, or of 80 digits
            raise tarfile.ReadError("a size that no file has")
        self.at = place
        return place

    def tell(self) -> int:
        return self.at


def _members(file: BinaryIO, start: int, length: int, path: Path, where: str) -> Iterator[Member]:
    """The regular files of the tar stored in these bytes of a file."""
    part = _Part(file, start, length)
    try:
        with tarfile.open(fileobj=part, mode="r:") as tar:  # pyright: ignore[reportArgumentType, reportCallIssue]
            while (info := tar.next()) is not None:
                tar.members.clear()  # otherwise a million of them stay in memory
                if info.offset_data + info.size > length and info.isreg():
                    raise DataError(f"{path}: cut off in {where}: {info.name}", AGAIN)
                if info.isreg() and not info.issparse():
                    yield Member(readable(info.name), start + info.offset_data, info.size)
            # a complete tar ends with blocks of zeros; one that is cut between two members has none
            end = os.pread(file.fileno(), BLOCK, start + tar.offset)
            if not start and (len(end) < BLOCK or end.strip(b"\0")):
                raise DataError(f"{path}: cut off: the end of the tar is missing", AGAIN)
            _check_rest(file, start + tar.offset, length - tar.offset, path, where)
    except tarfile.TarError as error:
        what = _kind(os.pread(file.fileno(), 6, start))
        raise DataError(f"{path}: {what or f'damaged or cut off in {where} ({error})'}",
                        AGAIN if not what else "unpack it first") from None  # fmt: skip


def _check_rest(file: BinaryIO, start: int, length: int, path: Path, where: str) -> None:
    """Raises DataError if more follows the end of a tar than zeros that fill its last record: its
    other members would be missed, without a word."""
    if length > MAX_RECORD:
        raise DataError(
            f"{path}: {length:,} bytes follow after the end of {where}: it was not written wholly,"
            " or several tars were put together",
            "download it again; `tar --concatenate` puts tars together",
        )
    if os.pread(file.fileno(), max(0, length), start).strip(b"\0"):
        raise DataError(
            f"{path}: more follows after the end of {where}, perhaps another tar",
            "`tar --concatenate` puts tars together",
        )


def _kind(head: bytes) -> str:
    starts = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
    method = next((name for start, name in starts.items() if head.startswith(start)), "")
    return f"compressed with {method}: its members can't be read in place" if method else ""
