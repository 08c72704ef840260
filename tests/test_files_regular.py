"""Only files are read, and only as far as they may be; what a file holds ends in a DataError."""

from __future__ import annotations

import errno
import json
import os
import socket
from pathlib import Path

import pytest

from xfer.errors import DataError, XferError, whole
from xfer.files import bytes_of, json_of, open_regular, text_of


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


def test_a_larger_file_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "f"
    with file.open("wb") as sparse:
        sparse.truncate(1 << 40)
    with pytest.raises(DataError, match=r"1,099,511,627,776 bytes.*at most 1,024"):
        bytes_of(file, 1024)
    file.write_bytes(b"a" * 1024)
    assert bytes_of(file, 1024) == b"a" * 1024


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
