"""Folders that a command is to write into, looked at before it computes anything."""

from __future__ import annotations

import os
from pathlib import Path

from xfer.errors import DataError


def check_folder(folder: Path) -> None:
    """Raises DataError where a folder can't be made or written into. Makes nothing."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise DataError(f"{there} is a file, not a folder", "choose another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise DataError(f"{there} can't be written into", "choose another folder")
