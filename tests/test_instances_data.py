"""Objects with masks: what readers make of each format, packs, the kind's summary and findings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_sets import write_mask, write_picture
from numpy.typing import NDArray

from xfer import kinds
from xfer.boxes import Boxes
from xfer.data.open import open_data
from xfer.data.pack.writer import Packing, pack
from xfer.data.sources.boxes_as_labels import BoxesAlone
from xfer.data.transforms.boxes import BoxTransform
from xfer.errors import DataError, XferError
from xfer.kinds.annotation import annotation
from xfer.objects.mask import ObjectMask, as_column, run_lengths
from xfer.objects.numbered import masks_by_number
from xfer.objects.resize import resized
from xfer.objects.rle import areas, boxes_around, encode, from_polygons, from_runs, ious, union
from xfer.testing import check_source
from xfer.types import Sample, Source

HEIGHT, WIDTH = 40, 60
SQUARES = ((4, 6, 16, 18), (20, 8, 34, 30), (40, 10, 56, 34))  # xyxy


def numbers(squares: tuple[tuple[int, int, int, int], ...] = SQUARES) -> NDArray[np.uint8]:
    """A picture in which square k holds k + 1."""
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    for k, (x1, y1, x2, y2) in enumerate(squares, 1):
        values[y1:y2, x1:x2] = k
    return values


def polygon(square: tuple[int, int, int, int]) -> list[float]:
    x1, y1, x2, y2 = map(float, square)
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def pictures(folder: Path, names: list[str]) -> None:
    for seed, name in enumerate(names):
        write_picture(folder / f"{name}.png", seed, (HEIGHT, WIDTH))


def coco(root: Path, segmentations: list[object], crowd: tuple[int, ...] = ()) -> Path:
    """A json of one picture for each train and val, with these objects of classes a and b."""
    pictures(root, ["0", "1"])
    for split, name in (("train", "0"), ("val", "1")):
        rows = [
            {"id": k, "image_id": 1, "category_id": 1 + k % 2, "iscrowd": int(k in crowd),
             "area": 9.5, "bbox": [x1, y1, x2 - x1, y2 - y1], "segmentation": outline}
            for k, (outline, (x1, y1, x2, y2)) in enumerate(
                zip(segmentations, SQUARES, strict=False))
        ]  # fmt: skip
        document = {
            "images": [{"id": 1, "file_name": f"{name}.png", "height": HEIGHT, "width": WIDTH}],
            "annotations": rows,
            "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        }
        (root / f"{split}.json").write_text(json.dumps(document))
    return root


def instances(path: Path, **keys: Any) -> Source:
    """The training part of a set read as instances, checked."""
    bundle = open_data(str(path), kind="instance", cut=False, **keys)
    assert bundle.kind == "instance"
    for source in bundle.splits.values():
        check_source(source)
    return bundle.splits["train"]


def squares_of(source: Source, i: int = 0) -> list[tuple[int, ...]]:
    """xyxy of each object's pixels, which must fill it."""
    boxes = annotation(source, i)
    assert boxes.masks is not None
    found = boxes_around(boxes.masks.tolist())
    assert np.array_equal(areas(boxes.masks.tolist()), (found[:, 2:] - found[:, :2]).prod(1))
    return [tuple(map(int, box)) for box in found.tolist()]


# --- run lengths


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6))
def test_run_lengths_are_those_of_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = (rng.random(rng.integers(1, 30, 2)) < rng.random()).astype(np.uint8)
    mask = encode(pixels)
    assert np.array_equal(mask.pixels(), pixels) and areas([mask]).tolist() == [pixels.sum()]
    assert from_runs(run_lengths(mask.counts).tolist(), mask.size) == mask


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_numbered_pixels_become_the_masks_of_their_numbers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = np.repeat(rng.integers(0, 5, (rng.integers(1, 9), rng.integers(1, 9))), 3, 1)
    found = masks_by_number(values.astype(np.uint16))
    assert sorted(found) == np.unique(values).tolist()
    assert all(found[v] == encode(values == v) for v in found)


@pytest.mark.parametrize("counts", [b"", b"5", b"0" * 40, b"\xff", b"`" * 9, b"ZZZZ"])
def test_damaged_run_lengths_are_an_error(counts: bytes) -> None:
    with pytest.raises(DataError, match="RLE"):
        ObjectMask((4, 4), counts).pixels()


def test_masks_are_joined_compared_and_scaled() -> None:
    one, two = (encode(numbers() == k) for k in (1, 2))
    both = union([one, two])
    assert ious([one], [both], np.array([True])).tolist() == [[1.0]]
    assert ious([one, two], [one], np.array([False])).tolist() == [[1.0], [0.0]]
    half = resized(one, (HEIGHT // 2, WIDTH // 2))
    assert half.size == (20, 30) and boxes_around([half]).tolist() == [[2, 3, 8, 9]]


def test_boxes_carry_their_masks() -> None:
    masks = [encode(numbers() == k) for k in (1, 2)]
    boxes = Boxes.of(boxes_around(masks), [0, 1], size=(HEIGHT, WIDTH), masks=masks)
    assert boxes[[1]] == replace(boxes[[1]], masks=as_column(masks[1:]))
    joined = Boxes.join([boxes, Boxes.none((HEIGHT, WIDTH)), boxes[[0]]])
    assert joined.masks is not None and joined.masks.tolist() == [*masks, masks[0]]
    assert boxes == replace(boxes) and boxes != replace(boxes, masks=as_column(masks[::-1]))
    assert boxes.relabelled(np.array([3, 4])).masks is boxes.masks
    assert boxes.shifted(1, 0).masks is None and boxes.scaled(2, 2).masks is None
    with pytest.raises(DataError, match="masks has shape"):
        Boxes.of(boxes.xyxy, [0, 1], masks=masks[:1])


# --- readers


def test_coco_gives_polygons_and_run_lengths(tmp_path: Path) -> None:
    whole = encode(numbers() == 2)
    plain = {"size": [HEIGHT, WIDTH], "counts": run_lengths(whole.counts).tolist()}
    coco(tmp_path, [[polygon(SQUARES[0])], plain, whole.as_json()], crowd=(1,))
    source = instances(tmp_path)
    boxes = annotation(source, 0)
    assert boxes.masks is not None
    expected = [from_polygons([polygon(SQUARES[0])], (HEIGHT, WIDTH)), whole, whole]
    assert boxes.masks.tolist() == expected
    assert boxes.crowd.tolist() == [False, True, False] and boxes.area.tolist() == [9.5] * 3
    assert boxes.labels.tolist() == [0, 1, 0]


def test_an_object_without_an_outline_is_ignored_and_all_of_them_an_error(tmp_path: Path) -> None:
    coco(tmp_path, [[polygon(SQUARES[0])], [], None])
    assert annotation(instances(tmp_path), 0).crowd.tolist() == [False, True, True]
    with pytest.raises(DataError, match="no outlines, which instances need"):
        open_data(str(coco(tmp_path, [[], []])), kind="instance")
    assert open_data(str(tmp_path)).kind == "detect"


@pytest.mark.parametrize(
    ("outline", "reason"),
    [
        ({"size": [3, 3], "counts": [9]}, "RLE's size"),
        ({"size": [HEIGHT, WIDTH], "counts": [9]}, "do not add up"),
        ({"size": [HEIGHT, WIDTH], "counts": "~~"}, "damaged"),
        ([["x"] * 6], "not a number"),
        ([[1e300] * 8], "far beyond"),
    ],
)
def test_a_broken_outline_names_its_picture(tmp_path: Path, outline: object, reason: str) -> None:
    coco(tmp_path, [[polygon(SQUARES[0])], outline])
    with pytest.raises(DataError, match=reason):
        open_data(str(tmp_path), kind="instance")


def numbered_set(root: Path, maps: dict[str, NDArray[np.uint8]]) -> Path:
    pictures(root / "images", list(maps))
    for name, values in maps.items():
        write_mask(root / "masks" / f"{name}_mask.png", values)
    return root


def test_numbered_masks_are_objects(tmp_path: Path) -> None:
    values = numbers()
    source = instances(numbered_set(tmp_path, {"a": values, "b": numbers(SQUARES[:2])}), val="none")
    assert source.info.classes == ("object",)
    assert squares_of(source) == list(SQUARES) and squares_of(source, 1) == list(SQUARES[:2])
    (tmp_path / "classes.txt").write_text("pedestrian\n")
    assert instances(tmp_path, val="none").info.classes == ("pedestrian",)


@pytest.mark.parametrize(
    ("maps", "reason"),
    [
        ({"a": numbers() // 2 * 5, "b": numbers() // 3 * 9}, "holds 5, with gaps|one value"),
        ({"a": (numbers() > 0).astype(np.uint8)}, "one value besides 0"),
    ],
)
def test_values_that_may_be_classes_are_asked_about(
    tmp_path: Path, maps: dict[str, NDArray[np.uint8]], reason: str
) -> None:
    numbered_set(tmp_path, maps)
    with pytest.raises(XferError, match=reason):
        open_data(str(tmp_path), kind="instance", val="none")
    (tmp_path / "classes.txt").write_text("background\nleaf\n")
    assert instances(tmp_path, val="none").info.classes == ("leaf",)
    (tmp_path / "classes.txt").write_text("background\nleaf\nstem\n")
    with pytest.raises(DataError, match="names 2 classes"):
        open_data(str(tmp_path), kind="instance", val="none")


def write_cityscapes_ids(root: Path) -> NDArray[np.uint16]:
    """A picture in train and in val with two cars, a group of people and a strip of road."""
    ids = np.zeros((HEIGHT, WIDTH), np.uint16)
    for value, (x1, y1, x2, y2) in zip((26001, 26000, 24), SQUARES, strict=True):
        ids[y1:y2, x1:x2] = value
    ids[0, :3] = 7  # road
    for split in ("train", "val"):
        write_picture(root / "leftImg8bit" / split / "x" / "p_leftImg8bit.png", 0, (HEIGHT, WIDTH))
        file = root / "gtFine" / split / "x" / "p_gtFine_instanceIds.png"
        file.parent.mkdir(parents=True)
        cv2.imwrite(str(file), ids)
    return ids


def test_cityscapes_ids_are_objects_and_groups(tmp_path: Path) -> None:
    write_cityscapes_ids(tmp_path)
    source = instances(tmp_path)
    boxes = annotation(source, 0)
    names = [source.info.classes[c] for c in boxes.labels.tolist()]
    assert sorted(zip(names, boxes.crowd.tolist(), strict=True)) == [
        ("car", False), ("car", False), ("person", True)
    ]  # fmt: skip


def test_cityscapes_ids_are_segments_of_things_and_stuff(tmp_path: Path) -> None:
    ids = write_cityscapes_ids(tmp_path)
    source = open_data(f"cityscapes:{tmp_path}", kind="panoptic", check=False).splits["val"]
    assert len(source.info.classes) == 19 and len(source.info.things) == 8
    own = source[0].segments
    assert own is not None
    found = [
        (source.info.classes[label], bool(crowd), int(area))
        for label, crowd, area in zip(own.labels, own.crowd, own.areas(), strict=True)
    ]
    cars, people = (int((ids == value).sum()) for value in (26001, 24))
    assert sorted(found) == [
        ("car", False, cars), ("car", False, int((ids == 26000).sum())), ("person", True, people),
        ("road", False, 3),
    ]  # fmt: skip
    assert ((own.map < 0) == (ids == 0)).all()


def write_voc_objects(root: Path) -> None:
    """A picture in train and in val with a person, a dog, and a border."""
    classes = np.array([0, 15, 12, 255], np.uint8)[numbers()]
    objects = np.array([0, 1, 2, 3], np.uint8)[numbers()]
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split, name in (("train", "p"), ("val", "q")):
        (lists / f"{split}.txt").write_text(f"{name}\n")
        write_picture(root / "JPEGImages" / f"{name}.png", 0, (HEIGHT, WIDTH))
        for folder, mask in (("Class", classes), ("Object", objects)):
            write_mask(root / f"Segmentation{folder}" / f"{name}.png", mask)


def test_voc_objects_take_their_classes_from_the_other_masks(tmp_path: Path) -> None:
    write_voc_objects(tmp_path)
    source = instances(tmp_path)
    boxes = annotation(source, 0)
    assert [source.info.classes[c] for c in boxes.labels.tolist()] == ["person", "dog"]
    assert squares_of(source) == list(SQUARES[:2])


def test_yolo_and_labelme_polygons_are_objects(tmp_path: Path) -> None:
    yolo, labelme = tmp_path / "yolo", tmp_path / "labelme"
    pictures(yolo / "images" / "train", ["p"])
    pictures(labelme, ["p"])
    shares = [v / (HEIGHT if k % 2 else WIDTH) for k, v in enumerate(polygon(SQUARES[0]))]
    (yolo / "labels" / "train").mkdir(parents=True)
    lines = f"0 {' '.join(map(str, shares))}\n1 .5 .5 .2 .2\n"
    (yolo / "labels" / "train" / "p.txt").write_text(lines)
    (yolo / "data.yaml").write_text("train: images/train\nval: images/train\nnames: [a, b]\n")
    points = np.reshape(polygon(SQUARES[0]), (-1, 2)).tolist()
    shapes = [
        {"label": "a", "points": points, "shape_type": "polygon"},
        {"label": "b", "points": [[24, 16], [36, 24]], "shape_type": "rectangle"},
    ]
    about = {"shapes": shapes, "imagePath": "p.png", "imageHeight": HEIGHT, "imageWidth": WIDTH}
    (labelme / "p.json").write_text(json.dumps(about))
    drawn = from_polygons([polygon(SQUARES[0])], (HEIGHT, WIDTH))
    for path in (yolo, labelme):
        boxes = annotation(instances(path, val="none"), 0)
        assert boxes.masks is not None
        assert boxes.masks.tolist()[0] == drawn and boxes.crowd.tolist() == [False, True]


# --- packs, and used as something else


@pytest.mark.parametrize("side", [0, 20])
def test_a_pack_keeps_masks(tmp_path: Path, side: int) -> None:
    coco(tmp_path / "set", [[polygon(SQUARES[0])], [polygon(SQUARES[2])]])
    pack(str(tmp_path / "set"), tmp_path / "pack", Packing(side, raw=True), kinds=("instance",))
    source = instances(tmp_path / "pack")
    boxes, original = annotation(source, 0), annotation(instances(tmp_path / "set"), 0)
    assert boxes.masks is not None and original.masks is not None
    size = (20, 30) if side else (HEIGHT, WIDTH)
    assert boxes.masks.tolist() == [resized(mask, size) for mask in original.masks.tolist()]
    plain = open_data(str(tmp_path / "pack"), kind="detect", cut=False)
    assert plain.kind == "detect" and isinstance(plain.splits["train"], BoxesAlone)
    for one in plain.splits.values():
        check_source(one)
    assert annotation(plain.splits["train"], 0).masks is None


# --- what the net is shown


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.booleans(), st.floats(0.3, 1), st.floats(0.5, 1.5))
def test_masks_follow_the_picture(seed: int, flip: bool, area: float, scale: float) -> None:
    """An L, white on black: painted back from its grid, it lies where the picture is white."""
    pixels = np.zeros((60, 90), np.uint8)
    pixels[15:50, 20:36] = pixels[40:50, 20:70] = 1
    boxes = Boxes.of(np.array([[20, 15, 70, 50]], np.float32), [0], masks=[encode(pixels)])
    image = np.repeat(pixels[:, :, None] * 255, 3, 2)
    change = BoxTransform(
        120, 200, train=True, flip=flip, augment="light", area=(area, 1.0), scales=(scale, scale)
    )
    item = change(Sample("L", image, boxes=boxes), np.random.default_rng(seed))
    assert item.objects is not None and len(item.objects.shares) == len(item.boxes)
    if not len(item.boxes):
        return
    x1, y1, x2, y2 = item.objects.places[0].round().astype(int)
    shares = cv2.resize(item.objects.shares[0], (x2 - x1, y2 - y1)) > 127
    shown = np.zeros(item.image.shape[:2], bool)
    inside = slice(max(0, y1), y2), slice(max(0, x1), x2)
    there = shown[inside]
    there[:] = shares[: there.shape[0], : there.shape[1]]
    white = item.image[:, :, 1] > 127
    assert (shown & white).sum() >= 0.85 * (shown | white).sum()


def test_an_object_without_a_pixel_is_neither_object_nor_background() -> None:
    nothing = encode(np.zeros((20, 20), np.uint8))
    boxes = Boxes.of(np.array([[2, 2, 9, 9]], np.float32), [0], masks=[nothing])
    sample = Sample("x", np.zeros((20, 20, 3), np.uint8), boxes=boxes)
    item = BoxTransform(20, 20)(sample, np.random.default_rng(0))
    assert not len(item.boxes) and item.crowds.tolist() == [[2, 2, 9, 9]]


# --- the kind


class Given:
    """A source of one picture with these masks."""

    def __init__(self, masks: list[NDArray[np.uint8]], xyxy: object = None) -> None:
        found = [encode(mask) for mask in masks]
        around = boxes_around(found) if xyxy is None else np.asarray(xyxy, np.float64)
        self.boxes = Boxes.of(
            around, [0] * len(masks), size=masks[0].shape, masks=found, area=areas(found)
        )
        self.ids = ("p",)
        self.info = replace(open_data("digits", kind="instance").splits["val"].info)

    def __len__(self) -> int:
        return 1

    def annotation(self, i: int) -> Boxes:
        return self.boxes


def test_findings_name_what_is_odd_in_masks() -> None:
    def square(x1: int, y1: int, x2: int, y2: int) -> NDArray[np.uint8]:
        mask = np.zeros((50, 50), np.uint8)
        mask[y1:y2, x1:x2] = 1
        return mask

    ring = square(2, 2, 12, 12)
    ring[5:9, 5:9] = 0
    usual = [square(20, 20 + k % 3, 30, 31) for k in range(12)]
    masks = [ring, square(12, 4, 18, 9), square(40, 2, 42, 30), square(0, 0, 0, 0), *usual]
    xyxy = boxes_around([encode(m) for m in masks])
    xyxy[1], xyxy[3] = [12, 4, 30, 30], [45, 45, 46, 46]
    kind = kinds.get("instance")
    source = Given(masks, xyxy)
    found = {one.check for one in kind.find_in_pictures({"train": source}, ["a"])}  # type: ignore[dict-item]
    assert {"hole", "touching", "sliver", "empty_mask", "box_mask", "overlap"} <= found
    summary = kind.summary(source)["masks"]  # type: ignore[arg-type]
    assert summary["empty"] == 1 and summary["touching"] == 2 and summary["with_holes"] == 1


def test_digits_scenes_are_objects(tmp_path: Path) -> None:
    bundle = open_data("digits", kind="instance")
    source = bundle.splits["val"]
    plain = open_data("digits", kind="detect").splits["val"]
    semantic = open_data("digits", kind="segment").splits["val"]
    sample, other = source[3], plain[3]
    assert np.array_equal(sample.image, other.image) and sample.boxes is not None
    assert np.array_equal(sample.boxes.xyxy, other.boxes.xyxy)  # type: ignore[union-attr]
    assert sample.boxes.masks is not None
    masks = sample.boxes.masks.tolist()
    assert np.array_equal(boxes_around(masks), sample.boxes.xyxy)
    drawn = sum(m.pixels() * (c + 1) for m, c in zip(masks, sample.boxes.labels, strict=True))
    assert np.array_equal(drawn, semantic[3].mask)  # type: ignore[arg-type]
    kind = kinds.get("instance")
    (file,) = kind.draw_split("val", source, [3], tmp_path)
    assert file.is_file()
    assert kind.tinted(sample, source.info.classes).shape == sample.image.shape
    assert kind.pictured(sample, source.info.classes, 64).shape[:2] == (64, 64)
