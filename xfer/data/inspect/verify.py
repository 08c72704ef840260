"""Decode every picture before training, so that all bad ones are found at once."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.decode import DecodeError
from xfer.data.images.remarks import Remark, remarks
from xfer.data.images.threads import cores
from xfer.data.sources.base import stamp, verify
from xfer.errors import SKIP_BAD, DataError
from xfer.fetch import cache_folder, others_write
from xfer.files import replacing
from xfer.kinds.findings import Finding, counted, named
from xfer.types import Source

NAMED = 10
LONG = 20  # a reason longer than this, in characters, is not repeated for each picture
# smaller sets are checked again each time: it takes a second
REMEMBERED = 2000
# another number whenever `decode` refuses, or remarks on, what it did not before
RULES = b"3"
# larger sets are sampled: all of ImageNet would take an hour, a stat of each file minutes
WHOLE, DRAWN = 100_000, 2000


@dataclass(frozen=True, slots=True)
class Looked:
    """What decoding the pictures of a source has shown.

    bad     | (index, reason) of those that can't be decoded
    remarks | (index, remark) of those that are read but may look wrong
    """

    bad: list[tuple[int, str]]
    remarks: list[tuple[int, Remark]]


def look_at(source: Source, all: bool = False) -> Looked:
    """Decodes the pictures of a source, with one thread per core.

    For large sets, $XFER_CACHE/verified.npy records which files are good, by path, size and time of
    change: the next run checks only what has changed. If there are more than WHOLE pictures, a
    fixed sample of DRAWN is checked; `all`: every one.
    """
    drawn = np.arange(len(source)) if all else checked_indices(len(source))
    marks = _marks(source, drawn) if len(drawn) >= REMEMBERED else np.zeros(0, np.uint64)
    known = np.isin(marks, _remembered()) if len(marks) else np.zeros(len(drawn), bool)
    todo = drawn[~known].tolist()

    def look(i: int) -> tuple[str | None, list[Remark]]:
        with remarks() as odd:
            try:
                verify(source, i)
            except DecodeError as error:
                return error.reason, []
            except DataError as error:
                return error.message, []
        return None, odd

    with ThreadPoolExecutor(cores()) as pool:
        seen = list(pool.map(look, todo))
    bad = [(i, why) for i, (why, _) in zip(todo, seen, strict=True) if why is not None]
    odd = [(i, one) for i, (_, some) in zip(todo, seen, strict=True) for one in some]
    if len(marks):
        again = [i for i, _ in bad] + [i for i, _ in odd]  # to be told of again next time
        if len(set(again)) < len(todo):
            _remember(marks[~np.isin(drawn, again)])
    return Looked(bad, odd)


def find_bad(source: Source, all: bool = False) -> list[tuple[int, str]]:
    """(index, reason) of the pictures of a source that can't be decoded, see `look_at`."""
    return look_at(source, all).bad


def odd_pictures(remarked: Sequence[tuple[str, Remark]]) -> list[Finding]:
    """One finding per kind of remark. Args: remarked: pictures' ids, and what is odd about each."""
    by_check: dict[str, list[tuple[str, Remark]]] = {}
    for name, one in remarked:
        by_check.setdefault(one.check, []).append((name, one))
    found: list[Finding] = []
    for check, some in by_check.items():
        ids = list(dict.fromkeys(name for name, _ in some))
        line = max((one for _, one in some), key=lambda one: one.rank).line
        text = f"{counted(len(ids), 'picture')} ({named(ids)}): {line}"
        found.append(Finding(check, text, tuple((name,) for name in ids)))
    return found


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
        SKIP_BAD,
    )


def _marks(source: Source, places: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A number for the state of each of these pictures' files; empty if a source has no files."""
    marks = np.zeros(len(places), np.uint64)
    for k, i in enumerate(places.tolist()):
        state = stamp(source, i)
        if state is None:
            return marks[:0]
        text = state.encode("utf-8", "surrogateescape")
        digest = hashlib.blake2b(text, digest_size=8, person=RULES)
        marks[k] = int.from_bytes(digest.digest(), "little")
    return marks


def _file() -> Path:
    return cache_folder() / "verified.npy"


def _remembered() -> NDArray[np.uint64]:
    if others_write(_file().parent):
        return np.zeros(0, np.uint64)
    try:
        marks = np.load(_file(), allow_pickle=False)
        return marks if marks.dtype == np.uint64 and marks.ndim == 1 else np.zeros(0, np.uint64)
    except Exception:  # of a damaged header numpy raises almost anything
        return np.zeros(0, np.uint64)


def _remember(marks: NDArray[np.uint64]) -> None:
    """Adds the marks to the file; does nothing if it can't be written."""
    file = _file()
    with (
        contextlib.suppress(OSError, DataError),
        replacing(file) as temporary,
        temporary.open("wb") as out,
    ):
        np.save(out, np.union1d(_remembered(), marks))
