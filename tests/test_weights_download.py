"""Downloads, against a server on this machine."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import torchvision

import xfer
from xfer.backbones import published
from xfer.errors import DataError
from xfer.fetch import download

BODY = bytes(range(256)) * 4096
SHA1 = "sha1:" + hashlib.sha1(BODY).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    ranges: ClassVar[list[str | None]] = []
    body: ClassVar[bytes] = BODY

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.ranges.append(asked)
        if self.path == "/missing":
            self.send_error(404)
            return
        start = 0
        if asked and self.path != "/norange":
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(self.body):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(self.body) - start))
        self.end_headers()
        end = len(self.body) // 3 if self.path == "/cut" and not start else len(self.body)
        self.wfile.write(self.body[start:end])

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@pytest.fixture
def server() -> Iterator[str]:
    _Handler.ranges = []
    _Handler.body = BODY
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()
        thread.join()


def files(folder: Path) -> list[str]:
    """Names in a folder, but for the empty lock that stays beside a file."""
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


def test_a_good_file_is_fetched_once_and_reported(server: str, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = tmp_path / "deep/er/w.bin"
    for _ in range(2):
        download(f"{server}/w.bin", path, SHA1, lambda have, total: seen.append((have, total)))
    assert path.read_bytes() == BODY and _Handler.ranges == [None]
    assert seen[-1] == (len(BODY), len(BODY))
    assert files(path.parent) == ["w.bin", "w.bin.sha256"]


def test_several_that_want_a_file_at_once_fetch_it_once(server: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        paths = [tmp_path / "net.pth"] * 4
        made = list(pool.map(lambda path: download(f"{server}/net", path, SHA1), paths))
    assert {path.read_bytes() for path in made} == {BODY}
    assert len(_Handler.ranges) == 1


def test_a_wrong_hash_leaves_nothing_behind(server: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="wrong hash") as caught:
        download(f"{server}/w.bin", tmp_path / "w.bin", "sha1:00")
    assert str(tmp_path / "w.bin") in str(caught.value)
    assert files(tmp_path) == []


def test_what_was_cut_off_is_resumed(server: str, tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    with pytest.raises(DataError, match="cut off"):
        download(f"{server}/cut", path, SHA1)
    assert not path.exists()
    download(f"{server}/cut", path, SHA1)
    assert path.read_bytes() == BODY
    assert _Handler.ranges == [None, f"bytes={len(BODY) // 3}-"]


def test_a_server_without_ranges_sends_it_all_again(server: str, tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    path.with_name("w.bin.part").write_bytes(b"old junk")
    download(f"{server}/norange", path, SHA1)
    assert path.read_bytes() == BODY


def test_a_whole_partial_file_is_taken(server: str, tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    path.with_name("w.bin.part").write_bytes(BODY)
    assert download(f"{server}/w.bin", path, SHA1).read_bytes() == BODY


def test_a_missing_page_says_where_to_put_the_file(server: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="404") as caught:
        download(f"{server}/missing", tmp_path / "w.bin", SHA1)
    assert str(tmp_path / "w.bin") in (caught.value.hint or "")


def test_a_wrong_file_put_by_hand_is_refused_and_kept(server: str, tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    path.write_bytes(b"something else")
    with pytest.raises(DataError, match="not the published file"):
        download(f"{server}/w.bin", path, SHA1)
    assert path.read_bytes() == b"something else" and _Handler.ranges == []


def test_offline_fails_soon_and_names_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_network(*_: Any, **__: Any) -> Any:
        raise OSError("Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setenv("XFER_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf"))
    for proxy in (
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ):
        monkeypatch.delenv(proxy, raising=False)
    for net, file in (
        ("bvlc_alexnet", "bvlc_alexnet.caffemodel"),
        ("resnet18", "resnet18-f37072fd.pth"),
        ("timm:resnet10t.c3_in1k", "resnet10t.c3_in1k.safetensors"),
    ):
        start = time.perf_counter()
        with pytest.raises(DataError) as caught:
            xfer.create_backbone(net, weights="imagenet")
        assert time.perf_counter() - start < 8
        assert str(tmp_path / "weights" / file) in (caught.value.hint or ""), caught.value


def test_a_name_server_that_does_not_answer_is_given_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    release = threading.Event()
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(20))
    with pytest.raises(DataError, match="no answer"):
        download("http://example.invalid/w.bin", tmp_path / "w.bin", SHA1, timeout=0.2)
    release.set()


def test_published_weights_are_fetched_and_loaded(
    server: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(state, tmp_path / "made.pth")
    _Handler.body = (tmp_path / "made.pth").read_bytes()
    name = f"resnet18-{hashlib.sha256(_Handler.body).hexdigest()[:8]}.pth"
    monkeypatch.setattr(published, "_torchvision_url", lambda *_: f"{server}/{name}")
    monkeypatch.setenv("XFER_CACHE", str(tmp_path / "cache"))
    said: list[str] = []
    net = xfer.create_backbone("resnet18", weights="imagenet", classifier=True, report=said.append)
    assert torch.equal(net.state_dict()["classifier.fc.bias"], state["fc.bias"])
    assert (tmp_path / "cache/weights" / name).is_file()
    assert any("fetching" in line for line in said) and said[-1].startswith("weights imagenet")
