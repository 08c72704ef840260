"""Unpack archives safely: nothing is written outside the folder, whatever an archive says, and not
more than an archive of its size can reasonably hold."""

from __future__ import annotations

import lzma
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from xfer.errors import DataError, reader

Progress = Callable[[int, int], None]
# what an archive may hold: members; bytes, as a multiple of its own, and what is fine in any case
# (photographs don't shrink, COCO's annotations to a fourth, zeros to a thousandth)
MEMBERS, RATIO, LITTLE = 2_000_000, 50, 64 << 20
# bytes of a name, and of a folder's or file's name in it, as file systems have them; folders deep
_NAME, _WORD, _DEEP = 1024, 255, 32


class _Refused(Exception):
    """An archive that asks for what no set of pictures needs."""


class _Judge:
    """Looks at the members of an archive in turn, before they are unpacked.

    Args: size: bytes of the archive.
    """

    def __init__(self, size: int) -> None:
        self.left = max(LITTLE, RATIO * size)
        self.count = 0
        self._seen: dict[str, tuple[str, bool]] = {}

    def look(self, name: str, size: int, is_folder: bool) -> None:
        """Raises _Refused for a member: too many, too large, badly named, or in another's place.

        Names that differ only in case, or in how accents are written, are one file on some disks.
        """
        self.count += 1
        self.left -= size
        if self.count > MEMBERS:
            raise _Refused(f"more than {MEMBERS:,} files")
        if self.left < 0:
            raise _Refused(f"{name!r} unpacks to far more than an archive of this size can hold")
        path = PurePosixPath(name.replace("\\", "/"))
        words = path.parts
        if path.is_absolute() or ".." in words or ":" in "".join(words[:1]):
            raise _Refused(f"{name!r} lies outside the folder")
        if any(ord(letter) < 32 for letter in name):
            raise _Refused(f"{name!r} has control characters in its name")
        long = len(name.encode("utf-8", "surrogateescape")) > _NAME or len(words) > _DEEP
        if long or any(len(word.encode("utf-8", "surrogateescape")) > _WORD for word in words):
            raise _Refused(f"{name[:60]!r}... has too long a name")
        for depth in range(len(words) - 1, 0, -1):
            if not self._take("/".join(words[:depth]), True, name):
                break  # and so are the folders that it is in
        if words:
            self._take("/".join(words), is_folder, name)

    def _take(self, place: str, is_folder: bool, name: str) -> bool:
        """Whether a place was not known before. Raises _Refused if it is another member's: only a
        folder may come again."""
        key = unicodedata.normalize("NFC", place).casefold()
        before = self._seen.get(key)
        if before is None:
            self._seen[key] = place, is_folder
            return True
        if before != (place, True) or not is_folder:
            raise _Refused(f"{name!r} is in the place of {before[0]!r}")
        return False


@reader
def unpack(archive: Path, folder: Path, progress: Progress | None = None) -> int:
    """Unpack a zip or tar (plain, gz, bz2, xz: recognised by content) into `folder`.

    Refused are absolute names and `..`, links, devices and pipes, two members in one place, and
    what is out of proportion: see `_Judge`. All of a zip is looked at before anything is written,
    each member of a tar before it is written, and Python's `data` filter looks again.

    Args:
        progress: called with (files done, total number of files or 0).

    Returns: the number of files.
    Raises: DataError if it is not an archive, is damaged, or is refused.
    """
    if folder.is_symlink():
        raise DataError(f"{folder}: a link, where a folder is due", "remove it")
    try:
        if zipfile.is_zipfile(archive):
            return _zip(archive, folder, progress)
        if tarfile.is_tarfile(archive):
            return _tar(archive, folder, progress)
    except (_Refused, tarfile.FilterError) as error:
        raise DataError(f"{archive}: refused: {error}") from None
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError) as error:
        raise DataError(f"{archive}: damaged: {error}") from None
    except RuntimeError as error:  # a compression that zipfile does not support, or a password
        raise DataError(f"{archive}: {error}") from None
    except OSError as error:
        raise DataError(
            f"{archive}: can't be unpacked into {folder}: {error.strerror or error}"
        ) from None
    with archive.open("rb") as file:
        start = file.read(200).lstrip().lower()
    what = "a page of HTML" if start.startswith((b"<!doctype html", b"<html")) else "not an archive"
    raise DataError(f"{archive}: {what}, neither zip nor tar")


def _zip(archive: Path, folder: Path, progress: Progress | None) -> int:
    with zipfile.ZipFile(archive) as opened:
        members, judge = opened.infolist(), _Judge(archive.stat().st_size)
        for member in members:
            if not member.filename:
                raise _Refused("a file in it has no name")
            judge.look(member.filename, member.file_size, member.is_dir())
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                what = "a link" if kind == stat.S_IFLNK else "a device or pipe"
                raise _Refused(f"{member.filename!r} is {what}")
        for done, member in enumerate(members, 1):
            opened.extract(member, folder)  # compares the file's CRC-32
            if progress is not None:
                progress(done, len(members))
        return sum(not member.is_dir() for member in members)


def _tar(archive: Path, folder: Path, progress: Progress | None) -> int:
    if not hasattr(tarfile, "data_filter"):
        raise DataError(
            f"{archive}: this Python can't unpack tars safely", "use Python 3.11.4 or later"
        )
    count, judge = 0, _Judge(archive.stat().st_size)
    with tarfile.open(archive) as opened:
        for member in opened:
            judge.look(member.name, member.size, member.isdir())
            if not (member.isfile() or member.isdir()):
                what = "a link" if member.issym() or member.islnk() else "a device or pipe"
                raise _Refused(f"{member.name!r} is {what}")
            opened.extract(member, folder, filter="data")
            count += member.isfile()
            if progress is not None:
                progress(count, 0)
    return count
