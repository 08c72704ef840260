"""What is odd in data is told for every format: files in two splits, copies, two labels."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from xfer.cli import main
from xfer.data.inspect.checks import _equal
from xfer.data.open import open_data
from xfer.data.readers.base import Reading
from xfer.data.sources.base import ArraySource
from xfer.errors import DataError, XferError
from xfer.types import DataInfo


def picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 24, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def folders(top: Path, splits: tuple[str, ...] = ("train", "val"), count: int = 3) -> Path:
    for number, split in enumerate(splits):
        for place, name in enumerate(("ash", "oak")):
            for i in range(count):
                picture(top / split / name / f"{i}.png", 100 * number + 10 * place + i)
    return top


def found(top: Path | str, **options: object) -> dict[str, tuple[tuple[str, ...], ...]]:
    bundle = open_data(str(top), **options)  # pyright: ignore[reportArgumentType]
    for finding in bundle.findings:
        assert f"warning: {finding.text}" in bundle.notes
    return {finding.check: finding.items for finding in bundle.findings}


def test_nothing_is_found_in_clean_data(tmp_path: Path) -> None:
    assert found(folders(tmp_path)) == {}


def test_a_val_picture_that_is_a_copy_of_a_train_picture(tmp_path: Path) -> None:
    top = folders(tmp_path)
    shutil.copy(top / "train/oak/1.png", top / "val/oak/renamed.png")
    assert found(top) == {"copy": (("train/oak/1.png", "val/oak/renamed.png"),)}


def test_one_picture_under_two_labels(tmp_path: Path) -> None:
    top = folders(tmp_path, ("train",), 6)
    shutil.copy(top / "train/oak/1.png", top / "train/ash/other.png")
    items = found(top, val="none")
    assert items == {"two_labels": (("train/ash/other.png", "train/oak/1.png"),)}


def test_a_table_with_a_picture_in_two_splits(tmp_path: Path) -> None:
    """One file in both splits is named once, as one file, not as a copy too."""
    top = folders(tmp_path)
    lines = [f"{p.relative_to(top)},{p.parent.name}" for p in sorted(top.rglob("*.png"))]
    (top / "train.csv").write_text("path,label\n" + "\n".join(lines[:8]) + "\n")
    (top / "val.csv").write_text("path,label\n" + "\n".join(lines[6:]) + "\n")
    items = found(f"csv:{top}")
    assert list(items) == ["overlap"]
    assert [item[0] for item in items["overlap"]] == [line.partition(",")[0] for line in lines[6:8]]


def test_sources_without_files_that_are_the_same(tmp_path: Path) -> None:
    info = DataInfo("mine", "classify", ("a", "b"))
    pixels = np.zeros((4, 8, 8, 3), np.uint8)
    source = ArraySource(info, pixels, np.array([0, 1, 0, 1]), list("wxyz"))
    bundle = open_data({"train": source, "val": source})
    assert [(f.check, len(f.items)) for f in bundle.findings] == [("overlap", 4)]


def test_odd_files_stop_nothing(tmp_path: Path) -> None:
    """Empty files are no copies of each other, and a pipe is not read."""
    top = folders(tmp_path)
    for name in ("train/oak/a.png", "val/ash/b.png"):
        (top / name).write_bytes(b"")
    os.mkfifo(top / "pipe")
    assert found(top, check=False) == {}
    assert _equal([str(top / "pipe"), str(top / "pipe")]) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=12))
def test_equal_files_are_grouped(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[int]
) -> None:
    """Files are grouped by their bytes alone, also where sizes and beginnings are equal."""
    top = tmp_path_factory.mktemp("equal")
    content = [b"", b"a" * 5000, b"a" * 4999 + b"b", b"b" + b"a" * 4999, b"a"]
    files = [top / str(i) for i in range(len(kinds))]
    for file, kind in zip(files, kinds, strict=True):
        file.write_bytes(content[kind])
    groups = {frozenset(map(str, group)) for group in _equal(list(map(str, files)))}
    wanted = {
        frozenset(str(f) for f, k in zip(files, kinds, strict=True) if k == kind)
        for kind in set(kinds) - {0} if kinds.count(kind) > 1
    }  # fmt: skip
    assert groups == wanted


def test_warnings_are_in_the_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    top = folders(tmp_path)
    shutil.copy(top / "train/oak/1.png", top / "val/oak/renamed.png")
    (top / "val/oak/broken.png").write_bytes(b"not a picture")
    assert main(["data", "show", str(top), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    copy = "val/oak/renamed.png (val) = train/oak/1.png (train)"
    assert [warning for warning in document["warnings"] if copy in warning]
    assert document["left_out"][0][0] == "val/oak/broken.png"
    assert any("class folders" in note for note in document["notes"])


def test_what_is_not_used_is_counted_in_one_line() -> None:
    reading = Reading({})
    assert reading.unused_line() is None
    reading.leave("column", "columns", ["fold"])
    reading.leave(
        "label file without a picture", "label files without a picture", ["6.txt", "7.txt"]
    )
    reading.leave("list", "lists", [])
    assert reading.unused_line() == (
        "not used: 1 column (fold), 2 label files without a picture (6.txt, 7.txt)"
    )


def test_a_column_is_refused_where_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(XferError, match=r"data\.split=fold: digits is built in"):
        open_data("digits", split="fold")
    with pytest.raises(XferError, match=r"data\.path=file: .* read as folder"):
        open_data(f"folder:{folders(tmp_path)}", path="file")


@pytest.mark.parametrize("words", [["data.batch=3"], ["data.lable=x"], ["--set", "optim.lr=1"]])
def test_keys_that_are_not_about_reading_are_refused(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "show", str(folders(tmp_path)), *words]) == 2
    assert "this command does not use it" in capsys.readouterr().err


def test_the_reason_for_nothing_left_is_told(tmp_path: Path) -> None:
    """Data show leaves out what can't be used; if nothing is left, it says why."""
    picture(tmp_path / "images" / "a.png", 1)
    lines = {"images": [{"id": 1, "file_name": "a.png", "width": 24, "height": 20}],
             "categories": [{"id": 1, "name": "ash"}],
             "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 1, 5, 5],
                              "area": 25, "iscrowd": 0}]}  # fmt: skip
    (tmp_path / "boxes.json").write_text(json.dumps(lines))
    with pytest.raises(
        DataError,
        match=r"no boxes in train: 1 can't be used, first annotation 1 .no image has the id 7",
    ):
        open_data(str(tmp_path), kind="detect", skip_bad=True, val="none")
