"""Regions of a mask that nobody draws on purpose: specks, holes and slivers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.types import IGNORE

SPECK = 4  # pixels: a region this small is a speck
HOLE = 16  # pixels: a region of the mask's commonest class this small, within another, is a hole
SLIVER = 24  # pixels: a region at least this large without an inner pixel is a sliver
TEXTURE = 2  # more odd regions than this many times the others are the mask's texture


def odd_regions(mask: NDArray[np.uint8]) -> list[str]:
    """Which of "speck", "hole" and "sliver" a mask has a few of.

    Args: mask: uint8 (H, W) of class indices, 255 = ignore.

    A speck has at most SPECK pixels. A hole has at most HOLE, is of the mask's commonest class, and
    all its neighbours are of another one. A sliver is nowhere three pixels wide, without being
    short. Ignored pixels are no region. In a mask of many such regions they are its texture, and
    nothing is said.
    """
    from scipy.ndimage import binary_dilation, find_objects, label

    odd = {"speck": 0, "hole": 0, "sliver": 0}
    large = 0
    inner = _inner(mask)
    commonest = int(np.bincount(mask.ravel(), minlength=IGNORE + 1)[:IGNORE].argmax())
    for value in np.unique(mask).tolist():
        if value == IGNORE:
            continue
        found: Any = label(mask == value, np.ones((3, 3)))
        regions, count = found
        sizes = np.bincount(regions.ravel(), minlength=count + 1)
        solid = np.bincount(regions.ravel(), inner.ravel(), minlength=count + 1)
        places = find_objects(regions)
        for number in range(1, count + 1):
            size = int(sizes[number])
            if size > HOLE:
                large += 1
                odd["sliver"] += size >= SLIVER and solid[number] == 0
                continue
            rows, columns = places[number - 1]
            around = (
                slice(max(rows.start - 1, 0), rows.stop + 1),
                slice(max(columns.start - 1, 0), columns.stop + 1),
            )
            own = regions[around] == number
            near = mask[around][binary_dilation(own, np.ones((3, 3))) & ~own]
            inside = _away_from_edge(around, mask.shape) and len(np.unique(near)) == 1
            if inside and value == commonest and near[0] != IGNORE:
                odd["hole"] += 1
            elif size <= SPECK:
                odd["speck"] += 1
    return [what for what, n in odd.items() if 0 < n <= TEXTURE * large]


def _away_from_edge(around: tuple[slice, slice], shape: tuple[int, ...]) -> bool:
    """Whether the surroundings of a region were not cut by the picture's edge."""
    return all(
        side.start > 0 and side.stop < length for side, length in zip(around, shape, strict=True)
    )


def _inner(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """bool (H, W): pixels in the middle of 3 x 3 of one class; beyond the edge all are alike."""
    wide = np.pad(mask, 1, mode="edge")
    same = np.ones(mask.shape, bool)
    height, width = mask.shape
    for dy in range(3):
        for dx in range(3):
            same &= wide[dy : dy + height, dx : dx + width] == mask
    return same
