"""`xfer features` and `xfer data cache` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pictures import write_picture

from xfer.cli.app import main
from xfer.extraction import read_features

TINY = ["--backbone", "tiny_nets:tiny", "--weights", "none", "--workers", "1"]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XFER_CACHE", str(tmp_path / "cache"))
    for i in range(6):
        write_picture(tmp_path / "in" / "ab"[i % 2] / f"{i}.png", seed=i)
    return tmp_path / "in"


def document(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_counts_as_json(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "f.npz"
    words = ["features", *TINY, "--layer", "conv1,conv2", "--data", str(photos), "-o", str(out)]
    assert main([*words, "--pool", "avg", "--json"]) == 0
    first = document(capsys)
    assert set(first) == {"computed", "cached", "seconds", "images_per_second"}
    assert (first["computed"], first["cached"]) == (6, 0)
    assert list(read_features(out).layers) == ["conv1", "conv2"]
    assert main([*words, "--pool", "avg", "--json"]) == 0
    assert document(capsys)["cached"] == 6
    assert main([*words, "--pool", "avg", "--json", "--no-cache"]) == 0
    assert document(capsys)["computed"] == 6


def test_every_option_reaches_the_file(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.npz"
    words = ["--pool", "max", "--crops", "flip", "--views", "concat", "--normalise", "power-l2",
             "--dtype", "float16", "--size", "48", "--batch", "3", "--precision", "fp32",
             "--limit", "4", "--seed", "1", "--device", "cpu", "--skip-bad"]  # fmt: skip
    (photos / "a" / "0.png").write_bytes(b"broken")
    code = main(["features", *TINY, "-l", "conv1", "-l", "conv2", "-d", str(photos), "-o", str(out),
                 *words])  # fmt: skip
    assert code == 0
    # of the four that --limit takes, one is broken
    found = read_features(out)
    assert {k: (v.shape, str(v.dtype)) for k, v in found.layers.items()} == {
        "conv1": ((3, 16), "float16"), "conv2": ((3, 32), "float16"),
    }  # fmt: skip
    expected = {"pool": "max", "crops": "flip", "views": "concat", "normalise": "power-l2",
                "precision": "fp32", "dtype": "float16"}  # fmt: skip
    assert {key: found.meta[key] for key in expected} == expected
    assert found.meta["preprocess"]["size"] == 48


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--layer", "conv7"], 2, "no layer 'conv7'"),
        (["--layer", "conv1", "--pool", "mean"], 2, "unknown pool"),
        (["--layer", "conv1", "-o", "f.txt"], 2, "f.txt: unknown file extension"),
        (["--layer", "conv1", "-d", "not/here"], 3, "not/here"),
    ],
)
def test_errors_end_with_their_code(
    photos: Path, words: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    usual = ["-d", str(photos), "-o", str(tmp_path / "f.npz")]
    assert main(["features", *TINY, *usual, *words]) == code
    assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("*.npz"))


def test_a_broken_picture_is_named(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "b" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    words = ["--layer", "conv1", "-d", str(photos), "-o", str(tmp_path / "f.npz")]
    assert main(["features", *TINY, *words]) == 3
    said = capsys.readouterr().err
    assert "3.png" in said
    assert "--skip-bad" in said


def test_the_cache_is_shown_and_cleared(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert main(["data", "cache", "--json"]) == 0
    assert document(capsys)["entries"] == 0
    words = ["--layer", "conv1", "-d", str(photos), "-o", str(tmp_path / "f.npz"), "-q"]
    assert main(["features", *TINY, *words]) == 0
    capsys.readouterr()
    assert main(["data", "cache", "--json"]) == 0
    state = document(capsys)
    assert state["entries"] == 6
    assert state["mb"] > 0
    assert main(["data", "cache"]) == 0
    assert "20,480" in capsys.readouterr().out
    with monkeypatch.context() as patch:
        patch.setenv("XFER_CACHE_GB", "0")  # keeps nothing more, and has what it has
        assert main(["data", "cache", "--json"]) == 0
        state = document(capsys)
        assert (state["entries"], state["limit_mb"]) == (6, 0)
    assert main(["data", "cache", "--clear"]) == 0
    assert "cleared" in capsys.readouterr().err
    assert main(["data", "cache", "--json"]) == 0
    assert document(capsys)["entries"] == 0
