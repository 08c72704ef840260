"""One list of rules for boxes, whatever their format: forms, frames, corners, flags, ids."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pictures import scene
from PIL import Image

from xfer.data.sources.box_forms import WORDS, from_xyxy, judge, to_xyxy
from xfer.data.sources.box_frames import settle_frames
from xfer.data.sources.box_rules import clean_boxes, leave_out, settle
from xfer.data.sources.written import flag, number, numbers, plain_id
from xfer.errors import DataError

Rows = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]


def random_set(seed: int, pictures: int = 12) -> Rows:
    """Boxes anywhere in pictures of different sizes, three in each: xyxy, picture, sizes."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(60, 400, (pictures, 2))
    picture = np.repeat(np.arange(pictures), 3)
    size = sizes[picture][:, ::-1]
    side = rng.uniform(0.05, 0.4, (len(picture), 2)) * size
    low = rng.uniform(0, 1, (len(picture), 2)) * (size - side)
    return np.concatenate([low, low + side], 1).round(2), picture, sizes


@pytest.mark.parametrize("form", list(WORDS))
@given(seed=st.integers(0, 2**32 - 1))
def test_every_form_is_undone_by_its_reading(form: str, seed: int) -> None:
    boxes, _, _ = random_set(seed)
    assert to_xyxy(from_xyxy(boxes, form), form) == pytest.approx(boxes)


@pytest.mark.parametrize("shares", [False, True])
@pytest.mark.parametrize("form", list(WORDS))
@given(seed=st.integers(0, 2**32 - 1))
def test_a_set_is_read_right_in_every_form_that_is_declared(
    form: str, shares: bool, seed: int
) -> None:
    boxes, picture, sizes = random_set(seed)
    written = from_xyxy(boxes, form)
    if shares:
        written = written / sizes[picture][:, [1, 0, 1, 0]]
    names = [str(i) for i in range(len(sizes))]
    settled = settle(written, picture, sizes, names, Path(), names, form)
    assert settled.keep.all()
    assert settled.boxes_xyxy == pytest.approx(boxes, abs=1e-6)
    assert [("shares" in line) for line in settled.lines] == [True] * shares


@pytest.mark.parametrize("declared", ["xywh", "cxcywh"])
@pytest.mark.parametrize("shares", [False, True])
@given(seed=st.integers(0, 2**32 - 1))
def test_corners_under_another_name_are_read_as_corners_with_a_warning(
    declared: str, shares: bool, seed: int
) -> None:
    """Sizes of boxes up to 40 % of the picture's: read otherwise, many of them leave it."""
    boxes, picture, sizes = random_set(seed, 40)
    scale = sizes[picture][:, [1, 0, 1, 0]] if shares else 1
    form = judge(boxes / scale, picture, sizes, declared)
    assert form.name == "xyxy" and WORDS["xyxy"] in form.warning
    read = form.corners(boxes / scale, sizes[picture])
    assert read == pytest.approx(boxes)


@pytest.mark.parametrize("real", ["xywh", "cxcywh"])
@given(seed=st.integers(0, 2**32 - 1))
def test_sides_where_corners_are_due_are_never_read_without_a_word(real: str, seed: int) -> None:
    boxes, picture, sizes = random_set(seed, 40)
    form = judge(from_xyxy(boxes, real), picture, sizes, "xyxy")
    assert form.warning and form.name in (real, "xyxy")
    if form.name == "xyxy":  # both readings by sides fit: nothing is changed
        assert "please check" in form.warning


def test_a_few_boxes_are_never_read_otherwise_than_declared() -> None:
    boxes, picture, sizes = np.array([[70.0, 50, 90, 60]]), np.array([0]), np.array([[64, 96]])
    form = judge(boxes, picture, sizes, "xywh")
    assert form.name == "xywh" and "look like x1, y1, x2, y2" in form.warning


@pytest.mark.parametrize("declared", list(WORDS))
def test_pictures_of_unknown_size_and_no_boxes_are_read_as_declared(declared: str) -> None:
    none = np.zeros((0, 4))
    assert judge(none, np.zeros(0, np.int64), np.zeros((3, 2), np.int64), declared).warning == ""
    boxes = np.array([[5.0, 5, 90, 90]] * 9)
    form = judge(boxes, np.zeros(9, np.int64), np.zeros((1, 2), np.int64), declared)
    assert form.name == declared and not form.warning


def test_whole_numbers_are_no_shares() -> None:
    boxes = np.array([[0.0, 0, 1, 1]] * 9)
    form = judge(boxes, np.zeros(9, np.int64), np.array([[64, 96]]), "xyxy")
    assert not form.shares and not form.warning


@given(seed=st.integers(0, 2**32 - 1))
def test_swapped_corners_are_put_in_order_and_told(seed: int) -> None:
    boxes, picture, sizes = random_set(seed)
    rng = np.random.default_rng(seed)
    swap = rng.random((len(boxes), 2)) < 0.2
    written = boxes.copy()
    for axis in (0, 1):
        rows = swap[:, axis]
        written[rows, axis], written[rows, axis + 2] = boxes[rows, axis + 2], boxes[rows, axis]
    read, keep, lines = clean_boxes(written, picture, sizes, [str(i) for i in range(len(sizes))])
    assert keep.all() and read == pytest.approx(boxes)
    count = int(swap.any(1).sum())
    assert [line.split(": ")[1] for line in lines] == [
        f"{count} boxes with swapped corners (negative sides) are read with them in order"
    ][: bool(count)]


def test_swapped_corners_that_leave_the_picture_are_dropped() -> None:
    boxes = np.array([[50.0, 10, -20, 30], [10, 10, 20, 20]])
    _, keep, lines = clean_boxes(boxes, np.zeros(2, np.int64), np.array([[40, 60]]), ["a.jpg"])
    assert keep.tolist() == [False, True]
    assert lines == ["warning: 1 boxes without area are dropped: a.jpg"]


# --- pictures that EXIF turns


def write_turned(folder: Path, count: int, orientation: int, size: tuple[int, int]) -> list[Path]:
    """Pictures of this stored size (width, height) with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    paths = [folder / f"{orientation}_{i}.jpg" for i in range(count)]
    for path in paths:
        Image.fromarray(scene(*size)).save(path, exif=exif)
    return paths


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
@pytest.mark.parametrize("given_as", ["stored", "upright"])
def test_boxes_of_the_other_frame_are_known_by_not_fitting(
    tmp_path: Path, orientation: int, given_as: str
) -> None:
    paths = write_turned(tmp_path, 4, orientation, (80, 50))
    stored, upright = (50, 80), (80, 50)
    own, other = (stored, upright) if given_as == "stored" else (upright, stored)
    sizes = np.array([own] * 4)
    height, width = other
    far = np.array([[2.0, 2, width - 2, height - 2]] * 3)  # the last picture has no box
    found, lines = settle_frames(Path(), list(map(str, paths)), sizes, np.arange(3), far)
    assert found.tolist() == [list(other)] * 4
    assert len(lines) == 1 and "EXIF" in lines[0] and "4 pictures" in lines[0]
    near = np.array([[2.0, 2, 40, 40]] * 3)  # fits both ways: as given
    found, lines = settle_frames(Path(), list(map(str, paths)), sizes, np.arange(3), near)
    assert found.tolist() == sizes.tolist() and not lines


@pytest.mark.parametrize("orientation", [1, 2, 3, 4])
def test_boxes_outside_a_picture_that_is_not_turned_say_nothing(
    tmp_path: Path, orientation: int
) -> None:
    paths = write_turned(tmp_path, 2, orientation, (80, 50))
    sizes = np.array([(50, 80)] * 2)
    files, boxes = list(map(str, paths)), np.array([[2.0, 2, 48, 78]] * 2)
    found, lines = settle_frames(Path(), files, sizes, np.arange(2), boxes)
    assert found.tolist() == sizes.tolist() and not lines


def test_boxes_of_both_frames_are_read_each_as_it_fits(tmp_path: Path) -> None:
    paths = write_turned(tmp_path, 3, 6, (80, 50))
    sizes = np.array([(50, 80)] * 3)
    boxes = np.array([[2.0, 2, 48, 78], [2, 2, 78, 48], [2, 2, 20, 20]])
    found, lines = settle_frames(Path(), list(map(str, paths)), sizes, np.arange(3), boxes)
    assert found.tolist() == [[80, 50], [50, 80], [50, 80]]
    assert "1 fit only the upright picture, those of 1 only the picture as stored" in lines[0]


# --- values as files write them


@pytest.mark.parametrize(
    ("value", "set"),
    [(0, False), (1, True), ("0", False), ("1", True), ("0.0", False), (1.0, True), (0.0, False),
     ("", False), (None, False), (" True ", True), ("false", False), ("no", False), (True, True),
     ("Unspecified", False), ("maybe", None), ([1], None), (math.nan, None), ("nan", None)],
)  # fmt: skip
def test_flags(value: Any, set: bool | None) -> None:
    assert flag(value) is set


@given(st.integers(0, 10**12))
def test_an_id_is_one_id_however_it_is_written(key: int) -> None:
    assert {plain_id(form) for form in (key, float(key), str(key), f"{key}.0")} == {key}
    padded = f"00{key}"
    assert plain_id(padded) == padded


@pytest.mark.parametrize(
    ("value", "found"),
    [(4, 4), ("4", 4), (" 4.5 ", 4.5), (10**400, math.inf), (True, None), (None, None),
     ("4px", None), ([4], None)],
)  # fmt: skip
def test_numbers(value: Any, found: float | None) -> None:
    assert number(value) == found


@given(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4))
def test_four_numbers_are_four_numbers_however_they_are_written(box: list[float]) -> None:
    assert numbers(box, 4) == numbers([str(n) for n in box], 4) == numbers(str(box), 4) == box
    assert numbers(box[:3], 4) is None and numbers([*box[:3], None], 4) is None
    assert numbers("not a list", 4) is None and numbers({"x": 1}, 4) is None


@pytest.mark.parametrize(
    ("what", "one"),
    [
        ("pictures have no mask", "1 picture has no mask: a (b)"),
        ("json files can't be used", "1 json file can't be used: a (b)"),
        ("pictures are not there", "1 picture is not there: a (b)"),
    ],
)
def test_one_that_can_not_be_used_is_counted_as_one(what: str, one: str) -> None:
    with pytest.raises(DataError, match=re.escape(f"x: {one}")):
        leave_out("x", what, [("a", "b")], False, [])
    with pytest.raises(DataError, match=f"x: 2 {what}"):
        leave_out("x", what, [("a", "b"), ("c", "d")], False, [])
