"""Masks drawn from outlines that a file for each picture lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_sets import mask_of, write_picture

from xfer.data.open import open_data
from xfer.data.readers.coco.outlines import Shape
from xfer.errors import DataError
from xfer.testing.source import check_source

SIZE = (20, 40)  # height, width


def square(label: int, x: float, y: float, w: float, h: float) -> str:
    """A line of YOLO's outlines, of pixels of a picture of SIZE."""
    points = ((x, y), (x + w, y), (x + w, y + h), (x, y + h))
    return " ".join([str(label), *(f"{a / SIZE[1]} {b / SIZE[0]}" for a, b in points)])


def write_yolo(root: Path, lines: dict[str, list[str]]) -> None:
    for i, (name, own) in enumerate(lines.items()):
        write_picture(root / f"images/train/{name}.jpg", i, SIZE)
        file = root / f"labels/train/{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(own))
    (root / "data.yaml").write_text("train: images/train\nval: images/train\nnames: [cup, jar]\n")


def test_yolos_outlines_are_masks_where_masks_are_wanted(tmp_path: Path) -> None:
    write_yolo(tmp_path, {"a": [square(1, 2, 4, 20, 12), square(0, 5, 6, 4, 4)], "b": []})
    found = open_data(tmp_path, kind="segment", val="none")
    assert (found.kind, found.format) == ("segment", "yolo")
    assert found.classes == ("background", "cup", "jar")
    expected = np.zeros(SIZE, np.uint8)
    expected[4:16, 2:22] = 2
    expected[6:10, 5:9] = 1  # the smaller one is on top
    source = found.splits["train"]
    assert np.array_equal(mask_of(source, 0), expected)
    assert not mask_of(source, 1).any()
    check_source(source)
    assert open_data(tmp_path, val="none").kind == "detect"
    ignored = open_data(tmp_path, kind="segment", val="none", ignore="cup").splits["train"]
    assert set(np.unique(mask_of(ignored, 0)).tolist()) == {0, 1, 255}
    before = found.fingerprint()
    (tmp_path / "labels/train/a.txt").write_text(square(0, 1, 1, 3, 3))
    assert open_data(tmp_path, kind="segment", val="none").fingerprint() != before


def test_boxes_among_outlines_are_ignored_and_boxes_alone_are_no_masks(tmp_path: Path) -> None:
    write_yolo(tmp_path, {"a": [square(1, 2, 4, 20, 12), "0 0.9 0.5 0.1 0.4"]})
    found = open_data(tmp_path, kind="segment", val="none")
    assert any("1 boxes without an outline" in note for note in found.notes)
    assert (mask_of(found.splits["train"])[6:14, 34:38] == 255).all()
    write_yolo(tmp_path, {"a": ["0 0.5 0.5 0.1 0.4"]})
    with pytest.raises(DataError, match="its labels are boxes") as caught:
        open_data(tmp_path, kind="segment", val="none")
    assert "--task detect" in str(caught.value.hint)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 50), st.integers(0, 50), st.integers(1, 50), st.integers(1, 50))
def test_the_area_of_a_box_is_its_sides(x: int, y: int, w: int, h: int) -> None:
    points = (x, y, x + w, y, x + w, y + h, x, y + h)
    assert Shape(0, (points,), (x, y, x + w, y + h)).area == pytest.approx(w * h)
