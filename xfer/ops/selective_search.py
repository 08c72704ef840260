"""Selective search: boxes that may hold an object, from a picture's own regions.

The picture is cut into small regions of one colour, which are merged step by step by how alike
they are; the box of every region that was there at some time is a proposal. Several ways of doing
so together find what one misses.

Source: Uijlings, van de Sande, Gevers, Smeulders, "Selective Search for Object Recognition",
IJCV 2013: "fast", that is HSV and Lab, k 50 and 100, the similarities colour + texture + size +
fill and texture + size + fill: eight runs.
Differs: the picture is shrunk to LONG_SIDE and the smallest region with it; boxes from a side of 8
pixels on are given, where R-CNN's have 20; no more than `most` are.
"""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import felzenszwalb

from xfer.ops.selective_search_grouping import group
from xfer.ops.selective_search_regions import colour_bins, describe, texture_bins

VERSION = 1  # of the result: boxes that are kept from another one are not used
LONG_SIDE = 400  # the picture's own where that is smaller; pixels
THRESHOLDS = (50, 100)  # Felzenszwalb's k; also the pixels of the smallest region
SIGMA = 0.8
SHORTEST = 8.0  # side of the smallest box, in the picture's own pixels
SPACES = (cv2.COLOR_RGB2HSV_FULL, cv2.COLOR_RGB2LAB)


def selective_search(image: NDArray[np.uint8], most: int = 2000) -> NDArray[np.float32]:
    """Boxes that may hold an object.

    Args:
        image: uint8 (H, W, 3) RGB, or (H, W) grey.
        most: boxes at most.

    Returns: float32 (R, 4), xyxy in the picture's pixels, whole numbers, right and bottom
        exclusive, none twice, best first: late merges of each run stand before early ones, with
        some chance (rank x random). The same picture gives the same boxes.
    """
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, 2)
    image = np.ascontiguousarray(image)
    height, width = image.shape[:2]
    factor = min(1.0, LONG_SIDE / max(height, width))
    small = image
    if factor < 1:
        size = max(1, round(width * factor)), max(1, round(height * factor))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    seen = [np.asarray(cv2.cvtColor(small, space), np.uint8) for space in SPACES]
    runs = [boxes for one in seen for boxes in _runs(one, factor)]
    scale = np.array([width, height] * 2) / ([small.shape[1], small.shape[0]] * 2)
    seed = hashlib.blake2b(image.tobytes(), digest_size=8).digest()
    chance = np.random.default_rng(int.from_bytes(seed, "little"))
    order = np.concatenate([np.arange(len(run), 0, -1) * chance.random(len(run)) for run in runs])
    boxes = np.concatenate(runs)[np.argsort(order, kind="stable")] * scale
    return _chosen(np.rint(boxes), min(SHORTEST, height, width), most)


def _runs(image: NDArray[np.uint8], factor: float) -> list[NDArray[np.float64]]:
    """The boxes of all runs in one colour space, uint8 (H, W, 3): in the order of the merges."""
    colour, texture = colour_bins(image), texture_bins(image)
    values = image / 255.0
    found: list[NDArray[np.float64]] = []
    for k in THRESHOLDS:
        least = max(1, round(k * factor**2))
        labels = felzenszwalb(values, scale=k, sigma=SIGMA, min_size=least, channel_axis=-1)
        regions = describe(labels, colour, texture)
        found += [group(regions, with_colour).boxes for with_colour in (True, False)]
    return found


def _chosen(boxes: NDArray[np.float64], shortest: float, most: int) -> NDArray[np.float32]:
    """The first of the boxes that are large enough, each once."""
    sides = boxes[:, 2:] - boxes[:, :2]
    boxes = boxes[(sides >= shortest).all(1)]
    _, first = np.unique(boxes, axis=0, return_index=True)
    return boxes[np.sort(first)[:most]].astype(np.float32)
