"""Whether all processes of a command see the same files, which on several machines takes a disk
that they share."""

from __future__ import annotations

import hashlib
import socket
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from xfer.device import Place, broadcast, gather
from xfer.errors import DataError

if TYPE_CHECKING:
    from xfer.runs.folder import Run

LATE_SECONDS = 10.0  # what a network's file system may take to show a new file
_HINT = "processes on several machines need a shared disk: choose a folder on it"
_PART = 2**16


def check_folder_shared(folder: Path, place: Place) -> None:
    """Raises DataError in a process that does not see what the first one writes to this folder."""
    if place.world == 1:
        return
    mark = folder / broadcast(f".{uuid.uuid4().hex}.tmp", place)
    try:
        if place.main:
            mark.touch()
        gather(None, place)
        end = time.monotonic() + LATE_SECONDS
        while not mark.is_file():
            if time.monotonic() > end:
                raise DataError(
                    f"{folder}: {socket.gethostname()} does not see the files of the first process "
                    "in it", _HINT,
                )  # fmt: skip
            time.sleep(0.1)
        gather(None, place)  # not removed before all have seen it
    finally:
        if place.main:
            mark.unlink(missing_ok=True)


def check_same_run(run: Run, place: Place) -> None:
    """Raises DataError in a process whose files of the run differ from those of the first one."""
    _check_same(
        f"{run.path}: another run on {socket.gethostname()} than for the first process",
        "" if place.world == 1 else run_digest(run), place,
    )  # fmt: skip


def run_digest(run: Run) -> str:
    """Text that changes with a run's recipe, model and weights."""
    files = (run.path / "recipe.toml", run.path / "model.json", run.weights_file)
    return " ".join(_digest(file) for file in files)


def check_same_data(name: str, fingerprint: str, place: Place) -> None:
    """Raises DataError in a process that has opened other data than the first one.

    Args: name: of the data, for people; fingerprint: of what this process has opened.
    """
    _check_same(
        f"{name}: other pictures or labels on {socket.gethostname()} than for the first process",
        fingerprint, place,
    )  # fmt: skip


def _check_same(message: str, digest: str, place: Place) -> None:
    if place.world > 1 and gather(digest, place)[0] != digest:
        raise DataError(message, "copy the files to every machine, or use a shared disk")


def _digest(file: Path) -> str:
    """Changes with a file's size, beginning and end, which hold the names and the last values."""
    if not file.is_file():
        return "none"
    size = file.stat().st_size
    with file.open("rb") as stream:
        digest = hashlib.sha256(stream.read(_PART))
        stream.seek(max(0, size - _PART))
        digest.update(stream.read(_PART))
    return f"{size} {digest.hexdigest()}"
