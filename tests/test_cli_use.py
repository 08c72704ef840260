"""`xfer eval`, `xfer predict` and `xfer data show` print what their functions return."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import pytest
from pictures import write_folder

from xfer.cli.app import main
from xfer.device import usable_precision
from xfer.errors import DataError
from xfer.inference.scored import open_other
from xfer.inference.to_files import Done, Output


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []

    def evaluate(run: Path, **options: Any) -> dict[str, Any]:
        calls.append({"run": run, **options})
        return {
            "data": "photos", "split": "val", "images": 12, "primary": "top1",
            "skipped": [["b.jpg", "zero bytes"]] if options["skip_bad"] else [],
            "metrics": {"top1": 0.75, "per_class": {"ant": {"acc": 1.0}}, "without_positives": [],
                        "left_out": ["bee", "wasp"]},
            "protocol": {"views": "single centre crop"},
        }  # fmt: skip

    monkeypatch.setitem(sys.modules, "xfer.inference.evaluate", SimpleNamespace(evaluate=evaluate))
    return calls


def test_a_score_is_a_table_or_a_document(
    scored: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["eval", "r", "--data", "photos", "--split", "val", "--tta", "flip", "--batch", "4"]
    assert main([*words, "--device", "cpu", "--workers", "0"]) == 0
    shown = capsys.readouterr()
    assert "photos, val: 12 pictures" in shown.out and "0.75" in shown.out
    assert "per_class" not in shown.out and "positives" not in shown.out
    assert "left out: bee, wasp" in shown.out
    assert "single centre crop" in shown.err
    assert scored == [
        {"run": Path("r"), "data": "photos", "split": "val", "tta": "flip", "model": "",
         "precision": "", "batch": 4,
         "device": "cpu", "workers": 0, "skip_bad": False, "verify": True,
         "calibrate": False,
         "data_keys": {}, "say": ANY}
    ]  # fmt: skip
    assert main(["eval", "r", "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["per_class"] == {"ant": {"acc": 1.0}}
    assert main(["eval", "r", "--skip-bad"]) == 0
    assert "left out: b.jpg: zero bytes" in capsys.readouterr().err
    assert main(["eval", "r", "--tta", "5crop"]) == 2
    assert "none, flip, 10crop" in capsys.readouterr().err


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Done:
    """What predicting a folder gives, of which one file is read."""
    found = Done(
        read=1, table=[{"id": "a b.jpg", "label": "ant"}],
        notes=["warning: 1 picture (a b.jpg): only 12 bits"],
    )  # fmt: skip

    def predict_files(run: Path, paths: list[str], output: Output, **options: Any) -> Done:
        if output.format != "table":
            assert output.write is not None
            output.write("a b.jpg\n")
        return found

    monkeypatch.setattr("xfer.inference.to_files.predict_files", predict_files)
    return found


@pytest.mark.parametrize("words", [[], ["--json"], ["--format", "csv"], ["--draw", "there"]])
def test_what_can_be_read_is_predicted_and_the_rest_is_listed(
    done: Done, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    broken = [(f"{i}.jpg", "zero bytes") for i in range(30)]
    done.skipped += broken
    assert main(["predict", "r", "photos", *words]) == 3
    shown = capsys.readouterr()
    assert "a b.jpg" in shown.out and "warning: 1 picture (a b.jpg): only 12" in shown.err
    assert all(f"xfer: {name}: zero bytes" in shown.err for name, _ in broken)
    assert "30 of 31 pictures can't be read" in shown.err and "--skip-bad" in shown.err
    assert ("1 picture drawn in there" in shown.err) == ("--draw" in words)
    assert main(["predict", "r", "photos", "--skip-bad", *words]) == 0
    shown = capsys.readouterr()
    assert "a b.jpg" in shown.out
    assert all(f"left out: {name}: zero bytes" in shown.err for name, _ in broken)


def test_a_file_where_drawings_should_go_is_said_before_anything_is_computed(
    done: Done, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").touch()
    for draw in (tmp_path / "notes.txt", tmp_path / "notes.txt" / "inside"):
        assert main(["predict", "r", "a.jpg", "--draw", str(draw)]) == 3
        assert "notes.txt is a file, not a folder" in capsys.readouterr().err
    assert main(["predict", "r", "a.jpg", "--draw", str(tmp_path / "new" / "one")]) == 0
    assert not (tmp_path / "new").exists()  # looked at, not made


def test_pictures_that_can_not_be_scored_are_named_with_what_helps(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 2, "bee": 2})
    (tmp_path / "ant" / "bad.jpg").write_text("<html>")
    info = SimpleNamespace(classes=("ant", "bee"))
    task: Any = SimpleNamespace(
        kinds_for=lambda options: ("classify", "multilabel"), options=None, info=info
    )
    with pytest.raises(DataError, match=r"bad\.jpg") as caught:
        open_other(str(tmp_path), task)
    assert "--skip-bad" in str(caught.value.hint)
    assert len(open_other(str(tmp_path), task, {"skip_bad": True}).skipped) == 1


def test_a_run_is_scored_in_its_own_precision_where_the_device_has_it() -> None:
    for precision, device, used in (
        ("fp32", "cpu", "fp32"),
        ("bf16", "cpu", "bf16"),
        ("fp16", "cpu", "auto"),
        ("fp32", "nothing", "auto"),
    ):
        assert usable_precision(precision, device) == used


def test_known_data_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.setenv("XFER_DATA", str(tmp_path))
    assert main(["data", "ls", "--json"]) == 0
    found = {row["name"]: row["where"] for row in json.loads(capsys.readouterr().out)}
    assert found["digits"] == "embedded"
    assert found["photos"] == str(tmp_path / "photos")
    monkeypatch.setenv("XFER_DATA", str(tmp_path / "nowhere"))
    assert main(["data", "ls"]) == 0
    shown = capsys.readouterr()
    assert "digits" in shown.out and "folder" in shown.err and "photos" not in shown.out


def test_digits_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "show", "digits", "--json"]) == 0
    splits = json.loads(capsys.readouterr().out)["splits"]
    assert sum(one["images"] for one in splits.values()) == 1797
    assert all(sum(one["classes"].values()) == one["images"] for one in splits.values())


def test_data_is_shown_by_split_and_class(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[dict[str, Any]] = []

    def open_data(spec: str, **options: Any) -> Any:
        calls.append({"spec": spec, **options})
        skipped = (("x.jpg", "zero bytes"),)
        return SimpleNamespace(kind="classify", notes=("read as folder",), skipped=skipped)

    def show(bundle: Any, items: bool) -> dict[str, Any]:
        val: dict[str, Any] = {"images": 3, "classes": {"ant": 1, "bee": 2}}
        if items:
            val["items"] = [["1.jpg", "ant"], ["2.jpg", "bee"]]
        return {"splits": {"val": val}}

    fake = SimpleNamespace(open_data=open_data, show=show)
    monkeypatch.setitem(sys.modules, "xfer.data.open", fake)
    assert main(["data", "show", "photos", "--limit", "3", "--val", "v"]) == 0
    shown = capsys.readouterr()
    assert calls == [{"spec": "photos", "skip_bad": True, "limit": 3, "val": "v"}]
    assert [line.split() for line in shown.out.splitlines()[2:]] == [
        ["(pictures)", "3"], ["ant", "1"], ["bee", "2"],
    ]  # fmt: skip
    assert "x.jpg: zero bytes" in shown.err and "read as folder" in shown.err
    assert main(["data", "show", "photos", "--json", "--list"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["splits"]["val"]["items"] == [["1.jpg", "ant"], ["2.jpg", "bee"]]
    assert main(["data", "show", "photos", "--list"]) == 0
    assert "2.jpg" in capsys.readouterr().out
