"""YOLO's txt files and data.yaml, as Ultralytics, Roboflow and labelImg leave them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from box_files import SIZE, write_yolo
from hypothesis import given
from hypothesis import strategies as st
from pictures import write_picture
from PIL import Image

from xfer.data.open import open_data
from xfer.data.readers.yolo.labels import read_yolo_text
from xfer.data.readers.yolo.setup import read_setup
from xfer.errors import DataError
from xfer.kinds.annotation import annotation
from xfer.testing.source import check_source

LABELS = {"a": "0 0.5 0.5 0.5 0.4\n1 0.25 0.5 0.1 0.2\n", "b": "", "c": None}


def test_shares_become_pixels_and_a_missing_file_is_background(tmp_path: Path) -> None:
    bundle = open_data(str(write_yolo(tmp_path, LABELS)), val="none")
    source = bundle.splits["train"]
    check_source(source)
    assert bundle.format == "yolo" and bundle.classes == ("cat", "dog")
    found = annotation(source, 0)
    assert found.xyxy == pytest.approx(np.array([[10, 9, 30, 21], [8, 12, 12, 18]]))
    assert found.labels.tolist() == [0, 1] and found.size == (30, 40)
    assert [len(annotation(source, i)) for i in (1, 2)] == [0, 0]
    assert any("1 pictures without a label file" in note for note in bundle.notes)


def test_polygons_become_the_boxes_around_them(tmp_path: Path) -> None:
    write_yolo(tmp_path, {"a": "1 0.1 0.2 0.5 0.2 0.3 0.6\n"})
    found = annotation(open_data(str(tmp_path), val="none").splits["train"], 0)
    assert found.xyxy == pytest.approx(np.array([[4, 6, 20, 18]]))


def test_keypoints_behind_a_box_are_no_polygon(tmp_path: Path) -> None:
    yaml = "train: images\nnames: [cat, dog]\nkpt_shape: [2, 3]\n"
    write_yolo(tmp_path, {"a": "1 .5 .5 .5 .4 .9 .9 2 .1 .1 0\n"}, yaml)
    found = annotation(open_data(str(tmp_path), val="none").splits["train"], 0)
    assert found.xyxy == pytest.approx(np.array([[10, 9, 30, 21]]))


def test_repeated_lines_are_read_once_and_counted(tmp_path: Path) -> None:
    write_yolo(tmp_path, {"a": "0 0.5 0.5 0.5 0.4\n" * 3})
    bundle = open_data(str(tmp_path), val="none")
    assert len(annotation(bundle.splits["train"], 0)) == 1
    assert any("2 repeated lines" in note for note in bundle.notes)


@pytest.mark.parametrize(
    ("yaml", "classes"),
    [
        ("train: images\nnames: {0: cat, 1: dog}", ("cat", "dog")),
        ("train: images\nnames:\n  1: dog\n  0: cat\n", ("cat", "dog")),
        ("train: [images, more/images]\nnames: [cat, dog]", ("cat", "dog")),
        ("path: .\ntrain: ../images\nnc: 2\nnames: ['1', 2]", ("1", "2")),
        ("path: sub/..\ntrain: images/\nnames: [cat, dog]\ndownload: https://x", ("cat", "dog")),
        ("train: list.txt\nnames: [cat, dog]", ("cat", "dog")),
        ("train: images\nnames: {'1': dog, '0': cat}", ("cat", "dog")),
    ],
)
def test_every_form_of_the_yaml(tmp_path: Path, yaml: str, classes: tuple[str, ...]) -> None:
    write_yolo(tmp_path, LABELS, yaml)
    (tmp_path / "sub").mkdir()
    (tmp_path / "more" / "images").mkdir(parents=True)
    (tmp_path / "list.txt").write_text("./images/a.jpg\nimages/b.jpg\nimages/c.jpg\n")
    for spec in (str(tmp_path), f"yolo:{tmp_path / 'data.yaml'}"):
        bundle = open_data(spec, val="none")
        assert bundle.classes == classes and len(bundle.splits["train"]) == 3
        assert len(annotation(bundle.splits["train"], 0)) == 2


def test_roboflows_folders_of_splits(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        write_yolo(tmp_path / split, {"a": LABELS["a"]})
        (tmp_path / split / "data.yaml").unlink()
    (tmp_path / "data.yaml").write_text(
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnames: [x, y]\n"
    )
    bundle = open_data(str(tmp_path))
    assert {role: s.ids for role, s in bundle.splits.items()} == {
        "train": ("train/images/a.jpg",), "val": ("valid/images/a.jpg",),
        "test": ("test/images/a.jpg",),
    }  # fmt: skip


def test_classes_txt_is_enough(tmp_path: Path) -> None:
    write_yolo(tmp_path, LABELS)
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "classes.txt").write_text("cat\r\ndog\r\n")
    assert open_data(str(tmp_path), val="none").classes == ("cat", "dog")


def test_classes_txt_may_lie_in_labels_or_all_in_one_folder(tmp_path: Path) -> None:
    write_yolo(tmp_path, LABELS)
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "labels" / "classes.txt").write_text("cat\ndog\n")
    assert open_data(str(tmp_path), val="none").classes == ("cat", "dog")
    flat = tmp_path / "flat"
    write_picture(flat / "a.jpg", size=SIZE)
    (flat / "a.txt").write_text("1 .5 .5 .5 .5\n")
    (flat / "classes.txt").write_text("cat\ndog\n")
    source = open_data(str(flat), val="none").splits["train"]
    assert annotation(source, 0).labels.tolist() == [1]


def test_roboflows_darknet_export(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        write_picture(tmp_path / split / "a.jpg", size=SIZE)
        (tmp_path / split / "a.txt").write_text("1 .5 .5 .5 .5\n")
        (tmp_path / split / "_darknet.labels").write_text("cat\ndog\n")
    bundle = open_data(str(tmp_path))
    assert (bundle.format, set(bundle.splits)) == ("yolo", {"train", "val"})
    assert annotation(bundle.splits["val"], 0).labels.tolist() == [1]


def test_split_folders_without_a_yaml_are_splits(tmp_path: Path) -> None:
    for split, name in (("train", "a"), ("val", "b")):
        write_picture(tmp_path / "images" / split / f"{name}.jpg", size=SIZE)
        file = tmp_path / "labels" / split / f"{name}.txt"
        file.parent.mkdir(parents=True)
        file.write_text("0 .5 .5 .5 .5\n")
    (tmp_path / "classes.txt").write_text("cat\n")
    found = open_data(str(tmp_path)).splits
    assert {role: source.ids for role, source in found.items()} == {
        "train": ("images/train/a.jpg",), "val": ("images/val/b.jpg",)
    }  # fmt: skip


def test_a_test_split_that_is_not_there_or_has_no_labels_is_told(tmp_path: Path) -> None:
    yaml = "train: images\nval: images\ntest: {}\nnames: [cat, dog]\n"
    write_yolo(tmp_path, LABELS, yaml.format("../test/images"))
    bundle = open_data(str(tmp_path))
    assert set(bundle.splits) == {"train", "val"}
    assert any("test is not there: left out" in note for note in bundle.notes)
    write_picture(tmp_path / "more" / "t.jpg", size=SIZE)
    (tmp_path / "data.yaml").write_text(yaml.format("more"))
    bundle = open_data(str(tmp_path))
    assert set(bundle.splits) == {"train", "val"}
    assert any("test: no labels" in note for note in bundle.notes)
    with pytest.raises(DataError, match="no labels"):
        open_data(str(tmp_path), test="test")
    (tmp_path / "data.yaml").write_text(yaml.format("more").replace("val: images", "val: gone"))
    with pytest.raises(DataError, match="val is not there"):
        open_data(str(tmp_path))


def test_a_picture_turned_by_exif_is_upright(tmp_path: Path) -> None:
    write_yolo(tmp_path, {"a": "0 0.5 0.5 0.5 0.5\n"})
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "images" / "a.jpg"
    Image.open(path).convert("RGB").save(path, exif=exif)
    bundle = open_data(str(tmp_path), val="none")
    source = bundle.splits["train"]
    assert annotation(source, 0).size == (40, 30) and source[0].image.shape == (40, 30, 3)
    assert any("EXIF turns 1 pictures" in note for note in bundle.notes)
    check_source(source)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("2 .5 .5 .1 .1", "unknown class 2"),
        ("-1 .5 .5 .1 .1", "unknown class -1"),
        ("0.5 .5 .5 .1 .1", "unknown class 0.5"),
        ("cat .5 .5 .1 .1", "are not numbers"),
        ("0 .5 .5 .1", "4 columns"),
        ("0 .5 .5 .1 .1 .9", "6 columns, the last .9: a box has 5; with a score"),
        ("0 nan .5 .1 .1", "not finite"),
        ("0 120 80 30 20", "pixels"),
    ],
)
def test_lines_that_can_not_be_used_are_named(tmp_path: Path, line: str, said: str) -> None:
    write_yolo(tmp_path, {**LABELS, "bad": f"0 .5 .5 .1 .1\n{line}\n"})
    with pytest.raises(DataError, match=said) as caught:
        open_data(str(tmp_path), val="none")
    assert "line 2" in str(caught.value) and "bad.txt" in str(caught.value)
    bundle = open_data(str(tmp_path), val="none", skip_bad=True)
    assert len(bundle.splits["train"]) == 3 and len(bundle.skipped) == 1


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("train: images\nnames: [a, a]", "several classes"),
        ("train: images\nnames: {1: a, 2: b}", "keys of names"),
        ("train: images\nnames: 7", "no class names"),
        ("train: images\nnc: 2", "no class names"),
        ("train: images\nnames: [a, b]\nkpt_shape: 17", "kpt_shape"),
        ("train: gone\nnames: [a, b]", "train is not there"),
        ("names: [a, b]", "none of train"),
        ("train: [images\nnames: [a", "not valid YAML"),
        ("[1, 2]", "holds a list"),
        ("!!python/object/apply:os.system [echo]", "not valid YAML"),
    ],
)
def test_a_yaml_that_is_none_is_one_line(tmp_path: Path, yaml: str, said: str) -> None:
    write_yolo(tmp_path, LABELS, yaml)
    with pytest.raises(DataError, match=said) as caught:
        open_data(f"yolo:{tmp_path / 'data.yaml'}", val="none")
    assert len(str(caught.value).splitlines()) <= 2


def test_a_yaml_without_names_is_still_a_yaml_of_yolo(tmp_path: Path) -> None:
    write_yolo(tmp_path, LABELS, "train: images\nval: images\nnc: 2\n")
    with pytest.raises(DataError, match="no class names"):
        open_data(str(tmp_path))


def test_no_label_file_at_all_is_an_error(tmp_path: Path) -> None:
    write_yolo(tmp_path, {"a": None, "b": None})
    with pytest.raises(DataError, match="no label files"):
        open_data(str(tmp_path))


share = st.floats(0, 1)


@given(st.lists(st.tuples(st.integers(0, 4), share, share, share, share), max_size=9, unique=True))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    file = tmp_path_factory.mktemp("yolo") / "a.txt"
    file.write_text("\n".join(" ".join(map(repr, row)) for row in rows))
    found = read_yolo_text(file, 5)
    assert len(found.rows) + found.repeated == len(rows)
    for got in found.rows:
        centre = ((got[1] + got[3]) / 2, (got[2] + got[4]) / 2)
        assert any(
            c == got[0] and (x, y) == pytest.approx(centre, abs=1e-9)
            and (w, h) == pytest.approx((got[3] - got[1], got[4] - got[2]), abs=1e-9)
            for c, x, y, w, h in rows
        )  # fmt: skip


def test_labels_are_beside_the_picture_where_there_is_no_such_folder(tmp_path: Path) -> None:
    write_picture(tmp_path / "photos" / "a.jpg", size=SIZE)
    (tmp_path / "photos" / "a.txt").write_text("1 .5 .5 .5 .5\n")
    (tmp_path / "data.yaml").write_text("train: photos\nnames: [cat, dog]\n")
    assert annotation(open_data(str(tmp_path), val="none").splits["train"], 0).labels.tolist() == [
        1
    ]


def test_names_that_are_aliases_of_aliases_are_one_short_line(tmp_path: Path) -> None:
    """A billion laughs: each list stands for nine of the one before."""
    lines = ['a0: &a0 ["x", "x"]']
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 12)]
    file = tmp_path / "data.yaml"
    for rest, told in (
        ("train: images\nnames: *a11", "class name 0 is a list"),
        ("train: *a11\nnames: [cat]", "train is neither a path"),
    ):
        file.write_text("\n".join([*lines, rest]))
        with pytest.raises(DataError, match=told) as caught:
            read_setup(file)
        assert len(str(caught.value)) < 300


def test_labels_none_of_which_can_be_used_are_told_as_such(tmp_path: Path) -> None:
    write_yolo(tmp_path, {"a": "77 .5 .5 .1 .1", "b": "cat .5 .5 .1 .1"})
    with pytest.raises(
        DataError,
        match=r"none of its 2 label files can be used: labels/a.txt .line 1: unknown class 77",
    ):
        open_data(str(tmp_path), skip_bad=True)


# --- darknet's files


def write_darknet(root: Path, names: str = "obj.names", begin: str = "data/") -> Path:
    """What CVAT writes as YOLO 1.1: pictures with a txt beside each, and lists."""
    for split, count in (("train", 3), ("valid", 2)):
        for i in range(count):
            file = root / f"obj_{split}_data" / f"frame_{i}.jpg"
            write_picture(file, size=SIZE)
            file.with_suffix(".txt").write_text(f"{i % 2} .5 .5 .5 .5\n")
        lines = [f"{begin}obj_{split}_data/frame_{i}.jpg" for i in range(count)]
        (root / f"{split}.txt").write_text("\n".join(lines))
    (root / names).write_text("dog\ncat\n")
    (root / "obj.data").write_text(
        f"classes = 2\ntrain = {begin}train.txt\nvalid = {begin}valid.txt\n"
        f"names = {begin}{names}\nbackup = backup/\n"
    )
    return root


@pytest.mark.parametrize("begin", ["data/", "", "/content/darknet/data/", "build\\darknet\\data\\"])
def test_darknets_paths_are_meant_by_their_ends(tmp_path: Path, begin: str) -> None:
    write_darknet(tmp_path, "my.names", begin)
    bundle = open_data(str(tmp_path))
    assert bundle.format == "yolo" and bundle.classes == ("dog", "cat")
    assert {role: len(s) for role, s in bundle.splits.items()} == {"train": 3, "val": 2}
    assert annotation(bundle.splits["val"], 1).labels.tolist() == [1]
    assert len(open_data(f"yolo:{tmp_path / 'obj.data'}").splits["train"]) == 3


def test_darknets_lists_without_obj_data(tmp_path: Path) -> None:
    (write_darknet(tmp_path) / "obj.data").unlink()
    found = open_data(str(tmp_path)).splits
    assert {role: len(source) for role, source in found.items()} == {"train": 3, "val": 2}


def test_a_valid_that_darknet_names_in_vain_is_left_out(tmp_path: Path) -> None:
    (write_darknet(tmp_path) / "valid.txt").unlink()
    bundle = open_data(str(tmp_path), val="none")
    assert set(bundle.splits) == {"train"}
    assert any("valid.txt is not there: left out" in note for note in bundle.notes)


def test_a_list_whose_pictures_are_gone_names_them(tmp_path: Path) -> None:
    write_darknet(tmp_path)
    (tmp_path / "obj_train_data" / "frame_1.jpg").unlink()
    with pytest.raises(DataError, match=r"data/obj_train_data/frame_1.jpg .only obj_valid_data"):
        open_data(str(tmp_path))


def test_each_split_has_the_classes_of_its_own_table(tmp_path: Path) -> None:
    """Roboflow numbers the classes of a split that lacks some of them differently."""
    for split, names in (("train", "cat\ndog\n"), ("valid", "dog\n")):
        write_picture(tmp_path / split / "a.jpg", size=SIZE)
        (tmp_path / split / "a.txt").write_text("0 .5 .5 .5 .5\n")
        (tmp_path / split / "_darknet.labels").write_text(names)
    bundle = open_data(str(tmp_path))
    assert bundle.classes == ("cat", "dog")
    assert annotation(bundle.splits["val"], 0).labels.tolist() == [1]


def test_a_table_in_the_labels_of_a_split_is_that_splits(tmp_path: Path) -> None:
    for split, names in (("train", "cat\ndog\n"), ("val", "dog\ncat\n")):
        write_picture(tmp_path / "images" / split / "a.jpg", size=SIZE)
        file = tmp_path / "labels" / split / "a.txt"
        file.parent.mkdir(parents=True)
        file.write_text("0 .5 .5 .5 .5\n")
        file.with_name("classes.txt").write_text(names)
    bundle = open_data(str(tmp_path))
    assert annotation(bundle.splits["val"], 0).labels.tolist() == [1]


# --- what lies elsewhere, or is left over


@pytest.mark.parametrize("begin", ["Project-3/", "../Project-3/", "/home/me/Project-3/", "../"])
def test_a_split_is_meant_by_the_end_of_its_path(tmp_path: Path, begin: str) -> None:
    for split in ("train", "valid"):
        write_picture(tmp_path / split / "images" / f"{split}.jpg", size=SIZE)
        (tmp_path / split / "labels").mkdir()
        (tmp_path / split / "labels" / f"{split}.txt").write_text("0 .5 .5 .5 .5\n")
    (tmp_path / "data.yaml").write_text(
        f"train: {begin}train/images\nval: {begin}valid/images\nnames: [cat, dog]\n"
    )
    found = open_data(str(tmp_path)).splits
    assert {role: s.ids for role, s in found.items()} == {
        "train": ("train/images/train.jpg",), "val": ("valid/images/valid.jpg",)
    }  # fmt: skip


def test_the_end_of_a_path_is_not_that_of_two_splits(tmp_path: Path) -> None:
    write_yolo(tmp_path, LABELS, "train: a/images\nval: b/images\nnames: [cat, dog]\n")
    with pytest.raises(DataError, match="val is not there"):
        open_data(str(tmp_path))


def test_label_files_without_a_picture_are_told(tmp_path: Path) -> None:
    write_yolo(tmp_path, LABELS)
    for name in ("x.txt", "y.txt"):
        (tmp_path / "labels" / name).write_text("0 .5 .5 .5 .5\n")
    (tmp_path / "labels" / "classes.txt").write_text("cat\ndog\n")
    notes = open_data(str(tmp_path), val="none").notes
    assert [n for n in notes if "no picture" in n] == [
        "warning: train: 2 label files have no picture: labels/x.txt, labels/y.txt"
    ]


def test_label_files_of_pictures_in_other_lists_are_not_alone(tmp_path: Path) -> None:
    """darknet has all pictures and label files in one folder, and a list for each split."""
    folder = tmp_path / "obj"
    for k in range(7):
        write_picture(folder / f"{k}.jpg", seed=k)
        (folder / f"{k}.txt").write_text(f"{k % 2} .5 .5 .4 .4\n")
    (folder / "gone.txt").write_text("0 .5 .5 .4 .4\n")
    (tmp_path / "obj.names").write_text("cat\ndog\n")
    (tmp_path / "obj.data").write_text("train = train.txt\nvalid = test.txt\nnames = obj.names\n")
    for name, which in (("train", range(4)), ("test", (4, 5))):  # 6.jpg is in neither
        (tmp_path / f"{name}.txt").write_text("".join(f"obj/{k}.jpg\n" for k in which))
    notes = open_data(str(tmp_path)).notes
    assert {note.split(": ", 2)[2] for note in notes if "no picture" in note} == {
        "1 label file has no picture: obj/gone.txt"
    }


def test_the_number_of_a_track_is_not_read(tmp_path: Path) -> None:
    write_yolo(tmp_path, {"a": "0 .5 .5 .5 .4 17\n1 .25 .5 .1 .2 3\n", "b": "1 .5 .5 .5 .4\n"})
    bundle = open_data(str(tmp_path), val="none")
    assert annotation(bundle.splits["train"], 0).xyxy == pytest.approx(
        np.array([[10, 9, 30, 21], [8, 12, 12, 18]])
    )
    assert any("the sixth, a track, of 1 label files" in note for note in bundle.notes)


def test_corners_under_the_name_of_centres_are_read_as_corners(tmp_path: Path) -> None:
    corners: dict[str, str | None] = {
        f"p{i}": f"0 .{5 + i % 4} .{4 + i % 3} .{6 + i % 4} .9\n" for i in range(8)
    }
    write_yolo(tmp_path, corners)
    bundle = open_data(str(tmp_path), val="none")
    assert annotation(bundle.splits["train"], 0).xyxy == pytest.approx(np.array([[20, 12, 24, 27]]))
    assert any("the boxes look like x1, y1, x2, y2" in note for note in bundle.notes)


def test_capital_folders(tmp_path: Path) -> None:
    write_picture(tmp_path / "train" / "Images" / "a.jpg", size=SIZE)
    (tmp_path / "train" / "Labels").mkdir()
    (tmp_path / "train" / "Labels" / "a.txt").write_text("1 .5 .5 .5 .5\n")
    (tmp_path / "data.yaml").write_text("train: train/Images\nnames: [cat, dog]\n")
    found = annotation(open_data(str(tmp_path), val="none").splits["train"], 0)
    assert found.labels.tolist() == [1]


@pytest.mark.parametrize("split", ["", "train"])
def test_labels_without_names_of_classes_are_told(tmp_path: Path, split: str) -> None:
    write_yolo(tmp_path / split, {"a": "0 .5 .5 .5 .5\n", "b": "7 .5 .5 .5 .5\n"})
    (tmp_path / split / "data.yaml").unlink()
    with pytest.raises(DataError, match="names of the classes that labels/ numbers 0, 7") as told:
        open_data(str(tmp_path), kind="detect")
    assert "classes.txt with a name on each line" in str(told.value)


def test_a_table_of_other_classes_among_the_labels_is_told(tmp_path: Path) -> None:
    write_yolo(tmp_path, LABELS)
    (tmp_path / "labels" / "classes.txt").write_text("dog\ncat\n")
    notes = open_data(str(tmp_path), val="none").notes
    assert any(
        "labels/classes.txt names other classes, dog and cat: not used" in n
        or "labels/classes.txt names other classes, dog, cat: not used" in n
        for n in notes
    )


def test_darknets_files_in_a_folder_called_data(tmp_path: Path) -> None:
    write_darknet(tmp_path / "data")
    found = open_data(str(tmp_path), kind="detect").splits
    assert {role: len(source) for role, source in found.items()} == {"train": 3, "val": 2}


@pytest.mark.parametrize("gone", ["", "obj_valid_data"])
def test_names_of_classes_beside_folders_of_pictures_and_txt(tmp_path: Path, gone: str) -> None:
    write_darknet(tmp_path)
    for name in ("obj.data", "train.txt", "valid.txt"):
        (tmp_path / name).unlink()
    if gone:
        shutil.rmtree(tmp_path / gone)
    found = open_data(str(tmp_path), kind="detect", val="none" if gone else "").splits
    assert {role: len(s) for role, s in found.items()} == {"train": 3} | (
        {} if gone else {"val": 2}
    )


def test_a_number_of_classes_that_is_not_that_of_the_names_is_told(tmp_path: Path) -> None:
    write_yolo(tmp_path, LABELS, "train: images\nnc: 3\nnames: [cat, dog]\n")
    notes = open_data(str(tmp_path), val="none").notes
    assert "warning: data.yaml: nc is 3, but names has 2" in notes


@pytest.mark.parametrize("written", ["../datasets/pets", "/content/pets/", "D:\\\\sets\\\\pets"])
def test_a_path_of_another_machine_is_the_folder_of_its_name(written: str, tmp_path: Path) -> None:
    for k in range(3):
        write_picture(tmp_path / "pets" / "images" / "train" / f"{k}.jpg", seed=k)
        label = tmp_path / "pets" / "labels" / "train" / f"{k}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(f"{k % 2} 0.5 0.5 0.25 0.25\n")
    text = f'path: "{written}"\ntrain: images/train\nnames: [cat, dog]\n'
    (tmp_path / "pets.yaml").write_text(text)
    bundle = open_data(tmp_path / "pets.yaml", val="none")
    assert len(bundle.splits["train"]) == 3 and bundle.classes == ("cat", "dog")
    assert any("is read as pets/" in note for note in bundle.notes)
