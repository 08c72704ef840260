"""Small pictures with segments that a net learns in seconds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from xfer.objects.segments import Segments
from xfer.testing.mask_scenes import MaskScenes
from xfer.types import IGNORE, Sample


class SegmentScenes(MaskScenes):
    """The discs of `MaskScenes` as things, on a ground that is stuff, and a stripe of void."""

    def __init__(
        self,
        count: int = 12,
        size: tuple[int, int] = (48, 64),
        step: int = 0,
        seed: int = 0,
        ignored: int = 2,
        split: str = "train",
    ) -> None:
        super().__init__(count, size, step, seed, ignored, split)
        self.info = replace(self.info, kind="panoptic", things=self.info.classes[1:])

    def __getitem__(self, i: int) -> Sample:
        sample = super().__getitem__(i)
        assert sample.mask is not None
        known = {c: (c, False) for c in range(len(self.info.classes))}
        segments = Segments.from_ids(sample.mask.astype(np.int32), known, void=IGNORE)
        return Sample(sample.id, sample.image, segments=segments)
