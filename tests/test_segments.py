"""Segments of a picture: maps and tables, ids, relabelling, boxes, and drawings as COCO's PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from xfer.drawing.segments import save_panoptic, segment_ids
from xfer.errors import DataError
from xfer.objects.segments import VOID, Segments

S, C = 4, 3
MAPS = hnp.arrays(np.int32, st.tuples(st.integers(1, 12), st.integers(1, 12)),
                  elements=st.integers(-1, S - 1))  # fmt: skip
LABELS = hnp.arrays(np.int64, S, elements=st.integers(0, C - 1))


@settings(max_examples=40, deadline=None)
@given(MAPS, LABELS)
def test_ids_and_rows_of_a_table_say_the_same(map: NDArray[np.int32], labels: NDArray) -> None:
    ids = np.append([7, 90, 3, 4000], 0)[map]
    known = {key: (int(c), False) for key, c in zip((7, 90, 3, 4000), labels, strict=True)}
    found = Segments.from_ids(ids, known)
    assert found == Segments.of(map, labels)
    assert np.array_equal(found.classes(), np.append(labels, 255)[map])


@settings(max_examples=40, deadline=None)
@given(MAPS, LABELS)
def test_boxes_are_tight_and_areas_are_pixels(map: NDArray[np.int32], labels: NDArray) -> None:
    segments = Segments.of(map, labels)
    for k, (x1, y1, x2, y2) in enumerate(segments.boxes().tolist()):
        rows, columns = np.nonzero(map == k)
        assert segments.areas()[k] == len(rows)
        if len(rows):
            tight = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            assert (x1, y1, x2, y2) == tight
    assert len(segments.as_boxes()) == len(np.unique(map[map >= 0]))


@settings(max_examples=40, deadline=None)
@given(MAPS, LABELS)
def test_a_class_that_the_model_does_not_know_becomes_void(map: NDArray, labels: NDArray) -> None:
    segments = Segments.of(map, labels, labels == 1)
    table = np.array([2, -1, 0])
    moved = segments.relabelled(table)
    expected = np.array([2, 255, 0, 255], np.uint8)[np.append(labels, 3)[map]]
    assert np.array_equal(moved.classes(), expected)
    assert not moved.crowd.any() and len(moved) == int((labels != 1).sum())


def test_an_unknown_id_and_a_map_that_does_not_fit_are_named() -> None:
    with pytest.raises(DataError, match="no segment has the id 9"):
        Segments.from_ids(np.array([[0, 9]]), {1: (0, False)})
    with pytest.raises(DataError, match="the map holds -1 to 2, for 1 segments"):
        Segments.of([[0, 2, VOID]], [0])


def test_a_png_holds_an_id_of_its_own_for_each_segment(tmp_path: Path) -> None:
    map = np.arange(36, dtype=np.int32).reshape(6, 6) - 1
    segments = Segments.of(map, np.zeros(35, int))  # of one class, whose shades come again
    ids = segment_ids(segments)
    assert len(set(ids.tolist())) == 35 and ids.min() > 0
    save_panoptic(segments, tmp_path / "a.png")
    red, green, blue = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int).T
    read = (red + 256 * green + 65536 * blue).T
    assert np.array_equal(read, np.append(ids, 0)[map])
