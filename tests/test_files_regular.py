"""Only files are read, and only as far as they may be; what a file holds ends in a DataError."""

from __future__ import annotations

import errno
import io
import json
import os
import socket
import time
from pathlib import Path

import pytest
from pictures import encoded, scene

from xfer.backbones.files import open_weights
from xfer.backbones.weights import check_run_net
from xfer.data.images.walk import walk
from xfer.data.spec import open_spec
from xfer.errors import DataError, XferError, whole
from xfer.exit_codes import report
from xfer.extraction.store import read_features
from xfer.files import bytes_of, head_of, is_file, json_of, no_file, open_regular, text_of
from xfer.proposals.files import read_proposals
from xfer.recipe.toml import load_recipe
from xfer.runs.json_files import read_events


def test_a_pipe_a_device_a_socket_a_folder_and_links_to_them_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    (tmp_path / "to_pipe").symlink_to(tmp_path / "pipe")
    for name, word in {"pipe": "a pipe", "link": "a device", "to_pipe": "a pipe"}.items():
        with pytest.raises(DataError, match=f"{name}: {word}, not a file"):
            open_regular(tmp_path / name)
    with pytest.raises(DataError, match="a folder"):
        bytes_of(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(tmp_path)  # the path of a socket is short
        server.bind("s")
        with pytest.raises(DataError, match="s: a socket"):
            bytes_of("s")


def test_a_pipe_among_the_data_is_named_and_not_passed_over(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(encoded(scene(9, 9)))
    os.mkfifo(tmp_path / "labels.csv")
    with pytest.raises(DataError, match=r"labels\.csv: a pipe, not a file"):
        open_spec(str(tmp_path))
    with pytest.raises(DataError, match=r"labels\.csv: a pipe, not a file"):
        open_spec(str(tmp_path / "labels.csv"))
    (tmp_path / "labels.csv").rename(tmp_path / "a" / "2.png")  # left to who decodes it
    assert len(open_spec(str(tmp_path)).reading.parts) == 1
    (tmp_path / "a" / "2.png").rename(tmp_path / ".left")
    assert no_file(tmp_path / ".left") == "a pipe"
    assert no_file(tmp_path / ("a" * 300)) == no_file("a\0b") == no_file(tmp_path) == ""
    assert is_file(tmp_path / ".left")  # reading it says what it is
    assert not is_file(tmp_path / ("a" * 300))
    for read, name in (
        (read_proposals, "p.npz"),
        (read_features, "f.npz"),
        (open_weights, "w.pth"),
    ):
        os.mkfifo(tmp_path / name)
        with pytest.raises(DataError, match=f"{name}: a pipe, not a file"):
            read(tmp_path / name)


def test_a_file_that_grows_or_says_that_it_is_empty_is_read(tmp_path: Path) -> None:
    assert b"Name" in bytes_of("/proc/self/status")
    with pytest.raises(DataError, match="where at most 8 are read"):
        bytes_of("/proc/self/status", 8)
    assert head_of("/proc/self/status", 4) == b"Name"


def test_a_larger_file_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "f"
    with file.open("wb") as sparse:
        sparse.truncate(1 << 40)
    with pytest.raises(DataError, match=r"1,099,511,627,776 bytes.*at most 1,024"):
        bytes_of(file, 1024)
    file.write_bytes(b"a" * 1024)
    assert bytes_of(file, 1024) == b"a" * 1024


def test_a_large_file_that_was_hardly_written_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "f"
    for start in (b"", b"a" * 5000):
        file.write_bytes(start)
        os.truncate(file, 5 << 30)
        began = time.monotonic()
        with pytest.raises(DataError, match=r"f: 5,368,709,120 bytes, of which only [0-9,]+ were"):
            bytes_of(file)
        assert time.monotonic() - began < 1
    file.write_bytes(b"a")
    os.truncate(file, 1 << 20)  # costs nothing
    assert len(bytes_of(file)) == 1 << 20
    file.write_bytes(b"a" * (17 << 20))
    assert len(bytes_of(file)) == 17 << 20


@pytest.mark.skipif(not Path("/proc/self/pagemap").exists(), reason="Linux has them")
def test_a_file_of_proc_without_an_end_or_to_be_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="at most 16,777,216 are read"):
        bytes_of("/proc/self/pagemap")
    # what /proc/kmsg gives while there is no news
    monkeypatch.setattr("xfer.files.open_file", lambda path: Silent())
    for read in (bytes_of, lambda path: head_of(path, 4)):
        with pytest.raises(DataError, match="f: nothing can be read from it"):
            read("f")


class Silent(io.FileIO):
    def __init__(self) -> None:
        super().__init__(os.devnull)

    def read(self, size: int | None = -1, /) -> bytes:
        return None  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["csv:t.csv", "coco:t.json", "parquet:t.parquet", "pack:t", "t"])
def test_a_spec_that_is_a_pipe_is_called_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo(name.rpartition(":")[2])
    with pytest.raises(DataError, match="a pipe, not a file"):
        open_spec(name)


def test_a_runs_description_that_is_no_file_is_named(tmp_path: Path) -> None:
    check_run_net(tmp_path)  # weights alone
    os.mkfifo(tmp_path / "model.json")
    with pytest.raises(DataError, match=r"model\.json: a pipe, not a file"):
        check_run_net(tmp_path)
    (tmp_path / "model.json").unlink()
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(DataError, match=r"model\.json: not valid JSON"):
        check_run_net(tmp_path)


def test_a_log_that_leads_to_itself_is_named(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").symlink_to("log.jsonl")
    with pytest.raises(DataError, match=r"log\.jsonl: Too many levels of symbolic links"):
        read_events(tmp_path / "log.jsonl")
    error = OSError(errno.ELOOP, "Too many levels of symbolic links", "a")
    assert report(error) == 3  # wherever else it comes from


def test_text(tmp_path: Path) -> None:
    file = tmp_path / "t"
    file.write_text("é", "utf-8-sig")
    assert text_of(file) == "é"
    file.write_bytes("é".encode("latin-1"))
    with pytest.raises(DataError, match="not text in UTF-8"):
        text_of(file)


@pytest.mark.parametrize(
    "text", ["[" * 200_000, "9" * 5000, "{", '"\\ud8', "", "[1, 2", "nul", "\ufeff\ufeff{}"]
)
def test_json_ends_in_data_or_a_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "j.json"
    file.write_text(text)
    with pytest.raises(DataError, match=r"j\.json: not valid JSON"):
        json_of(file)
    file.write_text(json.dumps({"a": [1, {}]}))
    assert json_of(file) == {"a": [1, {}]}


def test_what_passes_and_what_becomes_a_line() -> None:
    for error in (KeyError("k"), TypeError("t"), RecursionError(), MemoryError(), IndexError()):
        with pytest.raises(DataError, match="some file"), whole("some file"):
            raise error
    with pytest.raises(XferError, match="own") as caught, whole("some file"):
        raise XferError("own")
    assert type(caught.value) is XferError
    with pytest.raises(OSError) as full, whole("some file"):
        raise OSError(errno.ENOSPC, "no space")
    assert full.value.errno == errno.ENOSPC
    with pytest.raises(KeyboardInterrupt), whole("some file"):
        raise KeyboardInterrupt


def test_folders_in_folders_end(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(encoded(scene(9, 9)))
    (tmp_path / "a" / "up").symlink_to(tmp_path)  # each folder is entered once
    assert len(walk(tmp_path).pictures) == 1
    deep = tmp_path / "a" / "/".join("x" * 150)
    deep.mkdir(parents=True)
    with pytest.raises(DataError, match="folders in folders, 100 deep and more"):
        open_spec(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a" + ".a" * 60_000 + " = 1", "more than 100 parts"),
        ('[run]\n"a b"' + ' . "a"' * 200 + " = 1", "more than 100 parts"),
        ("x = '" + "a" * 2_000_000 + "'", "at most 1,048,576 are read"),
        ('extends = "a\\u0000b"', "no name of a file"),
    ],
)
def test_recipes_that_take_long_or_name_nothing(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    before = time.process_time()
    with pytest.raises(DataError, match=line):
        load_recipe(str(tmp_path / "r.toml"))
    assert time.process_time() - before < 1
