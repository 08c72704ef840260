"""A mask at another size of its picture."""

from __future__ import annotations

import cv2
import numpy as np

from xfer.objects.mask import ObjectMask
from xfer.objects.rle import encode


def resized(mask: ObjectMask, size: tuple[int, int]) -> ObjectMask:
    """The mask in its picture scaled to (H, W). A pixel is the one under its centre, as in
    semantic masks that are scaled."""
    height, width = size
    scaled = cv2.resize(mask.pixels(), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return encode(np.asarray(scaled, np.uint8))
