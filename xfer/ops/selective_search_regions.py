"""Regions of a picture as selective search compares them: histograms, sizes, boxes, neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

COLOUR_BINS = 25  # per channel
TEXTURE_BINS = 10  # per direction and channel
DIRECTIONS = 8
TEXTURE_SIGMA = 1.0


@dataclass(frozen=True, slots=True)
class Regions:
    """The R regions that a picture starts with.

    colour  | float32 (R, 75)  | 25 bins per channel, each row's sum 1
    texture | float32 (R, 240) | 10 bins for 8 directions of 3 channels, each row's sum 1
    sizes   | float64 (R,)     | pixels
    boxes   | float64 (R, 4)   | xyxy, right and bottom exclusive
    pairs   | int64 (P, 2)     | regions that touch, the smaller number first, each pair once
    pixels  | number in the whole picture
    """

    colour: NDArray[np.float32]
    texture: NDArray[np.float32]
    sizes: NDArray[np.float64]
    boxes: NDArray[np.float64]
    pairs: NDArray[np.int64]
    pixels: int


def describe(
    labels: NDArray[np.int64], colour: NDArray[np.uint8], texture: NDArray[np.uint8]
) -> Regions:
    """Measures the regions of a segmentation.

    Args:
        labels: int64 (H, W), the region of each pixel, 0 .. R-1, none empty.
        colour: uint8 (H, W, 3), of `colour_bins`.
        texture: uint8 (H, W, 24), of `texture_bins`.
    """
    count = int(labels.max()) + 1
    return Regions(
        _histograms(labels, colour, COLOUR_BINS, count),
        _histograms(labels, texture, TEXTURE_BINS, count),
        np.bincount(labels.ravel(), minlength=count).astype(np.float64),
        _boxes(labels),
        touching(labels),
        labels.size,
    )


def colour_bins(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The bin of each value, uint8 (H, W, 3) -> the same shape, 0 .. 24."""
    table = (np.arange(256) * COLOUR_BINS // 256).astype(np.uint8)
    return table[image]


def texture_bins(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Gaussian derivatives in 8 directions, in 10 bins: uint8 (H, W, 3) -> (H, W, 24).

    A derivative in any direction is a sum of those along x and y, and the one in the opposite
    direction is its negative: one of each pair is positive and counted, the other is in bin 0.
    The bins extend to the largest derivative of the channel.
    """
    values = image.astype(np.float32)
    smooth_y, smooth_x = (ndimage.gaussian_filter1d(values, TEXTURE_SIGMA, a) for a in (0, 1))
    dx = ndimage.gaussian_filter1d(smooth_y, TEXTURE_SIGMA, 1, order=1)
    dy = ndimage.gaussian_filter1d(smooth_x, TEXTURE_SIGMA, 0, order=1)
    half = np.float32(np.sqrt(0.5))
    bins: list[NDArray[np.uint8]] = []
    four = (dx, half * (dx + dy), dy, half * (dy - dx))
    largest = np.max([np.abs(d).max((0, 1)) for d in four], 0)
    scale = (TEXTURE_BINS / np.maximum(largest, 1e-6)).astype(np.float32)
    for one in four:
        signed = one * scale
        for sign in (1, -1):
            bins.append(np.clip(sign * signed, 0, TEXTURE_BINS - 1).astype(np.uint8))
    return np.concatenate(bins, 2)


def touching(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs of regions with pixels side by side or one above the other, int64 (P, 2), sorted."""
    count = int(labels.max()) + 1
    codes: list[NDArray[np.int64]] = []
    for one, two in ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])):
        differ = one != two
        a, b = one[differ], two[differ]
        codes.append(np.minimum(a, b) * count + np.maximum(a, b))
    pairs = np.unique(np.concatenate(codes))
    return np.stack([pairs // count, pairs % count], 1)


def _boxes(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    slices = ndimage.find_objects(labels + 1)
    boxes = [(x.start, y.start, x.stop, y.stop) for y, x in slices]
    return np.array(boxes, np.float64).reshape(-1, 4)


def _histograms(
    labels: NDArray[np.int64], binned: NDArray[np.uint8], bins: int, count: int
) -> NDArray[np.float32]:
    """float32 (count, channels x bins) of the values in each region, each row's sum 1."""
    channels = binned.shape[2]
    first = labels.astype(np.int32)[..., None] * np.int32(channels * bins)
    index = first + np.arange(0, channels * bins, bins, dtype=np.int32) + binned
    counts = np.bincount(index.ravel(), minlength=count * channels * bins)
    table = counts.reshape(count, channels * bins).astype(np.float32)
    return table / table.sum(1, keepdims=True)
