"""Dense boxes over a picture: sizes, aspect ratios and positions at even steps."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

RATIOS = (1.0, 0.5, 2.0)  # width by height
SHRINK = math.sqrt(0.5)  # from one size to the next: half the area
SMALLEST = 16.0  # side of the smallest square, pixels
FINEST, COARSEST = 0.05, 1.0  # step between neighbours, in sides of the box


def grid(height: int, width: int, max_boxes: int = 2000) -> NDArray[np.float32]:
    """Boxes at every size, aspect ratio and position, as dense as `max_boxes` allows.

    The largest box is the whole picture, the smallest a square of 16 px. All sizes have the same
    step, as a fraction of the box's side, so that all neighbours overlap equally. If the coarsest
    step still gives too many, the smallest boxes are left out.

    Args:
        height, width: of the picture, pixels.
        max_boxes: maximum number of boxes.

    Returns: float32 (R, 4), xyxy, inside the picture, the largest first; R <= max_boxes, and at
        least 1 if `max_boxes` is.
    """
    shapes = _shapes(height, width)

    def count(step: float) -> int:
        return sum(
            _places(width, w, step) * _places(height, h, step) for h, w in shapes
        )  # fmt: skip

    low, high = FINEST, COARSEST
    for _ in range(30):  # the count decreases as the step grows
        middle = (low + high) / 2
        low, high = (middle, high) if count(middle) > max_boxes else (low, middle)
    parts: list[NDArray[np.float64]] = []
    for h, w in shapes:
        x = np.linspace(0, width - w, _places(width, w, high))
        y = np.linspace(0, height - h, _places(height, h, high))
        left, top = (axis.ravel() for axis in np.meshgrid(x, y))
        parts.append(np.stack([left, top, left + w, top + h], 1))
    boxes = np.concatenate(parts)[:max_boxes].astype(np.float32)
    return np.minimum(boxes, np.array([width, height, width, height], np.float32))


def _shapes(height: int, width: int) -> list[tuple[float, float]]:
    """(h, w) of the boxes, the largest first, without duplicates."""
    shapes: dict[tuple[float, float], None] = {(float(height), float(width)): None}
    for level in itertools.count():
        side = math.sqrt(height * width) * SHRINK**level
        if side < SMALLEST:
            break
        for ratio in RATIOS:
            h = min(side / math.sqrt(ratio), float(height))
            w = min(side * math.sqrt(ratio), float(width))
            shapes[round(h, 3), round(w, 3)] = None
    return sorted(shapes, key=lambda shape: -shape[0] * shape[1])


def _places(length: int, side: float, step: float) -> int:
    """Number of boxes along a length, from one end to the other, `step` sides apart."""
    return 1 + math.ceil((length - side) / (step * side) - 1e-9)
