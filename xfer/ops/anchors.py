"""Boxes that a proposal network starts from: sizes fitted to data, positions from a map's
geometry."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfer.types import FeatureSpec

ROUNDS = 50


def fit_sizes(sizes: NDArray[np.float64], count: int, seed: int = 0) -> NDArray[np.float64]:
    """The `count` widths and heights that training boxes overlap best, by k-means.

    Args:
        sizes: (R, 2) width, height in the pixels that the net sees.
        count: number of anchors; fewer are returned if there are fewer different sizes.

    Returns: (K, 2), by increasing area.
    Source: Redmon and Farhadi 2017 (YOLO9000), sec. 2, distance 1 - IoU of boxes with a common
        centre.  Differs: means are of logs, like the net's offsets; starts are spread evenly over
        the logs of areas instead of drawn.
    """
    sizes = np.maximum(np.asarray(sizes, np.float64), 1.0)
    count = min(count, len(np.unique(np.round(sizes, 1), axis=0)))
    if count == 0:
        return np.zeros((0, 2))
    areas = np.log(sizes.prod(1))
    # outliers (one pixel, the whole picture) get no anchor of their own
    low, high = np.quantile(areas, (0.01, 0.99))
    wanted = np.linspace(low, high, count)
    means = sizes[np.abs(areas[:, None] - wanted).argmin(0)]
    before = np.full(len(sizes), -1)
    rng = np.random.default_rng(seed)
    for _ in range(ROUNDS):
        nearest = _overlap(sizes, means).argmax(1)
        if np.array_equal(nearest, before):
            break
        before = nearest
        for k in range(count):
            group = sizes[nearest == k]
            # a mean without boxes restarts at a random box
            means[k] = (
                np.exp(np.log(group).mean(0)) if len(group) else sizes[rng.integers(len(sizes))]
            )
    return means[np.argsort(means.prod(1), kind="stable")]


def plain_sizes(short: int, count: int) -> NDArray[np.float64]:
    """Anchors without data: squares, and boxes twice as tall or wide, (count, 2).

    Args: short: side of the picture; anchors go from an eighth of it to all of it.
    """
    areas = np.geomspace(short / 8, short, max(1, -(-count // 3))) ** 2
    shapes = [[(a * r) ** 0.5, (a / r) ** 0.5] for a in areas for r in (1.0, 0.5, 2.0)]
    return np.array(shapes, np.float64).reshape(-1, 2)[:count]


def _overlap(sizes: NDArray[np.float64], means: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of boxes with a common centre: (R, 2), (K, 2) -> (R, K)."""
    inside = np.minimum(sizes[:, None], means[None]).prod(2)
    return inside / (sizes.prod(1)[:, None] + means.prod(1)[None] - inside)


def best_overlap(sizes: NDArray[np.float64], means: NDArray[np.float64]) -> float:
    """Mean over boxes of the IoU with their best anchor, 0..1."""
    return float(_overlap(sizes, means).max(1).mean()) if len(sizes) and len(means) else 0.0


def grid_anchors(spec: FeatureSpec, grid: tuple[int, int], sizes: Tensor) -> Tensor:
    """Anchors of every size at every cell of a map, centred on the cell's centre.

    Args:
        spec: the map's stride and offset; grid: its rows and columns; sizes: (K, 2) width, height.

    Returns: (rows * columns * K, 4) xyxy, sizes changing fastest: the order of a (N, h, w, K)
        prediction.
    """
    half = torch.cat([-sizes, sizes], 1) / 2
    # boxes are measured by their edges, so the centre of pixel p is at p + 1/2
    rows, columns = (
        torch.arange(n, device=sizes.device) * spec.stride + spec.offset + 0.5 for n in grid
    )
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    centres = torch.stack([x, y, x, y], -1).view(-1, 1, 4)
    return (centres + half).reshape(-1, 4).to(sizes.dtype)
