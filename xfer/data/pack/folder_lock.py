"""Let only one process at a time write into a folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from xfer.errors import DataError


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Lock the folder: another process that tries gets a DataError. The lock ends with the process.

    The folder itself is locked, so no file is left behind; if folders can't be locked (Windows,
    some network disks), nothing is refused.
    """
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(
                f"{folder}: another process is writing into it", "wait for it, or choose another -o"
            ) from None
        except OSError:
            pass
        yield
    finally:
        os.close(handle)
