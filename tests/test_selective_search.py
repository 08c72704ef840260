"""Selective search: what it merges, what it finds, and that it is the same every time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from xfer.ops.grid import grid
from xfer.ops.selective_search import selective_search
from xfer.ops.selective_search_grouping import group
from xfer.ops.selective_search_regions import (
    Regions,
    colour_bins,
    describe,
    texture_bins,
    touching,
)
from xfer.proposals.recall import best_overlaps

RECTANGLES = np.array(
    [[20, 15, 90, 80], [120, 20, 190, 130], [30, 100, 100, 160], [210, 60, 280, 110]], float
)
COLOURS = ((200, 30, 30), (30, 160, 60), (40, 60, 200), (220, 200, 40))


def flat_rectangles(scale: int = 1) -> NDArray[np.uint8]:
    image = np.full((180 * scale, 300 * scale, 3), 128, np.uint8)
    for (x1, y1, x2, y2), colour in zip((RECTANGLES * scale).astype(int), COLOURS, strict=True):
        image[y1:y2, x1:x2] = colour
    return image


def some_regions(seed: int, height: int = 24, width: int = 30) -> tuple[NDArray[np.int64], Regions]:
    """Random blobs: each pixel belongs to the nearest of a few points."""
    draw = np.random.default_rng(seed)
    points = draw.uniform(0, (height, width), (int(draw.integers(1, 14)), 2))
    places = np.stack(np.meshgrid(range(height), range(width), indexing="ij"), -1)
    labels = ((places[:, :, None] - points) ** 2).sum(-1).argmin(-1)
    labels = np.unique(labels, return_inverse=True)[1].reshape(height, width)
    image = draw.integers(0, 256, (height, width, 3), np.uint8)
    return labels, describe(labels, colour_bins(image), texture_bins(image))


def members(parents: NDArray[np.int64], start: int) -> list[set[int]]:
    """The first regions that each region is made of."""
    found = [{i} for i in range(start)]
    for a, b in parents.tolist():
        found.append(found[a] | found[b])
    return found


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_hierarchy_ends_in_the_whole_picture_and_every_box_is_its_pixels_own(
    seed: int, colour: bool
) -> None:
    labels, regions = some_regions(seed)
    count = len(regions.sizes)
    tree = group(regions, colour)
    assert tree.boxes.shape == (2 * count - 1, 4)
    assert sorted(tree.parents.ravel().tolist()) == list(range(2 * count - 2))  # each is used once
    parts = members(tree.parents, count)
    assert parts[-1] == set(range(count))
    for region, box in zip(parts, tree.boxes.tolist(), strict=True):
        ys, xs = np.nonzero(np.isin(labels, list(region)))
        assert box == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_each_merge_is_of_the_most_similar_neighbours(seed: int) -> None:
    labels, regions = some_regions(seed)
    tree = group(regions, colour=True)
    count, pixels = len(regions.sizes), labels.size
    parts = members(tree.parents, count)
    sizes = np.array([sum(regions.sizes[i] for i in part) for part in parts])

    def mean(table: NDArray[np.float32], region: int) -> NDArray[np.float64]:
        inside = list(parts[region])
        return (table[inside] * regions.sizes[inside, None]).sum(0) / sizes[region]

    def similarity(a: int, b: int) -> float:
        same = sum(
            np.minimum(mean(table, a), mean(table, b)).sum()
            for table in (regions.colour, regions.texture)
        )
        low = np.minimum(tree.boxes[a, :2], tree.boxes[b, :2])
        high = np.maximum(tree.boxes[a, 2:], tree.boxes[b, 2:])
        both = sizes[a] + sizes[b]
        return same + (1 - both / pixels) + (1 - ((high - low).prod() - both) / pixels)

    alive = set(range(count))
    pairs = set(map(tuple, regions.pairs.tolist()))
    for new, (a, b) in enumerate(tree.parents.tolist(), start=count):
        best = max(
            similarity(i, j)
            for i in alive
            for j in alive
            if i < j and any((min(p, q), max(p, q)) in pairs for p in parts[i] for q in parts[j])
        )
        assert similarity(a, b) == pytest.approx(best, abs=1e-5)
        alive = (alive - {a, b}) | {new}


def test_histograms_are_shares_and_sizes_are_pixels() -> None:
    labels, regions = some_regions(5)
    np.testing.assert_allclose(regions.colour.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(regions.texture.sum(1), 1, rtol=1e-5)
    assert regions.colour.shape[1] == 75
    assert regions.texture.shape[1] == 240
    assert regions.sizes.tolist() == np.bincount(labels.ravel()).tolist()


def test_touching_regions_are_those_side_by_side_or_above_each_other() -> None:
    labels = np.array([[0, 0, 1], [2, 2, 1], [3, 4, 4]])
    assert touching(labels).tolist() == [[0, 1], [0, 2], [1, 2], [1, 4], [2, 3], [2, 4], [3, 4]]


def test_texture_sees_an_edge_in_its_direction_only() -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    image[:, 10:] = 255  # brighter to the right
    bins = texture_bins(image)[10, 10].reshape(8, 3)
    # +x -x, the diagonal and its opposite, +y -y, the other diagonal and its opposite
    assert bins[:, 0].tolist() == [9, 0, 7, 0, 0, 0, 0, 7]


@pytest.mark.parametrize("scale", [1, 2])
def test_flat_rectangles_are_found(scale: int) -> None:
    boxes = selective_search(flat_rectangles(scale))
    best = best_overlaps(boxes, RECTANGLES * scale, np.array([len(boxes)]))
    assert (best > 0.9).all()


@pytest.fixture(scope="module")
def noisy() -> NDArray[np.uint8]:
    draw = np.random.default_rng(0)
    noise = draw.normal(0, 25, (180, 300, 3))
    return np.clip(flat_rectangles() + noise, 0, 255).astype(np.uint8)


def test_boxes_are_whole_inside_different_and_no_smaller_than_said(
    noisy: NDArray[np.uint8],
) -> None:
    boxes = selective_search(noisy)
    assert boxes.dtype == np.float32
    assert (boxes == np.rint(boxes)).all()
    assert (
        (boxes >= 0).all() and (boxes[:, [0, 2]] <= 300).all() and (boxes[:, [1, 3]] <= 180).all()
    )
    assert ((boxes[:, 2:] - boxes[:, :2]) >= 8).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    assert [0, 0, 300, 180] in boxes.tolist()


def test_the_same_picture_gives_the_same_boxes_and_fewer_are_the_first(
    noisy: NDArray[np.uint8],
) -> None:
    boxes = selective_search(noisy)
    assert len(boxes) > 20
    np.testing.assert_array_equal(boxes, selective_search(noisy.copy()))
    np.testing.assert_array_equal(boxes[:20], selective_search(noisy, max_boxes=20))


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 3), (7, 500), (64, 64)], ids=str)
@pytest.mark.parametrize("value", [0, 255])
def test_a_picture_of_one_colour_is_one_box(shape: tuple[int, int], value: int) -> None:
    image = np.full((*shape, 3), value, np.uint8)
    assert selective_search(image).tolist() == [[0, 0, shape[1], shape[0]]]


def test_grey_pictures_are_taken_with_and_without_channels() -> None:
    grey = flat_rectangles().mean(2).astype(np.uint8)
    boxes = selective_search(grey)
    np.testing.assert_array_equal(boxes, selective_search(np.repeat(grey[..., None], 3, 2)))
    best = best_overlaps(boxes, RECTANGLES, np.array([len(boxes)]))
    assert (best > 0.9).all()


@given(st.integers(1, 700), st.integers(1, 700), st.integers(1, 3000))
@settings(max_examples=60, deadline=None)
def test_a_grid_stays_inside_and_within_its_number(height: int, width: int, most: int) -> None:
    boxes = grid(height, width, most)
    assert 1 <= len(boxes) <= most
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert boxes[0].tolist() == [0, 0, width, height]


def test_a_grid_uses_most_of_what_it_may() -> None:
    for most in (100, 1000, 5000):
        assert len(grid(375, 500, most)) > 0.7 * most
