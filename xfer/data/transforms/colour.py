"""Small colour changes on uint8 pictures: one look-up table and one weighted sum."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

STRENGTH = 0.2


def jitter(
    image: NDArray[np.uint8],
    rng: np.random.Generator,
    strength: float = STRENGTH,
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Scale brightness, contrast and saturation, each by 1 - strength .. 1 + strength.

    Brightness scales towards black, contrast about the picture's mean grey, saturation about each
    pixel's grey (ITU-R BT.601), in this order, as torchvision's ColorJitter defines them.

    Args: out: the array to write the result to; None: a new one.

    Shapes: uint8 (H, W, 3) RGB in and out; the input is not changed.
    """
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3)
    mean = cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0]
    values = np.minimum(np.arange(256) * brightness, 255)
    about = min(mean * brightness, 255)
    table = np.clip(np.rint((values - about) * contrast + about), 0, 255).astype(np.uint8)
    changed = cv2.LUT(image, table)
    grey = cv2.cvtColor(cv2.cvtColor(changed, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    mixed = cv2.addWeighted(changed, saturation, grey, 1 - saturation, 0, dst=out)
    return np.asarray(mixed, np.uint8)
