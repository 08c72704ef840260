"""Samples shrunk before they are packed, with all that is known of their pixels."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from xfer.data.images.decode import shrink
from xfer.objects.mask import as_column
from xfer.objects.resize import resized
from xfer.types import Sample


def scaled(sample: Sample, side: int) -> Sample:
    """Shrink a sample to a short side of at most `side` pixels (0: unchanged), boxes and mask too.

    A mask's pixel is the one under its centre, so that no class appears between two others.
    """
    image = shrink(sample.image, side)
    if image is sample.image:
        return sample
    height, width = image.shape[:2]
    boxes, mask, segments = sample.boxes, sample.mask, sample.segments
    if boxes is not None:
        masks = boxes.masks
        boxes = boxes.scaled(width / sample.image.shape[1], height / sample.image.shape[0])
        if masks is not None:
            small = as_column(resized(one, (height, width)) for one in masks.tolist())
            boxes = replace(boxes.sized((height, width)), masks=small)
    if mask is not None:
        mask = np.asarray(
            cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.uint8
        )
    if segments is not None:
        segments = segments.resized((height, width))
    return replace(sample, image=image, boxes=boxes, mask=mask, segments=segments)
