"""Masks of VOC, SBD, COCO, Cityscapes and ADE20K, in miniatures laid out as the originals are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_sets import SIZE, make_mask, mask_of, write_mask, write_picture, write_set
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from xfer.data.open import open_data
from xfer.data.readers.base import FORMATS
from xfer.data.readers.coco.segment import Outline, draw_objects
from xfer.data.readers.voc.masks import CLASSES
from xfer.drawing.masks import voc_palette
from xfer.errors import DataError, XferError
from xfer.kinds.pixel_counts import pixel_counts
from xfer.testing.source import check_source

VOC = (0, 1, 15, 20, 255)


def write_lists(folder: Path, **lists: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, ids in lists.items():
        (folder / f"{name}.txt").write_text("".join(f"{i}\n" for i in ids.split()))


def write_voc(root: Path, train: str = "2007_000001 2007_000002", val: str = "2008_000003") -> Path:
    tree = root / "VOCdevkit" / "VOC2012"
    for seed, name in enumerate(f"{train} {val}".split()):
        write_picture(tree / "JPEGImages" / f"{name}.jpg", seed)
        mask = make_mask(VOC, seed)
        write_mask(tree / "SegmentationClass" / f"{name}.png", mask, voc_palette().tolist())
        write_mask(tree / "SegmentationObject" / f"{name}.png", mask)
    write_lists(tree / "ImageSets/Segmentation", train=train, val=val, trainval=f"{train} {val}")
    return tree


def add_xml(tree: Path) -> None:
    (tree / "Annotations").mkdir()
    for picture in (tree / "JPEGImages").iterdir():
        (tree / "Annotations" / f"{picture.stem}.xml").write_text(
            "<annotation><size><width>16</width><height>12</height></size><object><name>cat</name>"
            "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object>"
            "</annotation>"
        )
    write_lists(tree / "ImageSets/Main", train="2007_000001", val="2008_000003")


def test_voc_masks_are_palette_indices_with_an_ignored_border(tmp_path: Path) -> None:
    write_voc(tmp_path)
    for spec in (tmp_path, tmp_path / "VOCdevkit/VOC2012", f"voc:{tmp_path}"):
        found = open_data(spec, cut=False)
        assert (found.kind, found.format, found.classes) == ("segment", "voc", CLASSES)
        assert {role: s.ids for role, s in found.splits.items()} == {
            "train": ("2007_000001", "2007_000002"), "val": ("2008_000003",),
        }  # fmt: skip
    assert np.array_equal(mask_of(found.splits["val"]), make_mask(VOC, 2))
    check_source(found.splits["train"])


def test_voc_is_read_as_boxes_or_masks_by_what_is_wanted(tmp_path: Path) -> None:
    add_xml(write_voc(tmp_path))
    assert open_data(tmp_path, cut=False).kind == "detect"
    assert open_data(tmp_path, cut=False, kind="segment").kind == "segment"
    assert open_data(tmp_path, cut=False, kind="segment", ignore="cat").classes == tuple(
        name for name in CLASSES if name != "cat"
    )


def test_voc_without_a_mask_says_so_and_a_test_has_none(tmp_path: Path) -> None:
    tree = write_voc(tmp_path)
    write_picture(tree / "JPEGImages/2008_000009.jpg", 9)
    write_lists(tree / "ImageSets/Segmentation", test="2008_000009")
    assert list(open_data(tmp_path, cut=False).splits) == ["train", "val"]
    (tree / "SegmentationClass/2007_000001.png").unlink()
    with pytest.raises(DataError, match=r"2007_000001 \(no mask\)"):
        open_data(tmp_path, cut=False)
    assert open_data(tmp_path, cut=False, skip_bad=True).splits["train"].ids == ("2007_000002",)


def test_voc_trees_of_other_tools_bring_their_classes(tmp_path: Path) -> None:
    tree = write_voc(tmp_path)
    colours = voc_palette()[list(VOC)].tolist()
    names = ["background", "boat", "person", "tv", "void"]
    (tree / "labelmap.txt").write_text(
        "".join(f"{n}:{r},{g},{b}::\n" for n, (r, g, b) in zip(names, colours, strict=True))
    )
    found = open_data(tmp_path, cut=False)
    assert found.classes == ("background", "boat", "person", "tv")
    expected = np.select([make_mask(VOC, 2) == v for v in VOC], [0, 1, 2, 3, 255])
    assert np.array_equal(mask_of(found.splits["val"]), expected)


def write_sbd(root: Path) -> Path:
    top = root / "benchmark_RELEASE" / "dataset"
    for seed, name in enumerate(("2008_000003", "2009_000004", "2010_000005"), 20):
        write_picture(top / "img" / f"{name}.jpg", seed)
        (top / "cls").mkdir(parents=True, exist_ok=True)
        parts = {"Segmentation": make_mask(VOC[:4], seed), "CategoriesPresent": np.array([1])}
        savemat(top / "cls" / f"{name}.mat", {"GTcls": parts})
    write_lists(top, train="2008_000003 2009_000004", val="2010_000005")
    return top


def test_sbd_reads_mat_files(tmp_path: Path) -> None:
    top = write_sbd(tmp_path)
    for spec in (tmp_path, top, f"sbd:{tmp_path / 'benchmark_RELEASE'}"):
        if spec == f"sbd:{tmp_path / 'benchmark_RELEASE'}":
            found = open_data(spec, cut=False)
        else:
            found = open_data(spec, cut=False)
        assert (found.kind, found.format, found.classes) == ("segment", "sbd", CLASSES)
    assert {role: len(s) for role, s in found.splits.items()} == {"train": 2, "val": 1}
    assert np.array_equal(mask_of(found.splits["val"]), make_mask(VOC[:4], 22))
    check_source(found.splits["train"])


def test_trainaug_is_voc_and_sbd_without_vocs_val(tmp_path: Path) -> None:
    write_sbd(tmp_path)
    write_voc(tmp_path, train="2007_000001 2009_000004", val="2008_000003")
    found = open_data(f"sbd:{tmp_path}", train="trainaug", val="none", cut=False)
    source = found.splits["train"]
    assert source.ids == ("2007_000001", "2009_000004", "2010_000005")
    # VOC's own mask where it has one: it knows the border
    assert np.array_equal(mask_of(source, 1), make_mask(VOC, 1))
    assert np.array_equal(mask_of(source, 2), make_mask(VOC[:4], 22))


def test_scores_on_seg11valid_are_on_vocs_masks_and_training_is_on_sbds(tmp_path: Path) -> None:
    top = write_sbd(tmp_path)
    write_voc(tmp_path, train="2007_000001", val="2009_000004")
    write_lists(top, seg11valid="2007_000001 2009_000004")
    found = open_data(f"sbd:{tmp_path}", val="seg11valid", cut=False)
    # the second has a mask in both
    assert np.array_equal(mask_of(found.splits["val"], 0), make_mask(VOC, 0))
    assert np.array_equal(mask_of(found.splits["val"], 1), make_mask(VOC, 1))
    train = found.splits["train"]
    assert np.array_equal(mask_of(train, train.ids.index("2009_000004")), make_mask(VOC[:4], 21))


def test_a_broken_mat_file_is_named(tmp_path: Path) -> None:
    top = write_sbd(tmp_path)
    (top / "cls/2009_000004.mat").write_bytes(b"no mat file at all")
    with pytest.raises(DataError, match=r"2009_000004 \(mask .*2009_000004\.mat: no mask in it"):
        open_data(f"sbd:{tmp_path}", cut=False)


# COCO


def square(x: int, y: int, w: int, h: int) -> list[list[int]]:
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def write_coco(root: Path, annotations: list[dict[str, Any]]) -> Path:
    write_picture(root / "train2017/000000000001.jpg")
    document = {
        "images": [{"id": 1, "file_name": "000000000001.jpg", "height": 12, "width": 16}],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {"id": n, "image_id": 1, "bbox": [0, 0, 4, 4], "area": 16, "iscrowd": 0, **a}
            for n, a in enumerate(annotations, 1)
        ],
    }
    (root / "annotations").mkdir()
    file = root / "annotations/instances_train2017.json"
    file.write_text(json.dumps(document))
    return root


def test_the_smaller_object_lies_on_top_and_crowds_are_ignored(tmp_path: Path) -> None:
    crowd = {"size": [12, 16], "counts": [0, 24, 168]}  # the first two columns
    write_coco(
        tmp_path,
        [
            {"category_id": 3, "segmentation": square(4, 4, 4, 4), "area": 16},
            {"category_id": 7, "segmentation": square(0, 0, 10, 10), "area": 100},
            {"category_id": 3, "segmentation": crowd, "area": 24, "iscrowd": 1},
            {"category_id": 3, "segmentation": [], "bbox": [12, 8, 2.5, 3]},
        ],
    )
    found = open_data(tmp_path, kind="segment", val="none")
    assert found.classes == ("background", "cat", "dog")
    expected = np.zeros(SIZE, np.uint8)
    expected[8:11, 12:15] = 255  # an object without an outline: its box
    expected[:, :2] = 255
    expected[:10, :10] = 2
    expected[4:8, 4:8] = 1
    assert np.array_equal(mask_of(found.splits["train"]), expected)
    check_source(found.splits["train"])
    assert any("1 objects without an outline" in note for note in found.notes)
    assert open_data(tmp_path, kind="segment", val="none", ignore="7").classes == (
        "background", "cat",
    )  # fmt: skip
    assert open_data(tmp_path, val="none").kind == "detect"


@pytest.mark.parametrize("outline", [{"size": [5, 5], "counts": [25]}, "text"])
def test_a_broken_outline_is_named(tmp_path: Path, outline: Any) -> None:
    write_coco(tmp_path, [{"category_id": 3, "segmentation": outline}])
    with pytest.raises(DataError, match=r"000000000001\.jpg \(.*(RLE|segmentation)"):
        open_data(tmp_path, kind="segment", val="none")


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 8), st.integers(1, 8), st.integers(1, 8),
                  st.integers(1, 5), st.booleans()),
        max_size=6,
    ),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_every_pixel_is_of_the_smallest_object_over_it(rows: list[Any], random: Any) -> None:
    # areas distinct, so that the order in the file does not matter
    objects = [
        Outline(c, square(x, y, w, h), 1000 * w * h + n, crowd, (x, y, x + w, y + h))
        for n, (x, y, w, h, c, crowd) in enumerate(rows)
    ]
    shuffled = list(objects)
    random.shuffle(shuffled)
    mask = draw_objects(shuffled, 20, 24)
    for y in range(20):
        for x in range(24):
            over = [o for o in objects if o.box_xyxy[0] <= x < o.box_xyxy[2]
                    and o.box_xyxy[1] <= y < o.box_xyxy[3]]  # fmt: skip
            plain = [o for o in over if not o.crowd]
            label = min(plain, key=lambda o: o.area).label if plain else 255 if over else 0
            assert mask[y, x] == label


def write_panoptic(root: Path, mask: NDArray[np.uint8], beside: bool) -> None:
    write_picture(root / "val2017/000000000001.jpg")
    ids = {0: 0, 1: 3226956, 2: 9, 3: 0x050505}
    segment = np.vectorize(ids.get)(mask)
    colours = np.stack([segment & 255, segment >> 8 & 255, segment >> 16], 2).astype(np.uint8)
    folder = root if beside else root / "annotations"
    write_mask(folder / "panoptic_val2017/000000000001.png", colours)
    info = [
        {"id": 3226956, "category_id": 1, "iscrowd": 0, "area": 1, "bbox": [0, 0, 1, 1]},
        {"id": 9, "category_id": 200, "iscrowd": 1, "area": 1, "bbox": [0, 0, 1, 1]},
        {"id": 0x050505, "category_id": 1, "iscrowd": 0, "area": 1, "bbox": [0, 0, 1, 1]},
    ]
    document = {
        "images": [{"id": 1, "file_name": "000000000001.jpg", "height": 12, "width": 16}],
        "annotations": [
            {"image_id": 1, "file_name": "000000000001.png", "segments_info": info}
        ],
        "categories": [{"id": 200, "name": "rug", "isthing": 0}, {"id": 1, "name": "person"}],
    }  # fmt: skip
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations/panoptic_val2017.json").write_text(json.dumps(document))


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("values", [(0, 1, 2, 3), (0, 3)])
def test_panoptic_colours_are_segments(
    tmp_path: Path, beside: bool, values: tuple[int, ...]
) -> None:
    indices = make_mask(values)
    write_panoptic(tmp_path, indices, beside)
    found = open_data(tmp_path, cut=False)
    assert (found.format, found.classes) == ("panoptic", ("person", "rug"))
    expected = np.array([255, 0, 1, 0], np.uint8)[indices]
    assert np.array_equal(mask_of(found.splits["val"]), expected)
    check_source(found.splits["val"])


def test_a_segment_that_the_json_does_not_know_is_named(tmp_path: Path) -> None:
    write_panoptic(tmp_path, make_mask((0, 1)), False)
    write_mask(
        tmp_path / "annotations/panoptic_val2017/000000000001.png",
        np.full((*SIZE, 3), (1, 2, 0), np.uint8),
    )
    with pytest.raises(DataError, match="no segment has the id 513"):
        open_data(tmp_path, cut=False)


def test_panoptic_annotations_may_count_the_images_from_another_number(tmp_path: Path) -> None:
    write_panoptic(tmp_path, make_mask((0, 1)), False)
    file = tmp_path / "annotations/panoptic_val2017.json"
    document = json.loads(file.read_text())
    (image,), (one,) = document["images"], document["annotations"]
    write_picture(tmp_path / "val2017/000000000002.jpg", seed=2)
    folder = tmp_path / "annotations/panoptic_val2017"
    write_mask(folder / "000000000002.png", np.full((*SIZE, 3), (9, 0, 0), np.uint8))
    second = "000000000002"
    document["images"] = [image, {**image, "id": 2, "file_name": f"{second}.jpg"}]
    document["annotations"] = [
        {**one, "image_id": 0}, {**one, "image_id": 1, "file_name": f"{second}.png"}
    ]  # fmt: skip
    file.write_text(json.dumps(document))
    found = open_data(tmp_path, cut=False)
    assert [Path(name).stem for name in found.splits["val"].ids] == ["000000000001", second]
    assert np.unique(mask_of(found.splits["val"], 1)).tolist() == [1]
    assert any("count the images from 0, the list of images from 1" in n for n in found.notes)
    document["annotations"][1]["image_id"] = 5
    file.write_text(json.dumps(document))
    with pytest.raises(DataError, match="no image has the id 0"):
        open_data(tmp_path, cut=False)


def test_panoptic_segments_are_read_with_their_classes_and_crowds(tmp_path: Path) -> None:
    write_panoptic(tmp_path, make_mask((0, 1, 2, 3)), True)
    file = tmp_path / "annotations/panoptic_val2017.json"
    with pytest.raises(DataError, match="person does not say whether it is a thing"):
        open_data(tmp_path, kind="panoptic", cut=False)
    file.write_text(file.read_text().replace('"person"', '"person", "isthing": 1'))
    found = open_data(tmp_path, kind="panoptic", cut=False)
    source = found.splits["val"]
    assert (found.kind, source.info.things) == ("panoptic", ("person",))
    check_source(source)
    sample = source[0]
    assert sample.segments is not None and sample.mask is None
    expected = np.array([255, 0, 1, 0], np.uint8)[make_mask((0, 1, 2, 3))]
    assert np.array_equal(sample.segments.classes(), expected)
    assert sample.segments.labels[sample.segments.crowd].tolist() == [1]
    alone = open_data(f"panoptic:{file}", kind="panoptic", cut=False, images=str(tmp_path))
    (part,) = alone.splits.values()
    assert part[0].segments == sample.segments


def test_segments_of_another_set_are_matched_by_name_and_ignored_ones_are_void(
    tmp_path: Path,
) -> None:
    write_panoptic(tmp_path, make_mask((0, 1, 2, 3)), True)
    file = tmp_path / "annotations/panoptic_val2017.json"
    file.write_text(file.read_text().replace('"person"', '"Person", "isthing": 1'))
    moved = open_data(tmp_path, kind="panoptic", classes=("rug", "person", "sky"), cut=False)
    source = moved.splits["val"]
    assert source.info.things == ("person",)
    segments = source[0].segments
    assert segments is not None
    expected = np.array([255, 1, 0, 1], np.uint8)[make_mask((0, 1, 2, 3))]
    assert np.array_equal(segments.classes(), expected)


def test_stuff_maps_hold_a_labels_id_less_one(tmp_path: Path) -> None:
    for seed, split in enumerate(("train2017", "val2017")):
        write_picture(tmp_path / "images" / split / "000000000001.jpg", seed)
        write_mask(tmp_path / "stuffthingmaps" / split / "000000000001.png", make_mask((0, 2, 255)))
    (tmp_path / "labels.txt").write_text("0: unlabeled\n1: person\n2: bicycle\n3: car\n")
    found = open_data(tmp_path, cut=False)
    assert (found.format, found.classes) == ("panoptic", ("person", "bicycle", "car"))
    assert np.array_equal(mask_of(found.splits["val"]), make_mask((0, 2, 255)))
    assert any("no mask of train holds bicycle" in note for note in found.notes)


def test_coco_mini_as_instances_and_as_panoptic_agree(picture_data: Path) -> None:
    root = picture_data / "coco-mini"
    things = open_data(root, kind="segment", check=False)
    panoptic = open_data(f"panoptic:{root}", check=False)
    assert (things.format, panoptic.format) == ("coco", "panoptic")
    assert len(things.classes) == 81
    assert len(panoptic.classes) == 133
    check_source(things.splits["val"], samples=3)
    places = {name: i for i, name in enumerate(panoptic.splits["val"].ids)}
    semantic = sorted((root / "semantic_val2017").iterdir())
    ids = {c["name"]: c["id"] for c in json.loads(
        (root / "annotations/panoptic_val2017.json").read_text())["categories"]}  # fmt: skip
    table = np.array([*(ids[name] for name in panoptic.classes), *[0] * 123], np.uint8)
    same = total = 0
    for file in semantic[:20]:
        own = mask_of(panoptic.splits["val"], places[f"{file.stem}.jpg"])
        # semantic maps hold the categories' ids: the panoptic PNGs, read by another program
        assert np.array_equal(table[own], np.asarray(Image.open(file)))
        objects = mask_of(things.splits["val"], things.splits["val"].ids.index(f"{file.stem}.jpg"))
        judged = (objects != 255) & (objects > 0) & (own != 255)
        same += int((objects[judged] - 1 == own[judged]).sum())
        total += int(judged.sum())
    assert same > 0.98 * total


# Cityscapes and ADE20K


def write_cityscapes(root: Path, ending: str = "labelIds") -> NDArray[np.uint8]:
    values = (0, 7, 26, 33) if ending == "labelIds" else (255, 0, 13, 18)
    mask = make_mask(values)
    for split, city in (("train", "aachen"), ("val", "lindau"), ("test", "berlin")):
        stem = f"{city}_000000_000019"
        write_picture(root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png")
        truth = root / "gtFine" / split / city
        own = np.full(SIZE, 3, np.uint8) if split == "test" else mask
        write_mask(truth / f"{stem}_gtFine_{ending}.png", own)
        write_mask(truth / f"{stem}_gtFine_instanceIds.png", mask)
        write_mask(truth / f"{stem}_gtFine_color.png", np.zeros((*SIZE, 3), np.uint8))
    return mask


@pytest.mark.parametrize("ending", ["labelIds", "labelTrainIds"])
def test_cityscapes_has_19_classes(tmp_path: Path, ending: str) -> None:
    write_cityscapes(tmp_path, ending)
    found = open_data(tmp_path, cut=False)
    assert (found.format, len(found.classes), list(found.splits)) == (
        "cityscapes", 19, ["train", "val"],
    )  # fmt: skip
    expected = make_mask((255, 0, 13, 18))
    assert np.array_equal(mask_of(found.splits["train"]), expected)
    check_source(found.splits["val"])
    assert (found.classes[0], found.classes[13], found.classes[18]) == ("road", "car", "bicycle")


def write_ade(root: Path) -> None:
    for split, name in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        write_picture(root / "images" / split / f"{name}.jpg")
        write_mask(root / "annotations" / split / f"{name}.png", make_mask((0, 1, 150)))
    lines = ["Idx\tRatio\tTrain\tVal\tStuff\tName"]
    lines += [f"{i}\t0.1\t1\t1\t0\t{'wall, big' if i == 1 else f'thing{i}; x'}"
              for i in range(1, 151)]  # fmt: skip
    (root / "objectInfo150.txt").write_text("\n".join(lines))


def test_ade20k_counts_from_one(tmp_path: Path) -> None:
    write_ade(tmp_path)
    found = open_data(tmp_path, cut=False)
    assert (found.format, len(found.classes), found.classes[:2]) == (
        "ade20k", 150, ("wall", "thing2"),
    )  # fmt: skip
    assert np.array_equal(mask_of(found.splits["val"]), make_mask((255, 0, 149)))
    check_source(found.splits["train"])


@pytest.mark.parametrize("name", ["masks", "voc", "sbd", "panoptic", "cityscapes", "ade20k"])
def test_a_folder_that_is_none_is_an_error_of_data(tmp_path: Path, name: str) -> None:
    write_picture(tmp_path / "a.png")
    assert FORMATS.get(name)().recognise(tmp_path) is None
    with pytest.raises(XferError) as caught:
        open_data(f"{name}:{tmp_path}", kind="segment")
    assert caught.value.code == 3


def test_masks_of_another_set_are_matched_by_name(tmp_path: Path) -> None:
    masks = write_set(tmp_path, values=(0, 1, 2, 255))
    (tmp_path / "classes.txt").write_text("sky\nroad\ncar\n")
    found = open_data(tmp_path, classes=("car", "tree", "sky", "road"), cut=False)
    source = found.splits["train"]
    table = np.full(256, 255, np.uint8)
    table[:3] = 2, 3, 0
    expected = [table[masks[name]] for name in "abc"]
    assert all(np.array_equal(mask_of(source, i), each) for i, each in enumerate(expected))
    counted = np.bincount(np.stack(expected).ravel(), minlength=256)[[0, 1, 2, 3, 255]]
    assert np.array_equal(pixel_counts(source).sum(0), counted)
    with pytest.raises(DataError, match="classes that the model does not have: sky"):
        open_data(tmp_path, classes=("car", "road"), cut=False)
