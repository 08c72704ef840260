"""The files of a tar that can only be read from its beginning to its end, as from a pipe."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from typing import BinaryIO

from xfer.data.images.walk import readable
from xfer.data.sources.tar_index import AGAIN, BLOCK, MAX_PLACE, MAX_RECORD
from xfer.errors import DataError
from xfer.files import MB

_MOST = 16 * MB  # of a header
_PIECE = 1 << 18


class _Forward:
    """A stream as a file that tarfile can read: it is only ever sought forwards, but for the last
    byte before a header, which tarfile reads to see that it is there.

    header | the last BLOCK bytes that were read at once: zeros at the end of a whole tar
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.at, self.last, self.header = file, 0, b"", b""

    def read(self, count: int) -> bytes:
        if count > _MOST:  # a long name or a note that says that it is
            raise tarfile.ReadError(f"a header of {count:,} bytes")
        data = self.content(count)
        if count == BLOCK:
            self.header = data
        return data

    def content(self, count: int) -> bytes:
        """The next bytes; fewer at the end."""
        pieces: list[bytes] = []
        while count > 0 and (piece := self.file.read(min(count, _PIECE))):
            pieces.append(piece)
            count -= len(piece)
        data = b"".join(pieces)
        self.at += len(data)
        self.last = data[-1:] or self.last
        return data

    def seek(self, place: int) -> int:
        if not 0 <= place <= MAX_PLACE:
            raise tarfile.ReadError("a size that no file has")
        if place == self.at - 1:  # the byte before the next header
            return self._again(place)
        if place < self.at:
            raise tarfile.ReadError("files that lie over each other")
        while self.at < place and self.content(min(_PIECE, place - self.at)):
            pass
        return self.at

    def _again(self, place: int) -> int:
        last, content = self.last, self.content

        def once(count: int) -> bytes:
            self.content = content  # pyright: ignore[reportAttributeAccessIssue]
            self.at += 1
            return last + (content(count - 1) if count > 1 else b"")

        self.at = place
        self.content = once  # pyright: ignore[reportAttributeAccessIssue]
        return place

    def tell(self) -> int:
        return self.at


def streamed(
    file: BinaryIO, where: str, wanted: Callable[[str], int]
) -> Iterator[tuple[str, bytes | None]]:
    """(name, content) of the regular files of an uncompressed tar, in stored order.

    Args:
        where: the stream's name, for messages.
        wanted: name -> the most bytes that its content may have; 0: it is skipped, and is None.

    Raises: DataError if the stream is no tar, is cut off, or holds a larger file.
    """
    forward = _Forward(file)
    try:
        with tarfile.open(fileobj=forward, mode="r:") as tar:  # pyright: ignore[reportArgumentType, reportCallIssue]
            while (info := tar.next()) is not None:
                tar.members.clear()  # otherwise a million of them stay in memory
                if not info.isreg() or info.issparse():
                    continue
                name, most = readable(info.name), wanted(info.name)
                if not most:
                    yield name, None
                    continue
                if info.size > most:
                    raise DataError(f"{where}: {name}: {info.size:,} bytes, more than are read")
                data = forward.content(info.size)
                if len(data) < info.size:
                    raise DataError(f"{where}: cut off in {name}", AGAIN)
                yield name, data
    except tarfile.TarError as error:
        raise DataError(f"{where}: no tar, damaged or cut off ({error})", AGAIN) from None
    if len(forward.header) < BLOCK or forward.header.strip(b"\0"):
        raise DataError(f"{where}: cut off: the end of the tar is missing", AGAIN)
    rest = forward.content(MAX_RECORD)
    if rest.strip(b"\0") or forward.content(1):
        raise DataError(f"{where}: more follows the end of the tar", AGAIN)
