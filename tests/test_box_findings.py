"""What is odd in boxes is found for every format, and for sources from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from box_files import coco_document, voc_xml, write_coco, write_json, write_voc, write_yolo
from hypothesis import given
from hypothesis import strategies as st

from xfer.boxes import Boxes
from xfer.data.open import open_data
from xfer.data.sources.base import subset
from xfer.data.sources.boxes import BoxSource, box_table
from xfer.errors import DataError
from xfer.kinds.annotation import annotation
from xfer.kinds.box_findings import find_in_boxes
from xfer.kinds.box_stats import every_box
from xfer.types import DataInfo, Sample


def source(
    rows: list[tuple[int, int, list[float]]], pictures: int = 4, **columns: Any
) -> BoxSource:
    """A source of pictures of 100 x 100 that are nowhere; (picture, class, xyxy) of each box."""
    boxes = Boxes.of(np.array([row[2] for row in rows], float).reshape(-1, 4),
                     np.array([row[1] for row in rows], int), **columns)  # fmt: skip
    table = box_table(np.array([row[0] for row in rows], np.int64), boxes,
                      np.full((pictures, 2), 100))  # fmt: skip
    info = DataInfo("made", "detect", ("ant", "bee", "cow"))
    return BoxSource(info, Path(), [f"{i}.jpg" for i in range(pictures)], table)


GOOD = [(0, 0, [1.0, 1, 20, 20]), (1, 1, [5.0, 5, 30, 30]), (3, 2, [0.0, 0, 100, 100])]


def found(rows: list[Any], role: str = "train", **columns: Any) -> list[tuple[str, str]]:
    findings = find_in_boxes({role: source(rows, **columns)}, ("ant", "bee", "cow"))
    return [(one.check, one.text) for one in findings]


def test_sound_boxes_have_no_findings() -> None:
    assert found(GOOD) == []


@pytest.mark.parametrize(
    ("rows", "check", "said"),
    [
        (GOOD[:2], "empty_class", "1 class has no box in train: cow"),
        ([*GOOD, (2, 0, [30.0, 5, 20, 9])], "swapped", "1 box has its corners swapped (train): 2"),
        ([*GOOD, (2, 0, [30.0, 5, 30, 9])], "flat", "1 box has no area (train): 2.jpg"),
        ([*GOOD, (2, 0, [90.0, 5, 130, 9])], "outside", "1 box reaches out of its picture (train)"),
        ([*GOOD, GOOD[1], GOOD[1]], "doubled", "2 boxes are there twice (train): 1.jpg"),
    ],
)
def test_each_check(rows: list[Any], check: str, said: str) -> None:
    ((name, text),) = found(rows)
    assert name == check and text.startswith(said)


def test_the_same_box_of_another_class_or_picture_is_not_doubled() -> None:
    assert found([*GOOD, (1, 0, GOOD[1][2]), (2, 1, GOOD[1][2])]) == []


def test_a_class_that_val_lacks_is_told_unless_it_lacks_all() -> None:
    assert found(GOOD[1:], "val") == [("empty_class", "1 class has no box in val: ant: not scored")]
    assert found([], "val") == []


def test_crowds_and_difficult_boxes_alone() -> None:
    flags = [False, True, False]
    assert found(GOOD, crowd=flags) == [
        ("empty_class", "1 class has only crowds (iscrowd) in train, which are not learnt: bee")
    ]
    assert found(GOOD, difficult=flags) == []
    for column in ("crowd", "difficult"):
        assert found(GOOD, "val", **{column: flags}) == [
            ("unscored", "1 class has only crowds or difficult boxes in val: bee: not scored")
        ]


@given(seed=st.integers(0, 2**32 - 1))
def test_every_box_at_once_equals_those_of_each_picture(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 12))
    rows = [(int(rng.integers(5)), int(rng.integers(3)), rng.random(4).tolist())
            for _ in range(count)]  # fmt: skip
    whole = source(rows, 5)
    part = subset(whole, rng.permutation(5)[: rng.integers(1, 6)])
    for one in (whole, part):
        every = every_box(one)
        for i in range(len(one)):
            assert every.boxes[every.picture == i].sized((100, 100)) == annotation(one, i)


class Plain:
    """A source from Python, which knows nothing of `every_box`."""

    info = DataInfo("plain", "detect", ("ant", "bee"))
    ids = ("0", "1")

    def __len__(self) -> int:
        return 2

    def __getitem__(self, i: int) -> Sample:
        boxes = Boxes.of([[5.0, 5, 60, 20]], [i])
        return Sample(str(i), np.zeros((40, 50, 3), np.uint8), boxes=boxes)

    def labels(self) -> Any:
        return np.eye(2, dtype=np.int8)

    def fingerprint(self) -> str:
        return "plain"


def test_sources_from_python_are_checked_too() -> None:
    notes = open_data({"train": Plain()}, val="none").notes
    assert "warning: 2 boxes reach out of their pictures (train): 0, 1" in notes


def write_double(root: Path, form: str) -> None:
    """A set with one box twice in a picture, and a class without a box where a table names it."""
    if form == "coco":
        document = coco_document(2)
        document["annotations"].append({**document["annotations"][0], "id": 999})
        write_json(write_coco(root, 2), document)
    elif form == "voc":
        write_voc(root, {"a": voc_xml([("cat", (3, 4, 9, 9))] * 2)})
    else:  # in YOLO's files repeated lines are read once
        write_yolo(root, {"a": "0 .5 .5 .5 .5\n0 .5 .5 .5 .5\n"})


@pytest.mark.parametrize("form", ["coco", "voc", "yolo"])
def test_all_formats_are_checked(tmp_path: Path, form: str) -> None:
    write_double(tmp_path, form)
    notes = open_data(str(tmp_path), val="none").notes
    assert any("1 box is there twice" in n or "1 repeated lines" in n for n in notes)
    assert any("no box in train: dog" in n for n in notes) == (form != "voc")


def test_boxes_that_are_all_crowds_are_no_boxes_to_learn_from(tmp_path: Path) -> None:
    document = coco_document()
    for one in document["annotations"]:
        one["iscrowd"] = 1
    write_json(write_coco(tmp_path), document)
    for kind in ("detect", "segment"):
        with pytest.raises(DataError, match=r"all 6 .*are crowds \(iscrowd 1\)"):
            open_data(str(tmp_path), val="none", kind=kind)
