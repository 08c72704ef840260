"""Sets as people have them: what is read out of folders and tables, and what is asked or refused
rather than guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import write_folder, write_picture

from xfer.data.open import open_data
from xfer.data.readers.from_names import class_in
from xfer.data.sources.split_names import role_word
from xfer.errors import DataError, XferError
from xfer.recipe.choose import infer_task


def sizes(bundle: Any) -> dict[str, int]:
    return {role: len(source) for role, source in bundle.splits.items()}


def write_table(file: Path, header: str, rows: dict[str, str]) -> Path:
    """A table with a row a picture: what is called so, and the rest of the row."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{name},{rest}" if rest else name for name, rest in rows.items()]
    file.write_text("\n".join([header, *lines]) + "\n")
    return file


LABELS = {f"{k:02d}": "cat" if k % 2 else "dog" for k in range(10)}


def write_pictures(folder: Path, names: Any = LABELS) -> None:
    for k, name in enumerate(names):
        write_picture(folder / f"{name}.jpg", seed=k)


@pytest.mark.parametrize("folder", ["", "splits"])
@pytest.mark.parametrize("form", ["coco", "yolo", "boxes"])
def test_lists_of_splits_that_a_format_does_not_use_are_told(
    tmp_path: Path, form: str, folder: str
) -> None:
    names = [f"p{k}" for k in range(6)]
    for k, name in enumerate(names):
        write_picture(tmp_path / "images" / f"{name}.jpg", seed=k)
    if form == "coco":
        images = [{"id": k, "file_name": f"{name}.jpg"} for k, name in enumerate(names)]
        boxes = [{"id": k, "image_id": k, "category_id": 1, "bbox": [1, 1, 5, 5]} for k in range(6)]
        document = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "a"}]}
        (tmp_path / "all.json").write_text(json.dumps(document))
    elif form == "yolo":
        (tmp_path / "labels").mkdir()
        (tmp_path / "classes.txt").write_text("cat\n")
        for name in names:
            (tmp_path / "labels" / f"{name}.txt").write_text("0 .5 .5 .4 .4\n")
    else:
        rows = {f"{name}.jpg": "1,1,6,6,cat" for name in names}
        write_table(tmp_path / "boxes.csv", "filename,xmin,ymin,xmax,ymax,class", rows)
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "train.txt").write_text("\n".join(names[:4]))
    (tmp_path / folder / "val.txt").write_text("images/p4.jpg\nimages/p5.jpg\n")
    (tmp_path / folder / "test.txt").write_text("of another set\n")
    bundle = open_data(tmp_path, val="none", kind="detect")
    assert bundle.format == form
    told = [note for note in bundle.notes if "lists of splits" in note]
    assert len(told) == 1 and "train.txt" in told[0] and "val.txt" in told[0]
    assert "test.txt" not in told[0]


def test_dev_is_a_val_split_and_test_dev_a_test_split(tmp_path: Path) -> None:
    folders = {f"{n}/{c}": 5 for n in ("train", "dev", "test") for c in ("cat", "dog")}
    write_folder(tmp_path, folders)
    assert sizes(open_data(tmp_path)) == {"train": 10, "val": 10, "test": 10}
    assert role_word("image_info_test-dev2017") == "test" and role_word("labels_dev") == "dev"
    assert role_word("devkit") is None


@pytest.mark.parametrize("names", [("training_set", "test_set"), ("trainset", "testset")])
def test_sets_of_that_name_are_splits_once_or_twice(tmp_path: Path, names: Any) -> None:
    for deep in (True, False):
        root = tmp_path / str(deep)
        write_folder(root, {f"{n}/{f'{n}/' * deep}{c}": 5 for n in names for c in ("cat", "dog")})
        bundle = open_data(root)
        assert bundle.classes == ("cat", "dog")
        assert sizes(bundle) == {"train": 8, "val": 2, "test": 10}


def test_folders_with_a_word_for_a_split_are_asked_about(tmp_path: Path) -> None:
    counts = {f"seg_{n}/seg_{n}/{c}": 3 for n in ("train", "test") for c in "ab"}
    write_folder(tmp_path, {**counts, "seg_pred/seg_pred": 2})
    with pytest.raises(XferError, match="splits or classes") as caught:
        open_data(tmp_path)
    assert caught.value.code == 2 and "train='seg_train' test='seg_test'" in str(caught.value)
    bundle = open_data(tmp_path, train="seg_train", test="seg_test", val="none")
    assert sizes(bundle) == {"train": 6, "test": 6} and bundle.classes == ("a", "b")
    assert len(open_data(f"folder:{tmp_path}").classes) == 3
    write_folder(tmp_path / "cases", {"test_positive": 3, "test_negative": 3})
    assert open_data(tmp_path / "cases").classes == ("test_negative", "test_positive")


def test_trains_are_a_class_beside_buses_and_cars(tmp_path: Path) -> None:
    write_folder(tmp_path, {"bus": 5, "car": 5, "train": 5})
    bundle = open_data(tmp_path)
    assert bundle.classes == ("bus", "car", "train") and sizes(bundle) == {"train": 12, "val": 3}
    write_folder(tmp_path / "cats and dogs", {"train": 4, "test1": 3, "test2": 3})
    assert open_data(tmp_path / "cats and dogs", cut=False).kind == "images"


def test_pictures_beside_an_empty_folder_are_pictures(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    write_picture(tmp_path / "a.jpg")
    assert open_data(tmp_path, cut=False).kind == "images"


@pytest.mark.parametrize("outer", ["birds", "images"])
def test_a_folder_around_the_data_is_named(tmp_path: Path, outer: str) -> None:
    write_folder(tmp_path, {f"{outer}/{s}/{c}": 2 for s in ("train", "val") for c in "ab"})
    (tmp_path / "readme.txt").write_text("x")
    with pytest.raises(DataError, match=f"data are in {outer}/") as caught:
        open_data(tmp_path)
    assert str(tmp_path / outer) in str(caught.value)
    assert open_data(tmp_path / outer).classes == ("a", "b")


@pytest.mark.parametrize("name", ["photos.zip", "photos.tar.gz"])
def test_an_archive_is_to_be_unpacked(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04")
    with pytest.raises(DataError, match="an archive") as caught:
        open_data(tmp_path / name)
    assert "unpack it" in str(caught.value)


def test_a_table_that_is_not_read_is_told(tmp_path: Path) -> None:
    write_folder(tmp_path, {"part_1": 3, "part_2": 3})
    write_table(tmp_path / "meta.csv", "image_id,dx", {"ISIC_1": "nv"})
    bundle = open_data(tmp_path)
    assert any(f"meta.csv is not read: csv:{tmp_path / 'meta.csv'}" in n for n in bundle.notes)
    for k in range(4):
        write_table(tmp_path / f"{k}.csv", "a,b", {"1": "2"})
    told = "0.csv, 1.csv, 2.csv and 2 more are not read"
    assert sum(told in note for note in open_data(tmp_path).notes) == 1
    write_picture(tmp_path / "only" / "0.jpg")
    (tmp_path / "only" / "labels.csv").write_bytes("name,label\n0,K\xe4se\n".encode("latin1"))
    assert any("labels.csv is not read" in n for n in open_data(tmp_path / "only", cut=False).notes)
    with pytest.raises(DataError, match="the pictures have no labels") as caught:
        infer_task(str(tmp_path / "only"), {})
    assert "labels.csv is not read" in str(caught.value)


def test_a_table_of_boxes_is_no_table_of_labels(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train")
    rows = {f"{k}.jpg": f"24,16,{v},1,1,9,9" for k, v in LABELS.items()}
    header = "filename,width,height,class,xmin,ymin,xmax,ymax"
    write_table(tmp_path / "train" / "_annotations.csv", header, rows)
    assert open_data(tmp_path).format == "boxes"
    with pytest.raises(DataError, match="a table of boxes"):
        open_data(f"csv:{tmp_path / 'train' / '_annotations.csv'}")


def test_folders_of_pictures_and_masks_are_no_classes(tmp_path: Path) -> None:
    write_folder(tmp_path, {f"{c}/{k}": 2 for c in ("1", "2") for k in ("images", "masks")}, ".png")
    with pytest.raises(DataError, match="the masks are coloured"):  # read as masks, and named so
        open_data(tmp_path)


def test_pictures_of_a_kind_that_is_not_read_are_told(tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "IMG_0001.HEIC").write_bytes(b"x")
    with pytest.raises(DataError, match=r"its pictures are \.heic, which are not read"):
        open_data(tmp_path)


def test_masks_in_class_folders_are_masks_and_told_where_classes_are_wanted(
    tmp_path: Path,
) -> None:
    for name in ("benign", "malignant"):
        for k in range(2):
            write_picture(tmp_path / "set" / name / f"{name} ({k}).png", seed=k)
            write_picture(tmp_path / "set" / name / f"{name} ({k})_mask.png", seed=k)
    found = open_data(tmp_path / "set", kind="classify", cut=False)
    assert any("4 masks next to their pictures" in note for note in found.notes)
    assert len(found.splits["train"]) == 4 and found.classes == ("benign", "malignant")
    again = open_data(f"folder:{tmp_path / 'set'}", cut=False)
    assert again.splits["train"].ids == found.splits["train"].ids
    with pytest.raises(DataError, match="coloured"):  # read as masks, which these are not
        open_data(tmp_path / "set")
    write_folder(tmp_path / "plain", {"a": 2, "b": 2})
    plain = open_data(tmp_path / "plain", cut=False)
    assert not any("masks next to" in note for note in plain.notes)


def test_two_eyes_are_no_picture_and_mask(tmp_path: Path) -> None:
    for name in ("ill", "well"):
        write_pictures(tmp_path / name, ("1", "1_L", "2", "2_L"))
    assert open_data(tmp_path, cut=False).classes == ("ill", "well")


def test_kaggles_test_table_has_ids_alone(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train")
    write_pictures(tmp_path / "test", ("t0", "t1"))
    write_table(tmp_path / "train.csv", "id,label", LABELS)
    write_table(tmp_path / "test.csv", "id", {"t0": "", "t1": ""})
    write_table(tmp_path / "sample_submission.csv", "id,label", {"t0": "cat"})
    bundle = open_data(tmp_path)
    assert bundle.format == "csv" and sizes(bundle) == {"train": 8, "val": 2}
    assert any("test: no labels" in note for note in bundle.notes)


def test_test_pictures_that_are_not_there_and_have_no_labels_are_left_out(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train")
    write_table(tmp_path / "train.csv", "id,label", LABELS)
    write_table(tmp_path / "test.csv", "id", {"t0": "", "t1": ""})
    bundle = open_data(tmp_path)
    assert sizes(bundle) == {"train": 8, "val": 2}
    assert any("test.csv: only ids" in note for note in bundle.notes)
    (tmp_path / "train.csv").unlink()
    with pytest.raises(DataError, match="no table names pictures that exist"):
        open_data(f"csv:{tmp_path}")


@pytest.mark.parametrize("header", ["id,labels", "id,cat,dog"])
def test_a_table_with_one_label_each_beside_one_with_several(tmp_path: Path, header: str) -> None:
    write_pictures(tmp_path / "images")
    cells = {"id,labels": ("cat;dog", "cat", "dog"), "id,cat,dog": ("1,1", "1,0", "0,1")}[header]
    write_table(tmp_path / "train.csv", header, dict(zip(LABELS, cells, strict=False)))
    write_table(tmp_path / "val.csv", header.replace("labels", "label"),
                {"03": cells[1], "04": cells[2]})  # fmt: skip
    bundle = open_data(tmp_path)
    assert bundle.kind == "multilabel" and sizes(bundle) == {"train": 3, "val": 2}
    assert bundle.splits["val"].labels().tolist() == [[1, 0], [0, 1]]


def test_a_submission_is_no_table_of_labels(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train")
    write_pictures(tmp_path / "test", ("t0", "t1"))
    write_table(tmp_path / "labels.csv", "id,breed", LABELS)
    write_table(tmp_path / "sample_submission.csv", "id,cat,dog", {"t0": "0.5,0.5"})
    assert sizes(open_data(tmp_path)) == {"train": 8, "val": 2}


def test_a_test_picture_is_not_taken_from_train(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train")
    write_pictures(tmp_path / "test", ("00",))
    write_table(tmp_path / "train.csv", "id,label", LABELS)
    write_table(tmp_path / "test.csv", "id,label", {"00": "cat", "01": "cat"})
    with pytest.raises(DataError, match=r"1 of 2 pictures are not there: '01'"):
        open_data(tmp_path)


def test_tables_of_splits_by_the_word_in_their_names(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train")
    write_pictures(tmp_path / "test", ("t0", "t1"))
    write_table(tmp_path / "train_labels.csv", "id,label", LABELS)
    write_table(tmp_path / "test_labels.csv", "id,label", {"t0": "cat", "t1": "dog"})
    assert sizes(open_data(tmp_path)) == {"train": 8, "val": 2, "test": 2}


def test_roboflows_table_in_each_splits_folder(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        write_pictures(tmp_path / split, ("a", "b", "c"))
        rows = {"a.jpg": "1, 0", "b.jpg": "1, 1", "c.jpg": "0, 1"}
        write_table(tmp_path / split / "_classes.csv", "filename, cat, dog", rows)
    bundle = open_data(tmp_path)
    assert (bundle.kind, sizes(bundle)) == ("multilabel", {"train": 3, "val": 3})


@pytest.mark.parametrize("way", ["/home/me/data/images/{}.jpg", "C:\\set\\images\\{}.jpg"])
def test_names_with_the_way_there_on_another_machine_are_found(tmp_path: Path, way: str) -> None:
    write_pictures(tmp_path / "images")
    write_table(tmp_path / "t.csv", "path,label", {way.format(k): v for k, v in LABELS.items()})
    bundle = open_data(tmp_path, val="none")
    assert bundle.splits["train"].ids[1] == "images/01.jpg" and bundle.classes == ("cat", "dog")


def test_pictures_in_any_folder_beside_a_table_that_is_named(tmp_path: Path) -> None:
    write_pictures(tmp_path / "part_1", list(LABELS)[:5])
    write_pictures(tmp_path / "part_2", list(LABELS)[5:])
    file = write_table(tmp_path / "meta.csv", "id,label", LABELS)
    bundle = open_data(f"csv:{file}", val="none")
    assert {name.partition("/")[0] for name in bundle.splits["train"].ids} == {"part_1", "part_2"}
    write_pictures(tmp_path / "part_2", ["03"])
    with pytest.raises(DataError, match="'03' is in part_1/ and in part_2/"):
        open_data(f"csv:{file}")


def test_a_table_and_the_only_folder_of_its_pictures(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train-jpg")
    write_table(tmp_path / "train_v2.csv", "image_name,label", LABELS)
    assert open_data(tmp_path).classes == ("cat", "dog")
    write_table(tmp_path / "train_v2.csv", "height,width", {"3": "4"})
    assert open_data(tmp_path, cut=False).classes == ("train-jpg",)


@pytest.mark.parametrize("yes", ["True", "1"])
def test_fastais_is_valid_is_the_split(tmp_path: Path, yes: str) -> None:
    write_pictures(tmp_path / "images")
    no = {"True": "False", "1": "0"}[yes]
    rows = {k: f"{v},{yes if k > '06' else no}" for k, v in LABELS.items()}
    write_table(tmp_path / "t.csv", "fname,label,is_valid", rows)
    assert sizes(open_data(tmp_path)) == {"train": 7, "val": 3}


def test_two_columns_that_say_the_same_are_one_label(tmp_path: Path) -> None:
    write_pictures(tmp_path / "images")
    rows = {k: f"{int(v == 'cat')},{v}" for k, v in LABELS.items()}
    for header in ("image,index,name", "image,label,label_name"):
        write_table(tmp_path / "t.csv", header, rows)
        assert open_data(tmp_path).classes == ("cat", "dog")
    rows["00"] = "1,dog"
    write_table(tmp_path / "t.csv", "image,label,label_name", rows)
    with pytest.raises(XferError, match="which column is the label"):
        open_data(tmp_path)


def test_names_of_classes_in_a_plural_column_are_asked_about(tmp_path: Path) -> None:
    write_pictures(tmp_path / "images")
    rows = {k: "red robin" if v == "cat" else "snow owl" for k, v in LABELS.items()}
    write_table(tmp_path / "t.csv", "filepaths,labels", rows)
    with pytest.raises(XferError, match="one label or several") as caught:
        open_data(tmp_path)
    assert "`label`" in str(caught.value) and "a;b" in str(caught.value)


def test_a_table_of_colours_is_no_table_of_pictures(tmp_path: Path) -> None:
    write_pictures(tmp_path / "images", ("0", "128", "64"))
    write_table(tmp_path / "class_dict.csv", "name,r,g,b", {"road": "0,128,64"})
    assert open_data(tmp_path, cut=False).format == "images"


def test_classes_in_the_names_of_files_are_hinted_at_and_read_where_asked(tmp_path: Path) -> None:
    names = [f"{c}{k}" for c in ("crow.", "Snow_owl_", "wren (", "Å-") for k in range(3)]
    names = [f"{name})" if "(" in name else name for name in names]
    write_pictures(tmp_path, names)
    plain = open_data(tmp_path, cut=False)
    assert plain.kind == "images"
    hint = next(note for note in plain.notes if "data.label=from_name" in note)
    assert "(Snow_owl, crow, wren, Å)" in hint
    with pytest.raises(DataError, match="the pictures have no labels") as caught:
        infer_task(str(tmp_path), {})
    assert "data__label='from_name'" in str(caught.value)
    bundle = open_data(tmp_path, label="from_name", val="none")
    assert bundle.classes == ("Snow_owl", "crow", "wren", "Å") and bundle.kind == "classify"
    assert bundle.splits["train"].labels().tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert infer_task(str(tmp_path), {"data.label": "from_name"})[0] == "classify"
    with pytest.raises(XferError, match="label=kind"):
        open_data(tmp_path, label="kind")


def test_names_without_a_class_are_not_hinted_at(tmp_path: Path) -> None:
    for place, names in {
        "numbers": [f"{k:04d}" for k in range(6)],
        "one": [f"IMG_{k}" for k in range(6)],
        "own": [f"{c}_1" for c in "abcdef"],
        "mixed": ["cat_1", "cat_2", "dog_1", "7", "8", "9"],
    }.items():
        write_pictures(tmp_path / place, names)
        found = open_data(tmp_path / place, cut=False)
        assert not any("from_name" in note for note in found.notes), place
    with pytest.raises(DataError, match="no name holds a class and a number"):
        open_data(tmp_path / "numbers", label="from_name")
    write_pictures(tmp_path / "split" / "train", ["cat.1", "cat.2", "dog.1", "dog.2"])
    write_pictures(tmp_path / "split" / "test", ["1", "2"])
    bundle = open_data(tmp_path / "split", label="from_name", val="none")
    assert sizes(bundle) == {"train": 4} and bundle.classes == ("cat", "dog")


@settings(max_examples=200, deadline=None)
@given(
    st.from_regex(r"[A-Za-z]([A-Za-z_ -]{0,8}[A-Za-z])?", fullmatch=True), st.integers(0, 99999),
    st.sampled_from([".", "_", "-", " ", "", "_-"]),
)  # fmt: skip
def test_a_class_and_a_number_come_apart(name: str, number: int, between: str) -> None:
    assert class_in(f"{name}{between}{number}.jpg") == name
    assert class_in(f"{name} ({number}).png") == name
    assert class_in(f"{number:05d}_{name}.jpg") == name
    assert class_in(f"{name}.jpg") == class_in(f"{number}.jpg") == ""


@pytest.mark.parametrize("top", ["", "train/"])
@pytest.mark.parametrize("ending", [".heic", ".CR2", ".png_old"])
def test_a_class_of_a_kind_that_is_not_read_is_named_so(
    tmp_path: Path, top: str, ending: str
) -> None:
    write_folder(tmp_path, {f"{top}ant": 3, f"{top}bee": 3})
    for name, kind in (("wasp", ending), ("notes", ".txt"), ("empty", "")):
        (tmp_path / top / name).mkdir()
        for k in range(2 if kind else 0):
            (tmp_path / top / name / f"{k}{kind}").write_bytes(b"x")
    bundle = open_data(tmp_path, val="none")
    told = "\n".join(bundle.notes)
    assert bundle.classes == ("ant", "bee") and f"{top}wasp/ holds 2 {ending.lower()} files" in told
    assert f"1 empty folder ({top}empty/)" in told and f"other files ({top}notes/)" in told
    for file in (tmp_path / top / "ant").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=rf"only one class \(bee\).*wasp/ \(2 {ending.lower()}"):
        open_data(tmp_path, val="none")


def test_what_a_file_system_leaves_is_no_class(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 2, "bee": 2, "lost+found": 1, "#recycle": 2, "__pycache__": 1})
    assert open_data(tmp_path, val="none").classes == ("ant", "bee")


def test_the_same_folders_inside_all_class_folders_are_asked_about(tmp_path: Path) -> None:
    for n in (1, 2, 3):
        write_folder(tmp_path / "set", {f"part{n}/good": 2, f"part{n}/bad": 2})
    with pytest.raises(XferError, match="are part1/, part2/, part3/ the classes, or bad/, good/"):
        open_data(tmp_path / "set")
    assert open_data(f"folder:{tmp_path / 'set'}").classes == ("part1", "part2", "part3")
    bundle = open_data(tmp_path / "set", train="part1", val="part3")
    assert bundle.classes == ("bad", "good") and sizes(bundle) == {"train": 4, "val": 4}
    write_picture(tmp_path / "set" / "part1" / "0.jpg")
    assert open_data(tmp_path / "set").classes == ("part1", "part2", "part3")
    for name, inside in (("one", ["pics"]), ("two", ["front", "Back"]), ("own", ["x", "y"])):
        write_folder(tmp_path / name, {f"{c}/{k}": 2 for c in "ab" for k in inside})
    write_folder(tmp_path / "own", {"b/z": 1})
    for name in ("one", "two", "own"):
        assert open_data(tmp_path / name, val="none").classes == ("a", "b")


def test_folders_of_pictures_and_masks_are_never_classes(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        for k in range(3):
            write_picture(tmp_path / folder / f"{k}.png", seed=k)
    for kinds in ("classify", ("classify", "multilabel")):
        with pytest.raises(DataError, match="coloured"):  # read as masks, which these are not
            open_data(tmp_path, kind=kinds)


@pytest.mark.parametrize("line", ["{}/{}.jpg", "./{}/{}", "data/set/{}/{}.jpg", "{}/{}.jpg 0"])
def test_lists_beside_class_folders_split_them(tmp_path: Path, line: str) -> None:
    write_folder(tmp_path, {"ant": 5, "bee": 5})
    lists = {"train": (0, 1, 2), "val": (3,), "test": (4,)}
    for name, numbers in lists.items():
        lines = [line.format(c, k) for c in ("ant", "bee") for k in numbers if (c, k) != ("bee", 4)]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines) + "\n")
    spec = f"folder:{tmp_path}" if line.endswith("0") else tmp_path
    bundle = open_data(spec)
    assert sizes(bundle) == {"train": 6, "val": 2, "test": 1} and bundle.classes == ("ant", "bee")
    told = "\n".join(bundle.notes)
    assert "1 picture in no list (bee/4.jpg)" in told and "not read" not in told
    (tmp_path / "val.txt").write_text("ant/3.jpg\nbee/3.jpg\nbee/33.jpg\n")
    other = open_data(spec)
    assert sizes(other) == {"train": 8, "val": 2}
    assert any("val.txt is not used to split: 1 of its 3 lines" in note for note in other.notes)


def test_tables_of_names_alone_beside_class_folders_split_them(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 4, "bee": 4})
    for name, numbers in (("train", (0, 1)), ("val", (2, 3))):
        rows = {f"{c}/{k}.jpg": "" for c in ("ant", "bee") for k in numbers}
        write_table(tmp_path / f"{name}.csv", "file", rows)
    bundle = open_data(tmp_path)
    assert sizes(bundle) == {"train": 4, "val": 4} and bundle.format == "folder"
    assert any("split by train.csv and val.csv" in note for note in bundle.notes)


def test_tables_of_names_alone_split_the_table_of_labels(tmp_path: Path) -> None:
    write_pictures(tmp_path / "images")
    write_table(tmp_path / "labels.csv", "id,label", LABELS)
    for name, some in (("train", list(LABELS)[:6]), ("test", list(LABELS)[6:])):
        write_table(tmp_path / f"{name}.csv", "id", dict.fromkeys(some, ""))
    bundle = open_data(tmp_path, val="none")
    assert sizes(bundle) == {"train": 6, "test": 4} and bundle.classes == ("cat", "dog")
    assert not any("not used" in note for note in bundle.notes)


@pytest.mark.parametrize("names", [("trainval", "test"), ("train", "test", "trainval")])
def test_a_list_of_train_and_val_together(tmp_path: Path, names: tuple[str, ...]) -> None:
    write_pictures(tmp_path, [str(k) for k in range(6)])
    for name in names:
        numbers = (4, 5) if name == "test" else range(4)
        (tmp_path / f"{name}.txt").write_text("".join(f"{k}.jpg {k % 2}\n" for k in numbers))
    bundle = open_data(tmp_path, val="none")
    assert sizes(bundle) == {"train": 4, "test": 2}
    assert any("1 list (trainval.txt)" in note for note in bundle.notes) == ("train" in names)


def test_lists_whose_labels_only_repeat_the_class_folders(tmp_path: Path) -> None:
    """They are read by the folders' names, and split by the lists."""
    write_folder(tmp_path, {"ant": 4, "bee": 4})
    for name, numbers in (("train", (0, 1, 2)), ("test", (3,))):
        lines = [f"{c}/{k}.jpg {n}" for n, c in enumerate(("ant", "bee")) for k in numbers]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines) + "\n")
    bundle = open_data(tmp_path, val="none")
    assert bundle.format == "folder" and bundle.classes == ("ant", "bee")
    assert sizes(bundle) == {"train": 6, "test": 2}
    (tmp_path / "train.txt").write_text("ant/0.jpg 0\nant/1.jpg 1\nbee/0.jpg 1\nbee/1.jpg 0\n")
    with pytest.raises(XferError, match="several ways"):
        open_data(tmp_path)


def test_a_list_of_a_partition_is_no_list_of_labels(tmp_path: Path) -> None:
    write_pictures(tmp_path, [f"{k}" for k in range(6)])
    for name in ("list_eval_partition", "list_bbox"):
        (tmp_path / f"{name}.txt").write_text("\n".join(f"{k}.jpg {k % 3}" for k in range(6)))
    bundle = open_data(tmp_path, cut=False)
    assert bundle.kind == "images"
    assert any("list_eval_partition.txt are not read" in note for note in bundle.notes)
    (tmp_path / "list_labels.txt").write_text("\n".join(f"{k}.jpg {k % 2}" for k in range(6)))
    bundle = open_data(tmp_path, val="none")
    assert bundle.classes == ("0", "1")
    assert any("2 lists (list_bbox.txt, list_eval_partition.txt)" in n for n in bundle.notes)


def test_lists_of_other_things_are_left_alone(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ant": 5, "bee": 5})
    (tmp_path / "train.txt").write_text("how to train\nthis\n")
    (tmp_path / "test.txt").write_text("ant\nbee\n")
    assert sizes(open_data(tmp_path)) == {"train": 8, "val": 2}


@pytest.mark.parametrize("end", ["0", "cat"])
def test_caffes_lists_of_path_and_label(tmp_path: Path, end: str) -> None:
    write_pictures(tmp_path / "pics", [f"a {k}" for k in range(9)])
    for name, numbers in (("train", range(6)), ("val", range(6, 9))):
        lines = [f"pics/a {k}.jpg {end if k % 2 else '1'}" for k in numbers]
        (tmp_path / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "readme.txt").write_text("nothing\n")
    bundle = open_data(tmp_path)
    assert bundle.format == "csv" and sizes(bundle) == {"train": 6, "val": 3}
    assert bundle.classes == tuple(sorted(("1", end)))
    assert sizes(open_data(tmp_path / "train.txt", val="none")) == {"train": 6}
    (tmp_path / "train.txt").write_text("pics/a 1.jpg 0 1\npics/a 2.jpg 1 1\n")
    with pytest.raises(DataError, match="not a list of pictures"):  # blanks in names and two labels
        open_data(f"csv:{tmp_path / 'train.txt'}")


def test_a_list_with_several_numbers_a_line(tmp_path: Path) -> None:
    write_pictures(tmp_path, "pqr")
    (tmp_path / "train.txt").write_text("p.jpg 0 1 1\nq.jpg 1 1 0\nr.jpg -1 0 1\n")
    bundle = open_data(tmp_path / "train.txt", val="none")
    assert bundle.kind == "multilabel"
    assert bundle.splits["train"].labels().tolist() == [[0, 1, 1], [1, 1, 0], [-1, 0, 1]]


@pytest.mark.parametrize("place", ["", "train"])
def test_hugging_faces_metadata(tmp_path: Path, place: str) -> None:
    write_pictures(tmp_path / place)
    rows = [{"file_name": f"{k}.jpg", "label": v, "size": 3} for k, v in LABELS.items()]
    rows[3]["tags"] = ["x"]
    text = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / place / "metadata.jsonl").write_text(text + "\n\n")
    bundle = open_data(tmp_path)
    assert bundle.format == "csv" and bundle.classes == ("cat", "dog")
    assert sizes(bundle) == {"train": 8, "val": 2}
    assert any("2 columns (size, tags)" in note for note in bundle.notes)
    (tmp_path / place / "metadata.jsonl").write_text(text + "\n{broken\n")
    with pytest.raises(DataError, match="line 11: not JSON"):
        open_data(f"csv:{tmp_path}")
    (tmp_path / place / "metadata.jsonl").write_text("[1]\n")
    with pytest.raises(DataError, match="line 1: not a JSON object"):
        open_data(f"csv:{tmp_path}")
