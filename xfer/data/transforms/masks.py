"""Pictures with masks: scaled, cut, mirrored and coloured; masks by nearest pixels, never mixed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from xfer.data.images.threads import cores
from xfer.data.transforms.colour import jitter
from xfer.data.transforms.crops import POLICIES, Image, resize
from xfer.errors import XferError
from xfer.types import IGNORE, Sample, Source

STRONG_COLOUR = 0.4
LOOKED_AT = 1000  # masks that statistics are taken from, at most
TRIES = 5  # cuts that are drawn until one shows enough of several classes

Mask = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class MaskItem:
    """A picture as the net sees it.

    image | uint8 (h, w, 3)
    mask  | uint8, class indices, 255 = ignore: (h, w) of `image` in training, (H, W) of the picture
          | itself in evaluation; None where none is known
    size  | (H, W) of the picture itself
    shown | (h, w) of what `image` shows; the rest, right and below, is padding
    """

    id: str
    image: Image
    mask: Mask | None
    size: tuple[int, int]
    shown: tuple[int, int]


class MaskTransform:
    """The way of a picture with its mask to the net.

    Args:
        short: short side of a whole picture at the net, pixels; 0: pictures keep their own size.
        crop: side of a training cut, pixels; 0: evaluation, whole pictures, nothing is random.
        scales: training pictures are scaled by a factor drawn between these, evenly on a log scale.
        flip: mirror every second picture.
        augment: none: the middle, nothing is random; light: scales, cuts and mirror images;
            standard: colours altered by up to a fifth as well; strong: by up to two fifths.
        colour: uint8 (3,), of the padding where a picture is smaller than the cut.
        most: share of a cut that one class may cover, unless none better is drawn; 1: any.

    Raises: XferError for an unknown policy.
    """

    def __init__(
        self,
        short: int,
        *,
        crop: int = 0,
        scales: tuple[float, float] = (1.0, 1.0),
        flip: bool = True,
        augment: str = "standard",
        colour: Sequence[float] = (0.0, 0.0, 0.0),
        most: float = 1.0,
    ) -> None:
        if augment not in POLICIES:
            raise XferError(f"unknown augmentation {augment!r}", f"one of {', '.join(POLICIES)}")
        self.short, self.crop, self.scales, self.flip = short, crop, scales, flip
        self.augment, self.most = augment, most
        self.colour = np.round(np.asarray(colour)).astype(np.uint8)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> MaskItem:
        if self.crop:
            return self._train(sample, rng)
        height, width = size = sample.image.shape[:2]
        factor = self.short / min(size) if self.short else 1.0
        h, w = (max(1, round(side * factor)) for side in size)
        image = resize(sample.image, w, h)
        return MaskItem(sample.id, image, sample.mask, (height, width), (h, w))

    def _train(self, sample: Sample, rng: np.random.Generator) -> MaskItem:
        height, width = sample.image.shape[:2]
        random = self.augment != "none"
        factor = self.short / min(height, width) if self.short else 1.0
        if random:
            low, high = self.scales
            factor *= low * (high / low) ** rng.random()
        mask = sample.mask
        if mask is None:
            mask = np.full((height, width), IGNORE, np.uint8)
        # the part of the picture that the cut shows, in its own pixels
        h, w = (min(side, max(1, round(self.crop / factor))) for side in (height, width))
        x, y = (width - w) // 2, (height - h) // 2
        if random:
            x, y = self._place(mask, w, h, rng)
        out_h, out_w = (min(self.crop, max(1, round(side * factor))) for side in (h, w))
        image = resize(sample.image[y : y + h, x : x + w], out_w, out_h)
        part = mask[y : y + h, x : x + w]
        if part.shape != (out_h, out_w):
            nearest = cv2.INTER_NEAREST_EXACT
            part = np.asarray(cv2.resize(part, (out_w, out_h), interpolation=nearest), np.uint8)
        if random and self.flip and rng.random() < 0.5:
            image, part = np.asarray(cv2.flip(image, 1), np.uint8), part[:, ::-1]
        if random and self.augment != "light":
            image = jitter(image, rng, STRONG_COLOUR if self.augment == "strong" else 0.2)
        whole = np.empty((self.crop, self.crop, 3), np.uint8)
        whole[:] = self.colour
        whole[:out_h, :out_w] = image
        labels = np.full((self.crop, self.crop), IGNORE, np.uint8)
        labels[:out_h, :out_w] = part
        return MaskItem(sample.id, whole, labels, (height, width), (out_h, out_w))

    def _place(self, mask: Mask, w: int, h: int, rng: np.random.Generator) -> tuple[int, int]:
        """Where a cut of w x h pixels begins: x, y."""
        height, width = mask.shape
        x = y = 0
        for _ in range(TRIES if self.most < 1 else 1):
            x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            if self.most >= 1:
                break
            step = max(1, min(h, w) // 32)  # of the mask, a thousand pixels tell enough
            seen = np.bincount(mask[y : y + h : step, x : x + w : step].ravel(), minlength=256)
            labelled = seen[:IGNORE].sum()
            if labelled and seen[:IGNORE].max() <= self.most * labelled:
                break
        return x, y


@dataclass(frozen=True, slots=True)
class MaskStatistics:
    """What the masks of a set hold.

    pixels | int64 (C,), pixels of each class
    seen   | int64 (C,), labelled pixels of the pictures in which the class occurs
    short  | int, median short side of the pictures, pixels
    """

    pixels: NDArray[np.int64]
    seen: NDArray[np.int64]
    short: int


def mask_statistics(source: Source) -> MaskStatistics:
    """Counts the pixels of a source's masks; of a seeded draw where there are more than LOOKED_AT.
    Threads: one a core.

    Raises: DataError for a picture that can't be read.
    """
    chosen = np.arange(len(source))
    if len(chosen) > LOOKED_AT:
        chosen = np.sort(np.random.default_rng(0).choice(chosen, LOOKED_AT, replace=False))
    count = len(source.info.classes)
    pixels, seen = np.zeros(count, np.int64), np.zeros(count, np.int64)

    def look(i: int) -> tuple[int, NDArray[np.int64]]:
        sample = source[i]
        mask = np.zeros(0, np.uint8) if sample.mask is None else sample.mask
        return min(sample.image.shape[:2]), np.bincount(mask.ravel(), minlength=256)[:count]

    sides: list[int] = []
    with ThreadPoolExecutor(cores()) as pool:
        for side, own in pool.map(look, chosen.tolist()):
            sides.append(side)
            pixels += own
            seen[own > 0] += own.sum()
    return MaskStatistics(pixels, seen, round(float(np.median(sides))))


def class_weights(found: MaskStatistics, power: float) -> NDArray[np.float32]:
    """(median frequency / frequency) ** power a class, frequency among the pictures that have it.

    0: all are 1. A class that does not occur weighs 1. At most 10: a class of a few pixels must not
    drown the others.

    Source: power 1 is median frequency balancing (Eigen and Fergus 2015, sec. 4.3.2).
    """
    there = found.pixels > 0
    weights = np.ones(len(found.pixels), np.float32)
    if power and there.any():
        often = found.pixels[there] / found.seen[there]
        weights[there] = np.minimum((np.median(often) / often) ** power, 10.0)
    return weights
