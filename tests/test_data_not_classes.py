"""Folders of pictures that are no classes by their names, and lists beside the folder of all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mask_sets import make_mask, write_mask
from pictures import write_folder, write_picture

from xfer.data.open import open_data
from xfer.data.readers.not_classes import no_classes
from xfer.data.sources.split_names import is_trainval
from xfer.errors import XferError


def sizes(path: Path) -> dict[str, int]:
    return {role: len(part) for role, part in open_data(path).splits.items()}


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        (["scans_images_1", "scans_images_2"], "are parts of one set by their names"),
        (["images_001", "images_002", "images_013"], "are parts of one set by their names"),
        (["birds-train", "birds-test"], "splits or classes"),
        (["trainval-jpg", "test-jpg"], "splits or classes"),
        (["images", "export"], "or is images/ all pictures"),
        (["elm", "oak", "trees/elm", "trees/oak"], "a copy of the data"),
    ],
)
def test_folders_that_are_no_classes_are_asked_about(
    folders: list[str], said: str, tmp_path: Path
) -> None:
    write_folder(tmp_path, dict.fromkeys(folders, 3))
    with pytest.raises(XferError, match=said) as asked:
        open_data(tmp_path)
    assert asked.value.code == 2 and f"folder:{tmp_path}" in str(asked.value)
    tops = sorted({name.partition("/")[0] for name in folders})
    assert open_data(f"folder:{tmp_path}", val="none").classes == tuple(tops)


@pytest.mark.parametrize(
    "folders",
    [
        ["c0", "c1", "c2"], ["person_01", "person_02"], ["photo", "sketch"], ["1", "2"],
        ["part1", "part2"], ["train", "bus", "car"], ["elm", "oak", "trees/ash", "trees/fir"],
        ["test strip", "swab"], ["elm/leaf", "elm/bark", "oak/leaf", "oak/root", "fir/leaf"],
    ],
)  # fmt: skip
def test_folders_that_may_be_classes_are_read(folders: list[str], tmp_path: Path) -> None:
    write_folder(tmp_path, dict.fromkeys(folders, 2))
    tops = sorted({name.partition("/")[0] for name in folders})
    assert open_data(tmp_path, val="none").classes == tuple(tops)
    assert no_classes([tmp_path / top for top in tops]) is None


def test_a_table_beside_folders_named_like_splits_is_read_unasked(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train_images": 6, "test_images": 2})
    rows = "".join(f"{k},{'oak' if k % 2 else 'elm'}\n" for k in range(6))
    (tmp_path / "train.csv").write_text(f"image_id,label\n{rows}")
    bundle = open_data(tmp_path, val="none")
    assert bundle.format == "csv" and bundle.classes == ("elm", "oak")
    assert all(name.startswith("train_images/") for name in bundle.splits["train"].ids)


def test_the_hint_names_the_flags_of_the_splits(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cars_train": 3, "cars_test": 2})
    with pytest.raises(XferError, match="train='cars_train' test='cars_test'"):
        open_data(tmp_path)
    for name in ("cars.csv", "makers.csv"):
        (tmp_path / name).write_text("name,kind\nzz,aa\nyy,bb\n")
    with pytest.raises(XferError, match="a table: give its file"):
        open_data(tmp_path)


@pytest.mark.parametrize("name", ["trainval", "train_val", "TrainVal", "trainval2012"])
def test_train_and_val_together_are_trained_on(name: str, tmp_path: Path) -> None:
    assert is_trainval(name) and not is_trainval("train") and not is_trainval("interval")
    write_folder(tmp_path / "a", {f"{name}/elm": 4, f"{name}/oak": 4, "test/elm": 1, "test/oak": 1})
    assert sizes(tmp_path / "a") == {"train": 6, "val": 2, "test": 2}
    for folder, count in ((name, 5), ("TEST", 2)):
        for k in range(count):
            write_picture(tmp_path / "b" / folder / "images" / f"{folder}{k}.jpg", k, (16, 12))
            write_mask(tmp_path / "b" / folder / "masks" / f"{folder}{k}.png", make_mask((0, 1)))
    bundle = open_data(tmp_path / "b", kind="segment")
    assert {r: len(s) for r, s in bundle.splits.items()} == {"train": 4, "val": 1, "test": 2}
    assert all("TEST" in x for x in bundle.splits["test"].ids)


@pytest.mark.parametrize("lists", ["", "meta/", "splits/"])
@pytest.mark.parametrize("names", [("train", "test"), ("TrainImages", "TestImages")])
def test_lists_beside_the_folder_of_all_classes_split_them(
    lists: str, names: tuple[str, str], tmp_path: Path
) -> None:
    write_folder(tmp_path, {"images/elm": 5, "images/oak": 5})
    (tmp_path / lists).mkdir(exist_ok=True)
    for name, own in zip(names, ((0, 1, 2), (3, 4)), strict=True):
        text = "".join(f"{c}/{k}\n" for c in ("elm", "oak") for k in own)
        (tmp_path / lists / f"{name}.txt").write_text(text)
    bundle = open_data(tmp_path, val="none")
    assert bundle.classes == ("elm", "oak")
    assert {r: len(s) for r, s in bundle.splits.items()} == {"train": 6, "test": 4}
    assert set(bundle.splits["test"].ids) == {
        f"images/{c}/{k}.jpg" for c in ("elm", "oak") for k in (3, 4)
    }
    if not lists:
        inner = open_data(tmp_path / "images")
        assert any("warning: lists beside images/" in note for note in inner.notes)


def test_numbered_lists_split_as_in_cub(tmp_path: Path) -> None:
    write_folder(tmp_path, {"images/001.Auk": 4, "images/002.Jay": 4})
    names = [f"{c}/{k}.jpg" for c in ("001.Auk", "002.Jay") for k in range(4)]
    order = np.random.default_rng(3).permutation(8)
    (tmp_path / "images.txt").write_text("".join(f"{i + 1} {names[i]}\n" for i in range(8)))
    flags = "".join(f"{i + 1} {int(i % 4 < 2)}\n" for i in order)
    (tmp_path / "train_test_split.txt").write_text(flags)
    bundle = open_data(tmp_path, val="none")
    assert set(bundle.splits["test"].ids) == {f"images/{n}" for n in names if n[-5] in "23"}
    assert {r: len(s) for r, s in bundle.splits.items()} == {"train": 4, "test": 4}
    (tmp_path / "train_test_split.txt").write_text("1 1\n2 7\n")
    with pytest.raises(XferError, match="the data are in images/"):
        open_data(tmp_path)


def test_pictures_in_folders_below_the_class_folders_are_told(tmp_path: Path) -> None:
    write_folder(tmp_path / "sun", {"a/abbey": 2, "a/attic": 2, "b/bakery/shop": 2})
    told = [
        note for note in open_data(tmp_path / "sun", val="none").notes if "folders below" in note
    ]
    assert told == [
        "warning: the classes are a, b, not the 3 folders below them (a/abbey, a/attic, "
        "b/bakery/shop)"
    ]
    write_folder(tmp_path / "views", {f"{c}/{v}": 2 for c in "ab" for v in ("rgb", "depth")})
    write_folder(tmp_path / "one", {"a/x": 2, "b/y": 2})
    write_folder(tmp_path / "both", {"a/x": 2, "a/y": 2, "a": 1, "b": 2})
    for name in ("views", "one", "both"):
        notes = open_data(f"folder:{tmp_path / name}", val="none").notes
        assert not any("folders below" in note for note in notes)


def test_the_only_folder_of_pictures_is_named_whatever_lies_beside_it(tmp_path: Path) -> None:
    write_folder(tmp_path / "dtd", {"images/dotted": 2, "images/woven": 2})
    write_folder(tmp_path / "pets", {"images": 3})
    for name, said in (("dtd", "the data are in images/"), ("pets", "nothing that is read says")):
        (tmp_path / name / "annotations").mkdir()
        (tmp_path / name / "annotations" / "split.mat").write_bytes(b"MATLAB 5.0")
        with pytest.raises(XferError, match=said) as told:
            open_data(tmp_path / name)
        assert f"give {tmp_path / name / 'images'}" in str(told.value)


@pytest.mark.parametrize("lost", ["", "Jay_99 1\n", "Auk_0 1\n", "fewer"])
def test_lists_in_the_folder_of_the_masks_split_where_they_are_certain(
    lost: str, tmp_path: Path
) -> None:
    for k in range(8):
        write_picture(tmp_path / "images" / f"Auk_{k}.jpg", k, (16, 12))
        write_mask(tmp_path / "annotations" / "trimaps" / f"Auk_{k}.png", make_mask((1, 2), k))
    for name, own in (("trainval", range(6)), ("test", range(6, 8))):
        lines = "".join(f"Auk_{k} 1 2 1\n" for k in own)
        if name == "test" and lost == "fewer":
            lines = lines.partition("\n")[0]
        more = lost if name == "test" and lost != "fewer" else ""
        (tmp_path / "annotations" / f"{name}.txt").write_text(lines + more)
    bundle = open_data(tmp_path, val="none")
    unsplit = any("not used: 2 lists" in note for note in bundle.notes)
    assert unsplit == bool(lost)
    counts = {role: len(part) for role, part in bundle.splits.items()}
    assert counts == ({"train": 8} if lost else {"train": 6, "test": 2})
