"""`xfer serve`: predict's answers, errors in a line, limits, and the page in a browser."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromium
import numpy as np
import pytest
import uvicorn
from PIL import Image

from xfer import kinds
from xfer.cli import main
from xfer.drawing.masks import mask_layer
from xfer.errors import XferError
from xfer.inference.model import load
from xfer.recipe.tables import DataTable, OptimTable, Recipe, RunTable, ScheduleTable
from xfer.serving import server, upload
from xfer.serving.answers import Answers
from xfer.serving.app import Limits, make_app
from xfer.serving.turns import Full, Turns
from xfer.train.loop import fit
from xfer.types import MaskPrediction

HOSTILE = '"><script>alert(1)</script>'
QUIET = RunTable(precision="fp32", plots=False, report=False)


def recipe(task: str, size: int, **options: Any) -> Recipe:
    return Recipe(
        task=task, backbone="tiny_nets:tiny", weights="none", task_options=options,
        data=DataTable(source="digits", batch=8, size=size, limit=16, workers=1),
        optim=OptimTable(lr=1e-2), schedule=ScheduleTable(steps=2), run=QUIET,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("serve") / "run"
    fit(recipe("classify", 32), out, verbosity=-1)
    return out


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "a b.png"
    pixels = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


class At:
    """A server in a thread, and its clients."""

    def __init__(self, app: Any) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        config = uvicorn.Config(app, http="h11", ws="none", lifespan="off", log_config=None)
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],))
        self.thread.start()

    def close(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        self.socket.close()

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, http.client.HTTPMessage]:
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(client):
            client.request(method, path, body, headers or {})
            answer = client.getresponse()
            content = answer.read()
            if "json" in answer.headers.get("content-type", ""):
                content = json.loads(content)
            return answer.status, content, answer.headers

    def send(self, path: str, data: bytes, name: str = "a.png", **more: Any) -> tuple[int, Any]:
        body, kind = form(data, name, more.pop("field", "file"), more.pop("fields", {}))
        status, content, _ = self.ask("POST", path, body, {"content-type": kind, **more})
        return status, content


def form(
    data: bytes, name: str, field: str = "file", fields: dict[str, str] | None = None
) -> tuple[bytes, str]:
    lines = [
        f'--xx\r\ncontent-disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in (fields or {}).items()
    ]
    head = f'--xx\r\ncontent-disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
    body = "".join([*lines, head]).encode() + data + b"\r\n--xx--\r\n"
    return body, "multipart/form-data; boundary=xx"


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return []


@pytest.fixture(scope="module")
def at(run: Path, lines: list[str]) -> Iterator[At]:
    answers = Answers(load(run, device="cpu", trust="tiny_nets"))
    about = {"title": HOSTILE, "line": "tiny", "url": "http://127.0.0.1/"}
    here = At(make_app(answers, about, ["box.local"], lines.append, lines.append))
    yield here
    here.close()


def test_the_answer_is_predicts(
    at: At, run: Path, picture: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", str(run), str(picture), "--format", "json", "--trust", "tiny_nets"]
    assert main([*words, "--device", "cpu"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    status, answer = at.send("/predict", picture.read_bytes(), picture.name)
    assert status == 200
    assert answer == {**row, "id": picture.name}


def test_a_large_jpeg_is_decoded_as_predict_decodes_the_file(
    at: At, run: Path, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (700, 800, 3), np.uint8)
    path = tmp_path / "large.jpg"
    Image.fromarray(pixels).save(path)
    row = load(run, device="cpu", trust="tiny_nets").predict(path).rows()[0]
    _, answer = at.send("/predict", path.read_bytes())
    assert answer["scores"] == row["scores"]


def png(width: int = 8, height: int = 8) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height)).save(out, format="png")
    return out.getvalue()


def huge() -> bytes:
    """A PNG whose header says 100,000 x 100,000 pixels."""
    return png()[:16] + (100_000).to_bytes(4) * 2 + png()[24:]


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"", 415, "zero bytes"),
        (bytes(range(200)) * 3, 415, "not a picture"),
        (b"<!doctype html><p>no", 415, "HTML"),
        (png(50, 50)[:-60], 422, "a.png: "),
        (huge(), 422, "million pixels"),
    ],
)
def test_a_bad_file_is_a_line(at: At, data: bytes, status: int, words: str) -> None:
    got, answer = at.send("/predict", data)
    assert got == status
    assert list(answer) == ["error"]
    assert words in answer["error"] and "\n" not in answer["error"]


def test_a_wrong_request_is_a_line(at: At, picture: Path) -> None:
    data = picture.read_bytes()
    assert at.send("/predict", data, field="image")[0] == 400
    assert at.ask("POST", "/predict", data, {"content-type": "image/png"})[0] == 415
    assert at.ask("POST", "/predict", b"", {})[0] == 415
    broken = {"content-type": "multipart/form-data"}
    assert at.ask("POST", "/predict", data, broken)[0] == 400
    two = form(data, "a.png")[0].replace(b"--xx--\r\n", b"") + form(data, "b.png")[0]
    kind = {"content-type": "multipart/form-data; boundary=xx"}
    assert at.ask("POST", "/predict", two, kind)[0] == 400
    status, answer, headers = at.ask("GET", "/predict")
    assert (status, answer["error"], headers["allow"]) == (405, "/predict takes POST", "POST")
    for path in ("/../../etc/passwd", "/page.py", "/%2e%2e/app.py", "/static/x"):
        assert at.ask("GET", path)[0] == 404
    assert at.ask("GET", "/healthz")[:2] == (200, {"status": "ok"})


def test_names_of_files_are_text(at: At, picture: Path) -> None:
    for name, shown in (("../../etc/x.png", "x.png"), (r"C:\a\b.png", "b.png"), ("", "picture")):
        _, answer = at.send("/predict", picture.read_bytes(), name)
        assert answer["id"] == shown
    assert len(at.send("/predict", picture.read_bytes(), "n" * 3000)[1]["id"]) == 255


def test_only_requests_meant_for_this_server_are_answered(at: At, picture: Path) -> None:
    own = f"127.0.0.1:{at.port}"
    for host in (own, f"localhost:{at.port}", "[::1]:80", "box.local", "BOX.local:1"):
        assert at.ask("GET", "/", headers={"host": host})[0] == 200
    for host in ("evil.example", f"evil.example:{at.port}", "", "127.0.0.1.evil.example", "[x"):
        status, answer, _ = at.ask("GET", "/", headers={"host": host})
        assert status == 403 and "host" in answer["error"]
    data = picture.read_bytes()
    assert at.send("/predict", data, origin=f"http://{own}")[0] == 200
    for origin in ("http://evil.example", "null", f"http://evil.example#{own}"):
        assert at.send("/predict", data, origin=origin)[0] == 403


def test_the_page_is_whole_escaped_and_offline(at: At) -> None:
    status, content, headers = at.ask("GET", "/")
    page = content.decode()
    assert status == 200 and "{{" not in page
    assert HOSTILE not in page and "&lt;script&gt;alert(1)" in page
    assert not re.search(r"(?:src=|<link[^>]+href=|url\(|@import\s+)[\"']?(?:https?:)?//", page)
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers
    for path in re.findall(r'(?:src|href)="(/[^"]+)"', page):
        assert at.ask("GET", path)[0] == 200
    assert "innerHTML" not in at.ask("GET", "/page.js")[1].decode()


def test_what_the_page_draws(at: At, picture: Path) -> None:
    data = picture.read_bytes()
    status, look = at.send("/look", data)
    assert status == 200
    assert look["prediction"] == at.send("/predict", data)[1]
    assert look["layer"] is None and look["explains"] is True
    assert set(look["colours"]) == set(look["prediction"]["scores"])
    assert set(look["seconds"]) == {"decode", "net"}
    status, found = at.send("/explain", data, fields={"label": "3"})
    assert status == 200 and found["label"] == "3"
    assert found["layer"].startswith("data:image/png;base64,")
    assert at.send("/explain", data)[1]["label"] == look["prediction"]["label"]
    status, answer = at.send("/explain", data, fields={"label": HOSTILE})
    assert status == 422 and "no class" in answer["error"]
    status, jpeg = at.send("/picture", data)
    assert status == 200 and Image.open(io.BytesIO(jpeg)).size == (120, 90)


def test_masks_are_a_layer_over_the_picture() -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[:, 30:] = 1
    layer = mask_layer(mask, ("background", "leaf"), 30)
    assert layer.shape == (20, 30, 4)
    kind = kinds.get("segment")
    assert layer[5, 5, 3] == 0 and 100 < layer[5, 25, 3] < 200
    assert "#{:02x}{:02x}{:02x}".format(*layer[5, 25, :3]) == kind.colour(1)
    assert layer[5, 15].tolist() == [255] * 4
    found = MaskPrediction("a", mask, (40, 60))
    whole = kind.layer(found, ("background", "leaf"), 1600)
    assert whole is not None and whole.shape == (40, 60, 4)
    assert kinds.get("classify").layer(None, (), 10) is None


class Slow:
    """Answers that wait until they may go on, and say what was asked."""

    def __init__(self) -> None:
        self.go, self.seen, self.inside, self.most = threading.Event(), [], 0, 0

    def predict(self, data: bytes, name: str) -> dict[str, Any]:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.seen.append(name)
        self.go.wait(60)
        self.inside -= 1
        if data == b"oops":
            raise RuntimeError("a\nbug")
        return {"id": name}

    look = explain = picture = predict


def test_one_at_a_time_a_few_wait_and_the_rest_is_sent_away() -> None:
    slow, lines = Slow(), list[str]()
    about = {"title": "t", "line": "l", "url": "u"}
    app = make_app(slow, about, complain=lines.append, limits=Limits(places=3))  # pyright: ignore[reportArgumentType]
    here = At(app)
    got: list[tuple[int, Any]] = []

    def ask(data: bytes) -> threading.Thread:
        thread = threading.Thread(target=lambda: got.append(here.send("/predict", data)))
        thread.start()
        return thread

    try:
        threads = [ask(bytes([number])) for number in range(4)]
        end = time.monotonic() + 60
        while not got:
            assert time.monotonic() < end
            time.sleep(0.01)
        status, answer = got[0]
        assert status == 503 and "3 requests" in answer["error"]
        assert here.ask("GET", "/healthz")[0] == 200
        slow.go.set()
        for thread in threads:
            thread.join(60)
        assert [status for status, _ in got[1:]] == [200] * 3 and slow.most == 1
        status, answer = here.send("/predict", b"oops")
        assert (status, answer["error"]) == (500, "internal error: RuntimeError: a bug")
    finally:
        slow.go.set()
        here.close()
    assert lines == ["/predict: internal error: RuntimeError: a bug"]


def test_a_file_beyond_the_limit_and_one_that_never_comes() -> None:
    slow = Slow()
    slow.go.set()
    limits = Limits(bytes=200_000, seconds=0.5)
    here = At(make_app(slow, {"title": "t", "line": "l", "url": "u"}, limits=limits))  # pyright: ignore[reportArgumentType]
    try:
        assert here.send("/predict", bytes(190_000))[0] == 200
        assert here.send("/predict", bytes(400_000))[0] == 413
        body, kind = form(bytes(400_000), "a.png")
        chunks = iter([body[:1000], body[1000:]])  # of a length that isn't told
        assert here.ask("POST", "/predict", chunks, {"content-type": kind})[0] == 413
        headers = {"content-type": kind, "content-length": "1000"}
        status, answer, _ = here.ask("POST", "/predict", body[:500], headers)
        assert status == 408 and "0.5 s" in answer["error"]
    finally:
        here.close()
    assert len(slow.seen) == 1


def test_uploads_stay_off_the_disk(at: At, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    image = Image.fromarray(np.random.default_rng(2).integers(0, 255, (900, 900, 3), np.uint8))
    out = io.BytesIO()
    image.save(out, format="png")
    assert len(out.getvalue()) > 2_000_000
    assert at.send("/predict", out.getvalue())[0] == 200
    assert upload._InMemory.spool_max_size > upload.MAX_BYTES


def test_turns_are_kept_and_given_back() -> None:
    turns = Turns(1)
    with turns.place(), pytest.raises(Full), turns.place():
        pass
    with turns.place():
        assert turns.taken == 1


def test_a_port_in_use_and_other_wrong_words_are_a_line(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(run), "--port", str(port)]) == 2
    assert f"xfer: port {port} is in use\n" in capsys.readouterr().err
    assert main(["serve", str(run), "--port", "0", "--host", "no such host"]) == 2
    assert "no such address" in capsys.readouterr().err
    assert main(["serve", str(run / "none"), "--port", "0"]) == 2
    monkeypatch.setattr(server, "NEEDS", ("no_such_package",))
    with pytest.raises(XferError, match="needs no-such-package") as caught:
        server.serve(run)
    assert "xfer[serve]" in str(caught.value.hint)


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_it_says_where_it_is_and_ends_at_once(run: Path, host: str) -> None:
    words = [sys.executable, "-m", "xfer", "serve", str(run), "--port", "0", "--json"]
    program = subprocess.Popen(
        [*words, "--host", host, "--trust", "tiny_nets"], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
    )  # fmt: skip
    assert program.stdout is not None and program.stderr is not None
    try:
        text = ""
        while not text.rstrip().endswith("}"):
            line = program.stdout.readline()
            assert line, program.stderr.read()
            text += line
        url = json.loads(text)["url"]
        assert url.startswith("http://127.0.0.1:")
        client = http.client.HTTPConnection(url.split("/")[2], timeout=20)  # kept open
        client.request("GET", "/healthz")
        assert client.getresponse().read() == b'{"status":"ok"}'
        program.terminate()
        client.close()
        _, told = program.communicate(timeout=60)
    finally:
        program.kill()
    assert program.returncode == 130
    warned = "knows no passwords" in told
    assert warned == (host == "0.0.0.0")
    assert told.rstrip().splitlines()[-1] == "xfer: interrupted"


@pytest.mark.skipif(chromium.PROGRAM is None, reason="no chromium to look with")
def test_a_picture_in_a_browser(at: At, picture: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    tiff = tmp_path / "a.tif"  # which the browser can't show
    Image.open(picture).save(tiff)
    shown = "!document.getElementById('result').hidden"
    with chromium.chromium(tmp_path / "profile") as tab:
        tab.open(f"http://127.0.0.1:{at.port}/")
        assert tab.value("document.querySelector('h1').textContent") == HOSTILE
        assert tab.value("document.querySelector('#file').labels.length") == 1
        tab.choose("#file", picture)
        tab.wait_for(shown)
        assert tab.value("document.querySelectorAll('.rows li').length") == 10
        headline = tab.value("document.getElementById('headline').textContent")
        label = at.send("/predict", picture.read_bytes())[1]["label"]
        assert headline.startswith(f"{label}, ") and headline.endswith(" %")
        assert tab.value("document.activeElement.id") == "headline"
        tab.value(
            "(s => { s.value = '3'; s.dispatchEvent(new Event('change')) })"
            "(document.querySelector('select'))"
        )
        tab.wait_for("document.querySelector('.heat')?.complete")
        tab.choose("#file", broken)
        tab.wait_for("document.getElementById('error').textContent")
        assert "not a picture" in tab.value("document.getElementById('error').textContent")
        assert not tab.value(shown)
        tab.choose("#file", tiff)
        tab.wait_for(shown)
        assert tab.value("document.getElementById('picture').naturalWidth") == 120
        # the browser notes the 415, and nothing else
        assert len(tab.console) == 1 and "415" in tab.console[0]
