"""Resize, crop, mirror and recolour pictures, keeping their boxes and masks aligned."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from xfer.boxes import Boxes, area_xyxy, clip_xyxy
from xfer.data.transforms.colour import jitter
from xfer.data.transforms.crops import POLICIES, Image, resize
from xfer.data.transforms.cut import Cut
from xfer.data.transforms.objects import ObjectGrids, object_grids
from xfer.errors import XferError
from xfer.kinds.annotation import annotation, boxes_of
from xfer.types import Sample, Source

# boxes of which less than this share is visible are neither objects nor background
LEAST_VISIBLE = 0.5
STRONG_COLOUR = 0.4
MAX_SAMPLED = 2000  # pictures that statistics of boxes are taken from

Corners = NDArray[np.float32]  # (R, 4), xyxy


@dataclass(frozen=True, slots=True)
class BoxItem:
    """A picture as the net sees it.

    image      | uint8 (h, w, 3)
    boxes      | float32 (R, 4), xyxy in pixels of `image`; labels int64 (R,)
    crowds     | float32 (M, 4): regions that are neither object nor background
    annotation | the boxes in pixels of the original picture; None if they are not known
    proposals  | float32 (P, 4) in pixels of `image`, or None
    objects    | the masks of the R objects in pixels of `image`, or None
    cut        | how the picture became `image`
    """

    id: str
    image: Image
    boxes: Corners
    labels: NDArray[np.int64]
    crowds: Corners
    annotation: Boxes | None
    proposals: Corners | None
    cut: Cut
    objects: ObjectGrids | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the original picture."""
        return self.cut.whole

    @property
    def scale(self) -> tuple[float, float]:
        """(x, y): pixels of `image` per pixel of the original picture."""
        return self.cut.factor


def scale_of(height: int, width: int, short: int, long: int) -> float:
    """The factor that makes a picture's short side `short`, but its long side at most `long`
    (Girshick 2015, sec. 5.1: 600 and 1000)."""
    return min(short / min(height, width), long / max(height, width))


def box_sizes(source: Source, short: int, long: int) -> NDArray[np.float64]:
    """Width and height of a source's boxes in its scaled pictures, pixels, (R, 2).

    From a seeded sample if there are more than MAX_SAMPLED pictures; crowds are left out.
    """
    chosen = np.arange(len(source))
    if len(chosen) > MAX_SAMPLED:
        chosen = np.random.default_rng(0).choice(chosen, MAX_SAMPLED, replace=False)
    sizes: list[NDArray[np.float64]] = [np.zeros((0, 2))]
    for i in chosen.tolist():
        known = annotation(source, i)
        height, width = known.size if all(known.size) else source[i].image.shape[:2]
        sizes.append(known[~known.crowd].sides * scale_of(height, width, short, long))
    return np.concatenate(sizes)


class BoxTransform:
    """Turns a picture with boxes, and their masks if it has any, into what the net sees.

    An object whose mask has no pixel in what is shown is neither object nor background.

    Args:
        short, long: the short side, and the maximum of the long side, pixels.
        train: whether anything is random.
        flip: mirror every second picture.
        augment: none: nothing is random; light: crops, scales and mirror images; standard: also
            alters colours by up to a fifth; strong: by up to two fifths.
        area: share of the picture that a crop covers, drawn uniformly from this range; 1: all.
        scales: the sides are multiplied by a factor drawn from this range, uniform in log scale.
        propose: (sample) -> boxes float32 (P, 4) in pixels of the original; None: no proposals.

    Raises: XferError for an unknown policy.
    """

    def __init__(
        self,
        short: int,
        long: int,
        *,
        train: bool = False,
        flip: bool = True,
        augment: str = "standard",
        area: tuple[float, float] = (1.0, 1.0),
        scales: tuple[float, float] = (1.0, 1.0),
        propose: Callable[[Sample], Corners] | None = None,
    ) -> None:
        if augment not in POLICIES:
            raise XferError(f"unknown augmentation {augment!r}", f"one of {', '.join(POLICIES)}")
        self.short, self.long, self.train, self.flip = short, long, train, flip
        self.augment, self.area, self.scales, self.propose = augment, area, scales, propose

    def __call__(self, sample: Sample, rng: np.random.Generator) -> BoxItem:
        image = sample.image
        height, width = image.shape[:2]
        scale = scale_of(height, width, self.short, self.long)
        random = self.train and self.augment != "none"
        x, y, w, h = 0, 0, width, height
        if random:
            low, high = self.scales
            scale *= low * (high / low) ** rng.random()
            x, y, w, h = _part(width, height, self.area, rng)
        # a crop is scaled to the size that the whole picture would have
        out_w, out_h = (max(1, round(side * scale)) for side in (width, height))
        image = resize(image[y : y + h, x : x + w], out_w, out_h)
        mirrored = random and self.flip and rng.random() < 0.5
        if mirrored:
            image = np.asarray(cv2.flip(image, 1), np.uint8)
        if random and self.augment != "light":
            strength = STRONG_COLOUR if self.augment == "strong" else 0.2
            image = jitter(image, rng, strength)
        cut = Cut((height, width), (x, y, w, h), (out_h, out_w), mirrored, random=self.train)
        return self._item(sample, cut, image)

    def follow(self, sample: Sample, cut: Cut) -> BoxItem:
        """The item of a picture that was cut elsewhere; its `image` is black."""
        return self._item(sample, cut, cut.blank())

    def _item(self, sample: Sample, cut: Cut, image: Image) -> BoxItem:
        """What is known of the picture, moved as it was."""
        boxes, labels, crowds, known = _known(sample)
        masks = None if known is None or known.masks is None else known.masks[~known.crowd]
        proposals = None if self.propose is None else np.asarray(self.propose(sample), np.float32)
        (height, width), (x, y, *_) = cut.whole, cut.part
        by, out_w = cut.factor, cut.size[1]
        if cut.part != (0, 0, width, height):
            boxes, kept, hidden = _cut(boxes, cut.part)
            labels, masks = labels[kept], None if masks is None else masks[kept]
            crowds = np.concatenate([_clipped(crowds, cut.part), hidden])
            proposals = None if proposals is None else _clipped(proposals, cut.part)
        objects = None if masks is None else object_grids(masks.tolist(), boxes)
        if objects is not None and objects.empty.any():
            seen = ~objects.empty
            crowds = np.concatenate([crowds, boxes[~seen]])
            boxes, labels, objects = boxes[seen], labels[seen], objects.take(seen)
        factor = np.array([*by, *by], np.float32)
        shift = np.array([x, y, x, y], np.float32)
        boxes, crowds = (boxes - shift) * factor, (crowds - shift) * factor
        objects = None if objects is None else objects.moved(shift, factor)
        proposals = None if proposals is None else (proposals - shift) * factor
        if cut.mirrored:
            boxes, crowds = flip_boxes(boxes, out_w), flip_boxes(crowds, out_w)
            proposals = None if proposals is None else flip_boxes(proposals, out_w)
            objects = None if objects is None else objects.mirrored(out_w)
        return BoxItem(sample.id, image, boxes, labels, crowds, known, proposals, cut, objects)


def flip_boxes(boxes: Corners, width: int) -> Corners:
    """Returns the boxes in the mirror image of a picture `width` pixels wide."""
    flipped = boxes.copy()
    flipped[:, 0], flipped[:, 2] = width - boxes[:, 2], width - boxes[:, 0]
    return flipped


def _known(sample: Sample) -> tuple[Corners, NDArray[np.int64], Corners, Boxes | None]:
    """Returns the boxes to find, their labels, the crowds, and the whole annotation."""
    if sample.boxes is None:
        none = np.zeros((0, 4), np.float32)
        return none, np.zeros(0, np.int64), none, None
    known = boxes_of(sample)
    single = ~known.crowd
    boxes = known.xyxy.astype(np.float32)
    return boxes[single], known.labels[single], boxes[~single], known


def _part(
    width: int, height: int, area: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draws a part with the aspect ratio of the picture: x, y, width, height."""
    side = math.sqrt(rng.uniform(*area))
    w, h = max(1, round(width * side)), max(1, round(height * side))
    return int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1)), w, h


def _clipped(boxes: Corners, part: tuple[int, int, int, int]) -> Corners:
    """Clips boxes to the part, in the picture's pixels; boxes outside are left out."""
    x, y, w, h = part
    inside = clip_xyxy(boxes, (h, w), (y, x))
    return inside[(inside[:, 2:] - inside[:, :2] >= 1).all(1)]


def _cut(
    boxes: Corners, part: tuple[int, int, int, int]
) -> tuple[Corners, NDArray[np.bool_], Corners]:
    """Returns the boxes that stay in a crop, clipped, and which these are; and the visible parts of
    those that lose more than half."""
    x, y, w, h = part
    inside = clip_xyxy(boxes, (h, w), (y, x))
    seen = area_xyxy(inside) / area_xyxy(boxes)
    kept = seen >= LEAST_VISIBLE
    hidden = (seen > 0) & ~kept & (inside[:, 2:] - inside[:, :2] >= 1).all(1)
    return inside[kept], kept, inside[hidden]
