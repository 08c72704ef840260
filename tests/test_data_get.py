"""`xfer data get` against a server on this machine, and archives that want out of their folder."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from box_files import write_coco, write_voc
from test_data_voc import FOUR, IDS

from xfer.cli.app import main
from xfer.data import catalog as known
from xfer.data.catalog import Archive, KnownSet
from xfer.data.download import get
from xfer.data.open import open_data
from xfer.data.unpack import unpack
from xfer.errors import DataError, XferError


class _Handler(BaseHTTPRequestHandler):
    bodies: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[tuple[str, str | None]]] = []
    cut: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.asked.append((self.path, wanted))
        body = self.bodies.get(self.path)
        if body is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        stop = len(body)
        if self.path in self.cut:
            self.cut.discard(self.path)
            stop = len(body) // 3
        self.wfile.write(body[start:stop])

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


def zipped(root: Path) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(root.rglob("*")):
            archive.write(path, path.relative_to(root))
    return out.getvalue()


def tarred(root: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.add(root, ".")
    return out.getvalue()


@pytest.fixture
def server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """An address, and the archives of a small voc07 and coco that it serves."""
    write_voc(tmp_path / "made/voc/VOCdevkit/VOC2007", FOUR, {"trainval": IDS[:3], "test": IDS[3:]})
    write_coco(tmp_path / "made/coco")
    write_coco(tmp_path / "made/coco", 3, split="val2017")
    _Handler.bodies = {
        "/voc.tar": tarred(tmp_path / "made/voc"), "/coco.zip": zipped(tmp_path / "made/coco"),
    }  # fmt: skip
    _Handler.asked, _Handler.cut = [], set()
    monkeypatch.setenv("XFER_DATA", str(tmp_path / "data"))
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        address = f"http://127.0.0.1:{http.server_address[1]}"
        for name, path, first in (("voc07", "/voc.tar", "/gone.tar"), ("coco", "/coco.zip", "")):
            body = _Handler.bodies[path]
            urls = tuple(f"{address}{p}" for p in (first, path) if p)
            digest = f"md5:{hashlib.md5(body).hexdigest()}" if name == "voc07" else ""
            archive = Archive(urls, len(body), digest)
            monkeypatch.setitem(known.KNOWN, name, KnownSet("a tree", archives=(archive,)))
        yield address, _Handler.bodies
        http.shutdown()
        thread.join()


def test_a_set_is_fetched_unpacked_and_opens_by_its_name(server: Any, tmp_path: Path) -> None:
    said: list[str] = []
    got = get("coco", say=said.append)
    assert got.path == tmp_path / "data" / "coco" and got.files == 9
    bundle = open_data("coco")
    assert {role: len(s) for role, s in bundle.splits.items()} == {"train": 4, "val": 3}
    assert [p.name for p in (tmp_path / "data/.fetched").iterdir()] == []
    assert any("fetching" in line for line in said) and any("unpacking" in line for line in said)
    before = list(_Handler.asked)
    assert get("coco").files == 0 and _Handler.asked == before  # it is there


def test_a_mirror_is_asked_where_the_first_place_has_nothing(server: Any) -> None:
    get("voc07", keep=True)
    assert [path for path, _ in _Handler.asked] == ["/gone.tar", "/voc.tar"]
    asked: dict[str, Any] = {"train": "trainval", "val": "none", "test": "test"}
    assert {r: len(s) for r, s in open_data("voc07", **asked).splits.items()} == {
        "train": 3, "test": 1,
    }  # fmt: skip


def test_what_was_cut_off_goes_on(server: Any, tmp_path: Path) -> None:
    _Handler.cut = {"/coco.zip"}
    with pytest.raises(DataError, match="cut off") as caught:
        get("coco")
    assert "the same command again" in str(caught.value)
    part = next((tmp_path / "data/.fetched/coco").glob("*.part"))
    have = part.stat().st_size
    assert 0 < have < len(server[1]["/coco.zip"]) and not (tmp_path / "data/coco").exists()
    get("coco")
    assert _Handler.asked[-1] == ("/coco.zip", f"bytes={have}-")
    assert len(open_data("coco").splits["train"]) == 4


def test_a_file_put_there_by_hand_is_gone_on_with_or_left_alone(
    server: Any, tmp_path: Path
) -> None:
    body = server[1]["/coco.zip"]
    put = tmp_path / "data/.fetched/coco/coco.zip"
    put.parent.mkdir(parents=True)
    put.write_bytes(body + b"more")
    with pytest.raises(DataError, match=rf"coco\.zip: has {len(body) + 4:,} bytes, the published"):
        get("coco")
    assert put.read_bytes() == body + b"more" and not _Handler.asked
    put.write_bytes(body[:100])
    get("coco")
    assert _Handler.asked == [("/coco.zip", "bytes=100-")]


def test_another_file_than_the_published_one_is_refused(server: Any, tmp_path: Path) -> None:
    body = server[1]["/voc.tar"]
    server[1]["/voc.tar"] = body[:-1] + bytes([body[-1] ^ 1])
    with pytest.raises(DataError, match="different hash"):
        get("voc07")
    server[1]["/coco.zip"] += b"more"
    with pytest.raises(DataError, match="sends more than 8,945 bytes"):
        get("coco")
    assert not any((tmp_path / "data").glob("[cv]*"))
    assert not any(p.is_file() for p in (tmp_path / "data/.fetched").rglob("*"))


def test_a_server_that_has_nothing_is_named(server: Any) -> None:
    server[1].clear()
    with pytest.raises(DataError, match=r"/gone.tar: the server answered 404.*/voc.tar: .* 404"):
        get("voc07")


def test_a_server_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XFER_DATA", str(tmp_path))
    archive = Archive(("http://127.0.0.1:9/x.zip",), 10)
    monkeypatch.setitem(known.KNOWN, "coco", KnownSet("a tree", archives=(archive,)))
    with pytest.raises(DataError, match=r"127\.0\.0\.1:9/x\.zip") as caught:
        get("coco")
    assert "put the file at" in str(caught.value)


def test_a_stopped_unpacking_leaves_no_half_set(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import xfer.data.download

    def stopped(*_: Any) -> int:
        (tmp_path / "data/.fetched/coco/unpacked/train2017").mkdir(parents=True)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(xfer.data.download, "unpack", stopped)
        get("coco")
    assert not (tmp_path / "data/coco").exists()
    asked = len(_Handler.asked)
    assert get("coco").files == 9 and len(_Handler.asked) == asked  # not fetched again


def test_a_full_disk_is_told_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XFER_DATA", str(tmp_path))
    archive = Archive(("http://127.0.0.1:9/x.zip",), 10**18)
    monkeypatch.setitem(known.KNOWN, "coco", KnownSet("a tree", archives=(archive,)))
    with pytest.raises(DataError, match="GB are free"):
        get("coco")


@pytest.mark.parametrize(("name", "error"), [("cocoo", XferError), ("imagenet", DataError)])
def test_what_can_not_be_fetched_says_why(name: str, error: type[XferError]) -> None:
    with pytest.raises(error, match=r"unknown data set|xfer can't fetch"):
        get(name)


def test_a_dry_run_lists_sizes_and_fetches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XFER_DATA", str(tmp_path / "none"))
    assert main(["data", "get", "voc07", "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [a["bytes"] for a in found["archives"]] == [460_032_000, 451_020_800]
    assert found["path"] == str(tmp_path / "none" / "voc07")
    assert main(["data", "get", "coco", "--dry-run"]) == 0
    assert "train2017.zip" in capsys.readouterr().out and not (tmp_path / "none").exists()


def test_the_command_says_where_the_set_is(
    server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "get", "coco"]) == 0
    shown = capsys.readouterr()
    assert "9 files unpacked" in shown.out and "--data coco" in shown.out
    assert main(["data", "get", "nothing"]) == 2 and main(["data", "get", "imagenet"]) == 3


def tar_of(*members: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return out.getvalue()


def tar_member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, link, 1 if kind == tarfile.REGTYPE else 0
    return member


def zip_of(name: str, link: bool = False) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("good.txt", "good")
        entry = zipfile.ZipInfo(name)
        if link:
            entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    return out.getvalue()


@pytest.mark.parametrize(
    "make",
    [
        lambda: tar_of(tar_member("../evil")),
        lambda: tar_of(tar_member("a/../../evil")),
        lambda: tar_of(tar_member("l", tarfile.SYMTYPE, "/etc"), tar_member("l/evil")),
        lambda: tar_of(tar_member("l", tarfile.LNKTYPE, "../../evil")),
        lambda: tar_of(tar_member("dev", tarfile.CHRTYPE)),
        lambda: zip_of("../evil"),
        lambda: zip_of("/evil"),
        lambda: zip_of("a\\..\\..\\evil"),
        lambda: zip_of("C:/evil"),
        lambda: zip_of("link", link=True),
    ],
)
def test_archives_that_want_out_are_refused(tmp_path: Path, make: Callable[[], bytes]) -> None:
    (tmp_path / "a").write_bytes(make())
    with pytest.raises(DataError, match="refused"):
        unpack(tmp_path / "a", tmp_path / "deep" / "out")
    assert not any("evil" in str(p) for p in tmp_path.rglob("*"))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not an archive"),
        (b"<!DOCTYPE html><html>gone</html>", "a page of HTML"),
        (b"PK\x03\x04 cut off", "not an archive"),
    ],
)
def test_what_is_no_archive_says_so(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(DataError, match=said):
        unpack(tmp_path / "a", tmp_path / "out")


def test_a_zip_with_a_folder_that_is_itself_and_one_with_a_password(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(zip_of("./"))
    assert unpack(tmp_path / "a", tmp_path / "out") == 1
    data = bytearray(zip_of("b.txt"))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + place] |= 1
    (tmp_path / "a").write_bytes(bytes(data))
    with pytest.raises(DataError, match="password"):
        unpack(tmp_path / "a", tmp_path / "locked")


def test_a_damaged_zip_is_told_by_its_checksum(tmp_path: Path) -> None:
    data = bytearray(zip_of("b.txt"))
    data[data.index(b"good", 40)] ^= 1
    (tmp_path / "a").write_bytes(bytes(data))
    with pytest.raises(DataError, match="damaged"):
        unpack(tmp_path / "a", tmp_path / "out")


@pytest.mark.parametrize("name", ["coco", "voc07", "voc12"])
def test_without_data_the_folder_the_tree_and_the_command_are_named(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XFER_DATA", str(tmp_path / "nothing"))
    command = ["finetune", "--task", "detect", "--data", name, "--weights", "none"]
    assert main([*command, "--out", str(tmp_path / "r")]) == 3
    said = capsys.readouterr().err
    assert str(tmp_path / "nothing" / name) in said and f"xfer data get {name}" in said
    assert ("instances_{train,val}2017.json" if name == "coco" else "JPEGImages") in said
    assert not (tmp_path / "r").exists()
