"""Files are written whole or not at all, and reading them runs no code."""

from __future__ import annotations

import errno
import os
import pickle
import sys
from pathlib import Path

import pytest
import torch

from xfer import files
from xfer.errors import DataError
from xfer.runs import checkpoint


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    state = {"step": 3, "tensor": torch.arange(5), "list": [1, 2.5, "x"], "none": None}
    checkpoint.save_state(tmp_path / "state.pt", state)
    back = checkpoint.load_state(tmp_path / "state.pt")
    assert torch.equal(back.pop("tensor"), state.pop("tensor")) and back == state


def test_weights_in_channels_last_come_back_equal(tmp_path: Path) -> None:
    weight = torch.randn(4, 3, 5, 5).contiguous(memory_format=torch.channels_last)
    checkpoint.save_weights(tmp_path / "w.safetensors", {"a.weight": weight}, {"format": "xfer"})
    assert torch.equal(checkpoint.load_weights(tmp_path / "w.safetensors")["a.weight"], weight)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    files.write_text(path, "old")
    with pytest.raises(ValueError, match="midway"), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise ValueError("midway")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no umask")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_who_may_read_a_file_is_up_to_the_umask(mask: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        files.write_text(tmp_path / "a.txt", "text")
        checkpoint.save_state(tmp_path / "b.pt", {"a": torch.zeros(3)})
        checkpoint.save_weights(tmp_path / "c.safetensors", {"a": torch.zeros(3)}, {})
    finally:
        os.umask(before)
    assert {p.stat().st_mode & 0o777 for p in tmp_path.iterdir()} == {0o666 & ~mask}


def test_a_full_disk_is_said_in_one_line_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    files.write_text(path, "old")
    with pytest.raises(DataError, match="no space left"), files.replacing(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_text() == "old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_torchs_own_writer_on_a_full_disk_is_a_data_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.save
    monkeypatch.setattr(torch, "save", lambda value, path: real(value, "/dev/full"))
    with pytest.raises(DataError, match=r"disk|space"):
        checkpoint.save_state(tmp_path / "s.pt", {"a": torch.zeros(100_000)})
    assert not (tmp_path / "s.pt").exists()


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04 cut off"])
def test_damaged_files_are_data_errors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad"
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        checkpoint.load_state(path)
    with pytest.raises(DataError, match="damaged"):
        checkpoint.load_weights(path)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "owned",)  # pyright: ignore[reportReturnType]

    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError):
        checkpoint.load_state(tmp_path / "evil.pt")
    assert not (tmp_path / "owned").exists()
