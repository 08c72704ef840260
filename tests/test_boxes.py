"""Boxes: columns filled in and checked, and a geometry that holds for any boxes."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchvision.ops import box_iou

from xfer.boxes import Boxes, clip_xyxy
from xfer.errors import DataError

SIDE = 100


@st.composite
def some_boxes(draw: st.DrawFn, dtype: Any = np.float64) -> Boxes:
    """Boxes with an area, some of them partly or wholly outside a picture of SIDE x SIDE."""
    count = draw(st.integers(0, 6))
    whole = draw(st.booleans())  # whole pixels touch and coincide
    places = st.integers(-SIDE, 2 * SIDE) if whole else st.floats(-SIDE, 2 * SIDE, width=32)
    lengths = st.integers(1, SIDE) if whole else st.floats(0.5, SIDE, width=32)
    corner = draw(arrays(dtype, (count, 2), elements=places))
    sides = draw(arrays(dtype, (count, 2), elements=lengths))
    flags = arrays(np.bool_, count)
    return Boxes.of(
        np.concatenate([corner, corner + sides], 1),
        draw(arrays(np.int64, count, elements=st.integers(0, 9))),
        difficult=draw(flags), crowd=draw(flags), size=(SIDE, SIDE),
    )  # fmt: skip


def test_what_is_left_out_is_filled_in() -> None:
    boxes = Boxes.of([[0, 1, 4, 3], [2, 2, 3.5, 4]], [1, 0])
    assert boxes.xyxy.dtype == np.float64 and boxes.labels.dtype == np.int64
    assert boxes.area.tolist() == [8, 3] and boxes.area.dtype == np.float64
    assert boxes.difficult.tolist() == boxes.crowd.tolist() == [False, False]
    assert boxes.size == (0, 0) and len(boxes) == 2
    assert boxes.sides.tolist() == [[4, 2], [1.5, 2]]


def test_what_is_given_is_kept() -> None:
    boxes = Boxes.of(
        np.array([[0, 1, 4, 3]], np.float32), [2], difficult=[1], crowd=[0], area=[5], size=[8, 9]
    )
    assert boxes.xyxy.dtype == np.float32 and boxes.size == (8, 9)
    assert boxes.difficult.dtype == bool and boxes.difficult.tolist() == [True]
    assert boxes.area.tolist() == [5] and boxes.ignored.tolist() == [True]
    assert pickle.loads(pickle.dumps(boxes)) == boxes


@pytest.mark.parametrize("empty", [[], (), np.zeros((0, 4), np.float32)])
def test_no_boxes(empty: Any) -> None:
    boxes = Boxes.of(empty, [], size=(3, 4))
    assert boxes == Boxes.none((3, 4)) and boxes.xyxy.shape == (0, 4)
    assert len(boxes) == len(boxes.labels) == len(boxes.area) == 0
    assert Boxes.join([]) == Boxes.none()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"xyxy": [1, 2, 3, 4]}, "not four numbers per box"),
        ({"xyxy": [[1, 2, 3]]}, "not four numbers per box"),
        ({"xyxy": [[1, 2, 3, 4], [1, 2]]}, "not four numbers per box"),
        ({"xyxy": [["a", "b", "c", "d"]]}, "not four numbers per box"),
        ({"labels": [0.5]}, "labels are float64, not whole numbers"),
        ({"labels": [0, 1]}, r"labels has shape \(2,\), for 1 boxes"),
        ({"crowd": []}, "crowd has shape"),
        ({"difficult": [[True]]}, "difficult has shape"),
        ({"area": 4.0}, "area has shape"),
    ],
)
def test_columns_that_do_not_fit_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Boxes.of(**{"xyxy": [[1, 2, 3, 4]], "labels": [0], **change})


def test_two_are_equal_where_every_column_is() -> None:
    boxes = Boxes.of([[0, 1, 4, 3]], [1])
    assert boxes == Boxes.of([[0, 1, 4, 3]], [1]) and boxes != "boxes"
    assert boxes.astype(np.float32) == boxes
    others: list[dict[str, Any]] = [
        {"xyxy": boxes.xyxy + 1}, {"labels": np.array([2])}, {"difficult": np.array([True])},
        {"crowd": np.array([True])}, {"area": np.array([1.0])}, {"size": (1, 1)},
    ]  # fmt: skip
    for other in others:
        assert replace(boxes, **other) != boxes
    assert boxes != boxes[:0]
    with pytest.raises(TypeError, match="unhashable"):
        hash(boxes)


def test_one_row_is_no_box() -> None:
    with pytest.raises(TypeError, match="slice, a mask or a list"):
        Boxes.of([[0, 1, 4, 3]], [1])[0]


def test_moved_scaled_and_relabelled() -> None:
    boxes = Boxes.of([[2, 4, 6, 8]], [1], size=(10, 20))
    half = boxes.scaled(0.5, 0.25)
    assert half == Boxes.of([[1, 1, 3, 2]], [1], size=(2, 10))
    assert half.area.tolist() == [2]
    assert boxes.shifted(-1, 2, (30, 40)) == Boxes.of([[1, 6, 5, 10]], [1], size=(30, 40))
    assert boxes.relabelled(np.array([5, 7])).labels.tolist() == [7]


def test_an_object_is_no_larger_than_what_a_clip_leaves_of_its_box() -> None:
    rows = [[0, 0, 10, 10], [5, 0, 15, 10], [5, 0, 15, 10]]
    boxes = Boxes.of(rows, [0, 0, 0], area=[40, 40, 90], size=(10, 10)).clip()
    assert boxes.area.tolist() == [40, 40, 50]
    unknown = Boxes.of([[-5, 2, 900, 4]], [0]).clip()
    assert unknown.xyxy.tolist() == [[0, 2, 900, 4]]


def test_a_clip_to_a_part_of_the_picture() -> None:
    boxes = np.array([[0, 0, 10, 10], [8, 1, 30, 4]], np.float32)
    part = clip_xyxy(boxes, (5, 10), (2, 4))  # x 4..14, y 2..7
    assert part.tolist() == [[4, 2, 10, 7], [8, 2, 14, 4]] and part.dtype == np.float32


@settings(deadline=None)
@given(some_boxes(), some_boxes(np.float32))
def test_clipped_boxes_lie_inside_and_stay(double: Boxes, single: Boxes) -> None:
    for boxes in (double, single):
        clipped = boxes.clip()
        assert len(clipped) == len(boxes) and clipped.xyxy.dtype == boxes.xyxy.dtype
        assert (clipped.xyxy >= 0).all() and (clipped.xyxy <= SIDE).all()
        assert (clipped.area <= boxes.area).all() and (clipped.sides >= 0).all()
        assert clipped.clip() == clipped
        inside = (boxes.xyxy >= 0).all(1) & (boxes.xyxy <= SIDE).all(1)
        assert clipped[inside] == boxes[inside]
        assert boxes.clip((SIDE // 2, 7)) == clipped.clip((SIDE // 2, 7))


@settings(deadline=None)
@given(some_boxes(), some_boxes())
def test_iou_is_torchvisions(one: Boxes, two: Boxes) -> None:
    iou = one.iou(two)
    assert iou.shape == (len(one), len(two)) and iou.dtype == np.float64
    assert ((iou >= 0) & (iou <= 1)).all()
    assert np.array_equal(iou, two.iou(one).T)
    theirs = box_iou(torch.from_numpy(one.xyxy), torch.from_numpy(two.xyxy)).numpy()
    np.testing.assert_allclose(iou, theirs, rtol=1e-12, atol=0)
    np.testing.assert_allclose(np.diag(one.iou(one)), 1, rtol=1e-9)


@settings(deadline=None)
@given(some_boxes(), st.data())
def test_parts_join_to_the_whole(boxes: Boxes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(boxes)))
    assert Boxes.join([boxes[:cut], boxes[cut:]]) == boxes
    mask = data.draw(arrays(np.bool_, len(boxes)))
    split = Boxes.join([boxes[mask], boxes[~mask]])
    order = np.argsort(~mask, kind="stable")
    assert split == boxes[order] and split[np.argsort(order)] == boxes
    assert Boxes.join([boxes, boxes.sized((1, 2))]).size == (0, 0)
