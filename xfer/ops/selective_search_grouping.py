"""Hierarchical grouping: merges the two most similar neighbours until one region is left."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xfer.ops.selective_search_regions import Regions


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Every region that existed at some step: R at the start, then one per merge.

    boxes   | float64 (2 R - 1, 4) | xyxy; the last is the whole picture
    parents | int64 (R - 1, 2)     | the two regions that were merged into region R + i
    """

    boxes: NDArray[np.float64]
    parents: NDArray[np.int64]


def group(regions: Regions, colour: bool) -> Hierarchy:
    """Merges the most similar pair of neighbours repeatedly.

    The similarity of two regions is the sum of four, each 0..1: colour and texture are the
    intersections of their histograms, size is 1 - the fraction of the picture that both cover, and
    fill is 1 - the fraction of the picture that their common box adds to them. A merged region's
    histogram is the mean of the two, weighted by size, so no pixel is read again.

    Args:
        regions: connected regions that cover the picture, as of a segmentation.
        colour: False leaves out the similarity by colour.

    Source: Uijlings 2013, sec. 3.1 and 3.2, algorithm 1.
    """
    many = len(regions.sizes)
    everything = 2 * many - 1
    start = regions.texture
    if colour:
        start = np.concatenate([regions.colour, start], 1)
    histograms = np.empty((everything, start.shape[1]), np.float32)
    histograms[:many] = start
    # columns: x1, y1, -x2, -y2, so that the common box of two is one minimum; and the size
    corners = np.empty((everything, 4))
    corners[:many] = regions.boxes * (1, 1, -1, -1)
    sizes = np.empty(everything)
    sizes[:many] = regions.sizes

    def similarity(one: NDArray[np.int64] | int, two: NDArray[np.int64]) -> NDArray[np.float64]:
        same = np.minimum(histograms[one], histograms[two]).sum(1)
        box = np.minimum(corners[one], corners[two])
        area = (box[:, 0] + box[:, 2]) * (box[:, 1] + box[:, 3])
        # size: 1 - both / pixels; fill: 1 - (area - both) / pixels; `both` cancels out
        return same + (2 - area / regions.pixels)

    neighbours: list[set[int]] = [set() for _ in range(many)]
    for a, b in regions.pairs.tolist():
        neighbours[a].add(b)
        neighbours[b].add(a)
    one, two = regions.pairs[:, 0], regions.pairs[:, 1]
    queue = list(zip((-similarity(one, two)).tolist(), one.tolist(), two.tolist(), strict=True))
    heapq.heapify(queue)
    alive = [True] * everything
    parents = np.empty((many - 1, 2), np.int64)
    for new in range(many, everything):
        _, a, b = heapq.heappop(queue)
        while not (alive[a] and alive[b]):
            _, a, b = heapq.heappop(queue)
        alive[a] = alive[b] = False
        parents[new - many] = a, b
        share = sizes[a] / (sizes[a] + sizes[b])
        histograms[new] = share * histograms[a] + (1 - share) * histograms[b]
        corners[new] = np.minimum(corners[a], corners[b])
        sizes[new] = sizes[a] + sizes[b]
        around = neighbours[a] | neighbours[b]
        around -= {a, b}
        neighbours.append(around)
        neighbours[a] = neighbours[b] = set()
        if not around:
            continue
        for n in around:
            neighbours[n] -= {a, b}
            neighbours[n].add(new)
        others = list(around)
        for value, n in zip((-similarity(new, np.array(others))).tolist(), others, strict=True):
            heapq.heappush(queue, (value, n, new))
    return Hierarchy(corners * (1, 1, -1, -1), parents)
