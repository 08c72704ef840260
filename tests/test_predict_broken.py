"""`xfer predict` and `xfer eval` on folders in which some files can't be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import encoded, scene, write_folder, write_picture
from PIL import Image
from test_loop import changed, train

import xfer
from xfer.cli.app import main
from xfer.errors import DataError, XferError

BROKEN = {
    "b.jpg": (b"", "zero bytes"),
    "c.png": (encoded(scene(90, 60))[:200], "cut off"),
    "deep/d.jpg": (b"\0\0\0\x18ftypheic" + bytes(99), "is HEIC"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("broken")
    write_folder(place / "photos", {"ant": 6, "bee": 6})
    recipe = changed(
        data={"source": str(place / "photos"), "batch": 4, "limit": 0}, schedule={"epochs": 1.0}
    )
    train(place / "run", recipe)
    return place / "run"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "e.jpg", "deep/f.jpg"):
        write_picture(tmp_path / "new" / name)
    for name, (data, _) in BROKEN.items():
        (tmp_path / "new" / name).write_bytes(data)
    return tmp_path / "new"


def test_predict_goes_on_past_files_that_can_not_be_read(
    run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (
        ["--json"],
        ["--json", "--batch", "1"],
        ["--json", "--draw", str(tmp_path / "d")],
    ):
        assert main(["predict", str(run), str(folder), *words]) == 3
        shown = capsys.readouterr()
        names = [Path(row["id"]).name for row in json.loads(shown.out)]
        assert sorted(names) == ["a.jpg", "e.jpg", "f.jpg"]
        for name, (_, reason) in BROKEN.items():
            assert f"{folder / name}: {reason}" in shown.err
        assert "3 of 6 pictures can't be read" in shown.err
    assert sorted(p.name for p in (tmp_path / "d").iterdir()) == ["a.png", "e.png", "f.png"]
    assert main(["predict", str(run), str(folder), "--skip-bad", "--format", "csv"]) == 0
    shown = capsys.readouterr()
    assert len(shown.out.splitlines()) == 4 and shown.err.count("left out: ") == 3


def test_nothing_but_broken_files_is_an_error_in_any_case(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in ([], ["--skip-bad"], ["--json"], ["--format", "csv"], ["-q"]):
        assert main(["predict", str(run), str(folder / "b.jpg"), *words]) == 3
        shown = capsys.readouterr()
        assert shown.out == "" and "b.jpg: zero bytes" in shown.err


def test_in_python_broken_files_raise_unless_they_may_be_left_out(run: Path, folder: Path) -> None:
    model = xfer.load(run, device="cpu")
    with pytest.raises(DataError, match=r"b\.jpg: zero bytes") as caught:
        model.predict(folder)
    assert "skip_bad" in str(caught.value.hint)
    found = model.predict(folder, skip_bad=True, batch=2)
    assert len(found) == 3 == len(found.rows())
    assert [Path(name).name for name, _ in found.skipped] == ["b.jpg", "c.png", "d.jpg"]
    good, bad = encoded(scene()), BROKEN["c.png"][0]
    with pytest.raises(XferError, match="picture 1: cut off"):
        model.predict([good, bad, good])
    found = model.predict([good, bad, good], skip_bad=True)
    assert [row["id"] for row in found.rows()] == ["0", "2"]
    assert found.skipped[0][0] == "picture 1" and found.skipped[0][1].startswith("cut off")


def test_pictures_that_may_look_wrong_are_named(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.linspace(0, 1023, 96).astype(np.uint16).reshape(12, 8)
    (folder / "dim.png").write_bytes(encoded(Image.fromarray(values)))
    assert main(["predict", str(run), str(folder / "dim.png"), str(folder / "a.jpg")]) == 0
    said = capsys.readouterr().err
    assert "warning: 1 picture (" in said and "dim.png" in said and "lower 10 of 16 bits" in said


def test_files_of_kinds_that_are_not_read_are_counted(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.jpg", "b.HEIC", "deep/c.heic", "d.CR2", "notes.txt"):
        write_picture(tmp_path / "mixed" / name)
    assert main(["predict", str(run), str(tmp_path / "mixed")]) == 0
    assert (
        "warning: 3 files are of kinds that are not read (.cr2, .heic)" in capsys.readouterr().err
    )
    (tmp_path / "mixed" / "a.jpg").unlink()
    assert main(["predict", str(run), str(tmp_path / "mixed")]) == 3
    assert "its pictures are .cr2, .heic, which are not read" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["eval", "finetune", "features", "probe"])
def test_every_command_that_reads_pictures_can_leave_them_out(
    command: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folder(tmp_path / "photos", {"ant": 8, "bee": 8})
    (tmp_path / "photos" / "bee" / "bad.jpg").write_bytes(BROKEN["deep/d.jpg"][0])
    photos = str(tmp_path / "photos")
    net = ["--weights", "none", "--device", "cpu"]
    words: dict[str, list[Any]] = {
        "eval": ["eval", str(run), "--data", photos],
        "finetune": ["finetune", "--data", photos, "--backbone", "tiny_nets:tiny", *net,
                     "--dry-run"],
        "features": ["features", "--data", photos, "--backbone", "tiny_nets:tiny", *net, "-l",
                     "conv2", "-o", str(tmp_path / "f.npz")],
        "probe": ["probe", "--compare", "--data", photos, "--backbones", "tiny_nets:tiny", *net,
                  "--layers", "conv2"],
    }  # fmt: skip
    assert main(words[command]) == 3
    said = capsys.readouterr().err
    assert "bad.jpg" in said and "is HEIC" in said and "--skip-bad" in said
    assert main([*words[command], "--skip-bad"]) == 0
    said = capsys.readouterr()
    assert "left out" in said.err
