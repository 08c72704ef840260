"""COCO's json, split by split: names, shared pictures, nothing to score, cut off."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from box_files import write_coco

from xfer.data.open import check_scored, open_data
from xfer.errors import DataError
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
    notes = open_data(str(tmp_path), cut=False).notes
    assert any("look like shares of the picture" in note for note in notes)


def test_pictures_that_train_and_val_share_are_told(tmp_path: Path) -> None:
    """Here val's folder is not there, and train has pictures of the same names."""
    write_coco(tmp_path)
    write_coco(tmp_path, split="val2017")
    assert not [n for n in open_data(str(tmp_path)).notes if "are in both" in n]
    shutil.rmtree(tmp_path / "val2017")
    told = "warning: 4 pictures are in both train2017 and val2017: 0000.jpg, 0001.jpg"
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
