"""Statistics of boxes to look at before training: number, sizes and shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.boxes import Boxes
from xfer.kinds.annotation import annotation
from xfer.types import Source

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
# COCO's size classes, by area in square pixels
SMALL, MEDIUM = 32**2, 96**2


@dataclass(frozen=True)
class BoxStats:
    """Sizes and classes of all boxes of a source, without crowds.

    labels     | int64 (R,)
    width, height | float64 (R,), pixels
    share      | float64 (R,), square root of the box's area over the picture's; nan: not known
    per_image  | int64 (N,), number of boxes in each picture
    difficult, crowds | number of boxes marked so by VOC and COCO
    """

    labels: NDArray[np.int64]
    width: NDArray[np.float64]
    height: NDArray[np.float64]
    share: NDArray[np.float64]
    per_image: NDArray[np.int64]
    difficult: int
    crowds: int


def collect(source: Source) -> BoxStats:
    """Collect the boxes of every picture; a source of files opens none of them."""
    annotations = [annotation(source, i) for i in range(len(source))]
    counted = [a[~a.crowd] for a in annotations]
    per_image = np.array([len(boxes) for boxes in counted], np.int64)
    boxes = Boxes.join(counted)
    width, height = boxes.sides.T
    area = np.repeat([float(a.size[0] * a.size[1]) or np.nan for a in annotations], per_image)
    return BoxStats(
        boxes.labels, width, height, np.sqrt(width * height / area), per_image,
        sum(int(a.difficult.sum()) for a in annotations),
        sum(int(a.crowd.sum()) for a in annotations),
    )  # fmt: skip


def has_boxes(source: Source, scored: bool = False) -> bool:
    """Whether any picture has a box to learn from, or to score: crowds are neither, and difficult
    boxes are not scored."""
    annotations = (annotation(source, i) for i in range(len(source)))
    return any(bool((~a.crowd & ~(scored & a.difficult)).any()) for a in annotations)


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
    """Percent -> value; None if there are no values."""
    if not len(values):
        return None
    quantiles = np.quantile(values, QUANTILES)
    return {f"{q:.0%}": round(float(v), 4) for q, v in zip(QUANTILES, quantiles, strict=True)}
