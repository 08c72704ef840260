"""Decode every picture before training, so that all bad ones are found at once."""

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
from xfer.fetch import cache_folder
from xfer.types import Source

NAMED = 10
LONG = 20  # a reason longer than this, in characters, is not repeated for each picture
# smaller sets are checked again each time: it takes a second
REMEMBERED = 2000
# larger sets are sampled: all of ImageNet would take an hour, a stat of each file minutes
WHOLE, DRAWN = 100_000, 2000


def find_bad(source: Source, all: bool = False) -> list[tuple[int, str]]:
    """(index, reason) of the pictures of a source that can't be decoded. Uses one thread per core.

    For large sets, $XFER_CACHE/verified.npy records which files are good, by path, size and time of
    change: the next run checks only what has changed. If there are more than WHOLE pictures, a
    fixed sample of DRAWN is checked; `all`: every one.
    """
    drawn = np.arange(len(source)) if all else checked_indices(len(source))
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


def checked_indices(count: int) -> NDArray[np.int64]:
    """Which of `count` pictures are decoded before training: all, or a fixed sample."""
    if count <= WHOLE:
        return np.arange(count)
    return np.sort(np.random.default_rng(count).choice(count, DRAWN, replace=False))


def bad_pictures(name: str, total: int, bad: Sequence[tuple[str, str]]) -> DataError:
    """The error for pictures that can't be used: names the first ten, and counts the others."""
    reasons: set[str] = set()
    named: list[str] = []
    for file, reason in bad[:NAMED]:
        # a reason may name the mask: compared without the picture's folder name, it is given once
        kind = re.sub(rf"\S*{re.escape(Path(file).stem)}\S*", "", reason)
        named.append(f"{file} ({'likewise' if kind in reasons and len(kind) > LONG else reason})")
        reasons.add(kind)
    more = f"; and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
    return DataError(
        f"{name}: {len(bad)} of {total} pictures can't be used: {'; '.join(named)}{more}",
        "--set data.skip_bad=true leaves them out",
    )


def _marks(source: Source, places: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A number for the state of each of these pictures' files; empty if a source has no files."""
    marks = np.zeros(len(places), np.uint64)
    for k, i in enumerate(places.tolist()):
        state = stamp(source, i)
        if state is None:
            return marks[:0]
        digest = hashlib.blake2b(state.encode("utf-8", "surrogateescape"), digest_size=8)
        marks[k] = int.from_bytes(digest.digest(), "little")
    return marks


def _file() -> Path:
    return cache_folder() / "verified.npy"


def _remembered() -> NDArray[np.uint64]:
    try:
        marks = np.load(_file(), allow_pickle=False)
        return marks if marks.dtype == np.uint64 and marks.ndim == 1 else np.zeros(0, np.uint64)
    except (OSError, ValueError, EOFError):
        return np.zeros(0, np.uint64)


def _remember(marks: NDArray[np.uint64]) -> None:
    """Adds the marks to the file; does nothing if it can't be written."""
    file = _file()
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        with temporary.open("wb") as out:
            np.save(out, np.union1d(_remembered(), marks))
        temporary.replace(file)
