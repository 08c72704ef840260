"""Segmentations of COCO as masks: polygons, both forms of RLE, and what is none."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from xfer.data.images.decode import DecodeError
from xfer.data.readers.coco.json import read_coco_json
from xfer.data.readers.coco.polygons import render
from xfer.data.readers.coco.segment import draw_objects
from xfer.errors import DataError


def runs(mask: np.ndarray) -> list[int]:
    """Plain RLE: by column, zeros first."""
    flat = mask.ravel(order="F").astype(int)
    ends = np.flatnonzero(np.diff(flat, prepend=0)).tolist()
    return np.diff([0, *ends, len(flat)]).tolist()


@given(st.integers(1, 12), st.integers(1, 12), st.randoms())
def test_both_forms_of_rle_give_the_mask(height: int, width: int, random: Any) -> None:
    mask = np.array([[random.random() < 0.4 for _ in range(width)] for _ in range(height)])
    plain = {"size": [height, width], "counts": runs(mask)}
    packed: Any = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    text = {"size": [height, width], "counts": packed["counts"].decode()}
    assert np.array_equal(render(plain, height, width), mask)
    assert np.array_equal(render(text, height, width), mask)


def test_polygons_are_joined_and_odd_ones_left_out() -> None:
    one, two = [1, 1, 5, 1, 5, 5, 1, 5], [6, 6, 9, 6, 9, 9, 6, 9]
    both = render([one, two], 10, 10)
    assert np.array_equal(both, render([one], 10, 10) | render([two], 10, 10)) and both.sum() == 25
    assert np.array_equal(render([[0, 0, 3, 3], one, [1, 2, 3, 4, 5, 6, 7]], 10, 10),
                          render([one], 10, 10))  # fmt: skip


@pytest.mark.parametrize("nothing", [None, [], [[]], [[1, 2, 3, 4]]])
def test_nothing_is_an_empty_mask(nothing: Any) -> None:
    assert render(nothing, 4, 5).shape == (4, 5) and not render(nothing, 4, 5).any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": [4, 4], "counts": [20]},
        {"size": [4, 5], "counts": [21]},
        {"size": [4, 5], "counts": [-1, 21]},
        {"size": [4, 5], "counts": [10, "10"]},
        {"size": [4, 5], "counts": "zzzz"},
        {"size": [4, 5], "counts": "\u00ff"},
        {"size": [4, 5], "counts": ""},
        {"size": [4, 5]},
        {"counts": [20]},
        [["a", 1, 2, 3, 4, 5]],
        [[1, 2, float("nan"), 4, 5, 6]],
        [1, 2, 3],
        "polygon",
    ],
)
def test_what_does_not_fit_is_refused(wrong: Any) -> None:
    with pytest.raises(DataError):
        render(wrong, 4, 5)


@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=20))
def test_any_text_is_a_mask_or_refused(text: str) -> None:
    with contextlib.suppress(DataError):
        assert render({"size": [4, 5], "counts": text}, 4, 5).shape == (4, 5)


@pytest.mark.data
def test_what_is_far_larger_than_a_picture_is_not_drawn() -> None:
    far = [0, 0, 1e9, 0, 1e9, 5, 0, 5]
    for polygon in (far, [v + 1e9 for v in (0, 0, 5, 0, 5, 5)], [0, 0, 4e6, 0, 4e6, 3e6]):
        with pytest.raises(DataError, match="far beyond its picture"):
            render([polygon], 10, 10)
    with pytest.raises(DataError, match="compressed RLE is damaged"):
        render({"size": [10, 10], "counts": "o" * 100_000 + "0"}, 10, 10)
    with pytest.raises(DecodeError, match="million pixels"):
        draw_objects([], 1 << 20, 1 << 20)


def test_areas_of_coco_mini_are_those_of_its_masks(picture_data: Path) -> None:
    file = picture_data / "coco-mini" / "annotations" / "instances_val2017.json"
    table = read_coco_json(file, masks=True)
    assert len(table.segmentations) == len(table.areas) == len(json.loads(file.read_text())[
        "annotations"])  # fmt: skip
    checked = 0
    for k in np.flatnonzero(~table.crowd)[:40].tolist():
        height, width = table.sizes[table.picture[k]].tolist()
        mask = render(table.segmentations[k], height, width)
        if mask.any():
            assert mask.sum() == table.areas[k]
            checked += 1
    assert checked > 20
