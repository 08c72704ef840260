"""Changes beside the data: pictures left out, labels changed, nothing written into the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xfer.cli import main
from xfer.data.open import open_data
from xfer.data.sources.changes import Change, read_changes, write_changes
from xfer.errors import DataError, XferError
from xfer.testing import check_source


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    top = tmp_path / "photos"
    for split, count in (("train", 4), ("val", 2)):
        for name in ("ash", "oak"):
            (top / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = np.random.default_rng(len(name) + i).integers(0, 256, (9, 9, 3), np.uint8)
                pixels[0, 0] = (ord(name[0]), ord(split[0]), i)
                Image.fromarray(pixels).save(top / split / name / f"{i}.png")
    return top


def write(path: Path, *lines: str) -> str:
    path.write_text("\n".join(["split,id,change,value,reason", *lines]) + "\n")
    return str(path)


def test_a_picture_is_left_out_and_a_label_changed(photos: Path, tmp_path: Path) -> None:
    file = write(
        tmp_path / "c.csv",
        "train,train/ash/1.png,drop,,twice",
        ",train/ash/2.png,label,oak,a probe says so",
        "val,val/oak/0.png,label,ash,",
    )
    bundle = open_data(str(photos), changes=file)
    train, val = bundle.splits["train"], bundle.splits["val"]
    labels = dict(zip(train.ids, train.labels().tolist(), strict=True))
    assert "train/ash/1.png" not in labels and labels["train/ash/2.png"] == 1
    assert labels["train/ash/0.png"] == 0 and len(labels) == 7
    assert val.labels().tolist() == [0, 0, 0, 1]
    assert f"{file}: 1 picture is dropped, 2 have another label" in bundle.notes
    for source in (train, val):
        check_source(source)
    plain = open_data(str(photos))
    assert plain.fingerprint() != bundle.fingerprint()
    assert plain.splits["val"].labels().tolist() == [0, 0, 1, 1]


def test_changes_come_before_a_val_split_is_cut(photos: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "c.csv", "train,ash/1.png,drop,,", "train,ash/2.png,label,oak,")
    bundle = open_data(str(photos / "train"), changes=file)
    ids = [i for source in bundle.splits.values() for i in source.ids]
    assert set(bundle.splits) == {"train", "val"} and len(ids) == 7 and "ash/1.png" not in ids


@pytest.mark.parametrize(
    ("line", "error", "words"),
    [
        ("train,train/ash/0.png,remove,,", DataError, "line 2: 'remove' is not a change"),
        ("train,train/ash/0.png,label,,", DataError, "line 2: label without a class"),
        ("train,train/ash/0.png,label,elm,", DataError, "no class 'elm'"),
        ("dev,train/ash/0.png,drop,,", XferError, "no split 'dev'"),
        ("train,,drop,,", DataError, "line 2"),
    ],
)
def test_what_is_no_change_is_named(
    photos: Path, tmp_path: Path, line: str, error: type[XferError], words: str
) -> None:
    with pytest.raises(error, match=words):
        open_data(str(photos), changes=write(tmp_path / "c.csv", line))


def test_a_split_that_is_not_used(photos: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "c.csv", "val,val/oak/0.png,drop,,", "train,train/oak/0.png,drop,,")
    notes = open_data(str(photos), changes=file, val="none").notes
    assert not [note for note in notes if "warning" in note]


def test_pictures_that_are_not_there_are_counted(photos: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "c.csv", "train,train/ash/99.png,drop,,", "val,val/oak/0.png,drop,,")
    notes = open_data(str(photos), changes=file).notes
    assert f"warning: {file}: 1 of its pictures are not there: train/ash/99.png" in notes


def test_a_file_that_is_something_else(photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "labels.csv"
    other.write_text("path,label\na.png,cat\n")
    for file, words in ((other, "no header with id and change"), (tmp_path / "no.csv", "No such")):
        with pytest.raises(DataError, match=words):
            open_data(str(photos), changes=str(file))


def test_a_class_that_only_train_has(photos: Path, tmp_path: Path) -> None:
    """A val picture may get a class that the val folder lacks."""
    for file in (photos / "val" / "oak").iterdir():
        file.unlink()
    changes = write(tmp_path / "c.csv", "val,val/ash/1.png,label,oak,")
    val = open_data(str(photos), changes=changes).splits["val"]
    assert (val.info.classes, val.labels().tolist()) == (("ash", "oak"), [0, 1])


def test_every_picture_dropped_is_an_error(photos: Path, tmp_path: Path) -> None:
    lines = [f"val,val/{c}/{i}.png,drop,," for c in ("ash", "oak") for i in range(2)]
    with pytest.raises(DataError, match="every picture of val"):
        open_data(str(photos), changes=write(tmp_path / "c.csv", *lines))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    changes = [Change("train", 'a "b", c.png', "label", "tench, Tinca", "because\nof this"),
               Change("", "x.png", "drop")]  # fmt: skip
    write_changes(tmp_path / "c.csv", changes)
    assert read_changes(tmp_path / "c.csv") == changes


def test_the_key_on_the_command_line(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "c.csv", "train,train/ash/1.png,drop,,")
    assert main(["data", "show", str(photos), f"data.changes={file}"]) == 0
    shown = capsys.readouterr()
    assert "1 picture is dropped" in shown.err
    words = ["--data", str(photos), f"data.changes={file}", "--backbone", "alexnet", "--weights",
             "none", "--dry-run", "-q", "data.size=64", "--out", str(tmp_path / "r")]  # fmt: skip
    assert main(["finetune", *words]) == 0


def test_a_spreadsheet_may_write_semicolons(photos: Path, tmp_path: Path) -> None:
    file = tmp_path / "c.csv"
    file.write_bytes("\ufeffid;change;value\r\ntrain/ash/2.png;label;oak\r\n".encode())
    assert read_changes(file) == [Change("", "train/ash/2.png", "label", "oak")]


@pytest.mark.parametrize("split", ["", "train"])
def test_two_changes_of_one_picture_are_asked_about(
    photos: Path, tmp_path: Path, split: str
) -> None:
    lines = [f"{split},train/ash/1.png,drop,,", "train,train/ash/1.png,label,oak,"]
    with pytest.raises(DataError, match=r"two changes of train/ash/1\.png: drop and label oak"):
        open_data(str(photos), changes=write(tmp_path / "c.csv", *lines))
    lines = ["train,train/ash/1.png,drop,,blank", "train,train/ash/1.png,drop,,a copy"]
    notes = open_data(str(photos), changes=write(tmp_path / "c.csv", *lines)).notes
    assert not [note for note in notes if "warning" in note]
