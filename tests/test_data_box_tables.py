"""Tables of boxes: as RetinaNet, TensorFlow, Open Images and Kaggle have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import scene, write_picture
from PIL import Image

from xfer.data.open import open_data
from xfer.data.readers.box_tables.cells import box_of_cells, boxes_of_cell
from xfer.data.sources.box_forms import from_xyxy
from xfer.errors import DataError, XferError
from xfer.kinds.annotation import annotation
from xfer.testing.source import check_source

SIZE = (50, 40)
# picture -> (class, xyxy) of its boxes
TRUTH = {
    "a.jpg": [("ant", [2, 3, 20, 30]), ("bee", [10, 12, 44, 36])],
    "b.jpg": [("bee", [30, 5, 48, 25])],
    "c.jpg": [("ant", [1, 1, 9, 9]), ("ant", [20, 20, 40, 38]), ("bee", [4, 14, 10, 39])],
}
ROWS = [(name, label, box) for name, boxes in TRUTH.items() for label, box in boxes]


def write(root: Path, header: str, rows: list[str], name: str = "boxes.csv") -> Path:
    for picture in TRUTH:
        write_picture(root / "pics" / picture, size=SIZE)
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join([header, *rows] if header else rows) + "\n")
    return file


def check(spec: Any, **options: Any) -> None:
    """What is read is TRUTH."""
    bundle = open_data(spec, val="none", **options)
    source = bundle.splits["train"]
    check_source(source)
    assert bundle.format == "boxes" and bundle.classes == ("ant", "bee")
    for i, name in enumerate(source.ids):
        found, true = annotation(source, i), TRUTH[name.rpartition("/")[2]]
        assert [bundle.classes[c] for c in found.labels.tolist()] == [label for label, _ in true]
        assert found.xyxy == pytest.approx(np.array([box for _, box in true]), abs=1e-6)


def written(box: list[int], form: str, shares: bool = False) -> list[float]:
    scale = np.array([*SIZE, *SIZE]) if shares else 1
    return (from_xyxy(np.array([box], float), form)[0] / scale).tolist()


@pytest.mark.parametrize("shares", [False, True])
@pytest.mark.parametrize(
    ("columns", "form"),
    [
        ("xmin,ymin,xmax,ymax", "xyxy"), ("x1,y1,x2,y2", "xyxy"),
        ("x_min,y_min,x_max,y_max", "xyxy"), ("bbox_x,bbox_y,bbox_width,bbox_height", "xywh"),
        ("left,top,right,bottom", "xyxy"), ("bbox_x1,bbox_y1,bbox_x2,bbox_y2", "xyxy"),
        ("x,y,w,h", "xywh"), ("x,y,width,height", "xywh"),
        ("x_center,y_center,width,height", "cxcywh"), ("cx,cy,w,h", "cxcywh"),
    ],
)  # fmt: skip
def test_the_names_of_columns_say_the_form(
    tmp_path: Path, columns: str, form: str, shares: bool
) -> None:
    rows = [f"{name},{','.join(map(str, written(box, form, shares)))},{label}"
            for name, label, box in ROWS]  # fmt: skip
    file = write(tmp_path, f"image,{columns},label", rows)
    check(file)
    check(tmp_path)
    notes = open_data(file, val="none").notes
    assert any("look like shares" in note for note in notes) == shares


def test_retinanets_table_has_no_header(tmp_path: Path) -> None:
    rows = [f"pics/{name},{','.join(map(str, box))},{label}" for name, label, box in ROWS]
    write_picture(tmp_path / "pics" / "none.jpg", size=SIZE)
    write(tmp_path, "", [*rows, "pics/none.jpg,,,,,"], "annotations.csv")
    (tmp_path / "classes.csv").write_text("ant,0\nbee,1\n")
    bundle = open_data(tmp_path, val="none")
    assert [len(annotation(bundle.splits["train"], i)) for i in range(4)] == [2, 1, 3, 0]
    assert bundle.classes == ("ant", "bee")
    (tmp_path / "pics" / "none.jpg").unlink()
    with pytest.raises(DataError, match=r"none\.jpg"):
        open_data(tmp_path)


def test_numbers_of_classes_are_looked_up_in_a_table_beside(tmp_path: Path) -> None:
    rows = [f"{name},{','.join(map(str, box))},{int(label == 'bee')}" for name, label, box in ROWS]
    write(tmp_path, "", rows, "annotations.csv")
    (tmp_path / "classes.csv").write_text("ant,0\nbee,1\n")
    check(tmp_path)


def test_tensorflows_tables_in_each_split(tmp_path: Path) -> None:
    header = "filename,width,height,class,xmin,ymin,xmax,ymax"
    for split in ("train", "valid"):
        rows = [f"{name},50,40,{label},{','.join(map(str, box))}" for name, label, box in ROWS]
        for picture in TRUTH:
            write_picture(tmp_path / split / picture, seed=len(split), size=SIZE)
        (tmp_path / split / "_annotations.csv").write_text("\n".join([header, *rows]))
    found = open_data(tmp_path).splits
    assert {role: len(source) for role, source in found.items()} == {"train": 3, "val": 3}


@pytest.mark.parametrize(
    "names", [("train.csv", "test.csv"), ("train_labels.csv", "test_labels.csv")]
)
def test_a_table_for_each_split(tmp_path: Path, names: tuple[str, str]) -> None:
    for name, picture in zip(names, ("a.jpg", "b.jpg"), strict=True):
        rows = [f"{n},{','.join(map(str, box))},{label}" for n, label, box in ROWS if n == picture]
        write(tmp_path, "image,x1,y1,x2,y2,label", rows, name)
    found = open_data(tmp_path, val="none").splits
    assert {role: s.ids for role, s in found.items()} == {"train": ("pics/a.jpg",),
                                                         "test": ("pics/b.jpg",)}  # fmt: skip


def test_a_column_of_splits(tmp_path: Path) -> None:
    rows = [f"{name},{','.join(map(str, box))},{label},{'val' if name == 'b.jpg' else 'train'}"
            for name, label, box in ROWS]  # fmt: skip
    write(tmp_path, "image,x1,y1,x2,y2,label,subset", rows)
    found = open_data(tmp_path).splits
    assert {role: len(source) for role, source in found.items()} == {"train": 2, "val": 1}


def test_open_images(tmp_path: Path) -> None:
    header = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsGroupOf"
    rows = []
    for k, (name, label, box) in enumerate(ROWS):
        x1, y1, x2, y2 = written(box, "xyxy", shares=True)
        code = {"ant": "/m/0a1", "bee": "/m/0b2"}[label]
        rows.append(f"{name[:-4]},xclick,{code},1,{x1},{x2},{y1},{y2},0,{int(k == 1)}")
    write(tmp_path, header, rows, "validation-annotations-bbox.csv")
    (tmp_path / "class-descriptions-boxable.csv").write_text("/m/0a1,ant\n/m/0b2,bee\n")
    check(tmp_path)
    bundle = open_data(tmp_path, val="none")
    assert not [note for note in bundle.notes if "look like" in note]  # they are declared so
    assert annotation(bundle.splits["train"], 0).crowd.tolist() == [False, True]


@pytest.mark.parametrize("form", ["xyxy", "xywh"])
@pytest.mark.parametrize("cell", ["[{}, {}, {}, {}]", "{} {} {} {}", "{},{},{},{}"])
def test_a_box_in_one_cell(tmp_path: Path, form: str, cell: str) -> None:
    """Nothing but the numbers says the form: no width equals the right side everywhere."""
    rows = [f'{name},"{cell.format(*written(box, form))}",{label}' for name, label, box in ROWS]
    check(write(tmp_path, "image,bbox,label", rows))


def test_a_single_column_of_few_boxes_that_fit_both_ways_is_asked_about(tmp_path: Path) -> None:
    file = write(tmp_path, "image,bbox,label", ['a.jpg,"[2, 3, 20, 30]",ant'])
    with pytest.raises(XferError, match="x, y, width, height or x1, y1, x2, y2"):
        open_data(file)
    file = write(tmp_path, "image,bbox_xyxy,label", ['a.jpg,"[2, 3, 20, 30]",ant'])
    source = open_data(file, cut=False).splits["train"]
    assert annotation(source, 0).xyxy.tolist() == [[2, 3, 20, 30]]


def test_several_boxes_in_one_cell_with_their_classes(tmp_path: Path) -> None:
    for picture in TRUTH:
        write_picture(tmp_path / picture, size=SIZE)
    lines = [
        {"file_name": name, "objects": {"bbox": [written(box, "xywh") for _, box in boxes],
                                        "categories": [label for label, _ in boxes]}}
        for name, boxes in TRUTH.items()
    ]  # fmt: skip
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    check(tmp_path)


def test_which_column_is_the_class_is_asked(tmp_path: Path) -> None:
    rows = [f"{name},50,40,{','.join(map(str, box))},{label}" for name, label, box in ROWS]
    file = write(tmp_path, "image_id,width,height,xmin,ymin,xmax,ymax,kind of animal", rows)
    with pytest.raises(XferError, match="which column is their class: kind of animal") as asked:
        open_data(file)
    assert "data__label='kind of animal'" in str(asked.value)
    check(file, label="kind of animal")
    assert open_data(file, label="none", val="none").classes == ("object",)


def test_without_a_column_of_classes_there_is_one(tmp_path: Path) -> None:
    rows = [f"{name},{','.join(map(str, box))}" for name, _, box in ROWS]
    bundle = open_data(write(tmp_path, "image,x1,y1,x2,y2", rows), val="none")
    assert bundle.classes == ("object",)
    assert any("all boxes are 'object'" in note for note in bundle.notes)


def test_numbers_that_are_names_of_pictures_are_still_numbers(tmp_path: Path) -> None:
    """Pictures are called 2.jpg and 20.jpg, and there are boxes at 2 and 20."""
    for name in ("2", "20", "30"):
        write_picture(tmp_path / "pics" / f"{name}.jpg", size=SIZE)
    rows = ["30,2,3,20,30,ant", "2,2,3,20,30,bee", "20,2,3,20,30,bee"]
    file = tmp_path / "boxes.csv"
    file.write_text("\n".join(["picture,xmin,ymin,xmax,ymax,label", *rows]))
    source = open_data(file, val="none").splits["train"]
    assert source.ids == ("pics/30.jpg", "pics/2.jpg", "pics/20.jpg")


def test_rows_that_can_not_be_used_are_named(tmp_path: Path) -> None:
    rows = [f"{name},{','.join(map(str, box))},{label}" for name, label, box in ROWS]
    file = write(tmp_path, "image,x1,y1,x2,y2,label", [*rows, "a.jpg,1,2,,4,ant", "b.jpg,1,2,3,4,"])
    with pytest.raises(DataError, match=r"2 rows can't be used: row 7 .*; row 8 .a box without a"):
        open_data(file)
    assert len(open_data(file, val="none", skip_bad=True).skipped) == 2


def test_several_tables_of_boxes_are_a_choice(tmp_path: Path) -> None:
    rows = [f"{name},{','.join(map(str, box))},{label}" for name, label, box in ROWS]
    for name in ("one.csv", "two.csv"):
        write(tmp_path, "image,x1,y1,x2,y2,label", rows, name)
    with pytest.raises(XferError, match="several tables of boxes") as asked:
        open_data(tmp_path)
    assert "one.csv or boxes:" in str(asked.value)


def test_paths_of_another_machine_and_data_images(tmp_path: Path) -> None:
    rows = [
        f"C:\\work\\pics\\{name},{','.join(map(str, box))},{label}" for name, label, box in ROWS
    ]
    file = write(tmp_path, "image,x1,y1,x2,y2,label", rows)
    check(file)
    (tmp_path / "pics").rename(tmp_path.parent / f"{tmp_path.name} elsewhere")
    with pytest.raises(DataError, match="none of its 3 pictures is there"):
        open_data(file)
    check(file, images=str(tmp_path.parent / f"{tmp_path.name} elsewhere"))


def test_a_turned_picture_is_in_the_frame_of_its_boxes(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    rows = [f"{i}.jpg,50,40,2,2,38,48,ant" for i in range(3)]
    file = write(tmp_path, "filename,width,height,xmin,ymin,xmax,ymax,class", rows)
    for i in range(3):
        Image.fromarray(scene(*SIZE, seed=i)).save(tmp_path / "pics" / f"{i}.jpg", exif=exif)
    bundle = open_data(file, val="none")
    assert annotation(bundle.splits["train"], 0).xyxy.tolist() == [[2, 2, 38, 48]]
    assert bundle.splits["train"][0].image.shape == (50, 40, 3)
    assert any("EXIF turns" in note for note in bundle.notes)


Numbers = st.lists(st.integers(-50, 500) | st.floats(-50, 500), min_size=4, max_size=4)


@given(Numbers)
def test_a_box_is_the_same_in_four_cells_and_in_one(box: list[float]) -> None:
    assert box_of_cells([repr(n) for n in box]) == [box]
    for text in (json.dumps(box), " ".join(map(repr, box)), ",".join(map(repr, box))):
        assert boxes_of_cell(text) == ([box], None)
    assert boxes_of_cell(json.dumps([box, box])) == ([box, box], None)
    record = {"bbox": [box], "category": ["x"]}
    assert boxes_of_cell(json.dumps(record)) == ([box], ["x"])


@pytest.mark.parametrize("cell", ["", "[]", "no_box", "nan"])
def test_a_cell_without_a_box(cell: str) -> None:
    assert boxes_of_cell(cell) == ([], None)


@pytest.mark.parametrize("cell", ["1 2 3", "{", "[1, 2]", "a b c d", '{"x": 1}', "[[1,2,3,4],[1]]",
                                  '{"bbox": [[1, 2, 3, 4]], "label": []}'])  # fmt: skip
def test_a_cell_of_something_else(cell: str) -> None:
    assert boxes_of_cell(cell) is None
