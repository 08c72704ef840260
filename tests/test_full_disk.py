"""A disk that fills up: one line that names the file, what was good stays, nothing half is left."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import test_weights_download
import torch
from test_data_pack_safety import SMALL, Stopping
from test_features_store import made
from test_weights_download import BODY, SHA1

from xfer.cache import Cache
from xfer.data.download import _unpacked
from xfer.data.pack.writer import pack
from xfer.data.sources.index_file import Entries, kept_index
from xfer.errors import DataError
from xfer.extraction.store import Spool, spool_folder, write_features
from xfer.fetch import download
from xfer.locking.sole_writer import LOCK
from xfer.proposals.files import write_proposals
from xfer.recipe.tables import Recipe
from xfer.runs import checkpoint
from xfer.runs.folder import Run

MB = 1 << 20
server = test_weights_download.server


class Disk:
    """A small disk of its own, mounted at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        _mount("-t", "tmpfs", "-o", "size=2m,mode=755", "tmpfs", str(path))

    def fill(self, left: int) -> None:
        """Leaves room for that many bytes."""
        free = os.statvfs(self.path)
        (self.path / "filler").write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - left)))

    def empty(self) -> None:
        """Gives it plenty of room."""
        (self.path / "filler").unlink(missing_ok=True)
        _mount("-o", "remount,size=60m", str(self.path))

    def files(self) -> set[str]:
        names = {str(p.relative_to(self.path)) for p in self.path.rglob("*") if p.is_file()}
        return names - {"filler"}


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if sys.platform != "linux" or os.geteuid():
        pytest.skip("only root can mount a small disk")
    try:
        small = Disk(tmp_path / "disk")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk can be mounted here: {error}")
    yield small
    subprocess.run(["umount", "-l", str(small.path)], check=True)


def fails(work: Callable[[], object], file: Path) -> None:
    """Asserts that it ends with a DataError that names the file."""
    with pytest.raises(DataError) as caught:
        work()
    assert str(file) in caught.value.message
    assert "space" in caught.value.message


def test_packing_goes_on_when_there_is_room(disk: Disk, tmp_path: Path) -> None:
    out = disk.path / "p"
    fails(lambda: pack(Stopping(60), out, SMALL), out / "shard-00001.bin")
    assert disk.files() == {"p/shard-00000.bin", "p/shard-00000.npz", "p/packing.json"}
    disk.empty()
    assert pack(Stopping(60), out, SMALL).kept == 1
    pack(Stopping(60), tmp_path / "whole", SMALL)
    for file in (tmp_path / "whole").iterdir():
        assert (out / file.name).read_bytes() == file.read_bytes()


def test_a_features_file_is_there_in_full_or_not_at_all(disk: Disk) -> None:
    out = disk.path / "f.npz"
    write_features(out, made())
    before = out.read_bytes()
    rows = {"pool5": np.ones((6, MB // 8), np.float32)}

    def extract() -> None:
        with spool_folder(out) as folder:
            spool = Spool(out, folder, 6)
            try:
                spool.write(np.arange(6), rows)
            finally:
                spool.close()
            spool.finish(["pool5"], made(layers={}))

    fails(extract, out)  # while rows arrive
    assert disk.files() == {"f.npz"}
    _mount("-o", "remount,size=5m", str(disk.path))
    fails(extract, out)  # while the file is made of them
    assert disk.files() == {"f.npz"}
    assert out.read_bytes() == before
    disk.empty()
    extract()
    assert out.read_bytes() != before


def test_the_last_good_state_and_weights_of_a_run_stay(disk: Disk) -> None:
    big = {"w": torch.ones(MB)}
    with Run.start(Recipe(), disk.path / "r") as run:
        with pytest.raises(DataError, match=r"state\.pt"):
            run.save_state(big)
        assert {path.name for path in run.path.iterdir()} == {"recipe.toml", LOCK}
        run.save_state({"step": 1})
        checkpoint.save_weights(run.weights_file, {"w": torch.ones(1)}, {})
        run.log("train", step=1)
        before = disk.files()
        with pytest.raises(DataError, match=r"state\.pt"):
            run.save_state(big)
        with pytest.raises(DataError, match=r"best\.safetensors"):
            checkpoint.save_weights(run.weights_file, big, {})
        assert disk.files() == before
        disk.fill(0)
        # a page of the log has room, as has what its last page takes
        fails(lambda: run.log("train", text="x" * 8192), run.path / "log.jsonl")
        fails(lambda: run.write_json("result.json", {"a": "x" * 8192}), run.path / "result.json")
        assert disk.files() == before
        assert [event["step"] for event in run.events()] == [1]
        assert checkpoint.load_state(run.state_file)["step"] == 1
        assert checkpoint.load_weights(run.weights_file)["w"].shape == (1,)
        disk.empty()
        run.save_state(big)
        run.log("train", step=2)
    assert len(run.events()) == 2


def test_no_run_is_started_on_a_full_disk(disk: Disk) -> None:
    disk.fill(0)
    with pytest.raises(DataError, match="space"), Run.start(Recipe(), disk.path / "r"):
        pass
    disk.empty()
    with Run.start(Recipe(), disk.path / "r") as run:
        assert run.exists


def test_a_download_goes_on_from_what_it_has(disk: Disk, server: str) -> None:
    file = disk.path / "w.pth"
    disk.fill(MB // 2)
    fails(lambda: download(f"{server}/w.pth", file, SHA1), disk.path / "w.pth.part")
    assert disk.files() == {"w.pth.part"}
    disk.empty()
    assert download(f"{server}/w.pth", file, SHA1).read_bytes() == BODY
    assert disk.files() == {"w.pth", "w.pth.sha256"}


def test_nothing_half_unpacked_is_left(disk: Disk, tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("a.bin", "b.bin"):
            file.writestr(name, np.random.default_rng(0).bytes(3 * MB // 2))
    quiet = (lambda text: None), (lambda text: contextlib.nullcontext(None))
    half, place = disk.path / "unpacked", disk.path / "set"
    fails(lambda: _unpacked([archive], half, place, *quiet), archive)
    assert not disk.files()
    disk.empty()
    assert _unpacked([archive], half, place, *quiet) == 2


def test_an_index_that_has_no_room_is_made_each_time(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XFER_CACHE", str(disk.path))
    disk.fill(MB // 2)
    entries = Entries(("a",))
    for number in range(30000):
        entries.add(f"{number:08d}", 0, 0, 0, 0)
    index = kept_index(["one"], lambda: entries)
    assert len(index) == 30000
    assert "made again each time" in index.notes[-1]
    assert not disk.files()
    disk.empty()
    assert not kept_index(["one"], lambda: entries).notes


def test_what_can_not_be_cached_is_computed(disk: Disk) -> None:
    said: list[str] = []
    cache = Cache(disk.path / "v1.sqlite", 1 << 30, said.append)
    with warnings.catch_warnings():
        for number in range(8):
            cache.keep({bytes([number]): np.full(MB // 8, 1 / 3, np.float32)})
    cache.close()
    assert len(said) == 1
    assert "no longer cached" in said[0] and "free some space" in said[0]


def test_proposals_need_room(disk: Disk) -> None:
    out = disk.path / "p.npz"
    boxes = [np.ones((MB // 8, 4), np.float32)] * 2
    fails(lambda: write_proposals(out, ["a", "b"], boxes, {}), out)
    assert not disk.files()
