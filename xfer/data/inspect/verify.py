"""Looking at every picture before training: what can't be decoded is found now, and all of it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.decode import DecodeError
from xfer.data.images.threads import cores
from xfer.data.sources.base import stamp, verify
from xfer.errors import DataError
from xfer.types import Source

NAMED = 10
LONG = 20  # letters of a reason that is not repeated for each picture
# smaller sets are looked at anew each time: it takes a second
REMEMBERED = 2000
# of larger ones some are drawn: all of ImageNet would take an hour, a stat of each file minutes
WHOLE, DRAWN = 100_000, 2000


def find_bad(source: Source, all: bool = False) -> list[tuple[int, str]]:
    """(index, reason) of the pictures of a source that can't be decoded. Threads: one a core.

    Of large sets it is kept, in $XFER_CACHE/verified.npy, which files were good, by path, size and
    time of change: the next run looks only at what has changed. Of more than WHOLE pictures DRAWN
    are looked at, the same ones each time; `all`: every one.
    """
    drawn = np.arange(len(source)) if all else looked_at(len(source))
    marks = _marks(source, drawn) if len(drawn) >= REMEMBERED else np.zeros(0, np.uint64)
    known = np.isin(marks, _remembered()) if len(marks) else np.zeros(len(drawn), bool)
    todo = drawn[~known].tolist()

    def look(i: int) -> str | None:
        try:
            verify(source, i)
        except DecodeError as error:
            return error.reason
        except DataError as error:
            return error.message
        return None

    with ThreadPoolExecutor(cores()) as pool:
        reasons = list(pool.map(look, todo))
    bad = [(i, why) for i, why in zip(todo, reasons, strict=True) if why is not None]
    if len(marks) and len(todo) > len(bad):
        _remember(marks[~np.isin(drawn, [i for i, _ in bad])])
    return bad


def looked_at(count: int) -> NDArray[np.int64]:
    """Which of so many pictures are decoded before training: all, or some drawn once for all."""
    if count <= WHOLE:
        return np.arange(count)
    return np.sort(np.random.default_rng(count).choice(count, DRAWN, replace=False))


def bad_pictures(name: str, total: int, bad: Sequence[tuple[str, str]]) -> DataError:
    """The error that names the pictures that can't be used: the first ten, and how many more."""
    told: set[str] = set()
    named: list[str] = []
    for file, reason in bad[:NAMED]:
        # a reason may name the mask: what is left without the picture's own name is told once
        kind = re.sub(rf"\S*{re.escape(Path(file).stem)}\S*", "", reason)
        named.append(f"{file} ({'likewise' if kind in told and len(kind) > LONG else reason})")
        told.add(kind)
    more = f"; and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
    return DataError(
        f"{name}: {len(bad)} of {total} pictures can't be used: {'; '.join(named)}{more}",
        "--set data.skip_bad=true leaves them out",
    )


def _marks(source: Source, places: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A number for the state of each of these pictures' files; empty where a source can't tell."""
    marks = np.zeros(len(places), np.uint64)
    for k, i in enumerate(places.tolist()):
        state = stamp(source, i)
        if state is None:
            return marks[:0]
        digest = hashlib.blake2b(state.encode("utf-8", "surrogateescape"), digest_size=8)
        marks[k] = int.from_bytes(digest.digest(), "little")
    return marks


def _file() -> Path:
    own = os.environ.get("XFER_CACHE")
    return (Path(own) if own else Path.home() / ".cache" / "xfer") / "verified.npy"


def _remembered() -> NDArray[np.uint64]:
    try:
        marks = np.load(_file(), allow_pickle=False)
        return marks if marks.dtype == np.uint64 and marks.ndim == 1 else np.zeros(0, np.uint64)
    except (OSError, ValueError, EOFError):
        return np.zeros(0, np.uint64)


def _remember(marks: NDArray[np.uint64]) -> None:
    """Adds the marks to the file. A cache that can't be written is done without."""
    file = _file()
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        with temporary.open("wb") as out:
            np.save(out, np.union1d(_remembered(), marks))
        temporary.replace(file)
