"""A cache of computed vectors, keyed by content rather than by name.

One SQLite file per subject under $XFER_CACHE: features, proposals. A key is a hash of a picture's
content and of everything else that the vectors depend on, so a stale entry can't be found. Two
processes may read and write at once, and a killed one leaves the file intact. If the cache fails
(a full disk, a damaged file), a warning is issued and the work goes on without it. Each entry
carries a checksum of its key and its vector: one in which a bit has turned is computed again.
"""

from __future__ import annotations

import hashlib
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from xfer.errors import NO_ROOM, XferError
from xfer.fetch import cache_folder, others_write

DEFAULT_GB = 20.0
_ASKED_AT_ONCE = 500  # SQLite's limit of variables in one statement is 999 in old versions
_SHARE_FREED = 0.1
_PATIENCE_S = 60.0  # how long another process may hold the file
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
  id INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB NOT NULL UNIQUE, value BLOB NOT NULL)
"""

Row = NDArray[np.float32]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CacheState:
    """What `xfer data cache` shows.

    path    | the file
    entries | number of vectors: one per picture and layer of a net
    mb      | space in use, MB; limit_mb: its limit
    """

    path: Path
    entries: int
    mb: float
    limit_mb: float


def limit_bytes() -> int:
    """The cache's limit: $XFER_CACHE_GB, else 20 GB; 0 keeps nothing. Raises XferError."""
    text = os.environ.get("XFER_CACHE_GB", "")
    try:
        gigabytes = float(text) if text else DEFAULT_GB
    except ValueError:
        gigabytes = -1.0
    if not 0 <= gigabytes < 1e9:
        raise XferError(f"XFER_CACHE_GB={text}: not a size", "a number of gigabytes, 0 or more")
    return int(gigabytes * 2**30)


SUBJECTS = ("features", "proposals")


def cache_states(warn: Callable[[str], None], clear: bool = False) -> dict[str, CacheState]:
    """What each subject's cache holds; with `clear`, what it held before it was emptied.

    Args: warn: called with a line for each problem with a cache.
    """
    states: dict[str, CacheState] = {}
    limit = limit_bytes()
    for subject in SUBJECTS:
        path = cache_file(subject)
        # with a limit of 0 the cache still holds what it has
        kept = Cache(path if path.exists() else None, max(1, limit), warn, subject)
        states[subject] = replace(kept.state(), path=path, limit_mb=limit / 2**20)
        kept.close()
        if clear:
            Cache(path, 0).clear()
    return states


def cache_file(subject: str = "features") -> Path:
    """Where the vectors of a subject are kept: features, proposals."""
    return cache_folder() / subject / "v1.sqlite"


class Cache:
    """Vectors by key; used from several threads.

    Args:
        path: the SQLite file, created when needed; None: nothing is ever found or kept.
        limit: bytes that it may use; the oldest vectors are dropped first.
        warn: called once with the reason if the cache is no longer used.
        subject: what is kept, for that warning.
    """

    def __init__(
        self,
        path: Path | None,
        limit: int,
        warn: Callable[[str], None] | None = None,
        subject: str = "features",
    ) -> None:
        self.path, self.limit, self.subject, self._warn = path, limit, subject, warn
        self._lock = threading.Lock()
        self._base: sqlite3.Connection | None = None
        self._told = False
        if path is None or limit <= 0:
            return
        try:
            self._base = _patiently(lambda: _open(path))
        except Exception as error:  # a damaged file makes sqlite3 raise others than its own
            self._give_up(error)

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Row]:
        """The known ones of these keys -> float32 (D,). Damaged entries are dropped."""
        found: dict[bytes, Row] = {}
        damaged: list[bytes] = []

        def look(base: sqlite3.Connection) -> None:
            for start in range(0, len(keys), _ASKED_AT_ONCE):
                part = keys[start : start + _ASKED_AT_ONCE]
                marks = ",".join("?" * len(part))
                for key, value in base.execute(
                    f"SELECT key, value FROM entries WHERE key IN ({marks})", part
                ):
                    try:
                        found[key] = opened(key, value)
                    except ValueError:
                        damaged.append(key)
            for key in damaged:
                base.execute("DELETE FROM entries WHERE key = ?", (key,))

        self._guarded(look)
        if damaged and not self._told and self._warn is not None:
            self._told = True
            self._warn(f"{self.path}: damaged entries are computed again")
        return found

    def keep(self, rows: Mapping[bytes, Row]) -> None:
        """Keeps key -> float32 (D,); makes room by dropping the oldest."""
        packed_rows = [(key, closed(key, row)) for key, row in rows.items()]

        def insert(base: sqlite3.Connection) -> None:
            size = sum(len(value) for _, value in packed_rows)
            if size > self.limit:
                return
            with base:
                base.execute("BEGIN IMMEDIATE")
                _make_room(base, size, self.limit)
                base.executemany(
                    "INSERT OR IGNORE INTO entries (key, value) VALUES (?, ?)", packed_rows
                )

        if packed_rows:
            self._guarded(insert)

    def state(self) -> CacheState:
        """How much is kept."""
        counted = [0, 0]

        def count(base: sqlite3.Connection) -> None:
            counted[0] = base.execute("SELECT count(*) FROM entries").fetchone()[0]
            counted[1] = _used(base)

        self._guarded(count)
        path = self.path or cache_file()
        return CacheState(path, counted[0], counted[1] / 2**20, self.limit / 2**20)

    def clear(self) -> None:
        """Forgets everything and gives the space back."""
        self.close()
        if self.path is not None:
            for end in ("", "-wal", "-shm"):
                Path(f"{self.path}{end}").unlink(missing_ok=True)

    def close(self) -> None:
        with self._lock:
            if self._base is not None:
                self._base.close()
                self._base = None

    def _guarded(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Runs `work` under the lock, if there is a cache; a failure disables it with a warning."""
        with self._lock:
            if self._base is None:
                return
            base = self._base
            try:
                _patiently(lambda: work(base))
            except Exception as error:  # a damaged file makes sqlite3 raise others than its own
                base.close()
                self._base = None
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        if self._warn is not None:
            if _busy(error):
                self._warn(
                    f"{self.subject} are no longer cached: {self.path}: another process has been "
                    f"using it for {_PATIENCE_S:.0f} s"
                )
                return
            afresh = "start afresh with `xfer data cache --clear`"
            full = "full" in str(error) or getattr(error, "errno", None) in NO_ROOM
            self._warn(
                f"{self.subject} are no longer cached: {self.path}: {error}; "
                + (f"free some space, or {afresh}" if full else afresh)
            )


def _patiently(work: Callable[[], T]) -> T:
    """Runs `work` again while another process holds the file, for up to a minute.

    SQLite's own wait doesn't cover all of it: two processes that make the file at once, or that
    look at one whose writer was killed, are refused at once. And it looks ten times a second
    only, so busy writers can pass one by.
    """
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if not _busy(error) or time.monotonic() > until:
                raise
        time.sleep(random.uniform(0.001, 0.02))


def _busy(error: Exception) -> bool:
    """Whether another process holds the file."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _BUSY


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    if why := others_write(path.parent):
        raise OSError(f"{why}, so what it holds can't be trusted")
    base = sqlite3.connect(path, timeout=0, check_same_thread=False, isolation_level=None)
    try:
        # a file that somebody else has made may hold functions and views: none of them is run
        base.execute("PRAGMA trusted_schema = OFF")
        base.execute("PRAGMA cell_size_check = ON")
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("PRAGMA synchronous = NORMAL")
        base.execute(_SCHEMA)
        others = base.execute("SELECT name FROM sqlite_master WHERE type IN ('view', 'trigger')")
        if others.fetchone() is not None:
            raise sqlite3.DatabaseError("it has views or triggers, which xfer does not make")
    except BaseException:
        base.close()  # else its lock would stay
        raise
    return base


def _used(base: sqlite3.Connection) -> int:
    """Bytes of the file that are in use."""
    pages, free, size = (
        base.execute(f"PRAGMA {what}").fetchone()[0]
        for what in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def _make_room(base: sqlite3.Connection, size: int, limit: int) -> None:
    """Drops the oldest tenth until `size` more bytes fit."""
    while _used(base) + size > limit:
        first, last = base.execute("SELECT min(id), max(id) FROM entries").fetchone()
        if first is None:
            return
        upto = first + int(_SHARE_FREED * (last - first))
        if base.execute("DELETE FROM entries WHERE id <= ?", (upto,)).rowcount == 0:
            return  # its numbers are damaged


# first byte of an entry with a checksum, and the bytes of that; earlier versions wrote none
_SUMMED, _SUM_BYTES = b"s", 8


def closed(key: bytes, row: Row) -> bytes:
    """The entry of a vector: the first bytes of the sha256 of its key and content, the content."""
    content = packed(row)
    return _SUMMED + hashlib.sha256(key + content).digest()[:_SUM_BYTES] + content


def opened(key: bytes, entry: bytes) -> Row:
    """The vector of an entry. Raises ValueError for a damaged one, or one of another key."""
    if entry[:1] != _SUMMED:
        return unpacked(entry)
    content = memoryview(entry)[1 + _SUM_BYTES :]
    digest = hashlib.sha256(key)
    digest.update(content)
    if digest.digest()[:_SUM_BYTES] != entry[1 : 1 + _SUM_BYTES]:
        raise ValueError("an entry is damaged")
    return unpacked(content)


def packed(row: Row) -> bytes:
    """A vector as bytes, after a format byte: two bytes per number if bf16 holds it exactly.

    A net that computes in bf16 gives such numbers, so its vectors take half the space.
    """
    bits = np.ascontiguousarray(row, "<f4").view("<u4")
    if not (bits & 0xFFFF).any():
        return b"h" + (bits >> 16).astype("<u2").tobytes()
    return b"f" + bits.tobytes()


def unpacked(value: bytes | memoryview) -> Row:
    """The vector that `packed` was given, bit for bit. Raises ValueError for other bytes."""
    if value[:1] == b"h":
        bits = np.frombuffer(value, "<u2", offset=1).astype(np.uint32) << 16
        return bits.view(np.float32)
    if value[:1] == b"f":
        return np.frombuffer(value, "<f4", offset=1).astype(np.float32)
    raise ValueError("an entry is damaged")
