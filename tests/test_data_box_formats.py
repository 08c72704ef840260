"""The same boxes in every format are the same boxes, and every rule holds for every format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from box_files import voc_xml
from pictures import scene
from PIL import Image

from xfer.data.open import open_data
from xfer.errors import DataError
from xfer.kinds.annotation import annotation
from xfer.types import Source

CLASSES = ("ant", "bee")
# picture -> (class, x1, y1, x2, y2), whole pixels from 0, right and bottom exclusive
Truth = dict[str, list[tuple[str, int, int, int, int]]]
Size = tuple[int, int]


def truth(seed: int, size: Size = (80, 50), pictures: int = 6) -> Truth:
    """Two boxes in each picture, one of each class; the first reaches the left and top edges."""
    rng = np.random.default_rng(seed)
    found: Truth = {}
    for i in range(pictures):
        rows: list[tuple[str, int, int, int, int]] = []
        for k, name in enumerate(CLASSES):
            side = rng.integers(6, 24, 2)
            low = rng.integers(0, np.array(size) - side)
            low = low * 0 if (i, k) == (0, 0) else low
            x1, y1, x2, y2 = (int(n) for n in (*low, *(low + side)))
            rows.append((name, x1, y1, x2, y2))
        found[f"p{i}"] = rows
    return found


def coco(root: Path, rows: Truth, size: Size) -> None:
    boxes = [(i, *row) for i, own in enumerate(rows.values()) for row in own]
    document = {
        "images": [{"id": i + 1, "file_name": f"{name}.png", "width": size[0], "height": size[1]}
                   for i, name in enumerate(rows)],
        "categories": [{"id": 3 * c + 2, "name": name} for c, name in enumerate(CLASSES)],
        "annotations": [
            {"id": k + 1, "image_id": i + 1, "category_id": 3 * CLASSES.index(name) + 2,
             "bbox": [x1, y1, x2 - x1, y2 - y1], "iscrowd": 0,
             "segmentation": [[x1, y1, x2, y1, x2, y2, x1, y2]]}
            for k, (i, name, x1, y1, x2, y2) in enumerate(boxes)
        ],
    }  # fmt: skip
    (root / "result.json").write_text(json.dumps(document))


def voc(root: Path, rows: Truth, size: Size) -> None:
    (root / "annots").mkdir()
    for name, own in rows.items():
        objects = [(c, (x1 + 1, y1 + 1, x2, y2)) for c, x1, y1, x2, y2 in own]
        (root / "annots" / f"{name}.xml").write_text(voc_xml(objects, size))


def yolo(root: Path, rows: Truth, size: Size) -> None:
    (root / "labels").mkdir()
    (root / "data.yaml").write_text(f"train: images\nnames: [{', '.join(CLASSES)}]\n")
    for name, own in rows.items():
        lines = [
            f"{CLASSES.index(c)} {(x1 + x2) / 2 / size[0]!r} {(y1 + y2) / 2 / size[1]!r} "
            f"{(x2 - x1) / size[0]!r} {(y2 - y1) / size[1]!r}" for c, x1, y1, x2, y2 in own
        ]  # fmt: skip
        (root / "labels" / f"{name}.txt").write_text("\n".join(lines))


def table(root: Path, rows: Truth, size: Size) -> None:
    lines = [f"{name}.png,{size[0]},{size[1]},{c},{x1},{y1},{x2},{y2}"
             for name, own in rows.items() for c, x1, y1, x2, y2 in own]  # fmt: skip
    header = "filename,width,height,class,xmin,ymin,xmax,ymax"
    (root / "boxes.csv").write_text("\n".join([header, *lines]))


def labelme(root: Path, rows: Truth, size: Size) -> None:
    (root / "json").mkdir()
    for name, own in rows.items():
        shapes = [{"label": c, "points": [[x1, y1], [x2, y2]], "shape_type": "rectangle"}
                  for c, x1, y1, x2, y2 in own]  # fmt: skip
        document = {"version": "5", "flags": {}, "shapes": shapes, "imagePath": f"{name}.png",
                    "imageHeight": size[1], "imageWidth": size[0]}  # fmt: skip
        (root / "json" / f"{name}.json").write_text(json.dumps(document))


def via(root: Path, rows: Truth, size: Size) -> None:
    entries = {}
    for name, own in rows.items():
        regions = [
            {"shape_attributes": {"name": "rect", "x": x1, "y": y1, "width": x2 - x1,
                                  "height": y2 - y1}, "region_attributes": {"kind": c}}
            for c, x1, y1, x2, y2 in own
        ]  # fmt: skip
        entries[name] = {"filename": f"{name}.png", "regions": regions}
    (root / "via.json").write_text(json.dumps(entries))


FORMATS: dict[str, Callable[[Path, Truth, Size], None]] = {
    "coco": coco, "voc": voc, "yolo": yolo, "table": table, "labelme": labelme, "via": via,
}  # fmt: skip
SIZED = ("coco", "voc", "table", "labelme")  # whose files give the size of pictures


def write(root: Path, form: str, rows: Truth, size: Size = (80, 50), exif: int = 0) -> None:
    """The pictures in images/, and the files of a format that say `rows`."""
    for i, name in enumerate(rows):
        path = root / "images" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        block = Image.Exif()
        block[0x0112] = exif or 1
        Image.fromarray(scene(80, 50, seed=i)).save(path, exif=block)
    FORMATS[form](root, rows, size)


def opened(root: Path) -> tuple[Source, tuple[str, ...]]:
    bundle = open_data(str(root), val="none", kind="detect")
    assert bundle.classes == CLASSES
    return bundle.splits["train"], bundle.notes


def check(source: Source, rows: Truth) -> None:
    """The boxes of each picture are those of `rows`."""
    for i, name in enumerate(source.ids):
        found, own = annotation(source, i), rows[Path(name).stem]
        assert [CLASSES[c] for c in found.labels.tolist()] == [row[0] for row in own]
        assert found.xyxy == pytest.approx(np.array([row[1:] for row in own]), abs=1e-6)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("seed", range(4))
def test_the_same_boxes_in_every_format(tmp_path: Path, form: str, seed: int) -> None:
    rows = truth(seed)
    write(tmp_path, form, rows)
    source, notes = opened(tmp_path)
    check(source, rows)
    assert not [note for note in notes if "warning" in note]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("orientation", [6, 8])
def test_boxes_on_the_upright_picture_where_the_file_gives_the_stored_size(
    tmp_path: Path, form: str, orientation: int
) -> None:
    """YOLO's shares are of the upright picture, and VIA gives no size."""
    rows = truth(1, (50, 80))
    write(tmp_path, form, rows, (80, 50) if form in SIZED else (50, 80), orientation)
    source, notes = opened(tmp_path)
    check(source, rows)
    assert source[0].image.shape == (80, 50, 3)
    assert any("EXIF turns 6 pictures" in note for note in notes) == (form != "via")


@pytest.mark.parametrize("form", SIZED)
def test_boxes_on_the_stored_picture_where_the_file_gives_the_stored_size(
    tmp_path: Path, form: str
) -> None:
    rows = truth(2)
    write(tmp_path, form, rows, exif=6)
    source, notes = opened(tmp_path)
    check(source, rows)
    assert source[0].image.shape == (50, 80, 3)
    assert not any("warning" in note for note in notes)


@pytest.mark.parametrize("form", [name for name in FORMATS if name not in ("labelme", "yolo")])
def test_swapped_corners_in_every_format(tmp_path: Path, form: str) -> None:
    """labelme's rectangles have no order of corners; a YOLO side below 0 is another test."""
    rows = truth(3)
    name, x1, y1, x2, y2 = rows["p4"][1]
    write(tmp_path, form, rows | {"p4": [rows["p4"][0], (name, x2, y2, x1, y1)]})
    source, notes = opened(tmp_path)
    if form == "voc":  # its corners are of pixels, the last one too: swapped, they lie one further
        i = source.ids.index("p4")
        found = annotation(source, i).xyxy[1]
        assert found == pytest.approx([x1, y1, x2, y2], abs=1)
    else:
        check(source, rows)
    assert any("swapped corners" in note for note in notes) == (form != "via")


@pytest.mark.parametrize("form", FORMATS)
def test_boxes_that_leave_their_picture_are_clipped_and_told(tmp_path: Path, form: str) -> None:
    rows = truth(4)
    name, x1, y1, _, _ = rows["p2"][0]
    write(tmp_path, form, rows | {"p2": [(name, x1, y1, 90, 60), rows["p2"][1]]})
    source, notes = opened(tmp_path)
    check(source, rows | {"p2": [(name, x1, y1, 80, 50), rows["p2"][1]]})
    assert any("1 boxes partly outside their picture are clipped" in note for note in notes)


@pytest.mark.parametrize("form", [name for name in FORMATS if name != "yolo"])
def test_a_box_twice_is_told_in_every_format(tmp_path: Path, form: str) -> None:
    rows = truth(5)
    write(tmp_path, form, rows | {"p1": [*rows["p1"], rows["p1"][0]]})
    _, notes = opened(tmp_path)
    assert any("1 box is there twice" in note for note in notes)


@pytest.mark.parametrize("form", FORMATS)
def test_a_missing_picture_is_named_in_every_format(tmp_path: Path, form: str) -> None:
    rows = truth(6)
    write(tmp_path, form, rows)
    (tmp_path / "images" / "p3.png").unlink()
    if form == "yolo":  # the folder is the list: the label file is left over
        _, notes = opened(tmp_path)
        assert any("p3.txt" in note for note in notes)
        return
    with pytest.raises(DataError, match="p3"):
        opened(tmp_path)
