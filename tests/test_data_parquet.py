"""Parquet files of pictures: which columns hold the pictures, the labels and the splits."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from pictures import encoded, scene

from xfer.data.open import open_data, show
from xfer.data.readers import parquet
from xfer.errors import DataError, XferError
from xfer.testing.source import check_source

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

TREES = ["oak", "elm", "oak", "ash"] * 2


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XFER_CACHE", str(tmp_path / "cache"))


def write(folder: Path, columns: dict[str, Any], name: str = "trees.parquet") -> Path:
    """A file of eight pictures in row groups of four; columns: name -> values, or the word pictures
    (struct), bytes (plain) for those of pictures."""
    folder.mkdir(exist_ok=True)
    pictures = [encoded(scene(seed=k)) for k in range(8)]
    made: dict[str, Any] = {}
    for head, values in columns.items():
        if values == "pictures":
            made[head] = [{"bytes": data, "path": f"{k}.png"} for k, data in enumerate(pictures)]
        else:
            made[head] = pictures if values == "bytes" else values
    pq.write_table(pa.table(made), folder / name, row_group_size=4)
    return folder / name


def found(spec: Path, **options: Any) -> tuple[list[Any], str]:
    """The label of each picture of train, and the notes."""
    bundle = open_data(spec, val="none", **options)
    items = show(bundle, items=True)["splits"]["train"]["items"]
    check_source(bundle.splits["train"])
    return [label for _, label in items], "\n".join(bundle.notes)


@pytest.mark.parametrize("form", ["pictures", "bytes"])
@pytest.mark.parametrize("head", ["label", "labels", "tree_label", "species", "tree"])
def test_labels_of_text(tmp_path: Path, form: str, head: str) -> None:
    labels, notes = found(write(tmp_path / "d", {"image": form, head: TREES}))
    assert labels == TREES and "not used" not in notes


@pytest.mark.parametrize("head", ["label", "fine_label", "coarse_label", "kind"])
def test_labels_of_numbers(tmp_path: Path, head: str) -> None:
    numbers = [TREES.index(tree) for tree in TREES]
    for values in (numbers, [float(n) for n in numbers]):
        file = write(tmp_path / "d", {"img": "pictures", head: values})
        assert found(file)[0] == [str(n) for n in numbers]


def test_text_without_a_label_is_unlabelled(tmp_path: Path) -> None:
    file = write(tmp_path / "d", {"image": "pictures", "label": [*TREES[:6], None, ""]})
    assert found(file)[0] == TREES[:6]
    yes = write(tmp_path / "d", {"image": "pictures", "label": [True, False] * 4})
    assert found(yes)[0] == ["true", "false"] * 4


def test_columns_that_may_be_labels_are_named_and_can_be_chosen(tmp_path: Path) -> None:
    words = [f"a picture of {k}" for k in range(8)]
    one = write(
        tmp_path / "d", {"img": "bytes", "text": words, "age": [1, 1, 2, 2] * 2, "tree": TREES}
    )
    assert found(one)[0] == TREES and "2 columns (text, age)" in found(one)[1]
    some = {"text": words, "tree": TREES, "sky": ["grey", "blue"] * 4}
    file = write(tmp_path / "d", {"image": "pictures", **some})
    bundle = open_data(file, val="none")
    told = "\n".join(bundle.notes)
    assert bundle.kind == "images" and "not used: 3 columns (text, tree, sky)" in told
    assert "data.label=COLUMN" in told
    assert found(file, label="tree") == (TREES, found(file, label="tree")[1])
    assert "2 columns (text, sky)" in found(file, label="tree")[1]
    assert open_data(file, val="none").kind == "images"  # what was kept of the other is not taken
    with pytest.raises(XferError, match="no such column"):
        open_data(file, label="trees")
    two = write(tmp_path / "d", {"image": "pictures", "a_label": TREES, "b_label": TREES})
    with pytest.raises(XferError, match="'a_label', 'b_label'") as asked:
        open_data(two)
    assert asked.value.hint == "data.label=a_label or data.label=b_label"
    fine = write(
        tmp_path / "d", {"img": "pictures", "coarse_label": [0] * 8, "fine_label": [1, 0] * 4}
    )
    assert found(fine)[0] == ["1", "0"] * 4 and "1 column (coarse_label)" in found(fine)[1]


def test_two_columns_of_pictures_are_asked_about(tmp_path: Path) -> None:
    file = write(tmp_path / "d", {"front": "pictures", "back": "pictures", "label": TREES})
    with pytest.raises(XferError, match="'front' or 'back'") as asked:
        open_data(file)
    assert asked.value.hint == "data.path=front or data.path=back"
    assert found(file, path="back")[0] == TREES
    with pytest.raises(DataError, match="'label' holds no pictures"):
        open_data(file, path="label")
    mask = write(tmp_path / "d", {"mask": "bytes", "image": "bytes", "label": TREES})
    assert "1 column (mask)" in found(mask)[1]
    none = write(tmp_path / "d", {"name": ["x"] * 8, "label": TREES})
    with pytest.raises(DataError, match="no column of pictures"):
        open_data(none)


@pytest.mark.parametrize("given", ["", "part"])
def test_a_column_of_splits(tmp_path: Path, given: str) -> None:
    words = ["train", "Train", "validation", "train"] * 2
    file = write(tmp_path / "d", {"image": "bytes", "label": TREES, given or "split": words})
    bundle = open_data(file, split=given)
    assert {role: len(s) for role, s in bundle.splits.items()} == {"train": 6, "val": 2}
    assert [label for _, label in show(bundle, items=True)["splits"]["val"]["items"]] == ["oak"] * 2
    assert len(open_data(file, split="none", val="none").splits["train"]) == 8
    copy = pickle.loads(pickle.dumps(bundle.splits["val"]))
    assert (copy[0].image == bundle.splits["val"][0].image).all()


def test_values_that_are_no_labels_are_refused(tmp_path: Path) -> None:
    price = write(tmp_path / "d", {"image": "pictures", "label": [k / 4 for k in range(8)]})
    with pytest.raises(DataError, match=r"label 0\.25 is no whole number"):
        open_data(price)
    lists = write(tmp_path / "d", {"image": "pictures", "labels": [[0, 1]] * 8})
    assert "1 column (labels)" in "\n".join(open_data(lists, val="none").notes)
    with pytest.raises(DataError, match="'labels' holds list"):
        open_data(lists, label="labels")


def test_a_test_file_without_labels(tmp_path: Path) -> None:
    write(tmp_path / "d", {"image": "pictures", "label": TREES}, "train-00000-of-00001.parquet")
    write(tmp_path / "d", {"image": "pictures"}, "test-00000-of-00001.parquet")
    bundle = open_data(tmp_path / "d", val="none")
    assert bundle.classes == ("ash", "elm", "oak") and "test" not in bundle.splits
    assert any("test: no labels" in note for note in bundle.notes)


def test_a_pipe_and_a_row_group_beyond_memory_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "d", {"image": "pictures", "label": TREES})
    os.mkfifo(tmp_path / "d" / "more.parquet")
    with pytest.raises(DataError, match=r"more\.parquet: a pipe, not a file"):
        open_data(tmp_path / "d")
    (tmp_path / "d" / "more.parquet").unlink()
    monkeypatch.setattr(parquet, "MAX_GROUP", 100)
    with pytest.raises(DataError, match=r"row group 0 has .* bytes, where at most 100 are read"):
        open_data(file)
