"""`xfer predict` into files and in parts, and two processes that share it as one would do it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from pictures import write_folder, write_picture
from test_loop import changed, train
from two_ranks import two_ranks

import xfer
from xfer.cli.app import main
from xfer.extraction.store import read_features


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, and new/ with eleven pictures, one of which can't be read."""
    place = tmp_path_factory.mktemp("predict")
    write_folder(place / "photos", {"ant": 6, "bee": 6})
    recipe = changed(
        data={"source": str(place / "photos"), "batch": 4, "limit": 0}, schedule={"epochs": 1.0}
    )
    train(place / "run", recipe)
    for i in range(10):
        write_picture(place / "new" / f"{i}.jpg")
    write_picture(place / "new" / "again" / "1.jpg")
    (place / "new" / "broken.jpg").write_bytes(b"")
    return place


def predict(place: Path, *words: str) -> int:
    return main(["predict", str(place / "run"), str(place / "new"), "--batch", "3", "--skip-bad",
                 "--device", "cpu", "-q", *words])  # fmt: skip


def test_a_file_holds_what_would_be_printed(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = xfer.load(place / "run", device="cpu").predict(place / "new", batch=3, skip_bad=True)
    for form in ("csv", "json"):
        capsys.readouterr()
        assert predict(place, "--format", form) == 0
        printed = capsys.readouterr().out
        assert predict(place, "--format", form, "--out", str(tmp_path / f"f.{form}")) == 0
        assert (tmp_path / f"f.{form}").read_text() == printed
    assert (tmp_path / "f.csv").read_text() == rows.to_csv()
    assert json.loads((tmp_path / "f.json").read_text()) == rows.to_json()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["f.csv", "f.json"]


@pytest.mark.parametrize("form", ["csv", "json"])
def test_parts_together_equal_one_file(place: Path, tmp_path: Path, form: str) -> None:
    assert predict(place, "--format", form, "--out", str(tmp_path / "one")) == 0
    for i in range(3):
        words = ["--part", f"{i}/3", "--out", str(tmp_path / "parts"), "--draw", str(tmp_path)]
        assert predict(place, "--format", form, *words) == 0
    files = sorted((tmp_path / "parts").glob("part-*"))
    assert [f.name for f in files] == [f"part-0000{i}.{form}" for i in range(3)]
    if form == "json":
        parts = [row for file in files for row in json.loads(file.read_text())]
        assert parts == json.loads((tmp_path / "one").read_text()) and len(parts) == 11
    else:
        lines = [file.read_text().splitlines() for file in files]
        whole = (tmp_path / "one").read_text().splitlines()
        assert [line for part in lines for line in part[1:]] == whole[1:]
        assert all(part[0] == whole[0] for part in lines) and len(list(csv.reader(whole))) == 12
    drawn = {p.name for p in tmp_path.glob("*.png")}
    assert drawn == {f"{i}.png" for i in range(10)} | {"1-2.png"}


def test_a_finished_part_stays_and_others_are_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--format", "csv", "--out", str(tmp_path / "parts"), "--part"]
    assert predict(place, *words, "1/3") == 0
    (file,) = tmp_path.glob("parts/*.csv")
    before = file.stat().st_mtime_ns
    assert predict(place, *words, "1/3") == 0 and file.stat().st_mtime_ns == before
    for more, said in (
        (["1/4"], "holds parts of 3, not of 4"),
        (["2/3", "--batch", "4"], "batch is 3 there, 4 here"),
        (["2/3", "--format", "json"], 'format is "csv" there, "json" here'),
    ):
        assert predict(place, *words, *more) == 2
        assert said in capsys.readouterr().err
    write_picture(place / "new" / "more.jpg")
    try:
        assert predict(place, *words, "2/3") == 2
        assert "pictures is 12 there, 13 here" in capsys.readouterr().err
    finally:
        (place / "new" / "more.jpg").unlink()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--part", "0/2", "--format", "csv"], "--out DIR"),
        (["--part", "0/2", "--out", "d"], "--format csv, json or coco"),
        (["--part", "0/2", "--format", "csv", "--out", "d.csv"], "--out FOLDER"),
        (["--out", "f.txt"], "--format csv, json or coco"),
        (["--format", "csv", "--out", "."], "is a folder"),
        (["--format", "csv", "--json"], "only one of them"),
        (["--format", "xml"], "choose table, json, csv or coco"),
        (["--format", "coco", "--out", "f.json"], "COCO results are boxes"),
    ],
)
def test_outputs_that_do_not_go_together(
    place: Path, words: list[str], said: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert predict(place, *words) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


SHARED = "import sys; from xfer.cli.app import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.slow
def test_two_processes_predict_and_extract_what_one_does(place: Path, tmp_path: Path) -> None:
    def both(*words: str) -> str:
        ended = two_ranks(tmp_path, SHARED, *words, "--device", "cpu", "-q")
        assert [one.code for one in ended] == [0, 0], [one.said for one in ended]
        return ended[0].said + ended[1].said

    given = ["predict", str(place / "run"), str(place / "new"), "--batch", "3", "--skip-bad",
             "--trust", "tiny_nets"]  # fmt: skip
    both(*given, "--format", "json", "--out", str(tmp_path / "two.json"))
    assert predict(place, "--format", "json", "--out", str(tmp_path / "one.json")) == 0
    assert (tmp_path / "two.json").read_bytes() == (tmp_path / "one.json").read_bytes()
    both(*given, "--format", "csv", "--part", "auto", "--out", str(tmp_path / "parts"))
    assert len(list((tmp_path / "parts").glob("part-0000[01].csv"))) == 2
    net = "--backbone tiny_nets:tiny --weights none --layer conv2 --no-cache --batch 5"
    words = ["features", *net.split(), "--data", str(place / "photos")]
    both(*words, "-o", str(tmp_path / "two.npz"))
    assert main([*words, "-q", "--device", "cpu", "-o", str(tmp_path / "one.npz")]) == 0
    one, two = (read_features(tmp_path / name) for name in ("one.npz", "two.npz"))
    assert one.layers["conv2"].tobytes() == two.layers["conv2"].tobytes()
    assert one.ids.tolist() == two.ids.tolist()


@pytest.mark.slow
def test_an_error_of_the_second_process_is_shown(place: Path, tmp_path: Path) -> None:
    script = SHARED.replace(
        "; sys.exit",
        """
import os, xfer.inference.batches as batches
real = batches._sample
def sample(given, side):
    if os.environ["RANK"] == "1":
        raise RuntimeError(f"{given}: no light")
    return real(given, side)
batches._sample = sample
sys.exit""",
    )
    words = ["predict", str(place / "run"), str(place / "new"), "--batch", "3", "--format", "csv",
             "--out", str(tmp_path / "f.csv"), "--trust", "tiny_nets"]  # fmt: skip
    first, second = two_ranks(tmp_path, script, *words)
    assert (first.code, second.code) == (1, 1)
    assert "xfer: rank 1: internal error: RuntimeError: " in second.said
    assert "no light" in second.said and not (tmp_path / "f.csv").exists()
