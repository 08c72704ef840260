"""Selective search: boxes that may hold an object, from a picture's own regions.

The picture is cut into small regions of one colour, which are merged step by step by similarity;
the box of every region that existed at some step is a proposal. Several variants together find
what one misses.

Source: Uijlings, van de Sande, Gevers, Smeulders, "Selective Search for Object Recognition",
IJCV 2013: "fast", that is HSV and Lab, k 50 and 100, the similarities colour + texture + size +
fill and texture + size + fill: eight runs.
Differs: the picture is shrunk to LONG_SIDE and the smallest region with it; boxes have sides of at
least 8 pixels, where R-CNN's have 20; at most `max_boxes` are returned.
"""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import felzenszwalb

from xfer.ops.selective_search_grouping import group
from xfer.ops.selective_search_regions import colour_bins, describe, texture_bins

VERSION = 1  # of the results: cached boxes of another version are not used
LONG_SIDE = 400  # or the picture's own if it is smaller; pixels
THRESHOLDS = (50, 100)  # Felzenszwalb's k; also the pixels of the smallest region
SIGMA = 0.8
SHORTEST = 8.0  # side of the smallest box, in the picture's own pixels
SPACES = (cv2.COLOR_RGB2HSV_FULL, cv2.COLOR_RGB2LAB)


def selective_search(image: NDArray[np.uint8], max_boxes: int = 2000) -> NDArray[np.float32]:
    """Boxes that may hold an object.

    Args:
        image: uint8 (H, W, 3) RGB, or (H, W) grey.
        max_boxes: maximum number of boxes.

    Returns: float32 (R, 4), xyxy in the picture's pixels, whole numbers, right and bottom
        exclusive, no duplicates, best first: late merges of each run come before early ones, partly
        at random (rank x random). The same picture gives the same boxes.
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
    return _chosen(np.rint(boxes), min(SHORTEST, height, width), max_boxes)


def _runs(image: NDArray[np.uint8], factor: float) -> list[NDArray[np.float64]]:
    """The boxes of all runs in one colour space, uint8 (H, W, 3), in the order of the merges."""
    colour, texture = colour_bins(image), texture_bins(image)
    values = image / 255.0
    boxes: list[NDArray[np.float64]] = []
    for k in THRESHOLDS:
        min_size = max(1, round(k * factor**2))
        labels = felzenszwalb(values, scale=k, sigma=SIGMA, min_size=min_size, channel_axis=-1)
        regions = describe(labels, colour, texture)
        boxes += [group(regions, with_colour).boxes for with_colour in (True, False)]
    return boxes


def _chosen(boxes: NDArray[np.float64], shortest: float, max_boxes: int) -> NDArray[np.float32]:
    """The first boxes that are large enough, without duplicates."""
    sides = boxes[:, 2:] - boxes[:, :2]
    boxes = boxes[(sides >= shortest).all(1)]
    _, first = np.unique(boxes, axis=0, return_index=True)
    return boxes[np.sort(first)[:max_boxes]].astype(np.float32)
