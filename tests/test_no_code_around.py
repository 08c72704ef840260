"""What lies around: modules in the current folder, processes that xfer starts, links, terminals,
archives and servers, caches of others."""

from __future__ import annotations

import http.server
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_plugs import NETS, install

import xfer
from xfer import cli, plugs, registry
from xfer.backbones import published
from xfer.backbones.build import make_backbone
from xfer.cache import Cache
from xfer.data.catalog import KNOWN
from xfer.data.sources import index_file
from xfer.data.spec import open_spec
from xfer.data.unpack import unpack
from xfer.errors import DataError, XferError, printable
from xfer.fetch import check_recorded, download, fetch, others_write
from xfer.files import append_line
from xfer.proposals.worker import Worker
from xfer.runs.git import git_state

RAN = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n"
HELPERS = """
from xfer.backbones.base import SequentialBackbone
from xfer.types import Preprocess
import torch

def remove_everything(path="x"):
    open("ran", "w").close()

def wrongly_said(path="x") -> int:
    open("ran", "w").close()

def by_annotation() -> SequentialBackbone:
    return make()

def by_its_use(width=4):
    return SequentialBackbone("b", Preprocess(size=32), torch.nn.Sequential(
        torch.nn.Conv2d(3, width, 3)), {"conv1": 0})

make = lambda: by_its_use()

class Runner:
    def __init__(self, path="x"):
        open("ran", "w").close()

class Photos:
    def __init__(self, path="x"):
        raise OSError("made")

    def __getitem__(self, i):
        return i

def photos(path="x") -> Photos:
    return Photos(path)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder, with a module of many purposes."""
    (tmp_path / "purposes.py").write_text(HELPERS)
    monkeypatch.delitem(sys.modules, "purposes", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["remove_everything", "wrongly_said", "Runner"])
def test_a_trusted_module_lends_a_file_only_what_makes_what_is_wanted(
    here: Path, name: str
) -> None:
    with plugs.naming(trust="purposes"), plugs.reading("r/model.json"):
        with pytest.raises(XferError, match=f"r/model.json asks for backbone purposes:{name}"):
            make_backbone(f"purposes:{name}")
        with pytest.raises(XferError, match=f"asks for data purposes:{name}"):
            open_spec(f"purposes:{name}:purposes.py")
    assert not (here / "ran").exists()
    # the person's own word is enough: then it is called, and its result is looked at
    with plugs.naming(f"purposes:{name}"), pytest.raises(XferError, match="not an xfer Backbone"):
        make_backbone(f"purposes:{name}")
    assert (here / "ran").exists()


def test_what_makes_it_is_called(here: Path) -> None:
    with plugs.naming(trust="purposes"):
        for name in ("by_annotation", "by_its_use"):
            assert make_backbone(f"purposes:{name}").map_names == ("conv1",)
        for name in ("Photos", "photos"):
            with pytest.raises(OSError, match="made"):
                open_spec(f"purposes:{name}:purposes.py")
    with plugs.naming(trust="purposes:make"):
        assert make_backbone("purposes:make").map_names == ("conv1",)
    with plugs.naming(trust="purposes:by_its_use"), pytest.raises(XferError, match="not declared"):
        make_backbone("purposes:make")  # the module is allowed, this name in it is not


def test_a_module_in_the_folder_does_not_stand_in_for_an_installed_one(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "site").mkdir()
    (here / "site" / "purposes.py").write_text("")
    monkeypatch.syspath_prepend(here / "site")
    with plugs.naming(trust="purposes"), pytest.raises(XferError, match="run the command in"):
        make_backbone("purposes:by_annotation")
    (here / "purposes.py").unlink()
    (here / "torchish.py").write_text(RAN)
    sibling = "try:\n    import torchish\nexcept ImportError:\n    pass\n"
    (here / "site" / "purposes.py").write_text(sibling + HELPERS)
    with plugs.naming(trust="purposes"):
        assert make_backbone("purposes:by_annotation").map_names == ("conv1",)
    assert not (here / "ran").exists()  # the folder is not on the path of an installed module


def test_entry_points_in_the_current_folder_are_not_installed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(here, "slipped-in", "[xfer.backbones]\nslipped = slipped:stripe_net\n", monkeypatch,
            slipped=NETS)  # fmt: skip
    assert "slipped" not in registry.offers("xfer.backbones")
    with pytest.raises(XferError, match="not named in this call"):
        make_backbone("slipped:stripe_net")
    monkeypatch.chdir(here.parent)
    assert "slipped" in registry.offers("xfer.backbones")


def test_python_m_xfer_imports_nothing_from_the_folder_it_stands_in(tmp_path: Path) -> None:
    for name in ("torch", "numpy", "typer", "rich", "tomllib", "PIL", "cv2"):
        (tmp_path / f"{name}.py").write_text(RAN)
    root = str(Path(xfer.__file__).parent.parent)
    environment = {**os.environ, "PYTHONPATH": root}
    words = [sys.executable, "-m", "xfer", "recipes", "show", "-v", "classify/digits"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists()


def test_the_process_of_selective_search_imports_nothing_from_there_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("numpy", "cv2", "struct", "signal", "skimage"):
        (tmp_path / f"{name}.py").write_text(RAN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f":.:{os.environ.get('PYTHONPATH', '')}:")
    worker = Worker(50)
    try:
        boxes, _ = worker.search(np.zeros((40, 40, 3), np.uint8))
    finally:
        worker.stop()
    assert boxes.shape[1] == 4
    assert not (tmp_path / "ran").exists()


def git(folder: Path, *words: str) -> None:
    own = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *own, *words], cwd=folder, check=True, capture_output=True)


def test_git_s_state_is_told_and_nothing_in_the_repository_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert git_state(tmp_path) is None
    git(tmp_path, "init")
    assert git_state(tmp_path) is None  # no commit
    (tmp_path / "a").write_text("1")
    (tmp_path / ".gitattributes").write_text("* filter=x diff=x\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "x")
    runs = f"touch {tmp_path}/ran; cat"
    for key in ("core.fsmonitor", "filter.x.clean", "filter.x.process", "diff.x.textconv",
                "diff.external", "core.pager", "core.sshCommand", "alias.status",
                "core.alternateRefsCommand", "status.branch"):  # fmt: skip
        git(tmp_path, "config", key, runs)
    (tmp_path / ".git" / "hooks" / "post-index-change").write_text(f"#!/bin/sh\n{runs}\n")
    (tmp_path / ".git" / "hooks" / "post-index-change").chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "git").write_text(f"#!/bin/sh\n{runs}\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f".::{os.environ['PATH']}")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", runs)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", runs)
    os.utime(tmp_path / "a", (1, 1))  # git must read it again
    state = git_state(tmp_path)
    assert state is not None and len(state["commit"]) == 40
    assert state["changed"]  # the program called git is new
    (tmp_path / "git").unlink()
    (tmp_path / "bin").rmdir()
    assert git_state(tmp_path) == {**state, "changed": False}
    (tmp_path / "a").write_text("2")
    (tmp_path / "deep").mkdir()
    assert git_state(tmp_path / "deep") == state
    assert not (tmp_path / "ran").exists()
    (tmp_path / ".git" / "HEAD").write_text("ref: ../../etc/passwd\n")
    assert git_state(tmp_path) is None


def test_packed_branches_and_worktrees_are_found(tmp_path: Path) -> None:
    one = tmp_path / "one"
    one.mkdir()
    git(one, "init")
    (one / "a").write_text("1")
    git(one, "add", ".")
    git(one, "commit", "-m", "x")
    git(one, "pack-refs", "--all")
    git(one, "worktree", "add", str(tmp_path / "two"), "-b", "other")
    state = git_state(one)
    assert state is not None and git_state(tmp_path / "two") == state


def test_tex_is_not_run_for_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    from xfer.drawing.canvas import new_figure, save

    def run(*_: Any, **__: Any) -> Any:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", run)
    with matplotlib.rc_context({"text.usetex": True}):
        figure = new_figure(2, 2)
        figure.add_subplot().set_title(r"\input{/etc/passwd}")
        save(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 500


def test_names_are_shown_not_obeyed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pictures import write_picture

    assert printable("a\x1b[2Jb\x9bc\td\n") == "a\\x1b[2Jb\\x9bc\td\n"
    monkeypatch.chdir(tmp_path)
    for name in ("\x1b]0;gone\x07", "b\x9b"):
        (tmp_path / "p" / name).mkdir(parents=True)
        for n in range(3):
            write_picture(tmp_path / "p" / name / f"{n}.png")
    for words in (
        ["data", "show", "p"],
        ["data", "show", "p", "--json"],
        ["data", "show", "p\x1b"],
    ):
        cli.main(words)
        shown = capsys.readouterr()
        assert not {"\x1b", "\x9b", "\x07"} & set(shown.out + shown.err)
        if words[-1] == "--json":
            for split in json.loads(shown.out)["splits"].values():
                assert "\x1b]0;gone\x07" in split["classes"]


def test_a_log_that_is_a_link_is_not_written(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x\n")
    (tmp_path / "log.jsonl").symlink_to(tmp_path / "mine")
    with pytest.raises(DataError, match=r"log\.jsonl: a link"):
        append_line(tmp_path / "log.jsonl", "$(touch ran)")
    assert (tmp_path / "mine").read_text() == "x\n"


# archives


def zipped(*members: tuple[str, bytes | int], kind: int = 0) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that come twice
        for name, content in members:
            entry = zipfile.ZipInfo(name)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = kind << 16
            archive.writestr(entry, bytes(content) if isinstance(content, int) else content)
    return out.getvalue()


def tarred(*members: tuple[str, bytes, str]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, kind, link in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link
            archive.addfile(member)
    return out.getvalue()


FILE, LINK, HARD = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "bomb": (lambda: zipped(("a", 100 << 20)), "far more than"),
    "bombs": (lambda: zipped(*((f"{n}", 8 << 20) for n in range(9))), "far more than"),
    "twice": (lambda: zipped(("a", b"1"), ("a", b"2")), "in the place of"),
    "by case": (lambda: zipped(("d/A", b"1"), ("d/a", b"2")), "in the place of"),
    "by folder": (lambda: zipped(("d/a", b"1"), ("D/b", b"2")), "in the place of"),
    "by accent": (lambda: zipped(("\u00e9", b"1"), ("e\u0301", b"2")), "in the place of"),
    "in a file": (lambda: zipped(("a", b"1"), ("a/b", b"2")), "in the place of"),
    "over a folder": (lambda: zipped(("a/b", b"1"), ("a", b"2")), "in the place of"),
    "pipe": (lambda: zipped(("a", b"1"), kind=stat.S_IFIFO | 0o644), "a device or pipe"),
    "control": (lambda: zipped(("a\x1bb", b"1")), "control characters"),
    "deep": (lambda: zipped(("d/" * 40 + "a", b"1")), "too long a name"),
    "long": (lambda: zipped(("x" * 300, b"1")), "too long a name"),
    "link": (lambda: tarred(("a", LINK, "b")), "is a link"),
    "hard": (lambda: tarred(("b", FILE, ""), ("a", HARD, "b")), "is a link"),
    "tar pipe": (lambda: tarred(("a", tarfile.FIFOTYPE, "")), "a device or pipe"),
    "tar twice": (lambda: tarred(("a", FILE, ""), ("a", FILE, "")), "in the place of"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_an_archive_is_judged_before_it_is_unpacked(tmp_path: Path, name: str) -> None:
    make, why = REFUSED[name]
    (tmp_path / "a").write_bytes(make())
    with pytest.raises(DataError, match=f"refused: .*{why}"):
        unpack(tmp_path / "a", tmp_path / "out")
    written = sum(p.stat().st_size for p in tmp_path.glob("out/**/*") if p.is_file())
    assert written <= 2


def test_archives_as_they_are_made_are_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(zipped(("d/", b""), ("d/a", 5 << 20), ("d/", b""), ("e/a", b"x")))
    assert unpack(tmp_path / "a", tmp_path / "out") == 2
    (tmp_path / "l").symlink_to(tmp_path / "out")
    with pytest.raises(DataError, match="a link, where a folder is due"):
        unpack(tmp_path / "a", tmp_path / "l")


# downloads and caches


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"x" * 3_000_000)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()
        thread.join()


def test_a_server_does_not_lead_elsewhere_nor_send_without_end(server: str, tmp_path: Path) -> None:
    part = tmp_path / "a.part"
    for place in ("file:///etc/passwd", "ftp://127.0.0.1/a"):
        with pytest.raises(OSError, match=r"refused|not allowed"):
            fetch(f"{server}/to/{place}", part, None, 4)
    for url in ("file:///etc/passwd", "data:,x"):
        with pytest.raises(OSError, match="unknown url type"):
            fetch(url, part, None, 4)
    with pytest.raises(OSError, match="more than 1,000,000 bytes"):
        fetch(f"{server}/a", part, None, 4, 1_000_000)
    assert not part.exists()
    fetch(f"{server}/to//a", part, None, 4, 3_000_000)
    assert part.stat().st_size == 3_000_000
    (tmp_path / "link.part").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="is a link"):
        fetch(f"{server}/a", tmp_path / "link.part", None, 4)
    assert not (tmp_path / "mine").exists()


def test_https_does_not_lead_to_http() -> None:
    from urllib.request import Request

    from xfer.fetch import _NoDowngrade

    handler, asked = _NoDowngrade(), Request("https://example.invalid/a")
    with pytest.raises(OSError, match="leads from https to http://"):
        handler.redirect_request(asked, None, 302, "Found", {}, "http://example.invalid/a")
    led = handler.redirect_request(asked, None, 302, "Found", {}, "https://example.org/a")
    assert led is not None and led.full_url == "https://example.org/a"


def test_known_archives_have_their_whole_checksum_and_https_first() -> None:
    for known in KNOWN.values():
        for archive in known.archives:
            kind, _, digits = archive.hash.partition(":")
            assert kind == "sha256" and len(digits) == 64
            assert archive.urls[0].startswith("https://")
    assert all(len(digits) == 64 for digits in published.SHA256)


def test_without_a_whole_checksum_the_first_one_counts(server: str, tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "net.pth"
    digits = hashlib.sha256(b"x" * 3_000_000).hexdigest()
    download(f"{server}/net", path, f"sha256:{digits}")
    assert not (tmp_path / "net.pth.sha256").exists()  # it says nothing new
    path.unlink()
    download(f"{server}/net", path, f"sha256:{digits[:8]}")
    assert (tmp_path / "net.pth.sha256").read_text() == f"{digits}  net.pth\n"
    assert download(f"{server}/net", path, f"sha256:{digits[:8]}") == path
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"1")
    record = tmp_path / "other.safetensors.sha256"
    check_recorded(other, record)
    other.write_bytes(b"2")
    with pytest.raises(DataError, match="not the file that was fetched first"):
        check_recorded(other, record)


def test_caches_that_others_can_write_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XFER_CACHE", str(tmp_path))
    assert others_write(tmp_path) == ""
    assert others_write(tmp_path / "not there") == ""
    (tmp_path / "index").mkdir()
    for folder in (tmp_path, tmp_path / "index"):
        folder.chmod(0o777)
    assert others_write(tmp_path) == "anyone can write into it"
    told: list[str] = []
    cache = Cache(tmp_path / "v1.sqlite", 1 << 20, told.append)
    cache.keep({b"k": np.ones(3, np.float32)})
    assert cache.find([b"k"]) == {} and "anyone can write" in told[0]
    made: list[int] = []

    def make() -> index_file.Entries:
        made.append(1)
        return index_file.Entries(["a"], files=["f"], ids=["i"], labels=[0], file=[0], start=[0],
                                  length=[1])  # fmt: skip

    for _ in range(2):
        assert "anyone can write" in index_file.kept_index(["s"], make).notes[-1]
    assert len(made) == 2 and not any((tmp_path / "index").iterdir())
    (tmp_path / "a").write_bytes(b"1")
    with pytest.raises(DataError, match="not safe for one"):
        check_recorded(tmp_path / "a", tmp_path / "a.sha256")
    tmp_path.chmod(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 4321)
    assert "belongs to another user" in others_write(tmp_path) or tmp_path.stat().st_uid == 0
