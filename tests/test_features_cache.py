"""The cache of features: equal to the bit, bounded, shared by processes, never in the way."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import xfer.cache
from xfer.errors import XferError
from xfer.extraction.cache import FeatureCache, cache_file, limit_bytes, packed, unpacked

GB = 2**30


def keys(count: int, start: int = 0) -> list[bytes]:
    return [i.to_bytes(32, "big") for i in range(start, start + count)]


def rows(count: int, width: int = 64, start: int = 0) -> dict[bytes, np.ndarray]:
    values = np.random.default_rng(start).standard_normal((count, width)).astype(np.float32)
    return dict(zip(keys(count, start), values, strict=True))


@pytest.mark.parametrize(
    "row",
    [
        np.array([0.1, -3e38, np.nan, np.inf, 0.0, -0.0], np.float32),
        np.array([0.5, 1.0, -2.0, 0.0, -0.0], np.float32),
        np.empty(0, np.float32),
    ],
)
def test_vectors_come_back_to_the_bit(row: np.ndarray) -> None:
    assert unpacked(packed(row)).tobytes() == row.tobytes()


def test_what_bf16_holds_takes_half_the_space() -> None:
    row = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    short = (row.view(np.uint32) & 0xFFFF0000).view(np.float32)
    assert len(packed(short)) == 2001
    assert len(packed(row)) == 4001


def test_found_by_key_and_by_the_next_process(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path / "c", GB)
    cache.keep(rows(1200))
    cache.close()
    again = FeatureCache(tmp_path / "c", GB)
    found = again.find([*keys(1200), b"other"])
    assert found.keys() == rows(1200).keys()
    assert all(np.array_equal(found[k], v) for k, v in rows(1200).items())
    assert again.state().entries == 1200
    again.clear()
    assert not list(tmp_path.iterdir())


def test_it_stays_within_its_bound_and_drops_the_oldest(tmp_path: Path) -> None:
    limit = 2 * 2**20
    cache = FeatureCache(tmp_path / "c", limit)
    for start in range(0, 2000, 50):
        cache.keep(rows(50, 1000, start))
        assert cache.state().mb <= 2
    state = cache.state()
    assert 200 < state.entries < 2000
    assert len(cache.find(keys(50, 1950))) == 50
    assert not cache.find(keys(50))
    cache.close()
    assert (tmp_path / "c").stat().st_size < 1.2 * limit


def test_nothing_is_kept_without_a_path_or_with_a_bound_of_nothing(tmp_path: Path) -> None:
    for cache in (FeatureCache(None, GB), FeatureCache(tmp_path / "c", 0)):
        cache.keep(rows(3))
        assert not cache.find(keys(3))
        assert cache.state().entries == 0
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_one_warning(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b"no database" * 1000)
    said: list[str] = []
    cache = FeatureCache(tmp_path / "c", GB, said.append)
    cache.keep(rows(3))
    assert not cache.find(keys(3))
    assert len(said) == 1
    assert "xfer data cache --clear" in said[0]


def test_a_full_disk_is_one_warning(tmp_path: Path) -> None:
    """SQLite's own bound of pages gives the error that a full disk gives."""
    said: list[str] = []
    cache = FeatureCache(tmp_path / "c", GB, said.append)
    cache.keep(rows(3))
    assert cache._base is not None
    cache._base.execute("PRAGMA max_page_count = 4")
    cache.keep(rows(100, 1000, 10))
    cache.keep(rows(100, 1000, 500))
    assert len(said) == 1
    assert "full" in said[0]
    kept = FeatureCache(tmp_path / "c", GB)
    assert set(kept.find(keys(200))) == set(keys(3))
    kept.close()


def test_a_file_that_another_process_holds_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: list[str] = []
    other = sqlite3.connect(tmp_path / "c", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")  # before there is a cache: SQLite itself would not wait
    release = threading.Timer(0.3, other.rollback)
    release.start()
    cache = FeatureCache(tmp_path / "c", GB, said.append)
    release.join()
    cache.keep(rows(3))
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, other.rollback)
    release.start()
    cache.keep(rows(3, start=3))
    release.join()
    assert not said
    assert len(cache.find(keys(6))) == 6
    monkeypatch.setattr(xfer.cache, "_PATIENCE_S", 0.1)
    other.execute("BEGIN IMMEDIATE")
    cache.keep(rows(3, start=6))
    other.close()
    assert len(said) == 1
    assert "another process" in said[0]
    assert "--clear" not in said[0]


WRITER = """
import sys, time, numpy as np
from pathlib import Path
from xfer.extraction.cache import FeatureCache
cache = FeatureCache(Path(sys.argv[1]), 2**30, lambda text: sys.exit(text))
print("ready", flush=True)
for start in range(int(sys.argv[2]), int(sys.argv[3]), 10):
    cache.keep({i.to_bytes(32, "big"): np.full(500, i, np.float32) for i in range(start, start+10)})
    time.sleep(0.002)  # so that the others get the lock, however few cores there are
"""


def start_writer(path: Path, first: int, last: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", WRITER, str(path), str(first), str(last)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def test_two_processes_write_and_a_killed_one_leaves_the_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "c"
    one, two = start_writer(path, 0, 1000), start_writer(path, 500, 1500)
    endless = start_writer(path, 10_000, 10_000_000)
    with one, two, endless:
        try:
            assert endless.stdout is not None
            endless.stdout.readline()
            assert one.wait(120) == 0
            endless.kill()
            assert two.wait(120) == 0
        finally:  # leaving the block waits for all of them
            for process in (one, two, endless):
                process.kill()
    cache = FeatureCache(path, GB)
    found = cache.find(keys(1500))
    assert len(found) == 1500
    assert all(row.shape == (500,) and (row == int.from_bytes(k)).all() for k, row in found.items())
    assert cache._base is not None
    assert cache._base.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    cache.close()


def test_the_bound_and_the_place_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XFER_CACHE", str(tmp_path))
    assert cache_file().is_relative_to(tmp_path)
    assert limit_bytes() == 20 * GB
    monkeypatch.setenv("XFER_CACHE_GB", "0.5")
    assert limit_bytes() == GB // 2
    for wrong in ("much", "-1", "nan"):
        monkeypatch.setenv("XFER_CACHE_GB", wrong)
        with pytest.raises(XferError, match="XFER_CACHE_GB"):
            limit_bytes()
