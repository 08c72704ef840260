"""COCO's json, split by split: names, shared pictures, nothing to score, cut off."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from box_files import SIZE, coco_document, write_coco, write_json
from hypothesis import given
from hypothesis import strategies as st
from pictures import scene, write_picture
from PIL import Image
from pycocotools import mask as coco_mask

from xfer.data.open import check_scored, open_data
from xfer.data.readers.coco.polygons import box_around
from xfer.errors import DataError, XferError
from xfer.kinds.annotation import annotation
from xfer.testing.source import check_source


def test_train_and_val_that_disagree_on_names_stop_the_run(tmp_path: Path) -> None:
    write_coco(tmp_path)
    other = [{"id": 90, "name": "hound"}, {"id": 5, "name": "cat"}]
    write_coco(tmp_path, split="val2017", categories=other)
    with pytest.raises(DataError, match="classes that train does not have: hound"):
        open_data(str(tmp_path))


@pytest.mark.parametrize("name", ["{}_annotations", "instances-{}", "annotations_{}_v2"])
@pytest.mark.parametrize("folder", ["annotations", "Annotations"])
def test_a_json_a_split_by_the_word_in_its_name(tmp_path: Path, name: str, folder: str) -> None:
    for split in ("train", "val"):
        file = write_coco(tmp_path, split=split)
        (tmp_path / folder).mkdir(exist_ok=True)
        file.rename(tmp_path / folder / f"{name.format(split)}.json")
    found = open_data(str(tmp_path)).splits
    assert {role: len(source) for role, source in found.items()} == {"train": 4, "val": 4}
    one = tmp_path / folder / f"{name.format('val')}.json"
    (tmp_path / "val").rename(tmp_path / "pictures of val")
    (tmp_path / "train").rename(tmp_path / "images")
    assert len(open_data(f"coco:{one}", cut=False).splits["train"]) == 4


def test_an_outline_without_a_box_has_the_box_around_it(tmp_path: Path) -> None:
    write_coco(tmp_path)
    file = tmp_path / "annotations" / "instances_train2017.json"
    text = file.read_text().replace('"bbox": [2.0, 3.0, 10.5, 8.0], ', "")
    file.write_text(text.replace('"bbox": [3.0, 3.0, 10.5, 8.0]', '"bbox": null'))
    source = open_data(str(tmp_path), val="none").splits["train"]
    assert annotation(source, 2).xyxy.tolist() == [[2, 3, 12, 11]] * 2


def test_shares_where_pixels_are_due_get_a_warning(tmp_path: Path) -> None:
    boxes = [{"id": i, "image_id": 7 * i + 3, "category_id": 5, "bbox": [0.1, 0.2, 0.5, 0.5]}
             for i in range(4)]  # fmt: skip
    write_coco(tmp_path, annotations=boxes)
    bundle = open_data(str(tmp_path), cut=False)
    assert any("look like shares of the picture" in note for note in bundle.notes)
    assert annotation(bundle.splits["train"], 0).xyxy == pytest.approx(np.array([[4, 6, 24, 21]]))


def test_pictures_that_train_and_val_share_are_told(tmp_path: Path) -> None:
    """Here val's folder is not there, and train has pictures of the same names."""
    write_coco(tmp_path)
    write_coco(tmp_path, split="val2017")
    assert not [n for n in open_data(str(tmp_path)).notes if "both in" in n]
    shutil.rmtree(tmp_path / "val2017")
    told = "warning: 4 pictures are both in train and val: 0000.jpg, 0001.jpg"
    assert any(n.startswith(told) for n in open_data(str(tmp_path)).notes)


def test_classes_are_matched_by_name_not_by_place(tmp_path: Path) -> None:
    write_coco(tmp_path)
    turned = [{"id": 5, "name": "dog"}, {"id": 90, "name": "cat"}]
    write_coco(tmp_path, split="val2017", categories=turned)
    val = open_data(str(tmp_path)).splits["val"]
    assert annotation(val, 2).labels.tolist() == [1, 0]
    assert val[2].boxes is not None and val[2].boxes.labels.tolist() == [1, 0]
    check_source(val)


def test_a_set_without_boxes_can_not_be_learnt(tmp_path: Path) -> None:
    write_coco(tmp_path, annotations=[])
    with pytest.raises(DataError, match="no boxes in train"):
        open_data(str(tmp_path))


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"id": 1, "image_id": 3, "category_id": 5, "bbox": [1, 2, 9, 9], "iscrowd": 1}],
    ],
    ids=["empty", "crowds"],
)
def test_a_val_split_without_a_box_that_counts_is_told_before_training(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    write_coco(tmp_path)
    write_coco(tmp_path, split="val2017", annotations=rows)
    with pytest.raises(DataError, match="no box in val counts") as caught:
        check_scored(open_data(str(tmp_path)))
    assert caught.value.hint == "--val none, or another --val"
    check_scored(open_data(str(tmp_path), val="none"))


def test_a_json_of_a_folder_that_was_cut_off_early_is_told_so(tmp_path: Path) -> None:
    """Before its categories were written: still no folder of pictures without labels."""
    text = write_coco(tmp_path).read_text()
    (tmp_path / "annotations" / "instances_train2017.json").unlink()
    (tmp_path / "result.json").write_text(text[: text.index('"annotations"')])
    with pytest.raises(DataError, match=r"result\.json: not valid JSON: cut off"):
        open_data(str(tmp_path), kind="detect")


def test_flags_ids_and_numbers_may_be_text(tmp_path: Path) -> None:
    document = coco_document()
    for one in document["annotations"]:
        one.update(iscrowd=str(one["iscrowd"]), bbox=[str(n) for n in one["bbox"]], area="7.5")
    write_json(write_coco(tmp_path), document)
    found = annotation(open_data(str(tmp_path), val="none").splits["train"], 3)
    assert found.crowd.tolist() == [False, False, True] and found.area.tolist() == [7.5] * 3
    assert found.xyxy[:1].tolist() == [[2, 3, 12.5, 11]]
    document["annotations"][0]["iscrowd"] = "perhaps"
    write_json(tmp_path / "annotations" / "instances_train2017.json", document)
    with pytest.raises(DataError, match="its iscrowd is 'perhaps', not 0 or 1"):
        open_data(str(tmp_path))


@pytest.mark.parametrize("ending", ["", ".jpg"])
@pytest.mark.parametrize("folder", ["", "some/where/"])
def test_pictures_and_classes_may_be_referred_to_by_name(
    tmp_path: Path, ending: str, folder: str
) -> None:
    document = coco_document()
    names = {image["id"]: image["file_name"] for image in document["images"]}
    for one in document["annotations"]:
        one["image_id"] = folder + names[one["image_id"]].removesuffix(".jpg") + ending
        one["category_id"] = {5: "cat", 90: "dog"}[one["category_id"]]
    write_json(write_coco(tmp_path), document)
    bundle = open_data(str(tmp_path), val="none")
    assert annotation(bundle.splits["train"], 3).labels.tolist() == [0, 1, 0]
    assert any("picture by its name, not by its id" in note for note in bundle.notes)


def test_a_number_without_a_picture_is_no_name_where_others_are_ids(tmp_path: Path) -> None:
    """0002.jpg has the id 17; an annotation of the missing image 2 is not one of it."""
    document = coco_document()
    document["annotations"][0]["image_id"] = 2
    write_json(write_coco(tmp_path), document)
    with pytest.raises(DataError, match="no image has the id 2"):
        open_data(str(tmp_path))


def test_a_name_that_means_two_pictures_is_none(tmp_path: Path) -> None:
    document = coco_document()
    document["images"][0]["file_name"], document["images"][1]["file_name"] = "a/x.jpg", "b/x.jpg"
    for one in document["annotations"]:
        one["image_id"] = "x"
    write_json(write_coco(tmp_path, images=document["images"]), document)
    with pytest.raises(DataError, match="no image has the id 'x'"):
        open_data(str(tmp_path))


@pytest.mark.parametrize("empty", [None, [], ""])
@pytest.mark.parametrize("compressed", [False, True])
def test_an_rle_without_a_box_has_the_box_around_it(
    tmp_path: Path, empty: Any, compressed: bool
) -> None:
    mask = np.zeros((30, 40), np.uint8)
    mask[4:9, 6:17] = 1
    mask[7:12, 10:14] = 1
    rle: Any = coco_mask.encode(np.asfortranarray(mask))
    rle["counts"] = rle["counts"].decode()
    if not compressed:
        flat = mask.T.reshape(-1)
        edges = np.flatnonzero(np.diff(flat)) + 1
        rle["counts"] = np.diff(np.array([0, *edges, flat.size])).tolist()
    document = coco_document(annotations=[
        {"id": 1, "image_id": 3, "category_id": 5, "bbox": empty, "segmentation": rle}
    ])  # fmt: skip
    write_json(write_coco(tmp_path), document)
    bundle = open_data(str(tmp_path), val="none")
    assert annotation(bundle.splits["train"], 0).xyxy.tolist() == [[6, 4, 17, 12]]
    assert any("1 annotations have no bbox" in note for note in bundle.notes)


@given(st.integers(0, 2**32 - 1))
def test_the_box_of_an_rle_is_that_of_its_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = (rng.random(rng.integers(1, 9, 2)) < rng.choice([0.05, 0.3, 0.9])).astype(np.uint8)
    rle: Any = coco_mask.encode(np.asfortranarray(mask))
    rows, columns = np.nonzero(mask)
    if not len(rows):
        assert box_around(rle) is None
        return
    low, high = (columns.min(), rows.min()), (columns.max() + 1, rows.max() + 1)
    assert box_around(rle) == [*low, high[0] - low[0], high[1] - low[1]]


def test_lvis_names_pictures_by_their_url(tmp_path: Path) -> None:
    document = coco_document()
    for image in document["images"]:
        image["coco_url"] = f"http://images.cocodataset.org/train2017/{image.pop('file_name')}"
    write_json(write_coco(tmp_path), document)
    assert len(open_data(str(tmp_path), val="none").splits["train"]) == 4


def test_masks_follow_the_frame_of_their_outlines(tmp_path: Path) -> None:
    """EXIF turns the pictures, the json has their size before, the outlines are drawn after."""
    exif = Image.Exif()
    exif[0x0112] = 8
    outline = [5, 6, 25, 6, 25, 38, 5, 38]
    document = coco_document(3, annotations=[
        {"id": i, "image_id": 7 * i + 3, "category_id": 5, "bbox": [5, 6, 20, 32],
         "segmentation": [outline]} for i in range(3)
    ])  # fmt: skip
    write_json(write_coco(tmp_path, 3), document)
    for path in (tmp_path / "train2017").iterdir():
        Image.fromarray(scene(*SIZE)).save(path, exif=exif)
    for kind in ("detect", "segment"):
        bundle = open_data(str(tmp_path), val="none", kind=kind)
        assert any("EXIF turns" in note for note in bundle.notes)
        sample = bundle.splits["train"][0]
        assert sample.image.shape == (40, 30, 3)
        if sample.mask is not None:
            assert int((sample.mask == 1).sum()) == 20 * 32
        else:
            assert sample.boxes is not None and sample.boxes.xyxy.tolist() == [[5, 6, 25, 38]]


def test_pictures_and_jsons_that_are_not_used_are_counted(tmp_path: Path) -> None:
    """Both splits are in one folder: a picture of val is not one that train's json lacks."""
    for split, offset in (("train", 0), ("val", 4)):
        document = coco_document()
        for i, image in enumerate(document["images"]):
            image["file_name"] = f"{i + offset}.jpg"
            write_picture(tmp_path / "images" / image["file_name"], seed=i + offset, size=SIZE)
        write_json(tmp_path / "annotations" / f"instances_{split}.json", document)
    write_picture(tmp_path / "images" / "more.jpg", size=SIZE)
    write_json(tmp_path / "annotations" / "captions_train.json", {"annotations": []})
    notes = open_data(str(tmp_path)).notes
    told = "not used: 1 picture that no file lists (more.jpg), 1 json (captions_train.json)"
    assert told in notes


@pytest.mark.parametrize(("listed", "used"), [((1, 2), (0, 1)), ((0, 1), (1, 2))])
def test_categories_that_annotations_count_otherwise(
    tmp_path: Path, listed: tuple[int, int], used: tuple[int, int]
) -> None:
    document = coco_document(categories=[
        {"id": key, "name": name} for key, name in zip(listed, ("cat", "dog"), strict=True)
    ])  # fmt: skip
    for one in document["annotations"]:
        one["category_id"] = used[one["category_id"] == 90]
    file = write_coco(tmp_path)
    write_json(file, document)
    bundle = open_data(str(tmp_path), val="none")
    assert annotation(bundle.splits["train"], 3).labels.tolist() == [0, 1, 0]
    told = f"count the categories from {used[0]}, the list of categories from {listed[0]}"
    assert any(told in note for note in bundle.notes)
    document["annotations"][0]["category_id"] = 7  # now neither count explains all
    write_json(file, document)
    with pytest.raises(DataError, match="no category has the id"):
        open_data(str(tmp_path), val="none")


@pytest.mark.parametrize("kind", ["detect", "segment"])
@pytest.mark.parametrize(("listed", "used"), [(0, 1), (1, 0), (12, 11)])
def test_images_that_annotations_count_otherwise(
    tmp_path: Path, listed: int, used: int, kind: str
) -> None:
    document = coco_document(4, annotations=[
        {"id": i, "image_id": used + i, "category_id": 5 if i < 3 else 90, "bbox": [i, 3, 8, 8],
         "segmentation": [[i, 3, i + 8, 3, i + 8, 11, i, 11]]} for i in range(4)
    ])  # fmt: skip
    for i, image in enumerate(document["images"]):
        image["id"] = listed + i
    file = write_coco(tmp_path)
    write_json(file, document)
    bundle = open_data(str(tmp_path), val="none", kind=kind)
    if kind == "detect":
        source = bundle.splits["train"]
        assert [annotation(source, i).xyxy[0, 0] for i in range(4)] == [0, 1, 2, 3]
    told = f"count the images from {used}, the list of images from {listed}"
    assert any("warning" in note and told in note for note in bundle.notes)
    outer = max if used > listed else min
    gone = [one for one in document["annotations"] if one["image_id"] not in (used + 1, used + 2)]
    write_json(file, {**document, "annotations": gone})  # now nobody can tell
    with pytest.raises(DataError, match=f"no image has the id {outer(used, used + 3)}.*count"):
        open_data(str(tmp_path), val="none", kind=kind, skip_bad=True)
    stray = {"id": 99, "image_id": listed + 3 * (used < listed), "category_id": 5}
    document["annotations"].append({**document["annotations"][0], **stray})
    write_json(file, document)  # both ends are there: one annotation is of no image
    bundle = open_data(str(tmp_path), val="none", kind=kind, skip_bad=True)
    assert len(bundle.skipped) == 1 and not any("count the images" in n for n in bundle.notes)


def test_images_annotated_in_part_are_not_counted_otherwise(tmp_path: Path) -> None:
    document = coco_document(4)
    for i, image in enumerate(document["images"]):
        image["id"] = i
    for one in document["annotations"]:
        one["image_id"] = 1 + one["id"] % 3
    write_json(write_coco(tmp_path), document)
    bundle = open_data(str(tmp_path), val="none")
    assert not any("count the images" in note for note in bundle.notes)
    assert len(annotation(bundle.splits["train"], 0)) == 0


@pytest.mark.parametrize(("listed", "folder", "warned"), [
    ("cam1", "cam2", True), ("site_a", "site_b", True), ("train", "val", True),
    ("/home/me/photos", "pictures", False), ("export", "pictures", False), ("cam1", "cam1", False),
])  # fmt: skip
def test_pictures_of_a_folder_next_to_theirs_are_told(
    tmp_path: Path, listed: str, folder: str, warned: bool
) -> None:
    document = coco_document()
    for image in document["images"]:
        write_picture(tmp_path / folder / image["file_name"], size=SIZE)
        image["file_name"] = f"{listed}/{image['file_name']}"
    write_json(tmp_path / folder / "_annotations.coco.json", document)
    notes = open_data(str(tmp_path / folder), val="none").notes
    told = [note for note in notes if "last part of their name" in note]
    assert len(told) == warned and all(listed in note and folder in note for note in told)


def test_a_json_of_which_nothing_is_left_says_why_for_masks_too(tmp_path: Path) -> None:
    panoptic = [{"image_id": 7 * i + 3, "file_name": f"{i:04d}.png", "segments_info": []}
                for i in range(4)]  # fmt: skip
    write_coco(tmp_path, annotations=panoptic)
    for kind in ("segment", "detect"):
        with pytest.raises(DataError, match="panoptic: segments instead of boxes"):
            open_data(str(tmp_path), val="none", kind=kind, skip_bad=True)


def test_outlines_as_shares_are_drawn_as_shares(tmp_path: Path) -> None:
    outline = [0.25, 0.5, 0.75, 0.5, 0.75, 0.9, 0.25, 0.9]
    document = coco_document(3, annotations=[
        {"id": i, "image_id": 7 * i + 3, "category_id": 5, "bbox": [0.25, 0.5, 0.5, 0.4],
         "segmentation": [outline]} for i in range(3)
    ])  # fmt: skip
    write_json(write_coco(tmp_path, 3), document)
    bundle = open_data(str(tmp_path), val="none", kind="segment")
    mask = bundle.splits["train"][0].mask
    assert mask is not None and int((mask == 1).sum()) == 20 * 12
    assert any("look like shares" in note for note in bundle.notes)


def test_jsons_whose_names_say_no_split_are_a_choice(tmp_path: Path) -> None:
    document = coco_document()
    for image in document["images"]:
        write_picture(tmp_path / "images" / image["file_name"], size=SIZE)
    for name in ("one", "two"):
        write_json(tmp_path / f"{name}.json", document)
    with pytest.raises(XferError, match="several COCO jsons") as asked:
        open_data(str(tmp_path))
    assert f"coco:{tmp_path / 'one.json'} or coco:" in str(asked.value)
    assert len(open_data(f"coco:{tmp_path / 'one.json'}", cut=False).splits["train"]) == 4


def test_roboflows_json_is_taken_of_several_and_the_others_counted(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        for name in ("_annotations.coco.json", "old.json"):
            write_json(tmp_path / split / name, coco_document())
        for image in coco_document()["images"]:
            write_picture(tmp_path / split / image["file_name"], seed=len(split), size=SIZE)
    bundle = open_data(str(tmp_path))
    assert set(bundle.splits) == {"train", "val"}
    assert "not used: 2 jsons (old.json, old.json)" in bundle.notes
    (tmp_path / "train" / "_annotations.coco.json").rename(tmp_path / "train" / "new.json")
    (tmp_path / "valid" / "_annotations.coco.json").rename(tmp_path / "valid" / "new.json")
    with pytest.raises(XferError, match="several COCO jsons"):
        open_data(str(tmp_path))
