"""One process at a time writes into a run, a pack or a file, whoever else is dead or alive."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from xfer import files
from xfer.errors import DataError
from xfer.fetch import download
from xfer.locking import sole_writer as locking
from xfer.locking.sole_writer import LOCK, check_writer, sole_writer
from xfer.recipe.tables import Recipe
from xfer.runs.folder import Run

fcntl = pytest.importorskip("fcntl", reason="locks of files are those of Unix")
HOLDER = """
import sys, time
from pathlib import Path
from xfer.locking.sole_writer import sole_writer
with sole_writer(Path(sys.argv[1]), inside=True):
    print("held", flush=True)
    time.sleep(600)
"""


def signed(pid: int, host: str = "", since: float = 0.0) -> str:
    return json.dumps({"pid": pid, "host": host or socket.gethostname(), "since": since})


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_second_process_is_told_who_writes_and_a_dead_one_is_succeeded(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline()
            for writes in (lambda: sole_writer(tmp_path, inside=True), None):
                with pytest.raises(DataError) as caught:
                    if writes is None:
                        check_writer(tmp_path, inside=True)
                    else:
                        writes().__enter__()
                says = f"{tmp_path}: process {other.pid} on {socket.gethostname()} has been"
                assert caught.value.message.startswith(says)
                assert time.strftime("since %Y-%m-%d") in caught.value.message
        finally:
            other.kill()
            other.wait()
    assert (tmp_path / LOCK).is_file()  # what a killed process leaves
    check_writer(tmp_path, inside=True)
    with sole_writer(tmp_path, inside=True):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_threads_of_one_process_exclude_each_other_and_leave_no_file(tmp_path: Path) -> None:
    done: list[int] = []

    def work(number: int) -> None:
        with sole_writer(tmp_path / "f.npz", wait=60):
            done.append(number)
            time.sleep(0.01)
            done.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 16
    assert done[::2] == done[1::2]
    assert not list(tmp_path.iterdir())


def test_waiting_ends(tmp_path: Path) -> None:
    start = time.monotonic()
    with (
        sole_writer(tmp_path / "f"),
        pytest.raises(DataError, match="has been writing"),
        sole_writer(tmp_path / "f", wait=0.2),
    ):
        pass
    assert 0.2 <= time.monotonic() - start < 5


@pytest.mark.parametrize("kind", ["link", "pipe", "hard link"])
def test_a_lock_that_lies_elsewhere_is_not_written_to(kind: str, tmp_path: Path) -> None:
    precious, lock = tmp_path / "precious", tmp_path / ".f.lock"
    precious.write_text("mine")
    if kind == "pipe":
        os.mkfifo(lock)
    elif kind == "link":
        lock.symlink_to(precious)
    else:
        lock.hardlink_to(precious)
    with pytest.raises(DataError, match="where a lock is due"), sole_writer(tmp_path / "f"):
        pass
    assert precious.read_text() == "mine"


def test_where_files_can_not_be_locked_the_note_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fails)
    lock = tmp_path / ".f.lock"
    for alive in (signed(os.getppid()), signed(1), signed(5, "elsewhere.org")):
        lock.write_text(alive)
        with (
            pytest.raises(DataError, match="has been writing") as caught,
            sole_writer(tmp_path / "f"),
        ):
            pass
        assert ("rm " in str(caught.value)) == ("elsewhere" in alive)
    for gone in ("", "{", "[1]", signed(dead_process()), signed(2**80)):
        lock.write_text(gone)
        with sole_writer(tmp_path / "f"):
            assert json.loads(lock.read_text())["pid"] == os.getpid()


def test_a_process_is_not_asked_for_where_asking_would_interrupt_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setattr("os.kill", lambda *_: pytest.fail("Ctrl-C was sent"))
    assert not locking._Owner(1, socket.gethostname(), 0.0).dead()


def test_a_full_disk_does_not_keep_a_lock_from_holding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with (
        sole_writer(tmp_path / "f"),
        pytest.raises(DataError, match="another process is writing into it"),
        sole_writer(tmp_path / "f"),
    ):
        pass


def test_a_run_has_one_writer(tmp_path: Path) -> None:
    out = tmp_path / "r"
    with Run.start(Recipe(), out) as run:
        before = {file.name: file.read_bytes() for file in out.iterdir()}
        for overwrite in (False, True):
            with pytest.raises(DataError, match="has been writing into it since"):
                Run.check_free(out, overwrite)
        with pytest.raises(DataError, match="has been writing"), Run.open(out).writing():
            pass
        assert {file.name: file.read_bytes() for file in out.iterdir()} == before
        assert Run.open(out).recipe().task == run.recipe().task  # reading needs no lock
    assert {file.name for file in out.iterdir()} == {"recipe.toml"}
    with Run.start(Recipe(), out, overwrite=True), pytest.raises(DataError):
        Run.start(Recipe(), out, overwrite=True).__enter__()


def test_a_run_that_was_killed_before_its_first_file_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(signed(dead_process()))
    with Run.start(Recipe(), tmp_path) as run:
        assert run.exists


@pytest.mark.parametrize("how", ["removed", "renamed", "replaced"])
def test_nothing_is_written_where_a_run_has_gone(how: str, tmp_path: Path) -> None:
    out, other = tmp_path / "r", tmp_path / "other"
    with Run.start(Recipe(), out) as run:
        run.log("train", step=1)
        if how == "removed":
            shutil.rmtree(out)
        else:
            out.rename(other)
        if how == "replaced":
            out.mkdir()
        for write in (
            lambda: run.log("train", step=2),
            lambda: run.write_json("env.json", {}),
            lambda: run.save_state({"step": 2}),
            lambda: files.write_text(out / "plots" / "a.txt", "a"),
        ):
            with pytest.raises(DataError, match="removed, renamed or unmounted"):
                write()
    assert out.exists() == (how == "replaced")
    assert not (out.exists() and list(out.iterdir()))
    files.write_text(out / "new.txt", "a")  # afterwards it is a folder like others


def test_a_line_is_appended_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, real = tmp_path / "log.jsonl", os.write
    files.append_line(file, "first")

    def half(handle: int, data: bytes) -> int:
        if len(data) < 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(handle, data[:3])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(DataError, match="no space left") as caught:
            files.append_line(file, "second")
    assert (caught.value.code, str(file) in caught.value.message) == (3, True)
    files.append_line(file, "third")
    assert file.read_text() == "first\nthird\n"


def test_a_download_is_waited_for(tmp_path: Path) -> None:
    """Another process fetches the file: it is used as soon as it is there."""
    import hashlib

    file = tmp_path / "w.pth"
    digest = f"sha256:{hashlib.sha256(b'weights').hexdigest()}"

    def fetch() -> None:
        time.sleep(0.3)
        file.write_bytes(b"weights")
        held.__exit__(None, None, None)

    held = sole_writer(file)
    held.__enter__()
    thread = threading.Thread(target=fetch)
    thread.start()
    assert download("http://127.0.0.1:9/w.pth", file, digest) == file
    thread.join()
