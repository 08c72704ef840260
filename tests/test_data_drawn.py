"""labelme's json for each picture and VIA's file for all: read as boxes, and as masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import scene, write_picture
from PIL import Image

from xfer.data.open import open_data
from xfer.errors import DataError, XferError
from xfer.kinds.annotation import annotation
from xfer.testing.source import check_source

SIZE = (60, 40)


def shape(label: str, points: list[Any], sort: str = "polygon", **more: Any) -> Any:
    return {"label": label, "points": points, "shape_type": sort, "group_id": None, **more}


RECTANGLE = shape("cat", [[30, 20], [10, 5]], "rectangle")  # drawn from its bottom right corner
TRIANGLE = shape("dog", [[40, 10], [58, 10], [58, 39]])


def write_labelme(
    root: Path, name: str, shapes: Any, folder: str = "", pictures: str = "", **more: Any
) -> Path:
    write_picture(root / pictures / f"{name}.jpg", seed=len(name), size=SIZE)
    file = root / folder / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    document = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": f"{name}.jpg",
                "imageData": None, "imageHeight": SIZE[1], "imageWidth": SIZE[0]}  # fmt: skip
    file.write_text(json.dumps(document | more))
    return file


def test_labelmes_shapes_are_boxes_and_masks(tmp_path: Path) -> None:
    write_labelme(tmp_path, "a", [RECTANGLE, TRIANGLE])
    write_labelme(tmp_path, "bb", [TRIANGLE])
    bundle = open_data(str(tmp_path), val="none")
    source = bundle.splits["train"]
    check_source(source)
    assert bundle.format == "labelme" and bundle.classes == ("cat", "dog")
    assert annotation(source, 0).xyxy.tolist() == [[10, 5, 30, 20], [40, 10, 58, 39]]
    bundle = open_data(str(tmp_path), val="none", kind="segment")
    mask = bundle.splits["train"][0].mask
    assert bundle.classes == ("background", "cat", "dog") and mask is not None
    assert int((mask == 1).sum()) == 20 * 15 and mask[12, 56] == 2 and mask[30, 44] == 0


@pytest.mark.parametrize(
    ("folder", "pictures"), [("annotations", "images"), ("json", "pics"), ("", "")]
)
def test_json_in_a_folder_of_any_name_and_split(tmp_path: Path, folder: str, pictures: str) -> None:
    for split in ("train", "val"):
        for name in ("a", "bb"):
            write_labelme(tmp_path / split, name, [RECTANGLE], folder, pictures)
    bundle = open_data(str(tmp_path), kind="detect")
    assert {role: len(s) for role, s in bundle.splits.items()} == {"train": 2, "val": 2}


def test_a_picture_by_image_path_and_one_without_json(tmp_path: Path) -> None:
    file = write_labelme(tmp_path, "a", [RECTANGLE])
    file.rename(tmp_path / "renamed.json")
    write_labelme(tmp_path, "bb", [])
    write_picture(tmp_path / "ccc.jpg", size=SIZE)
    bundle = open_data(str(tmp_path), val="none", kind="detect")
    source = bundle.splits["train"]
    assert dict(zip(source.ids, (len(annotation(source, i)) for i in range(3)), strict=True)) == {
        "bb": 0, "renamed": 1, "ccc": 0
    }  # fmt: skip
    assert any("renamed.json is of a.jpg" in note for note in bundle.notes)
    assert "all: 1 pictures without a json are background" in bundle.notes


def test_shapes_of_one_group_are_one_object(tmp_path: Path) -> None:
    left = shape("cat", [[2, 2], [8, 9]], "rectangle", group_id=4)
    right = shape("cat", [[20, 4], [30, 30]], "rectangle", group_id=4)
    other = shape("dog", [[20, 4], [30, 30]], "rectangle", group_id=4)
    write_labelme(tmp_path, "a", [left, right, other])
    found = annotation(open_data(str(tmp_path), val="none").splits["train"], 0)
    assert found.xyxy.tolist() == [[2, 2, 30, 30], [20, 4, 30, 30]]


def test_circles_are_boxes_and_points_are_counted(tmp_path: Path) -> None:
    shapes = [shape("cat", [[30, 20], [30, 30]], "circle"), shape("cat", [[1, 1]], "point"),
              shape("cat", [[1, 1], [5, 5]], "line")]  # fmt: skip
    write_labelme(tmp_path, "a", shapes)
    bundle = open_data(str(tmp_path), val="none")
    assert annotation(bundle.splits["train"], 0).xyxy == pytest.approx(np.array([[20, 10, 40, 30]]))
    assert "not used: 2 shapes without an area (point, line)" in bundle.notes


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ([shape("cat", [[1, "x"], [4, 4]], "rectangle")], "not a finite number"),
        ([{"points": [[1, 2]]}], "shape 1 has no label"),
        ([shape("", [[1, 2]])], "empty label"),
        ([shape("cat", [1, 2])], "not pairs"),
        (7, "no list of shapes"),
    ],
)
def test_what_can_not_be_used_is_named(tmp_path: Path, spoil: Any, said: str) -> None:
    write_labelme(tmp_path, "good", [RECTANGLE, TRIANGLE])
    write_labelme(tmp_path, "bad", spoil)
    with pytest.raises(DataError, match=said) as caught:
        open_data(str(tmp_path), val="none")
    assert "bad.json" in str(caught.value)
    assert len(open_data(str(tmp_path), val="none", skip_bad=True).splits["train"]) == 1


def test_labelmes_json_in_the_frame_before_the_turn(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    tall = shape("cat", [[5, 5], [35, 55]], "rectangle")
    for name in ("a", "bb"):
        write_labelme(tmp_path, name, [tall])
        Image.fromarray(scene(*SIZE)).save(tmp_path / f"{name}.jpg", exif=exif)
    for kind in ("detect", "segment"):
        bundle = open_data(str(tmp_path), val="none", kind=kind)
        assert any("EXIF turns" in note for note in bundle.notes)
        assert bundle.splits["train"][0].image.shape == (60, 40, 3)


def test_class_folders_with_json_in_them_are_asked_about(tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        write_labelme(tmp_path / name, "a", [RECTANGLE])
    with pytest.raises(XferError, match="several ways"):
        open_data(str(tmp_path), val="none")
    assert open_data(str(tmp_path), val="none", kind="classify").classes == ("ant", "bee")


# --- VIA


def region(box: list[int], **about: Any) -> dict[str, Any]:
    x, y, width, height = box
    return {"shape_attributes": {"name": "rect", "x": x, "y": y, "width": width, "height": height},
            "region_attributes": about}  # fmt: skip


def write_via(root: Path, regions: dict[str, list[Any]], form: str = "json") -> Path:
    for name in regions:
        write_picture(root / name, seed=len(name), size=SIZE)
    entries = {f"{name}123": {"filename": name, "size": 123, "regions": own, "file_attributes": {}}
               for name, own in regions.items()}  # fmt: skip
    file = root / f"via_region_data.{'csv' if form == 'csv' else 'json'}"
    if form == "project":
        entries = {"_via_settings": {}, "_via_img_metadata": entries}
    if form == "one":  # VIA 1 numbers regions in a dict
        for entry in entries.values():
            entry["regions"] = {str(k): r for k, r in enumerate(entry["regions"])}
    if form == "csv":
        cells = [(name, json.dumps(r["shape_attributes"]), json.dumps(r["region_attributes"]))
                 for name, own in regions.items() for r in own]  # fmt: skip
        cells += [(name, "{}", "{}") for name, own in regions.items() if not own]
        lines = ["filename,file_size,region_shape_attributes,region_attributes"]
        for name, *texts in cells:
            quoted = ",".join('"' + text.replace('"', '""') + '"' for text in texts)
            lines.append(f"{name},123,{quoted}")
        file.write_text("\n".join(lines))
    else:
        file.write_text(json.dumps(entries))
    return file


@pytest.mark.parametrize("form", ["json", "project", "one", "csv"])
def test_vias_regions_are_boxes(tmp_path: Path, form: str) -> None:
    polygon = {
        "shape_attributes": {"name": "polygon", "all_points_x": [40, 58, 58],
                             "all_points_y": [10, 10, 39]},
        "region_attributes": {"kind": "dog"},
    }  # fmt: skip
    regions = {"a.jpg": [region([10, 5, 20, 15], kind="cat"), polygon], "bb.jpg": []}
    file = write_via(tmp_path, regions, form)
    for spec in (tmp_path, file):
        bundle = open_data(str(spec), val="none", kind="detect")
        source = bundle.splits["train"]
        check_source(source)
        assert bundle.format == "via" and bundle.classes == ("cat", "dog")
        assert annotation(source, 0).xyxy.tolist() == [[10, 5, 30, 20], [40, 10, 58, 39]]
        assert len(annotation(source, 1)) == 0
    masks = open_data(str(tmp_path), val="none", kind="segment")
    assert masks.classes == ("background", "cat", "dog")


def test_which_attribute_is_the_class_is_asked(tmp_path: Path) -> None:
    write_via(tmp_path, {"a.jpg": [region([1, 2, 9, 9], kind="cat", colour="red")]})
    with pytest.raises(XferError, match="which attribute is the class") as asked:
        open_data(str(tmp_path), cut=False)
    assert asked.value.hint == "data.label=kind or data.label=colour"
    assert open_data(str(tmp_path), cut=False, label="colour").classes == ("red",)


def test_regions_without_attributes_are_of_one_class(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_via(tmp_path / split, {"a.jpg": [region([1, 2, 9, 9])]})
    bundle = open_data(str(tmp_path))
    assert bundle.classes == ("object",) and set(bundle.splits) == {"train", "val"}
