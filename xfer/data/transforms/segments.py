"""Scale, crop, mirror and recolour pictures with segments: as for masks, by nearest pixel."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.transforms.crops import Image
from xfer.data.transforms.masks import MaskTransform
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
    """

    id: str
    image: Image
    segments: Segments | None
    size: tuple[int, int]
    shown: tuple[int, int]


class SegmentTransform:
    """Turns a picture with its segments into what the net sees.

    Args: as those of `MaskTransform`, without `max_share`.
    Raises: XferError for an unknown policy.
    """

    def __init__(self, short: int, **rules: Any) -> None:
        self._masks = MaskTransform(short, **rules)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> SegmentItem:
        segments = sample.segments
        crop = self._masks.crop
        # scaling knows 16 bits, and no picture has that many segments
        bare = None if segments is None else segments.map.astype(np.int16)
        known: Any = bare if crop else None  # in evaluation the map stays as it is
        if crop and known is None:
            known = np.full(sample.image.shape[:2], VOID, np.int16)
        item = self._masks(replace(sample, mask=known, segments=None), rng)
        if crop and segments is not None and item.mask is not None:
            whole: NDArray[Any] = item.mask
            segments = segments.mapped(whole.astype(np.int32))
        return SegmentItem(item.id, item.image, segments, item.size, item.shown)
