"""Packing that is stopped goes on; what is damaged is named and written anew."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import write_folder

import xfer.data.pack.writer as packing
from xfer.cli.app import main
from xfer.data.open import open_data
from xfer.data.pack.writer import Packing, pack
from xfer.errors import DataError
from xfer.locking.sole_writer import LOCK, sole_writer
from xfer.testing.source import SyntheticSource
from xfer.types import Sample

SMALL = Packing(side=0, raw=True, shard_mb=1)


class Stopping(SyntheticSource):
    """Pictures of 77 KB, 14 to a shard, that stop being read after so many."""

    def __init__(self, count: int, after: int = 10**9) -> None:
        super().__init__(count, size=160)
        self.left = after

    def __getitem__(self, i: int) -> Sample:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().__getitem__(i)


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "AT_ONCE", 4)


def test_a_stopped_packing_goes_on_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    pack(Stopping(60), tmp_path / "whole", SMALL)
    with pytest.raises(KeyboardInterrupt):
        pack(Stopping(60, after=35), tmp_path / "p", SMALL)
    assert not (tmp_path / "p" / "index.json").exists()
    with pytest.raises(DataError, match="not finished"):
        open_data(tmp_path / "p")
    again = Stopping(60)
    done = pack(again, tmp_path / "p", SMALL)
    assert done.kept == 2 and done.images == 60
    assert 10**9 - again.left < 60 - 20
    assert files(tmp_path / "p") == files(tmp_path / "whole")


def test_a_killed_packing_goes_on(tmp_path: Path) -> None:
    script = (
        "import time, xfer.data.pack.writer as p; from pathlib import Path\n"
        "from xfer.testing.source import SyntheticSource\n"
        "class Slow(SyntheticSource):\n"
        "  def __getitem__(self, i): time.sleep(.02); return super().__getitem__(i)\n"
        "p.AT_ONCE = 4\n"
        f"p.pack(Slow(60, size=160), Path({str(tmp_path / 'p')!r}), p.Packing(0, True, 1))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script])
    end = time.monotonic() + 60
    while not (tmp_path / "p" / "shard-00001.npz").exists() and time.monotonic() < end:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "p" / "index.json").exists()
    assert pack(Stopping(60), tmp_path / "p", SMALL).kept >= 1
    pack(Stopping(60), tmp_path / "whole", SMALL)
    wanted, found = files(tmp_path / "whole"), files(tmp_path / "p")
    assert {k: v for k, v in found.items() if not k.startswith(".")} == wanted


def test_a_finished_pack_is_compared_and_left(tmp_path: Path) -> None:
    pack(Stopping(40), tmp_path / "p", SMALL)
    before = files(tmp_path / "p")
    again = Stopping(40, after=0)
    done = pack(again, tmp_path / "p", SMALL)
    assert done.kept == done.shards == 3
    assert files(tmp_path / "p") == before


@pytest.mark.parametrize("suffix", ["bin", "npz"])
@pytest.mark.parametrize("how", ["bit", "cut", "gone"])
def test_a_damaged_shard_is_named_and_written_anew(suffix: str, how: str, tmp_path: Path) -> None:
    source = Stopping(40)
    pack(source, tmp_path / "p", SMALL)
    before = files(tmp_path / "p")
    file = tmp_path / "p" / f"shard-00001.{suffix}"
    data = bytearray(file.read_bytes())
    if how == "gone":
        file.unlink()
    elif how == "cut":
        file.write_bytes(data[:-1000])
    else:
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    with pytest.raises(DataError, match=f"shard-00001.{suffix}") as caught:
        open_data(tmp_path / "p")
    assert caught.value.hint
    done = pack(source, tmp_path / "p", SMALL)
    assert done.kept == 2
    assert files(tmp_path / "p") == before
    open_data(tmp_path / "p")


def test_a_changed_picture_alone_can_be_left_out(tmp_path: Path) -> None:
    pack(Stopping(40), tmp_path / "p", SMALL)
    file = tmp_path / "p" / "shard-00000.bin"
    data = bytearray(file.read_bytes())
    data[100] ^= 255
    file.write_bytes(data)
    found = open_data(tmp_path / "p", skip_bad=True)
    assert sum(map(len, found.splits.values())) == 39
    assert len(found.skipped) == 1 and "shard-00000.bin" in found.skipped[0][1]


def test_another_set_or_other_options_do_not_go_on_in_the_same_folder(tmp_path: Path) -> None:
    pack(Stopping(20), tmp_path / "p", SMALL)
    with pytest.raises(DataError, match="other pictures, or with other options"):
        pack(Stopping(21), tmp_path / "p", SMALL)
    with pytest.raises(DataError, match="other options"):
        pack(Stopping(20), tmp_path / "p", Packing(side=0))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="not a pack"):
        pack(Stopping(20), tmp_path / "full", SMALL)
    assert (tmp_path / "full" / "letter.txt").read_text() == "dear"


def test_two_do_not_write_into_one_folder(tmp_path: Path) -> None:
    with sole_writer(tmp_path, inside=True):
        with pytest.raises(DataError, match="has been writing into it since"):
            pack(Stopping(20), tmp_path, SMALL)
        assert [file.name for file in tmp_path.iterdir()] == [LOCK]
    assert pack(Stopping(20), tmp_path, SMALL).images == 20


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def fails(file: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(packing, "_synced", fails)
        with pytest.raises(DataError, match="No space left") as caught:
            pack(Stopping(60), tmp_path / "p", SMALL)
    assert "to continue" in str(caught.value)
    assert not [p for p in (tmp_path / "p").iterdir() if p.name.endswith(".tmp")]
    assert pack(Stopping(60), tmp_path / "p", SMALL).kept == 2


def test_broken_pictures_are_all_named_or_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "photos", {"train/ant": 6, "train/bee": 6, "val/ant": 3})
    for name in ("train/ant/2.jpg", "train/bee/4.jpg", "val/ant/0.jpg"):
        (folder / name).write_bytes((folder / name).read_bytes()[:200])
    words = ["data", "pack", str(folder), "-o", str(tmp_path / "p")]
    assert main(words) == 3
    said = capsys.readouterr().err
    assert "3 of 15" in said and "--skip-bad" in said
    assert all(name in said for name in ("train/ant/2.jpg", "train/bee/4.jpg", "val/ant/0.jpg"))
    assert main([*words, "--skip-bad", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["images"] == 12 and len(shown["skipped"]) == 3
    found = open_data(tmp_path / "p")
    assert {role: len(s) for role, s in found.splits.items()} == {"train": 10, "val": 2}
    assert np.bincount(found.splits["train"].labels()).tolist() == [5, 5]
    assert "train/ant/2.jpg" not in found.splits["train"].ids


def test_the_command_packs_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "photos", {"ant": 5, "bee": 5})
    words = ["data", "pack", str(folder), "--out", str(tmp_path / "p"), "--raw", "--side", "8"]
    assert main(words) == 0
    assert "10 pictures in 1 shard," in capsys.readouterr().out
    assert open_data(tmp_path / "p", cut=False).splits["train"][0].image.shape == (8, 12, 3)
    assert main(words) == 0
    assert "1 of them from an earlier run" in capsys.readouterr().out
    assert main([*words, "--side", "0"]) == 3


def test_an_index_that_is_cut_off_is_named_and_not_taken_for_coco(tmp_path: Path) -> None:
    pack(SyntheticSource(4, size=16), tmp_path / "p", SMALL)
    index = tmp_path / "p" / "index.json"
    whole = index.read_bytes()
    assert b'"images"' in whole
    for content in (whole[:-2], whole[: len(whole) // 2], whole[:-2] + b"|\n"):
        index.write_bytes(content)
        with pytest.raises(DataError, match=r"index\.json: not valid JSON"):
            open_data(tmp_path / "p", cut=False)
