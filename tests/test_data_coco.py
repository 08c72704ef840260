"""COCO's json: what every tool's export has in common is read, the rest is told in a line."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from box_files import SIZE, coco_document, write_coco, write_json
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import scene, write_picture
from PIL import Image

from xfer.data.open import open_data
from xfer.data.readers.coco.json import plain_id, read_coco_json
from xfer.data.sources.boxes import BoxSource, category_ids, image_ids
from xfer.data.sources.files import FileSource
from xfer.errors import DataError, XferError
from xfer.kinds.annotation import annotation
from xfer.testing.source import check_source
from xfer.types import Source


def opened(path: Path, **options: Any) -> Source:
    return open_data(str(path), val="none", **options).splits["train"]


def test_cocos_own_tree_is_read_with_gaps_in_ids_crowds_and_empty_pictures(tmp_path: Path) -> None:
    write_coco(tmp_path)
    source = opened(tmp_path)
    check_source(source)
    assert source.info.kind == "detect"
    assert source.info.classes == ("cat", "dog")  # by rising id: 5, 90
    assert [len(annotation(source, i)) for i in range(4)] == [0, 1, 2, 3]
    found = annotation(source, 3)
    assert found.xyxy.tolist()[1] == [3, 3, 13.5, 11]
    assert found.labels.tolist() == [0, 1, 0] and found.crowd.tolist() == [False, False, True]
    assert found.area.tolist() == [50, 51, 52] and found.size == (30, 40)
    assert image_ids(source) == [3, 10, 17, 24]
    assert category_ids(source) == {"cat": 5, "dog": 90}
    assert source.labels().tolist() == [[0, 0], [1, 0], [1, 1], [1, 1]]


def test_years_are_no_part_of_a_splits_role(tmp_path: Path) -> None:
    write_coco(tmp_path)
    write_coco(tmp_path, 3, split="val2017")
    bundle = open_data(str(tmp_path))
    assert {role: len(s) for role, s in bundle.splits.items()} == {"train": 4, "val": 3}
    write_coco(tmp_path, 3, split="val2014")
    with pytest.raises(XferError, match="val2014 and val2017"):
        open_data(str(tmp_path))
    assert len(open_data(str(tmp_path), val="val2014").splits["val"]) == 3


def test_boxes_are_read_without_opening_a_picture(tmp_path: Path) -> None:
    write_coco(tmp_path)
    source = opened(tmp_path)
    for picture in (tmp_path / "train2017").iterdir():
        picture.unlink()
    assert annotation(source, 3).xyxy.shape == (3, 4)


@pytest.mark.parametrize("data_images", [False, True])
def test_a_single_json_finds_its_pictures(tmp_path: Path, data_images: bool) -> None:
    folder = "elsewhere/deep" if data_images else "images"
    for i in range(4):
        write_picture(tmp_path / folder / f"{i:04d}.jpg", size=SIZE)
    file = write_json(tmp_path / "a" / "x.json" if data_images else tmp_path / "x.json",
                      coco_document())  # fmt: skip
    if data_images:
        with pytest.raises(DataError, match=r"none of its 4 pictures.*\n.*data__images"):
            opened(file)
    assert len(opened(file, images=str(tmp_path / folder) if data_images else "")) == 4


def test_data_images_that_nobody_reads_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(XferError, match=r"data\.images"):
        open_data("digits", images=str(tmp_path))


def test_roboflows_export_without_its_parent_class(tmp_path: Path) -> None:
    categories = [
        {"id": 0, "name": "cat", "supercategory": "none"},
        {"id": 5, "name": "cat", "supercategory": "cat"},
        {"id": 90, "name": "dog", "supercategory": "cat"},
    ]
    for split in ("train", "valid", "test"):
        document = coco_document(categories=categories)
        for image in document["images"]:
            write_picture(tmp_path / split / image["file_name"], size=SIZE)
        write_json(tmp_path / split / "_annotations.coco.json", document)
    bundle = open_data(str(tmp_path))
    assert list(bundle.splits) == ["train", "val", "test"] and bundle.classes == ("cat", "dog")
    assert any("parent class cat" in note for note in bundle.notes)


def test_a_parent_class_with_boxes_stays(tmp_path: Path) -> None:
    categories = [
        {"id": 5, "name": "animals", "supercategory": "none"},
        {"id": 90, "name": "dog", "supercategory": "animals"},
    ]
    write_coco(tmp_path, categories=categories)
    assert opened(tmp_path).info.classes == ("animals", "dog")


@pytest.mark.parametrize(
    "written",
    ["images\\sub\\{}", "/data/upload/3/{}", "C:\\Users\\me\\{}", "../../media/{}", "./sub/{}"],
)
def test_label_studios_paths_are_found_by_name(tmp_path: Path, written: str) -> None:
    document = coco_document()
    for image in document["images"]:
        write_picture(tmp_path / "images" / "sub" / image["file_name"], size=SIZE)
        image["file_name"] = written.format(image["file_name"])
    write_json(tmp_path / "result.json", document)
    source = opened(tmp_path)
    assert len(source) == 4 and source[3].boxes is not None
    write_picture(tmp_path / "images" / "other" / "0000.jpg", size=SIZE)
    if "sub" not in written:
        with pytest.raises(DataError, match="may be"):
            opened(tmp_path)


def test_ids_may_be_floats_or_text_and_flags_may_lack(tmp_path: Path) -> None:
    document = coco_document()
    for a in document["annotations"]:
        a["image_id"], a["category_id"] = float(a["image_id"]), str(a["category_id"])
        del a["area"], a["iscrowd"], a["id"]
    for image in document["images"]:
        del image["height"], image["width"]
        write_picture(tmp_path / "images" / image["file_name"], size=SIZE)
    write_json(tmp_path / "result.json", document)
    found = annotation(opened(tmp_path), 3)
    assert found.area.tolist() == [84, 84, 84] and not found.crowd.any() and found.size == (30, 40)


@pytest.mark.parametrize(
    ("value", "key"),
    [(3, 3), (3.0, 3), ("3", 3), ("03", "03"), ("a", "a"), ("", None), (True, None), (2.5, None),
     (None, None), (math.inf, None)],
)  # fmt: skip
def test_ids_as_they_are_compared(value: Any, key: Any) -> None:
    assert plain_id(value) == key


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda d: d["images"][1].update(id=3), r"image id 3 occurs twice \(0000.jpg and 0001.jpg"),
        (lambda d: d["annotations"][1].update(id=110), "annotation id 110 occurs twice"),
        (lambda d: d["categories"][1].update(id=90), "category id 90 occurs twice"),
        (lambda d: d["categories"][1].update(name="dog"), "several categories are called dog"),
        (lambda d: d["annotations"][0].update(category_id=1), "no category has the id 1"),
        (lambda d: d["annotations"][0].update(image_id=1), "no image has the id 1"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, "3x", 4]), "not a list of four numbers"),
        (lambda d: d["annotations"][0].update(bbox=[1, 2, 3]), "not a list of four numbers"),
        (lambda d: d["annotations"][0].update(bbox=[1, math.nan, 3, 4]), "not finite"),
        (lambda d: d["annotations"][0].update(bbox=[1, 10**400, 3, 4]), "not finite"),
        (lambda d: d["annotations"][0].update(bbox=None, segmentation=[]), "110 .no bbox"),
        (lambda d: d["annotations"][0].pop("category_id"), "no category_id"),
        (lambda d: d["annotations"].append(3.5), "3.5|is a float"),
        (lambda d: d["annotations"].append(1), "of the list .is a int"),
        (lambda d: d["images"][0].pop("file_name"), "no file_name"),
        (lambda d: d.pop("categories"), "no list of categories"),
        (lambda d: d.update(images={}), "no list of images"),
        (lambda d: d["images"].append({"id": 99, "file_name": "gone.jpg"}), "gone.jpg"),
    ],
)
def test_what_can_not_be_used_stops_the_run(tmp_path: Path, spoil: Any, said: str) -> None:
    document = coco_document()
    file = write_coco(tmp_path)
    spoil(document)
    write_json(file, document)
    with pytest.raises(DataError, match=said) as caught:
        opened(tmp_path)
    assert len(str(caught.value).splitlines()) <= 2


def test_skip_bad_leaves_out_annotations_and_pictures_and_records_them(tmp_path: Path) -> None:
    document = coco_document()
    document["annotations"][0]["bbox"][2] = "wide"
    document["annotations"][1]["category_id"] = 6
    document["images"].append({"id": 99, "file_name": "gone.jpg"})
    write_json(write_coco(tmp_path), document)
    bundle = open_data(str(tmp_path), val="none", skip_bad=True)
    assert [name for name, _ in bundle.skipped] == ["annotation 110", "annotation 120", "gone.jpg"]
    assert [len(annotation(bundle.splits["train"], i)) for i in range(4)] == [0, 0, 1, 3]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"images": [{"id": 1, "file_na', "cut off"),
        ('{"images": [], "annotations": [{"id": 1, "image_id": 3', "cut off"),
        ("", "cut off"),
        ("[1, 2]", "perhaps of detections"),
        ("3", "not a COCO json"),
        ('{"a": 1}', "no list of images, annotations, categories"),
        ("[" * 100_000, "not valid JSON"),
        ('{"images": nope}', "not valid JSON"),
    ],
)
def test_a_json_that_is_none_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "instances_train.json"
    file.write_text(text)
    for spec in (str(file), f"coco:{tmp_path}"):
        with pytest.raises(DataError, match=said) as caught:
            open_data(spec)
        assert len(str(caught.value).splitlines()) <= 2
    file.write_bytes(b'{"images": "\xff\xfe"}')
    with pytest.raises(DataError, match=r"UTF-8|not valid JSON"):
        open_data(str(file))


def test_a_json_cut_anywhere_never_ends_in_a_traceback(tmp_path: Path) -> None:
    text = write_coco(tmp_path).read_text()
    file = tmp_path / "annotations" / "instances_train2017.json"
    for end in range(0, len(text), 37):
        file.write_text(text[:end])
        with pytest.raises(DataError):
            read_coco_json(file)


def test_boxes_without_area_are_dropped_and_others_clipped_with_one_warning(tmp_path: Path) -> None:
    document = coco_document()
    boxes = [[1, 2, 5, 0], [-3, -2, 10, 10], [35, 25, 20, 20], [50, 50, 5, 5], [0, 0, 40, 30]]
    document["annotations"] = [
        {"id": k, "image_id": 3, "category_id": 5, "bbox": box} for k, box in enumerate(boxes)
    ]
    write_json(write_coco(tmp_path), document)
    bundle = open_data(str(tmp_path), val="none")
    warnings = [note for note in bundle.notes if "boxes " in note and "warning" in note]
    assert [w.split("warning: ")[1] for w in warnings] == [
        "1 boxes without area are dropped: 0000.jpg",
        "1 boxes outside their picture are dropped: 0000.jpg",
        "2 boxes partly outside their picture are clipped: 0000.jpg",
    ]
    found = annotation(bundle.splits["train"], 0)
    assert found.xyxy.tolist() == [[0, 0, 7, 8], [35, 25, 40, 30], [0, 0, 40, 30]]
    raw = read_coco_json(tmp_path / "annotations" / "instances_train2017.json")
    assert raw.boxes_xywh.tolist() == boxes  # scores are counted on the file's own


def test_corners_where_sizes_are_due_get_a_warning(tmp_path: Path) -> None:
    def notes(boxes: list[list[float]]) -> list[str]:
        document = coco_document(annotations=[
            {"id": k, "image_id": 3, "category_id": 5, "bbox": box} for k, box in enumerate(boxes)
        ])  # fmt: skip
        write_json(write_coco(tmp_path), document)
        bundle = open_data(str(tmp_path), val="none")
        return [n for n in bundle.notes if "x1, y1, x2, y2" in n]

    rng = np.random.default_rng(0)
    corner = rng.integers(0, (30, 20), (50, 2))
    size = rng.integers(1, 10, (50, 2))
    assert notes(np.concatenate([corner, corner + size], 1).tolist())
    assert not notes(np.concatenate([corner, size], 1).tolist())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_in_the_frame_of_its_boxes(tmp_path: Path, orientation: int) -> None:
    write_coco(tmp_path, 1)
    stored = scene(*SIZE)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "train2017" / "0000.jpg"
    Image.fromarray(stored).save(path, exif=exif, quality=95)
    document = coco_document(1, annotations=[
        {"id": 1, "image_id": 3, "category_id": 5, "bbox": [1, 2, 3, 4]}
    ])  # fmt: skip
    write_json(tmp_path / "annotations" / "instances_train2017.json", document)
    turned = orientation > 4
    sample = opened(tmp_path)[0]
    assert sample.image.shape == (30, 40, 3)
    if turned:  # the json has the size as stored: so is the picture
        assert np.abs(sample.image.astype(int) - stored).mean() < 3
        document["images"][0].update(width=30, height=40)
        write_json(tmp_path / "annotations" / "instances_train2017.json", document)
        assert opened(tmp_path)[0].image.shape == (40, 30, 3)
    document["images"][0].update(width=33, height=44)
    write_json(tmp_path / "annotations" / "instances_train2017.json", document)
    with pytest.raises(DataError, match="the annotations say 33 x 44, the picture is 40 x 30"):
        opened(tmp_path)


def test_the_fingerprint_is_that_of_earlier_versions(tmp_path: Path) -> None:
    """A run is resumed on the same data only: the bytes that are hashed, and their order."""
    write_coco(tmp_path)
    source = opened(tmp_path)
    assert isinstance(source, BoxSource)
    boxes = np.array([[2, 3, 12.5, 11], [2, 3, 12.5, 11], [3, 3, 13.5, 11],
                      [2, 3, 12.5, 11], [3, 3, 13.5, 11], [4, 3, 14.5, 11]])  # fmt: skip
    columns: list[Any] = [
        np.array([0, 0, 1, 3, 6]), boxes, np.array([0, 0, 1, 0, 1, 0]), np.zeros(6, bool),
        np.array([0, 0, 0, 0, 0, 1], bool), np.array([50.0, 50, 51, 50, 51, 52]),
        np.full((4, 2), (30, 40)),
    ]  # fmt: skip
    files = FileSource(source.info, source.root, source.files, source.labels(), source.ids)
    digest = hashlib.sha256(files.fingerprint().encode())
    for column in columns:
        digest.update(column.tobytes())
    assert source.fingerprint() == digest.hexdigest()


def test_the_fingerprint_covers_the_boxes(tmp_path: Path) -> None:
    file = write_coco(tmp_path)
    before = opened(tmp_path).fingerprint()
    assert before == opened(tmp_path).fingerprint()
    document = coco_document()
    document["annotations"][0]["bbox"][0] += 0.25
    write_json(file, document)
    assert opened(tmp_path).fingerprint() != before


def test_a_picture_listed_twice_keeps_both_entries(tmp_path: Path) -> None:
    document = coco_document()
    document["images"].append({**document["images"][2], "id": 1000})
    write_json(write_coco(tmp_path), document)
    bundle = open_data(str(tmp_path), val="none")
    assert bundle.splits["train"].ids[-1] == "0002.jpg#1000"
    assert any("listed more than once" in note for note in bundle.notes)


def test_a_val_split_is_cut_by_presence(tmp_path: Path) -> None:
    annotations = [
        {"id": i, "image_id": 7 * i + 3, "category_id": 90 if i < 5 else 5, "bbox": [1, 1, 5, 5]}
        for i in range(40)
    ]
    write_coco(tmp_path, 50, annotations=annotations)
    bundle = open_data(str(tmp_path))
    assert bundle.splits["val"].labels().sum(0).tolist() == [7, 1]
    assert (bundle.splits["val"].labels().sum(1) == 0).sum() == 2
    assert open_data(str(tmp_path)).split_json() == bundle.split_json()


box = st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=4, max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(box, st.sampled_from([5, 90, 1, "5", None])), max_size=8))
def test_any_boxes_give_a_sound_source_or_a_line(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any]
) -> None:
    root = tmp_path_factory.mktemp("any")
    annotations = [
        {"id": k, "image_id": 3, "category_id": c, "bbox": b} for k, (b, c) in enumerate(rows)
    ] + [{"id": 100, "image_id": 10, "category_id": 5, "bbox": [1, 1, 2, 2]}]
    write_coco(root, annotations=annotations)
    check_source(opened(root, skip_bad=True))
    finite = all(np.isfinite(b).all() for b, _ in rows)
    known = all(c in (5, 90, "5") for _, c in rows)
    if finite and known:
        check_source(opened(root))
    else:
        with pytest.raises(DataError):
            opened(root)


@pytest.mark.data
def test_coco_mini_is_read_as_the_json_has_it(picture_data: Path) -> None:
    root = picture_data / "coco-mini"
    bundle = open_data(str(root), check=False)
    assert len(bundle.classes) == 80
    for role, split in (("train", "train2017"), ("val", "val2017")):
        document = json.loads((root / "annotations" / f"instances_{split}.json").read_text())
        source = bundle.splits[role]
        check_source(source, samples=4)
        ids = image_ids(source) or []
        assert ids == [image["id"] for image in document["images"]]
        total = sum(len(annotation(source, i)) for i in range(len(source)))
        assert total == len(document["annotations"])
        names = {c["id"]: c["name"] for c in document["categories"]}
        first = document["annotations"][0]
        own = annotation(source, ids.index(first["image_id"]))
        assert bundle.classes[int(own.labels[0])] == names[first["category_id"]]
        x, y, width, height = first["bbox"]
        assert own.xyxy[0] == pytest.approx([x, y, x + width, y + height])


def test_the_source_is_a_box_source_whose_samples_are_whole_pictures(tmp_path: Path) -> None:
    write_coco(tmp_path)
    source = opened(tmp_path)
    assert isinstance(getattr(source, "source", source), BoxSource)
    assert source[1].image.shape == (30, 40, 3)
