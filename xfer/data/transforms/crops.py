"""Crop, scale and mirror pictures: uint8 in, uint8 out, the hot path of reading pictures.

A training crop is cut before it is scaled, so that only its own pixels are touched. Scaling is
torchvision's antialiased bilinear, but plain bilinear if no side shrinks by more than MILD: twice
as fast, and within the tolerance that tests/test_data_transforms.py states.
"""

from __future__ import annotations

import math
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from xfer.data.transforms.colour import jitter
from xfer.errors import XferError

Image = NDArray[np.uint8]
POLICIES = ("none", "light", "standard", "strong")


# up to this factor, the two pixels of bilinear cover nearly all that antialiasing would
MILD = 1.25


def resize(image: Image, width: int, height: int, out: Image | None = None) -> Image:
    """Returns a picture (H, W, 3) at exactly this size, antialiased in each direction that shrinks.

    Args: out: an array that the result may be written to; unused if the size does not change.

    On processors with AVX2, torch's kernel takes 0.4 of the time of cv2's INTER_AREA.
    """
    h, w = image.shape[:2]
    if (width, height) == (w, h):
        return image
    if w <= MILD * width and h <= MILD * height:
        return np.asarray(cv2.resize(image, (width, height), dst=out), np.uint8)
    import torch.nn.functional as F  # here, so that looking at data needs no torch
    from torch import from_numpy

    pixels = from_numpy(_writable(image))
    row, pixel, channel = pixels.stride()
    # with a batch stride in front, or torch takes the pixels for NCHW: 2.5 times as slow
    batch = pixels.as_strided((1, 3, h, w), (h * row, channel, row, pixel))
    done = F.interpolate(batch, (height, width), mode="bilinear", antialias=True)
    return done[0].permute(1, 2, 0).numpy()


class _Pixels:
    """Numpy's array interface of a picture; keeps the picture alive."""

    def __init__(self, image: Image) -> None:
        self.image = image
        about = image.__array_interface__
        self.__array_interface__ = {**about, "data": (about["data"][0], False)}


def _writable(image: Image) -> Image:
    """The same pixels marked writable: torch warns about read-only arrays even if it only reads."""
    return image if image.flags.writeable else np.asarray(_Pixels(image))


class TrainTransform:
    """Cuts a random part of the picture, scales it to a square, and may mirror and recolour it.

    Args:
        size: side of the result, pixels.
        area: share of the picture that the part covers, drawn uniformly from this range, 0..1.
        ratio: width over height of the part, drawn from this range, uniform in log scale.
        flip: mirror every second picture.
        augment: the policy:
            none     | the middle square of the picture; nothing is random
            light    | the random part and the mirror image
            standard | light, and brightness, contrast and saturation altered by up to a fifth
            strong   | light, and strong changes of colour, rotation, blur and an erased patch
        window: 0; or the part is a random square of `size` from the picture scaled to the short
            side `window`, as in 2012; `area` and `ratio` are then ignored.

    Raises: XferError for an unknown policy.
    Source: the random part is that of Szegedy et al. 2015, sec. 6, drawn as torchvision draws it;
        strong is ours, in the spirit of Cubuk et al. 2020 (RandAugment).
    """

    def __init__(
        self,
        size: int,
        area: tuple[float, float] = (0.35, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: bool = True,
        augment: str = "standard",
        window: int = 0,
    ) -> None:
        if augment not in POLICIES:
            raise XferError(f"unknown augmentation {augment!r}", f"one of {', '.join(POLICIES)}")
        self.size, self.area, self.ratio, self.flip, self.augment = size, area, ratio, flip, augment
        self.window = window

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the result: a loader then passes the place in the batch to write it to."""
        return (self.size, self.size, 3)

    def rows(self, height: int, width: int, rng: np.random.Generator) -> int:
        """How many rows from the top the call needs, given the same state of `rng`."""
        if self.augment == "none":
            return height
        _, y, _, h = self._part(width, height, rng)
        return y + h

    def _part(self, width: int, height: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        if not self.window:
            return random_part(width, height, self.area, self.ratio, rng)
        # a square as large as `size` will be once the short side is `window`
        side = min(height, width, max(1, round(self.size * min(height, width) / self.window)))
        x, y = int(rng.random() * (width - side + 1)), int(rng.random() * (height - side + 1))
        return x, y, side, side

    def __call__(self, image: Image, rng: np.random.Generator, out: Image | None = None) -> Image:
        """uint8 (H, W, 3) -> uint8 (size, size, 3); the same state of `rng` gives the same result.

        Args: out: the array to write the result to, C-contiguous; None: a new one.
        """
        done = self._cut(image, rng, out)
        if out is None or done is out or np.shares_memory(done, out):
            return done if out is None else out
        np.copyto(out, done)
        return out

    def _cut(self, image: Image, rng: np.random.Generator, out: Image | None) -> Image:
        """Like the call, but the result may still have to be copied into `out`."""
        if self.augment == "none":
            return EvalTransform(self.size, self.size)(image, rng)
        height, width = image.shape[:2]
        x, y, w, h = self._part(width, height, rng)
        mirror = self.flip and rng.random() < 0.5
        into = out if self.augment == "light" else None
        part = resize(image[y : y + h, x : x + w], self.size, self.size, into)
        if mirror:
            # in place if possible: the pixels just written are still in the CPU cache
            own = part if (w, h) != (self.size, self.size) else into
            part = np.asarray(cv2.flip(part, 1, dst=own), np.uint8)
        if self.augment == "standard":
            return jitter(part, rng, out=out)
        if self.augment == "strong":
            from xfer.data.transforms.albu import strong

            return strong(part, rng)
        return part


def random_part(
    width: int,
    height: int,
    area: tuple[float, float],
    ratio: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[int, int, int, int]:
    """Draws a part of a picture: x, y, width, height in pixels; arguments as in TrainTransform.

    After ten parts that do not fit, it is the largest central part with an allowed shape.
    """
    min_area, area_range = area[0], area[1] - area[0]
    min_log, log_range = math.log(ratio[0]), math.log(ratio[1]) - math.log(ratio[0])
    for _ in range(10):
        # only random(): numpy's uniform() and integers() take five times as long per number
        pixels = width * height * (min_area + area_range * rng.random())
        shape = math.exp(min_log + log_range * rng.random())
        w, h = round(math.sqrt(pixels * shape)), round(math.sqrt(pixels / shape))
        if 0 < w <= width and 0 < h <= height:
            x, y = int(rng.random() * (width - w + 1)), int(rng.random() * (height - h + 1))
            return x, y, w, h
    w = min(width, max(1, round(height * ratio[1])))
    h = min(height, max(1, round(width / ratio[0])))
    return (width - w) // 2, (height - h) // 2, w, h


class EvalTransform:
    """Scales the short side to `resize`, then cuts the centre `size` x `size`, or ten crops.

    Args:
        size: side of a crop, pixels.
        resize: short side of the picture before cropping, pixels, at least `size`.
        crops: centre; or 10crop: four corners and centre, then their mirror images
            (Krizhevsky et al. 2012, sec. 4.1).

    Raises: XferError if the crop does not fit, or for unknown crops.
    """

    def __init__(
        self, size: int, resize: int, crops: Literal["centre", "10crop"] | str = "centre"
    ) -> None:
        if resize < size:
            raise XferError(f"a crop of {size} px does not fit into a short side of {resize} px")
        if crops not in ("centre", "10crop"):
            raise XferError(f"unknown crops {crops!r}", "one of centre, 10crop")
        self.size, self.resize, self.crops = size, resize, crops

    def __call__(self, image: Image, rng: np.random.Generator | None = None) -> Image:
        """uint8 (H, W, 3) -> uint8 (size, size, 3), or (10, size, size, 3). Nothing is random."""
        h, w = image.shape[:2]
        # the long side is rounded down, as torchvision does
        width = self.resize if w <= h else int(self.resize * w / h)
        height = self.resize if h <= w else int(self.resize * h / w)
        scaled = resize(image, width, height)
        bottom, right = height - self.size, width - self.size
        middle = (round(bottom / 2), round(right / 2))
        if self.crops == "centre":
            return self._crop(scaled, *middle)
        corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), middle]
        views = [self._crop(scaled, y, x) for y, x in corners]
        return np.stack([*views, *(view[:, ::-1] for view in views)])

    def part_of(self, height: int, width: int) -> tuple[float, float, float, float]:
        """The part of a picture of this size that the centre crop shows: left, top, right, bottom
        as shares of it, 0..1."""
        w = self.resize if width <= height else int(self.resize * width / height)
        h = self.resize if height <= width else int(self.resize * height / width)
        top, left = round((h - self.size) / 2), round((w - self.size) / 2)
        return left / w, top / h, (left + self.size) / w, (top + self.size) / h

    def _crop(self, image: Image, y: int, x: int) -> Image:
        return image[y : y + self.size, x : x + self.size]
