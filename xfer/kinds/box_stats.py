"""What a look at boxes should tell before training: how many, how large, what shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.boxes import Boxes
from xfer.kinds.annotation import annotation
from xfer.types import Source

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
# COCO's classes of size, by area in square pixels
SMALL, MEDIUM = 32**2, 96**2


@dataclass(frozen=True)
class BoxStats:
    """Sizes and classes of all boxes of a source, crowds left out.

    labels     | int64 (R,)
    width, height | float64 (R,), pixels
    share      | float64 (R,), side of the box's area as a share of the picture's; nan: not known
    per_image  | int64 (N,), boxes of each picture
    difficult, crowds | how many of VOC's and COCO's marks
    """

    labels: NDArray[np.int64]
    width: NDArray[np.float64]
    height: NDArray[np.float64]
    share: NDArray[np.float64]
    per_image: NDArray[np.int64]
    difficult: int
    crowds: int


def collect(source: Source) -> BoxStats:
    """Reads the boxes of every picture; a source of files opens none of them."""
    found = [annotation(source, i) for i in range(len(source))]
    counted = [f[~f.crowd] for f in found]
    per_image = np.array([len(boxes) for boxes in counted], np.int64)
    boxes = Boxes.join(counted)
    width, height = boxes.sides.T
    area = np.repeat([float(f.size[0] * f.size[1]) or np.nan for f in found], per_image)
    return BoxStats(
        boxes.labels, width, height, np.sqrt(width * height / area), per_image,
        sum(int(f.difficult.sum()) for f in found), sum(int(f.crowd.sum()) for f in found),
    )  # fmt: skip


def has_boxes(source: Source, scored: bool = False) -> bool:
    """Whether any picture has a box to learn from, or to be scored by: crowds are neither, and
    difficult ones are not scored."""
    found = (annotation(source, i) for i in range(len(source)))
    return any(bool((~f.crowd & ~(scored & f.difficult)).any()) for f in found)


def summary(boxes: BoxStats) -> dict[str, Any]:
    """The figures of `xfer data show`.

    Returns: "count", "difficult", "crowd", "empty_images", "most_in_an_image",
        "small", "medium", "large" (COCO's, by area), and quantiles, keyed by percent, of "width"
        and "height" (pixels), "side" (square root of the area, share of the picture's) and
        "aspect" (width / height).
    """
    area = boxes.width * boxes.height
    return {
        "count": len(boxes.labels),
        "difficult": boxes.difficult,
        "crowd": boxes.crowds,
        "empty_images": int((boxes.per_image == 0).sum()),
        "most_in_an_image": int(boxes.per_image.max(initial=0)),
        "small": int((area < SMALL).sum()),
        "medium": int(((area >= SMALL) & (area < MEDIUM)).sum()),
        "large": int((area >= MEDIUM).sum()),
        "width": _quantiles(boxes.width),
        "height": _quantiles(boxes.height),
        "side": _quantiles(boxes.share[~np.isnan(boxes.share)]),
        "aspect": _quantiles(boxes.width / boxes.height),
    }


def per_class(boxes: BoxStats, classes: tuple[str, ...]) -> dict[str, int]:
    """Class name -> number of boxes."""
    counts = np.bincount(boxes.labels, minlength=len(classes))
    return {name: int(n) for name, n in zip(classes, counts, strict=True)}


def _quantiles(values: NDArray[np.float64]) -> dict[str, float] | None:
    """Percent -> value; None where there are no values."""
    if not len(values):
        return None
    found = np.quantile(values, QUANTILES)
    return {f"{q:.0%}": round(float(v), 4) for q, v in zip(QUANTILES, found, strict=True)}
