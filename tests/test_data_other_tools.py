"""Labels in formats of other tools that are not read are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from box_files import voc_xml
from pictures import write_picture

from xfer.data.open import open_data
from xfer.data.readers.other_tools import other_tool
from xfer.errors import DataError

CVAT = (
    '<?xml version="1.0"?><annotations><version>1.1</version><image id="0" name="0.jpg" width="24" '
    'height="16"><box label="elm" xtl="1" ytl="2" xbr="9" ybr="9"/></image></annotations>'
)
SHAPE: dict[str, Any] = {"classTitle": "elm", "geometryType": "rectangle", "points": {}}
STUDIO = [{"id": 1, "annotations": [{"result": [{"from_name": "tree", "value": {}}]}]}]
FILES = {
    "annotations.xml": (CVAT, "CVAT's own XML"),
    "all.xml": ("<dataset><images><image file='0.jpg'/></images></dataset>", "dlib's XML"),
    "annotations/default.json": (
        json.dumps({"categories": {}, "items": [{"annotations": [{"label_id": 0}]}]}),
        "Datumaro's json",
    ),
    "ann/0.jpg.json": (json.dumps({"objects": [SHAPE]}), "Supervisely's json"),
    "project.json": (json.dumps(STUDIO), "Label Studio's own json"),
    "_annotations.createml.json": (
        json.dumps([{"image": "0.jpg", "annotations": [{"coordinates": {"x": 1}}]}]),
        "CreateML's json",
    ),
    "labels/train.json": (json.dumps([{"labels": [{"box2d": {"x1": 1}}]}]), "BDD100K"),
    "label_2/000000.txt": ("Car 0.00 0 -0.2 7 3 20 17.9 1.8 0.4 1.2 1.8 1.4 8.4 0.01\n", "KITTI's"),
    "labelTxt/0.txt": ("gsd:0.1\n3.0 4.0 9.0 4.0 9.0 9.0 3.0 9.0 small-ship 1\n", "DOTA's txt"),
    "annotations/0.txt": ("6,8,10,9,1,4,0,0\n6,8,10,9,1,4,0,1\n", "VisDrone's txt"),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("folder", ["", "images", "image_2"])
def test_files_of_other_tools_are_named(name: str, folder: str, tmp_path: Path) -> None:
    text, said = FILES[name]
    for k in range(3):
        write_picture(tmp_path / folder / f"{k}.jpg", seed=k)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    seen = other_tool(tmp_path)
    assert seen is not None and seen[0] == tmp_path / name and said in seen[1]
    with pytest.raises(DataError, match="which is not read") as told:
        open_data(tmp_path, cut=False)
    assert said in str(told.value)
    assert len(open_data(f"images:{tmp_path}", cut=False).splits["train"]) == 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("0.xml", voc_xml([("elm", (1, 2, 9, 9))])), ("0.txt", "0 0.5 0.5 0.25 0.25\n"),
        ("train.txt", "0.jpg 1\n1.jpg 2\n"), ("readme.txt", "Read me."), ("empty.json", ""),
        ("info.json", '{"labels": ["elm"], "image": "0.jpg"}'), ("broken.xml", "\0\xff<"),
    ],
)  # fmt: skip
def test_other_files_are_not(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert other_tool(tmp_path) is None and other_tool(tmp_path / name) is None


def test_pictures_in_class_folders_are_read_whatever_lies_beside(tmp_path: Path) -> None:
    for k in range(6):
        write_picture(tmp_path / ("elm" if k % 2 else "oak") / f"{k}.jpg", seed=k)
    (tmp_path / "annotations.xml").write_text(CVAT)
    assert open_data(tmp_path).classes == ("elm", "oak")
