"""Scale, crop, mirror and recolour pictures with segments: as for masks, by nearest pixel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.transforms.crops import Image
from xfer.data.transforms.cut import Cut
from xfer.data.transforms.masks import MaskItem, MaskTransform
from xfer.objects.segments import VOID, Segments
from xfer.types import Sample


@dataclass(frozen=True, slots=True)
class SegmentItem:
    """A picture as the net sees it.

    image    | uint8 (h, w, 3)
    segments | their map is (h, w) of `image` in training, (H, W) of the original picture in
             | evaluation; None if there are none
    size     | (H, W) of the original picture
    shown    | (h, w) of the part of `image` that is not padding; padding is right and below
    cut      | how the picture became `image`
    """

    id: str
    image: Image
    segments: Segments | None
    size: tuple[int, int]
    shown: tuple[int, int]
    cut: Cut


class SegmentTransform:
    """Turns a picture with its segments into what the net sees.

    Args: as those of `MaskTransform`, without `max_share`.
    Raises: XferError for an unknown policy.
    """

    def __init__(self, short: int, **rules: Any) -> None:
        self._masks = MaskTransform(short, **rules)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> SegmentItem:
        return self._item(sample, self._masks(self._bare(sample, bool(self._masks.crop)), rng))

    def follow(self, sample: Sample, cut: Cut) -> SegmentItem:
        """The item of a picture that was cut elsewhere; its `image` is black."""
        return self._item(sample, self._masks.follow(self._bare(sample, cut.random), cut))

    def _bare(self, sample: Sample, train: bool) -> Sample:
        """The sample with the map of its segments for a mask; none in evaluation, in which the map
        stays as it is."""
        known: Any = None
        if train and sample.segments is None:
            known = np.full(sample.image.shape[:2], VOID, np.int16)
        elif train and sample.segments is not None:
            # scaling knows 16 bits, and no picture has that many segments
            known = sample.segments.map.astype(np.int16)
        return replace(sample, mask=known, segments=None)

    def _item(self, sample: Sample, item: MaskItem) -> SegmentItem:
        segments = sample.segments
        if item.cut.random and segments is not None and item.mask is not None:
            whole: NDArray[Any] = item.mask
            segments = segments.mapped(whole.astype(np.int32))
        return SegmentItem(item.id, item.image, segments, item.size, item.shown, item.cut)
