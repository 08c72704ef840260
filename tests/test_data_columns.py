"""Which column of a table names the pictures, holds the labels, says the split; and what is asked
where two may."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import write_picture

from xfer.data.open import open_data, show
from xfer.data.readers.table.columns import find_pictures_of, words_of
from xfer.data.readers.table.locate import Locator
from xfer.data.readers.table.splits import find_splits, role_in_cell
from xfer.data.readers.table.text import Table
from xfer.errors import DataError, XferError


def write(folder: Path, header: str, rows: Sequence[str], name: str = "about.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join([header, *rows]) + "\n")
    return folder / name


def pictures(folder: Path, names: Sequence[str]) -> None:
    for k, name in enumerate(names):
        write_picture(folder / name, seed=k)


def labels(spec: Path | str, **options: Any) -> dict[str, Any]:
    """id -> label of all splits."""
    options = {"val": "none", **options}
    splits = show(open_data(spec, **options), items=True)["splits"]
    return {name: label for split in splits.values() for name, label in split["items"]}


def kind_of(k: int) -> str:
    return "oak" if k % 3 == 0 else "elm"


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """Ten pictures 0.jpg ... 9.jpg in photos/, of oak and elm."""
    pictures(tmp_path / "photos", [f"{k}.jpg" for k in range(10)])
    return tmp_path


RIGHT = {f"photos/{k}.jpg": kind_of(k) for k in range(10)}


@pytest.mark.parametrize("header", ["id,image,label", "nr,photo_file,label", ",pic,label",
                                    "Unnamed: 0,which,label", "id,path,species"])  # fmt: skip
def test_a_row_number_is_not_the_name_of_a_picture(header: str, numbered: Path) -> None:
    order = [7, 3, 0, 9, 1, 8, 2, 6, 4, 5]
    rows = [f"{row},{k}.jpg,{kind_of(k)}" for row, k in enumerate(order)]
    assert labels(write(numbered, header, rows)) == RIGHT
    far = [row.replace(",", ",/home/you/set/", 1) for row in rows]  # the folders of another machine
    assert labels(write(numbered, header, far)) == RIGHT


def test_two_columns_of_bare_numbers_are_asked_about(numbered: Path) -> None:
    rows = [f"{row},{9 - row},{kind_of(9 - row)}" for row in range(10)]
    file = write(numbered, "id,code,label", rows)
    with pytest.raises(XferError, match="which column names the pictures: 'id' or 'code'") as asked:
        open_data(file)
    assert asked.value.code == 2 and asked.value.hint == "data.path=id or data.path=code"
    assert labels(file, path="code") == RIGHT
    assert labels(file, path="id")["photos/9.jpg"] == "oak"  # row 9 is picture 0
    assert labels(write(numbered, "id,photo,label", rows)) == RIGHT  # its name says it
    with pytest.raises(XferError, match="no column 'cod'"):
        open_data(file, path="cod")
    with pytest.raises(DataError, match="'label' names no picture"):
        open_data(file, path="label")


def test_two_pictures_a_row_are_asked_about(tmp_path: Path) -> None:
    for side in ("front", "back"):
        pictures(tmp_path, [f"{k}_{side}.jpg" for k in range(6)])
    rows = [f"{k}_front.jpg,{k}_back.jpg,{kind_of(k)}" for k in range(6)]
    with pytest.raises(XferError, match="'front' or 'back'"):
        open_data(write(tmp_path, "front,back,label", rows))
    found = open_data(write(tmp_path, "image,mask,label", rows), val="none")
    assert found.splits["train"].ids[0] == "0_front.jpg"
    told = "\n".join(found.notes)
    assert "1 column (mask)" in told and "6 pictures without a row (0_back.jpg" in told


def test_a_column_of_labels_that_are_also_names_of_pictures(numbered: Path) -> None:
    rows = [f"{k},{k % 2}" for k in range(10)]
    assert labels(write(numbered, "id,digit", rows))["photos/3.jpg"] == "1"


def test_a_path_in_two_columns(tmp_path: Path) -> None:
    for place in ("train/a", "train/b"):
        pictures(tmp_path / place, ["1.jpg", "2.jpg", "3.jpg"])
    rows = [f"{p},{n}.jpg,{kind_of(n)}" for p in ("train/a", "train/b") for n in (1, 2, 3)]
    expected = {f"train/{p}/{n}.jpg": kind_of(n) for p in "ab" for n in (1, 2, 3)}
    for header in ("folder,filename,label", "where,filename,label"):
        assert labels(write(tmp_path, header, rows)) == expected
    stems = [row.replace(".jpg", "") for row in rows]
    assert labels(write(tmp_path, "dir,id,label", stems)) == expected
    file = write(tmp_path, "folder,filename,label", rows)
    assert labels(file, path="folder,filename") == expected


def test_the_folder_of_a_split_is_part_of_the_name(tmp_path: Path) -> None:
    """The same names lie in train/ and test/: a row of test is not a picture of train."""
    for split in ("train", "test"):
        pictures(tmp_path / split, [f"{k}.jpg" for k in range(4)])
    rows = [f"{s},{k}.jpg,{kind_of(k)}" for s in ("train", "test") for k in range(4)]
    bundle = open_data(write(tmp_path, "split,file,label", rows), val="none")
    assert bundle.split_json() == {s: [f"{s}/{k}.jpg" for k in range(4)] for s in ("train", "test")}


def test_two_names_that_lead_to_one_file_are_an_error(tmp_path: Path) -> None:
    pictures(tmp_path, ["1.jpg", "2.jpg"])
    rows = ["/x/north/1.jpg,a", "/x/south/1.jpg,a", "/x/north/2.jpg,b"]
    with pytest.raises(DataError, match=r"north/1\.jpg' and '/x/south/1\.jpg' are both found"):
        open_data(write(tmp_path, "path,label", rows))
    same = ["./1.jpg,a", "1.jpg,a", "2.jpg,b"]
    assert labels(write(tmp_path, "path,label", same)) == {"1.jpg": "a", "2.jpg": "b"}


@settings(max_examples=100, deadline=None)
@given(
    st.permutations(range(6)),
    st.permutations(("row", "name", "kind", "count")),
    st.integers(0, 3),
    st.booleans(),
)
def test_files_with_an_ending_win_wherever_their_column_stands(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], header: list[str], first: int,
    near: bool,
) -> None:  # fmt: skip
    root = tmp_path_factory.getbasetemp() / f"order{near}"
    place = root / "images" if near else root
    if not place.exists():
        pictures(place, [f"{k}.jpg" for k in range(6)])
    cells = [
        {"row": str(row), "name": f"{k}.jpg", "kind": kind_of(k), "count": str(first + k % 3)}
        for row, k in enumerate(order)
    ]
    table = Table(root / "t.csv", list(header), [[row[h] for h in header] for row in cells])
    placed = find_pictures_of(table, [Locator(table.file, ["", "images"])])
    assert placed is not None and placed.table.header[placed.column] == "name"


@pytest.mark.parametrize(
    ("words", "roles"),
    [
        (("Training", "PublicTest", "PrivateTest"), {"train": 4, "val": 3, "test": 3}),
        (("TRAIN", "dev", "Test"), {"train": 4, "val": 3, "test": 3}),
        (("train", "Training", "test_set"), {"train": 7, "test": 3}),
        (("train", "PublicTest", "PublicTest"), {"train": 4, "test": 6}),
    ],
)
@pytest.mark.parametrize("header", ["Usage", "phase", "split", "where_used"])
def test_a_column_whose_words_are_splits(
    header: str, words: tuple[str, ...], roles: dict[str, int], numbered: Path
) -> None:
    rows = [f"{k}.jpg,{'elm' if k % 2 else 'oak'},{words[k % 3]}" for k in range(10)]
    cut = "" if "val" in roles else "none"
    bundle = open_data(write(numbered, f"image,emotion,{header}", rows), val=cut)
    assert {role: len(s) for role, s in bundle.splits.items()} == roles
    assert bundle.classes == ("elm", "oak") and not any("not used" in n for n in bundle.notes)
    asis = open_data(numbered / "about.csv", split="none", label="emotion", val="none")
    assert {role: len(s) for role, s in asis.splits.items()} == {"train": 10}
    assert any(f"1 column ({header})" in note for note in asis.notes)


def test_folds_are_no_splits_and_no_labels_but_can_be_chosen(numbered: Path) -> None:
    rows = [f"{k}.jpg,{kind_of(k)},{k % 5}" for k in range(10)]
    file = write(numbered, "image,tree,fold", rows)
    bundle = open_data(file, val="none")
    assert bundle.classes == ("elm", "oak") and len(bundle.splits["train"]) == 10
    assert any("not used: 1 column (fold)" in note for note in bundle.notes)
    one = open_data(file, split="fold", train="1", val="0")
    assert one.split_json() == {"train": ["photos/1.jpg", "photos/6.jpg"],
                                "val": ["photos/0.jpg", "photos/5.jpg"]}  # fmt: skip
    assert any("3 splits (2, 3, 4)" in note for note in one.notes)


def test_splits_in_two_columns_are_asked_about(numbered: Path) -> None:
    def rows(second: Any) -> list[str]:
        return [f"{k}.jpg,{kind_of(k)},{'train' if k < 7 else 'val'},{second(k)}"
                for k in range(10)]  # fmt: skip

    same = write(numbered, "image,label,split,Usage", rows(lambda k: "Train" if k < 7 else "Val"))
    with pytest.raises(XferError, match="'split' or 'Usage'"):
        open_data(write(numbered, "image,label,split,Usage",
                        rows(lambda k: "train" if k % 2 else "val")))  # fmt: skip
    assert len(open_data(same, split="Usage").splits["val"]) == 5
    many = write(numbered, "image,label,split,made", rows(lambda k: "test" if k == 3 else "new"))
    assert len(open_data(many).splits["val"]) == 3


def test_rows_of_two_splits_are_in_both_and_told(numbered: Path) -> None:
    rows = [f"{k}.jpg,{kind_of(k)},train" for k in range(10)]
    rows += [f"{k}.jpg,{kind_of(k)},val" for k in (2, 3, 6)] + [f"4.jpg,{kind_of(4)},train"]
    bundle = open_data(write(numbered, "image,label,split", rows))
    assert {role: len(s) for role, s in bundle.splits.items()} == {"train": 10, "val": 3}
    assert any("3 pictures are both in train and val" in note for note in bundle.notes)
    assert any("1 repeated rows" in note for note in bundle.notes)


@pytest.mark.parametrize(("header", "yes", "no"), [("is_train", "train", "test"),
                                                   ("is_test", "test", "train")])  # fmt: skip
def test_a_flag_for_a_split(header: str, yes: str, no: str, numbered: Path) -> None:
    rows = [f"{k}.jpg,{kind_of(k)},{k % 5 == 0:d}" for k in range(10)]
    bundle = open_data(write(numbered, f"image,label,{header}", rows), val="none")
    assert {role: len(s) for role, s in bundle.splits.items()} == {yes: 2, no: 8}


def test_a_split_column_that_says_what_the_tables_name_says(numbered: Path) -> None:
    rows = [f"{k}.jpg,{kind_of(k)},train" for k in range(7)]
    write(numbered, "image,label,split", rows, "train.csv")
    write(numbered, "image,label,split", [f"{k}.jpg,{kind_of(k)},valid" for k in (7, 8, 9)],
          "val.csv")  # fmt: skip
    assert {role: len(s) for role, s in open_data(f"csv:{numbered}").splits.items()} == {
        "train": 7, "val": 3,
    }  # fmt: skip
    write(numbered, "image,label,split", [*rows, "8.jpg,elm,val"], "train.csv")
    with pytest.raises(XferError, match="a table that is a split itself"):
        open_data(f"csv:{numbered}")


WORDS = st.sampled_from(["train", "Training", "TRAIN", "val", "valid", "test", "Test", "dev"])


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, min_size=2, max_size=12))
def test_words_for_a_split_are_one_split_however_they_are_written(words: list[str]) -> None:
    table = Table(Path("t.csv"), ["path", "split"], [[str(k), w] for k, w in enumerate(words)])
    found = find_splits(table, [1])
    assert found is not None
    assert [role_in_cell(name) for name in found.of] == [role_in_cell(word) for word in words]
    assert len(set(found.of)) == len({role_in_cell(word) for word in words})


def test_words_of_headers() -> None:
    assert words_of("ImageId") == ["image", "id"] and words_of("IMG_path2") == ["img", "path", "2"]
    assert words_of("Finding Labels") == ["finding", "labels"]


def test_the_label_is_the_only_column_that_can_be_one(numbered: Path) -> None:
    """Ids, measured values, folds, constants and row numbers are no classes."""
    rows = [f"{k},{k}.jpg,P{k},{k * 1.5},scan,{kind_of(k)},{k % 2},{k // 2}" for k in range(10)]
    bundle = open_data(write(numbered, "Unnamed: 0,image,person,size,how,tree,fold,Tree age", rows))
    assert bundle.classes == ("elm", "oak")
    assert any("5 columns (person, size, how, fold, Tree age)" in note for note in bundle.notes)


def test_the_question_for_the_label_shows_the_flag_that_answers_it(numbered: Path) -> None:
    rows = [f"{k}.jpg,{'f' if k % 2 else 'm'},{kind_of(k)},{k % 2}.0,{'' if k % 3 else '-1.0'}"
            for k in range(10)]  # fmt: skip
    file = write(numbered, "image,Sex,Tree kind,Moss,Dry", rows)
    with pytest.raises(XferError, match="which column is the label: 'Sex', 'Tree kind'") as asked:
        open_data(file)
    assert asked.value.code == 2
    assert "data__label='Moss,Dry' (a column per class)" in str(asked.value)
    assert "data__label='Tree kind'" in str(asked.value)
    assert labels(file, label="Tree kind") == RIGHT
    two = open_data(file, label="Moss,Dry", val="none")
    assert two.classes == ("Moss", "Dry")
    assert two.splits["train"].labels()[:4].tolist() == [[0, -1], [1, -1], [0, -1], [1, -1]]
    assert any("2 columns (Sex, Tree kind)" in note for note in two.notes)
    with pytest.raises(DataError, match="'m' in column 'Sex'"):
        open_data(file, label="Sex,Moss")


@pytest.mark.parametrize("header", ["Finding Labels", "coarse_label", "emotion", "dx"])
def test_one_column_beside_the_pictures_and_one_that_ends_in_label(
    header: str, numbered: Path
) -> None:
    rows = [f"{k}.jpg,{kind_of(k)}" for k in range(10)]
    if "abel" in header:
        rows = [f"{row},{k % 4}" for k, row in enumerate(rows)]
    bundle = open_data(write(numbered, f"image,{header}" + ",age" * ("abel" in header), rows))
    assert bundle.classes == ("elm", "oak")


def test_the_columns_of_train_count_for_the_other_tables(numbered: Path) -> None:
    """In a test table of a few rows another column may look like the label."""
    rows = [f"{k}.jpg,{kind_of(k)},{'xyz'[k % 3]}" for k in range(8)]
    for name, some in (("train", rows), ("val", ["8.jpg,oak,x", "9.jpg,elm,y"])):
        write(numbered, "image,tree,camera", some, f"{name}.csv")
    bundle = open_data(f"csv:{numbered}", label="tree")
    assert bundle.classes == ("elm", "oak") and len(bundle.splits["val"]) == 2
    write(numbered, "image,camera", ["9.jpg,y"], "test.csv")
    assert "test" not in open_data(f"csv:{numbered}", label="tree").splits


def test_decimal_numbers_are_asked_about(numbered: Path) -> None:
    for values in ([k / 4 for k in range(10)], [1.5 + k % 3 for k in range(10)]):
        file = write(numbered, "image,height", [f"{k}.jpg,{v}" for k, v in enumerate(values)])
        with pytest.raises(XferError, match="'height' holds decimal numbers") as asked:
            open_data(file)
        assert asked.value.code == 2 and "data__label='height'" in str(asked.value)
        taken = open_data(file, label="height", val="none")
        assert any("warning: " in n and "decimal numbers" in n for n in taken.notes)


def test_a_label_for_nearly_every_row_is_doubted(numbered: Path) -> None:
    rows = [f"{k}.jpg,a picture of {k + 3} trees" for k in range(10)]
    found = open_data(write(numbered, "image,label", rows), val="none")
    assert any("10 different labels in 10 rows" in note for note in found.notes)


BOXES = {
    "xmin,ymin,xmax,ymax": "1,2,9,8", "x1,y1,x2,y2": "1.5,2,9,8", "X,Y,W,H": "1,2,7,6",
    "bbox_x1,bbox_y1,bbox_x2,bbox_y2": "1,2,9,8", "x_center,y_center,width,height": ".5,.5,.2,.2",
    "XMin,XMax,YMin,YMax": "0.1,0.9,0.2,0.8", "bbox": '"[1.0, 2.0, 7.0, 6.0]"',
    "BoxesString": "1 2 7 6",
    "boxes": '"[[1, 2, 7, 6], [0, 0, 3, 3]]"', "objects": '"{""bbox"": [[1, 2, 7, 6]]}"',
}  # fmt: skip


@pytest.mark.parametrize(("header", "cells"), BOXES.items())
def test_a_table_of_boxes_is_no_table_of_labels_unless_a_label_is_named(
    header: str, cells: str, numbered: Path
) -> None:
    rows = [f"{k}.jpg,{cells},{kind_of(k)}" for k in range(10)]
    file = write(numbered, f"image,{header},species", rows)
    with pytest.raises(DataError, match="a table of boxes"):
        open_data(f"csv:{file}")
    assert labels(f"csv:{file}", label="species") == RIGHT
    for spec in (file, numbered):
        bundle = open_data(spec, label="species", val="none")
        assert bundle.format == "boxes" and bundle.classes == ("elm", "oak")
        if header not in ("boxes", "objects"):  # they may give classes themselves
            with pytest.raises(XferError, match="a table of boxes; which column is their class"):
                open_data(spec)


def test_boxes_without_a_header_are_told_by_their_corners(numbered: Path) -> None:
    rows = [f"photos/{k}.jpg,{k},{k + 1},{k + 5},{k + 9},{kind_of(k)}" for k in range(9)]
    (numbered / "about.csv").write_text("\n".join([*rows, "photos/9.jpg,,,,,"]) + "\n")
    bundle = open_data(numbered, val="none")
    assert bundle.format == "boxes" and len(bundle.splits["train"]) == 10
    rows = [f"photos/{k}.jpg,{k},{k + 1},{k % 3},{9 - k},{kind_of(k)}" for k in range(10)]
    (numbered / "about.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(XferError, match="which column is the label"):
        open_data(numbered)


def test_numbers_are_not_taken_where_the_files_of_another_column_are_not_there(
    numbered: Path,
) -> None:
    rows = [f"{row},{9 - row}.jpeg,{kind_of(9 - row)}" for row in range(10)]
    file = write(numbered, "id,image,label", rows)
    with pytest.raises(
        XferError, match=r"the files in 'image' are not there \('9.jpeg'\)"
    ) as asked:
        open_data(file)
    assert "data__path='id'" in str(asked.value) and asked.value.code == 2
    assert labels(file, path="id")["photos/9.jpg"] == "oak"


def test_pictures_deeper_below_the_table_are_found_by_their_ends(tmp_path: Path) -> None:
    for k in range(8):
        write_picture(tmp_path / f"images_{k % 2}" / "images" / f"{k:04d}_0.png", seed=k)
    expected = {f"images_{k % 2}/images/{k:04d}_0.png": kind_of(k) for k in range(8)}
    for end in (".png", ""):
        rows = [f"{k:04d}_0{end},{kind_of(k)},{k % 4}" for k in range(8)]
        file = write(tmp_path, "Image Index,Finding Labels,Follow-up #", rows)
        assert labels(file) == expected
    for name, numbers in (("train_val_list", range(6)), ("test_list", (6, 7))):
        (tmp_path / f"{name}.txt").write_text("\n".join(f"{k:04d}_0.png" for k in numbers) + "\n")
    bundle = open_data(file, val="none")
    assert {role: len(s) for role, s in bundle.splits.items()} == {"train": 6, "test": 2}
    assert any("split by test_list.txt and train_val_list.txt" in note for note in bundle.notes)
    (tmp_path / "test_list.txt").write_text("0006_0.png\nx_0.png\nz_0.png\n")
    bundle = open_data(file, val="none")
    assert len(bundle.splits["train"]) == 8
    assert any("2 lists (test_list.txt, train_val_list.txt)" in note for note in bundle.notes)
    write_picture(tmp_path / "other" / "deep" / "0000_0.png")
    with pytest.raises(DataError, match="may be"):
        open_data(file)


def test_texts_that_all_differ_are_asked_about(numbered: Path) -> None:
    rows = [f"{k}.jpg,a picture of {k + 3} trees" for k in range(10)]
    file = write(numbered, "file_name,text", rows)
    with pytest.raises(XferError, match="'text' holds a different value in each of 10") as asked:
        open_data(file)
    assert "data__label='text'" in str(asked.value)
    assert len(set(labels(file, label="text").values())) == 10
    joint = write(numbered, "file_name,seen", [f"{k}.jpg,x{k};sky" for k in range(10)])
    assert open_data(joint, val="none").kind == "multilabel"


def test_a_table_that_names_pictures_in_the_folders_beside_it_is_seen(tmp_path: Path) -> None:
    """The folders are parts of the set, not classes."""
    for k in range(12):
        write_picture(tmp_path / f"part_{1 + k % 2}" / f"ISIC_{k:03d}.jpg", seed=k)
    rows = [f"L{k // 2},ISIC_{k:03d},{kind_of(k)},{'m' if k % 2 else 'f'}" for k in range(12)]
    write(tmp_path, "lesion,image_id,dx,sex", rows)
    with pytest.raises(XferError, match=r"several ways: csv .*; folder") as asked:
        open_data(tmp_path)
    assert asked.value.code == 2
    bundle = open_data(tmp_path, label="dx", val="none")  # only a table has columns
    assert bundle.format == "csv" and bundle.classes == ("elm", "oak")
    assert open_data(f"folder:{tmp_path}").classes == ("part_1", "part_2")


def test_pictures_in_cells_are_told(tmp_path: Path) -> None:
    pixels = " ".join(str(k % 251) for k in range(2304))
    file = write(tmp_path, "emotion,pixels,Usage", [f"{k % 3},{pixels},Training" for k in range(4)])
    with pytest.raises(DataError, match="'pixels' holds pictures as numbers") as told:
        open_data(f"csv:{file}")
    assert len(str(told.value)) < 300


def test_why_there_is_one_class_alone(tmp_path: Path) -> None:
    pictures(tmp_path / "img_aligned", [f"{k}.jpg" for k in range(6)])
    for name in ("attr", "partition"):
        write(tmp_path, f"image_id,{name}", [f"{k}.jpg,{k % 3}" for k in range(6)], f"{name}.csv")
    with pytest.raises(DataError, match="only one class") as told:
        open_data(tmp_path)
    assert "attr.csv, partition.csv are not read: csv:FILE reads one" in str(told.value)


def test_files_that_are_there_but_not_read_are_told(tmp_path: Path) -> None:
    pictures(tmp_path, [f"{k}.jpg" for k in range(4)])
    for k in (4, 5):
        (tmp_path / f"{k}.heic").write_bytes(b"x")
    rows = [f"{k}.{'heic' if k > 3 else 'jpg'},{kind_of(k)}" for k in range(6)]
    file = write(tmp_path, "file,label", [*rows, "7.jpg,elm"])
    with pytest.raises(DataError, match=r"3 of 7 pictures can't be used: '4.heic' \(.heic files"):
        open_data(file)
    some = open_data(file, skip_bad=True, val="none")
    why = ".heic files are not read"
    assert some.skipped == (("4.heic", why), ("5.heic", why), ("7.jpg", "no such picture"))
    for k in range(4):
        (tmp_path / f"{k}.jpg").unlink()
    for spec in (file, tmp_path):
        with pytest.raises(DataError, match=r"its pictures are \.heic files"):
            open_data(spec)
    write(tmp_path, "file,label", ["8.jpg,elm", "9.jpg,elm"])
    with pytest.raises(DataError, match=r"no column names pictures that exist \('8.jpg'"):
        open_data(tmp_path)


def test_a_label_that_is_a_file_is_a_mask(tmp_path: Path) -> None:
    for k in range(8):
        write_picture(tmp_path / "pics" / f"{k}.png", seed=k)
        write_picture(tmp_path / "truth_files" / f"{k}.png", seed=k + 20)
    file = write(tmp_path, "image,label", [f"pics/{k}.png,truth_files/{k}.png" for k in range(8)])
    with pytest.raises(DataError, match="'label' names pictures: masks"):
        open_data(file)
    assert "csv" not in str(open_data(f"folder:{tmp_path}", cut=False).format)
    three = write(tmp_path, "image,mask,tree", [f"pics/{k}.png,truth_files/{k}.png,{kind_of(k)}"
                                                for k in range(8)])  # fmt: skip
    assert open_data(three, val="none").classes == ("elm", "oak")


def test_a_place_is_no_label(numbered: Path) -> None:
    rows = [f"{k}.jpg,{k % 4},{k % 3},{kind_of(k)}" for k in range(10)]
    assert open_data(write(numbered, "image,x,y,tree", rows), val="none").classes == ("elm", "oak")
    ys = [f"{k}.jpg,{k % 3}" for k in range(10)]
    assert open_data(write(numbered, "image,y", ys), val="none").classes == ("0", "1", "2")


def test_a_name_in_two_usual_folders_is_asked_about(tmp_path: Path) -> None:
    for folder in ("train", "test", "masks"):
        pictures(tmp_path / folder, [f"{k}.jpg" for k in range(4)])
    rows = [f"{k}.jpg,{kind_of(k)}" for k in range(4)]
    file = write(tmp_path, "file,label", rows)
    with pytest.raises(DataError, match=r"'0.jpg' is in test/ and in train/") as asked:
        open_data(file)
    assert "train.csv" in str(asked.value)
    assert set(labels(write(tmp_path, "file,label", rows, "train.csv"))) == {
        f"train/{k}.jpg" for k in range(4)
    }
    for folder in ("about", ""):  # its own folders come first
        pictures(tmp_path / folder, [f"{k}.jpg" for k in range(4)])
        assert labels(file)[f"{folder}/0.jpg".strip("/")] == "oak"
    pictures(tmp_path / "b" / "images", ["0.jpg", "1.jpg"])
    pictures(tmp_path / "b" / "masks", ["0.jpg", "1.jpg"])
    assert set(labels(write(tmp_path / "b", "file,label", ["0.jpg,x", "1.jpg,y"]))) == {
        "images/0.jpg", "images/1.jpg",
    }  # fmt: skip
