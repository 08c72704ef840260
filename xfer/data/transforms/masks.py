"""Scale, crop, mirror and recolour pictures with masks; masks by nearest pixel, never mixed."""

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
from xfer.data.transforms.cut import Cut
from xfer.errors import XferError
from xfer.kinds.pixel_counts import mask_of
from xfer.objects.segments import VOID
from xfer.types import IGNORE, Sample, Source

STRONG_COLOUR = 0.4
MAX_SAMPLED = 1000  # masks that statistics are taken from
TRIES = 5  # crops drawn until one is not dominated by a single class

Mask = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class MaskItem:
    """A picture as the net sees it.

    image | uint8 (h, w, 3)
    mask  | uint8, class indices, 255 = ignore: (h, w) of `image` in training, (H, W) of the
          | original picture in evaluation; None if there is none
    size  | (H, W) of the original picture
    shown | (h, w) of the part of `image` that is not padding; padding is right and below
    cut   | how the picture became `image`
    """

    id: str
    image: Image
    mask: Mask | None
    size: tuple[int, int]
    shown: tuple[int, int]
    cut: Cut


class MaskTransform:
    """Turns a picture with its mask into what the net sees.

    Args:
        short: short side to which whole pictures are scaled, pixels; 0: pictures keep their size.
        long: largest long side of whole pictures, pixels; 0: any.
        crop: side of a training crop, pixels; 0: evaluation, whole pictures, nothing is random.
        scales: training pictures are scaled by a factor from this range, uniform in log scale.
        flip: mirror every second picture.
        augment: none: the middle, nothing is random; light: scales, crops and mirror images;
            standard: also alters colours by up to a fifth; strong: by up to two fifths.
        colour: uint8 (3,), of the padding if a picture is smaller than the crop.
        max_share: share of a crop that one class may cover, unless no better one is drawn; 1: any.

    Raises: XferError for an unknown policy.
    """

    def __init__(
        self,
        short: int,
        *,
        long: int = 0,
        crop: int = 0,
        scales: tuple[float, float] = (1.0, 1.0),
        flip: bool = True,
        augment: str = "standard",
        colour: Sequence[float] = (0.0, 0.0, 0.0),
        max_share: float = 1.0,
    ) -> None:
        if augment not in POLICIES:
            raise XferError(f"unknown augmentation {augment!r}", f"one of {', '.join(POLICIES)}")
        self.short, self.long, self.crop = short, long, crop
        self.scales, self.flip = scales, flip
        self.augment, self.max_share = augment, max_share
        self.colour = np.round(np.asarray(colour)).astype(np.uint8)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> MaskItem:
        if self.crop:
            return self._train(sample, rng)
        height, width = size = sample.image.shape[:2]
        factor = self.short / min(size) if self.short else 1.0
        if self.long:
            factor = min(factor, self.long / max(size))
        h, w = (max(1, round(side * factor)) for side in size)
        image = resize(sample.image, w, h)
        cut = Cut((height, width), (0, 0, width, height), (h, w))
        return MaskItem(sample.id, image, sample.mask, (height, width), (h, w), cut)

    def follow(self, sample: Sample, cut: Cut) -> MaskItem:
        """The item of a picture that was cut elsewhere; its `image` is black."""
        mask = sample.mask
        if cut.random:
            mask = cut.through(_whole(sample), _void(_whole(sample)))
        return MaskItem(sample.id, cut.blank(), mask, cut.whole, cut.size, cut)

    def _train(self, sample: Sample, rng: np.random.Generator) -> MaskItem:
        height, width = sample.image.shape[:2]
        random = self.augment != "none"
        factor = self.short / min(height, width) if self.short else 1.0
        if random:
            low, high = self.scales
            factor *= low * (high / low) ** rng.random()
        mask = _whole(sample)
        # the part of the picture that the crop shows, in pixels of the original
        h, w = (min(side, max(1, round(self.crop / factor))) for side in (height, width))
        x, y = (width - w) // 2, (height - h) // 2
        if random:
            x, y = self._place(mask, w, h, rng)
        out_h, out_w = (min(self.crop, max(1, round(side * factor))) for side in (h, w))
        image = resize(sample.image[y : y + h, x : x + w], out_w, out_h)
        mirrored = random and self.flip and rng.random() < 0.5
        if mirrored:
            image = np.asarray(cv2.flip(image, 1), np.uint8)
        if random and self.augment != "light":
            image = jitter(image, rng, STRONG_COLOUR if self.augment == "strong" else 0.2)
        whole = np.empty((self.crop, self.crop, 3), np.uint8)
        whole[:] = self.colour
        whole[:out_h, :out_w] = image
        side = (self.crop, self.crop)
        cut = Cut((height, width), (x, y, w, h), (out_h, out_w), mirrored, side, True)
        labels = cut.through(mask, _void(mask))
        return MaskItem(sample.id, whole, labels, (height, width), (out_h, out_w), cut)

    def _place(self, mask: Mask, w: int, h: int, rng: np.random.Generator) -> tuple[int, int]:
        """Draws the top left corner of a crop of w x h pixels: x, y."""
        height, width = mask.shape
        x = y = 0
        for _ in range(TRIES if self.max_share < 1 else 1):
            x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            if self.max_share >= 1:
                break
            step = max(1, min(h, w) // 32)  # a thousand pixels of the mask are enough
            seen = np.bincount(mask[y : y + h : step, x : x + w : step].ravel(), minlength=256)
            labelled = seen[:IGNORE].sum()
            if labelled and seen[:IGNORE].max() <= self.max_share * labelled:
                break
        return x, y


def _whole(sample: Sample) -> Mask:
    """A sample's mask; all is ignored where none is known."""
    if sample.mask is not None:
        return sample.mask
    return np.full(sample.image.shape[:2], IGNORE, np.uint8)


def _void(mask: Mask) -> int:
    # a map of segments is of signed numbers: it is void beyond the picture
    return IGNORE if mask.dtype == np.uint8 else VOID


@dataclass(frozen=True, slots=True)
class MaskStatistics:
    """Pixel statistics of the masks of a set.

    pixels | int64 (C,), pixels of each class
    seen   | int64 (C,), labelled pixels of the pictures in which the class occurs
    short  | int, median short side of the pictures, pixels
    """

    pixels: NDArray[np.int64]
    seen: NDArray[np.int64]
    short: int


def mask_statistics(source: Source) -> MaskStatistics:
    """Count the pixels of a source's masks; a seeded sample if there are more than MAX_SAMPLED.
    Uses one thread per core.

    Raises: DataError for a picture that can't be read.
    """
    chosen = np.arange(len(source))
    if len(chosen) > MAX_SAMPLED:
        chosen = np.sort(np.random.default_rng(0).choice(chosen, MAX_SAMPLED, replace=False))
    count = len(source.info.classes)
    pixels, seen = np.zeros(count, np.int64), np.zeros(count, np.int64)

    def look(i: int) -> tuple[int, NDArray[np.int64]]:
        sample = source[i]
        known = mask_of(sample)
        mask = np.zeros(0, np.uint8) if known is None else known
        return min(sample.image.shape[:2]), np.bincount(mask.ravel(), minlength=256)[:count]

    sides: list[int] = []
    with ThreadPoolExecutor(cores()) as pool:
        for side, counts in pool.map(look, chosen.tolist()):
            sides.append(side)
            pixels += counts
            seen[counts > 0] += counts.sum()
    return MaskStatistics(pixels, seen, round(float(np.median(sides))))


def class_weights(statistics: MaskStatistics, power: float) -> NDArray[np.float32]:
    """(median frequency / frequency) ** power per class, over the pictures that have the class.

    With power 0 all weights are 1. A class that does not occur weighs 1. Weights are at most 10: a
    class of a few pixels must not drown the others.

    Source: power 1 is median frequency balancing (Eigen and Fergus 2015, sec. 4.3.2).
    """
    present = statistics.pixels > 0
    weights = np.ones(len(statistics.pixels), np.float32)
    if power and present.any():
        frequency = statistics.pixels[present] / statistics.seen[present]
        weights[present] = np.minimum((np.median(frequency) / frequency) ** power, 10.0)
    return weights
