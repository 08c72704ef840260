"""Boxes and masks that `xfer data check` finds odd."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xfer.boxes import Boxes
from xfer.data.sources.boxes import BoxSource, box_table
from xfer.kinds.box_sizes import find_odd_sizes
from xfer.kinds.mask_regions import odd_regions
from xfer.types import DataInfo

CLASSES = ("ant", "bee")


def found(rows: list[tuple[int, list[float]]]) -> dict[str, tuple[tuple[str, ...], ...]]:
    """What is found among boxes of (class, xyxy), one per picture of 200 x 200."""
    boxes = Boxes.of(np.array([row[1] for row in rows], float), np.array([row[0] for row in rows]))
    table = box_table(np.arange(len(rows)), boxes, np.full((len(rows), 2), 200))
    info = DataInfo("made", "detect", CLASSES)
    source = BoxSource(info, Path(), [f"{i}.jpg" for i in range(len(rows))], table)
    return {f.check: f.items for f in find_odd_sizes({"train": source}, CLASSES)}


def usual(count: int = 30, side: float = 24) -> list[tuple[int, list[float]]]:
    rng = np.random.default_rng(0)
    sides = side * np.exp(rng.normal(0, 0.2, count))
    return [(0, [5.0, 5.0, 5 + s, 5 + s]) for s in sides.tolist()]


def test_boxes_of_usual_sizes() -> None:
    assert found(usual()) == {}
    assert found([(0, [0.0, 0, 200, 200])] * 30) == {}  # a class that fills pictures by nature


@pytest.mark.parametrize(
    ("box", "check"),
    [
        ([10.0, 10, 12, 60], "tiny_box"),
        ([0.0, 0, 200, 199], "huge_box"),
        ([0.0, 0, 130, 140], "unlike_box"),
        ([9.0, 9, 13.5, 13.5], "unlike_box"),
    ],
)
def test_one_odd_box(box: list[float], check: str) -> None:
    assert found([*usual(), (0, box)]) == {check: (("30.jpg",),)}


def test_few_boxes_say_nothing_of_their_class() -> None:
    assert found([*usual(), (1, [0.0, 0, 130, 140]), (1, [0.0, 0, 9, 9])]) == {}


def disc(radius: int = 20, side: int = 80) -> np.ndarray:
    y, x = np.ogrid[:side, :side]
    return ((y - side // 2) ** 2 + (x - side // 2) ** 2 <= radius**2).astype(np.uint8)


def test_whole_regions_are_in_order() -> None:
    assert odd_regions(disc()) == []
    assert odd_regions(np.zeros((30, 30), np.uint8)) == []
    half = np.zeros((40, 40), np.uint8)
    half[:, 38:] = 1  # a region that the edge of the picture cuts
    half[:8, :] = 2
    assert odd_regions(half) == []


def test_a_hole_a_speck_and_a_sliver() -> None:
    hole = disc()
    hole[38:41, 38:41] = 0
    assert odd_regions(hole) == ["hole"]
    speck = disc()
    speck[0, 0] = 2
    assert odd_regions(speck) == ["speck"]
    sliver = disc()
    sliver[5:7, 10:60] = 2
    assert odd_regions(sliver) == ["sliver"]


def test_ignored_pixels_are_no_regions() -> None:
    mask = disc()
    mask[38:41, 38:41] = 255
    mask[3, 3] = 255
    assert odd_regions(mask) == []


@pytest.mark.parametrize("turns", range(4))
def test_a_turned_mask_is_as_odd(turns: int) -> None:
    mask = disc()
    mask[30:33, 44:46] = 0
    mask[2:4, 20:50] = 3
    assert sorted(odd_regions(np.rot90(mask, turns).copy())) == ["hole", "sliver"]


def test_texture_is_not_odd() -> None:
    texture = np.zeros((60, 60), np.uint8)
    texture[::4, ::5] = 1
    assert odd_regions(texture) == []
