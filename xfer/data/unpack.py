"""Unpack archives safely: nothing is written outside the folder, whatever an archive says."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from xfer.errors import DataError

Progress = Callable[[int, int], None]
_CHUNK = 1 << 20


def unpack(archive: Path, folder: Path, progress: Progress | None = None) -> int:
    """Unpack a zip or tar (plain, gz, bz2, xz: recognised by content) into `folder`.

    All names in a zip are checked before anything is written. Tars are unpacked with Python's
    `data` filter: no absolute names, no `..`, no links that lead outside, no devices.

    Args:
        progress: called with (files done, total number of files or 0).

    Returns: the number of files.
    Raises: DataError if it is not an archive, is damaged, or names a place outside the folder.
    """
    try:
        if zipfile.is_zipfile(archive):
            return _zip(archive, folder, progress)
        if tarfile.is_tarfile(archive):
            return _tar(archive, folder, progress)
    except tarfile.FilterError as error:
        raise DataError(f"{archive}: refused: {error}") from None
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
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
        members = opened.infolist()
        for member in members:
            name = member.filename.replace("\\", "/")
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or ":" in name.partition("/")[0]:
                raise DataError(f"{archive}: refused: {member.filename!r} lies outside the folder")
            if member.external_attr >> 16 & 0o170000 == 0o120000:
                raise DataError(f"{archive}: refused: {member.filename!r} is a link")
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
    count = 0
    with tarfile.open(archive) as opened:
        for member in opened:
            opened.extract(member, folder, filter="data")
            count += member.isfile()
            if progress is not None:
                progress(count, 0)
    return count
