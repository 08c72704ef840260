"""Files written atomically, and folders checked before anything is written into them."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from xfer.errors import DataError


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`; on success it is synced and replaces `path`.

    If the body raises, or the process dies, the old file is untouched. The new file's permissions
    follow the umask, like those of any file. Raises DataError if the disk is full, or `path` is a
    folder or a device, OSError if the folder is not writable.
    """
    check_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    temporary.touch(exist_ok=False)
    mode = temporary.stat().st_mode
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(mode)  # safetensors makes its own file, readable by its owner only
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(
                f"{path}: no space left on the disk",
                "free some; what was already saved is intact",
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Makes a rename in the folder survive a power cut, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_file(path: Path) -> None:
    """Raises DataError if a path is a folder or a device (/dev/null), which no file may replace."""
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a file", "name a file")
    if path.exists() and not path.is_file():
        raise DataError(f"{path} is a device, not a file", "name a file")


def lines_of(file: Path) -> list[str]:
    """The lines of a text file that are not blank. Raises DataError if it can't be read."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: {error}") from None
    return [line.strip() for line in lines if line.strip()]


def check_folder(folder: Path) -> None:
    """Raises DataError if a folder can't be created or is not writable. Creates nothing."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise DataError(f"{existing} is a file, not a folder", "choose another folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise DataError(f"{existing} is not writable", "choose another folder")
