"""An index of very many pictures, made once and kept in files that are mapped into memory.

What takes minutes to read (the headers of a 148 GB tar, a thousand folders) is read once and kept
under $XFER_CACHE/index/KEY/. Opening it again compares checksums, which is 90 MB for ImageNet; the
arrays are mapped, so processes and threads share the same memory, and only the parts in use are
ever in it.

    ids.npy     | uint8 (bytes,) | the N ids in UTF-8, end to end
    ends.npy    | int64 (N,)     | where each of them ends
    labels.npy  | int64 (N,)     | class indices, -1 unlabelled
    file.npy    | int32 (N,)     | which of the files holds picture i
    start.npy   | int64 (N,)     | its first byte there, -1: the file is the picture
    length.npy  | int64 (N,)     | its bytes
    about.json  | written last: {"version", "classes", "files", "notes", "digest", "count", "sums",
                | "sha256"}: sums are the sha256 of the arrays' files; sha256 is that of all this

KEY is a hash of the paths, sizes and times of change of what was read: when these change, a new
index is made. If two processes need the same index, one makes it and the other waits.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.sources.id_array import Names
from xfer.errors import DataError
from xfer.fetch import PATIENCE, cache_folder, others_write
from xfer.files import TABLE, check_seal, json_of, sealed
from xfer.locking.sole_writer import sole_writer

VERSION = 1
ARRAYS = ("ids", "ends", "labels", "file", "start", "length")
TYPES = {"ids": np.uint8, "file": np.int32}  # the others are int64


@dataclass
class Entries:
    """The entries of an index being made: one entry per picture in each list.

    classes | class names; a label is an index into them
    files   | paths of the files, relative to the data's folder, or absolute
    notes   | lines for people
    marks   | text that changes with the pictures, besides their names, labels and positions
    """

    classes: Sequence[str] = ()
    files: list[str] = field(default_factory=list[str])
    ids: list[str] = field(default_factory=list[str])
    labels: list[int] = field(default_factory=list[int])
    file: list[int] = field(default_factory=list[int])
    start: list[int] = field(default_factory=list[int])
    length: list[int] = field(default_factory=list[int])
    notes: list[str] = field(default_factory=list[str])
    marks: str = ""

    def add(self, id: str, label: int, file: int, start: int, length: int) -> None:
        self.ids.append(id)
        self.labels.append(label)
        self.file.append(file)
        self.start.append(start)
        self.length.append(length)


class Index:
    """Entries as arrays; picklable: a stored index is pickled as the path of its folder."""

    def __init__(
        self, arrays: dict[str, NDArray], about: dict[str, Any], path: Path | None
    ) -> None:
        self.path, self.about = path, about
        self.ids = Names(arrays["ids"], arrays["ends"])
        self.labels: NDArray[np.int64] = arrays["labels"]
        self.file, self.start, self.length = arrays["file"], arrays["start"], arrays["length"]
        self.classes: tuple[str, ...] = tuple(about["classes"])
        self.files: tuple[str, ...] = tuple(about["files"])
        self.notes: list[str] = list(about["notes"])
        self.digest: str = about["digest"]
        self._arrays = arrays

    def __len__(self) -> int:
        return len(self.labels)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "about": self.about,
                "arrays": self._arrays if self.path is None else None}  # fmt: skip

    def __setstate__(self, state: dict[str, Any]) -> None:
        path, arrays = state["path"], state["arrays"]
        Index.__init__(self, _mapped(path, state["about"]) if arrays is None else arrays,
                       state["about"], path)  # fmt: skip


def index_folder() -> Path:
    """Where indices are kept: $XFER_CACHE/index, or ~/.cache/xfer/index."""
    return cache_folder() / "index"


def state_of(path: Path) -> str:
    """Text that changes with a file or folder: its path, size and time of change."""
    state = path.stat()
    return f"{path.absolute()}\0{state.st_size}\0{state.st_mtime_ns}"


def kept_index(states: Sequence[str], make: Callable[[], Entries], verify: bool = True) -> Index:
    """The index for these states: read if it is stored, else made now and stored.

    A damaged index is made again; an index that can't be stored is made each time.

    Args: verify: compare the checksums of a stored one, which reads all of it.
    """
    key = hashlib.sha256("\n".join([str(VERSION), *states]).encode("utf-8", "surrogateescape"))
    place = index_folder() / key.hexdigest()[:32]
    if why := others_write(place.parent):
        arrays, about = _packed(make())
        note = f"{place.parent}: {why}, so no index is kept there: it is made again each time"
        return Index(arrays, {**about, "notes": [*about["notes"], note]}, None)
    index = _read(place, verify)
    if index is not None:
        return index
    with _locked(place) as locked:
        index = _read(place, verify)
        if index is not None:
            return index
        damaged = (place / "about.json").exists()
        if locked:  # nobody else writes here: these are left by processes that were killed
            for left in place.parent.glob(f".{place.name}-*"):
                shutil.rmtree(left, ignore_errors=True)
        arrays, about = _packed(make())
        try:
            _write(place, arrays, about)
        except OSError as error:
            why = f"the index can't be stored in {place.parent} ({error.strerror or error})"
            about["notes"] = [*about["notes"], f"{why}: it is made again each time"]
            return Index(arrays, about, None)
    index = _read(place) or Index(arrays, about, None)
    if damaged:
        index.notes.append(f"warning: {place} was damaged: the index is made again")
    return index


def _packed(entries: Entries) -> tuple[dict[str, NDArray], dict[str, Any]]:
    """The entries as arrays, sorted by id, whatever order they were found in."""
    names = np.array([i.encode("utf-8") for i in entries.ids] or [b""])
    order = np.argsort(names, kind="stable")[: len(entries.ids)]
    twice = np.flatnonzero(names[order[1:]] == names[order[:-1]])
    if len(twice):
        raise DataError(f"{entries.ids[int(order[twice[0]])]} occurs twice")
    del names
    ids = Names.of([entries.ids[i] for i in order.tolist()])
    arrays: dict[str, NDArray] = {"ids": ids.text, "ends": ids.ends}
    for name, kind in (("labels", "<i8"), ("file", "<i4"), ("start", "<i8"), ("length", "<i8")):
        arrays[name] = np.array(getattr(entries, name), kind)[order]
    digest = hashlib.sha256("\0".join([*entries.classes, "", entries.marks]).encode())
    for name in ("ids", "ends", "labels", "length"):
        digest.update(arrays[name].tobytes())
    about = {
        "version": VERSION, "classes": list(entries.classes), "files": entries.files,
        "notes": entries.notes, "digest": digest.hexdigest(), "count": len(order),
    }  # fmt: skip
    return arrays, about


def _write(place: Path, arrays: dict[str, NDArray], about: dict[str, Any]) -> None:
    """Write an index completely or not at all: into a temporary folder, which is then renamed."""
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
    try:
        sums: dict[str, str] = {}
        for name, array in arrays.items():
            with (temporary / f"{name}.npy").open("wb+") as file:
                np.save(file, array)
                _synced(file)
                sums[name] = _digest(file)
        with (temporary / "about.json").open("w", encoding="utf-8") as file:
            json.dump(sealed({**about, "sums": sums}), file)
            _synced(file)
        shutil.rmtree(place, ignore_errors=True)  # a damaged one
        temporary.rename(place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _digest(file: io.BufferedReader | io.BufferedRandom) -> str:
    """sha256 of a file, read block by block: a mapped one would stay in memory."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def _synced(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _read(place: Path, verify: bool = True) -> Index | None:
    """The index in a folder; None if there is none, or a damaged one."""
    try:
        about = json_of(place / "about.json", TABLE)
        arrays = _mapped(place, about)
        if verify:
            check_seal(place / "about.json", about)
            # an index of an earlier version has no sums
            for name, wanted in about.get("sums", {}).items():
                with (place / f"{name}.npy").open("rb") as file:
                    if _digest(file) != wanted:
                        return None
        return Index(arrays, about, place)
    except Exception:  # whatever the files make numpy and json raise
        return None


def _mapped(place: Path, about: dict[str, Any]) -> dict[str, NDArray]:
    """The arrays of an index, mapped. Raises ValueError if they are inconsistent."""
    arrays: dict[str, NDArray] = {}
    for name in ARRAYS:
        try:  # an array without entries can't be mapped
            loaded = np.load(place / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        except ValueError:
            loaded = np.load(place / f"{name}.npy", allow_pickle=False)
        arrays[name] = np.asarray(loaded)
        if loaded.ndim != 1 or loaded.dtype != TYPES.get(name, np.int64):
            raise ValueError(f"{name} is {loaded.dtype} {loaded.shape}")
        if name != "ids" and len(loaded) != about["count"]:
            raise ValueError(f"{name} has {len(loaded)} entries")
    if len(arrays["ends"]) and arrays["ends"][-1] != len(arrays["ids"]):
        raise ValueError("ids are cut off")
    return arrays


@contextlib.contextmanager
def _locked(place: Path) -> Iterator[bool]:
    """While one process makes an index, others that need the same one wait. Yields False if files
    can't be locked there, or if it takes the other one too long: then each process makes its own,
    and the last one written is as good.
    """
    with contextlib.ExitStack() as held:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(sole_writer(place, wait=PATIENCE))
            locked = True
        except (OSError, DataError):
            locked = False
        yield locked
