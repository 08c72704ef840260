"""Crops, scales and mirror images: uint8 in, uint8 out, on the processor's hot path.

Shrinking averages areas (cv2's INTER_AREA), which like torchvision's antialiased bilinear keeps
fine patterns from folding into coarse ones; enlarging is bilinear. tests/test_data_transforms.py
states how far the two are apart.
"""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def resize(image: Image, width: int, height: int) -> Image:
    """To exactly this size; areas are averaged where it shrinks, else bilinear."""
    h, w = image.shape[:2]
    if (w, h) == (width, height):
        return image
    shrinks = width < w or height < h
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), np.uint8)


class TrainTransform:
    """A random part of the picture, scaled to `size`, perhaps mirrored, perhaps altered.

    Args:
        size: side of the result, pixels.
        area: share of the picture that the part covers, drawn evenly between these.
        ratio: width over height of the part, drawn evenly on a log scale.
        flip: mirror every second picture.
        augment: none: the centre crop of evaluation, no chance at all;
            light: parts of at least 0.7 of the picture; standard: as `area` says;
            strong: also colours, blur, rotation and erasing (see albu.py).

    Source: the random part is that of Szegedy et al. 2015, sec. 6, as torchvision draws it.
    """

    def __init__(
        self,
        size: int,
        area: tuple[float, float] = (0.35, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: bool = True,
        augment: Literal["none", "light", "standard", "strong"] | str = "standard",
    ) -> None:
        self.size, self.ratio, self.flip, self.augment = size, ratio, flip, augment
        self.area = (max(area[0], 0.7), max(area[1], 0.7)) if augment == "light" else area
        self.whole = EvalTransform(size, round(size * 8 / 7))

    def __call__(self, image: Image, rng: np.random.Generator) -> Image:
        """uint8 (H, W, 3) -> uint8 (size, size, 3)."""
        if self.augment == "none":
            return self.whole(image, rng)
        x, y, w, h = self._part(image.shape[1], image.shape[0], rng)
        part = resize(image[y : y + h, x : x + w], self.size, self.size)
        if self.flip and rng.random() < 0.5:
            part = part[:, ::-1]
        if self.augment == "strong":
            from xfer.data.albu import strong

            part = strong(part, rng)
        return part

    def _part(self, width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        for _ in range(10):
            area = width * height * rng.uniform(*self.area)
            ratio = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
                return x, y, w, h
        # a picture too long for any such part: the largest one in the middle that is allowed
        w = min(width, max(1, round(height * self.ratio[1])))
        h = min(height, max(1, round(width / self.ratio[0])))
        return (width - w) // 2, (height - h) // 2, w, h


class EvalTransform:
    """The short side to `resize`, then the centre `size` x `size`, or ten such crops.

    Args:
        size: side of a crop; resize: the picture's short side before it; both in pixels.
        crops: centre, or 10crop: four corners and centre, then their mirror images
            (Krizhevsky et al. 2012, sec. 4.1).
    """

    def __init__(
        self, size: int, resize: int, crops: Literal["centre", "10crop"] = "centre"
    ) -> None:
        self.size, self.resize, self.crops = size, max(size, resize), crops

    def __call__(self, image: Image, rng: np.random.Generator | None = None) -> Image:
        """uint8 (H, W, 3) -> uint8 (size, size, 3), or (10, size, size, 3)."""
        h, w = image.shape[:2]
        scale = self.resize / min(h, w)
        # rounded as torchvision does: the long side's fraction is cut off
        width = self.resize if w <= h else int(self.resize * w / h)
        height = self.resize if h <= w else int(self.resize * h / w)
        scaled = resize(image, width, height) if scale != 1 else image
        bottom, right = height - self.size, width - self.size
        middle = (round(bottom / 2), round(right / 2))
        if self.crops == "centre":
            return self._crop(scaled, *middle)
        corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), middle]
        views = [self._crop(scaled, y, x) for y, x in corners]
        return np.stack([*views, *(view[:, ::-1] for view in views)])

    def _crop(self, image: Image, y: int, x: int) -> Image:
        return image[y : y + self.size, x : x + self.size]
