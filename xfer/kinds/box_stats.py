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


@dataclass(frozen=True)
class EveryBox:
    """All boxes of a source, crowds too, end to end.

    picture | int64 (R,), index of each box's picture, rising
    boxes   | Boxes of R
    sizes   | int64 (N, 2), height and width of the pictures; (0, 0): not known
    """

    picture: NDArray[np.int64]
    boxes: Boxes
    sizes: NDArray[np.int64]

    def chosen(self, indices: NDArray[np.int64]) -> EveryBox:
        """Those of some pictures, in the order of `indices`."""
        first = np.searchsorted(self.picture, indices)
        count = np.searchsorted(self.picture, indices, side="right") - first
        picture = np.repeat(np.arange(len(indices)), count)
        within = np.arange(len(picture)) - np.repeat(np.cumsum(count) - count, count)
        return EveryBox(picture, self.boxes[np.repeat(first, count) + within], self.sizes[indices])

    def relabelled(self, table: NDArray[np.int64]) -> EveryBox:
        """The same with other class indices: `table` maps old to new."""
        return EveryBox(self.picture, self.boxes.relabelled(table), self.sizes)


def every_box(source: Source) -> EveryBox:
    """All boxes of a source: at once if it can (a method `every_box`), else picture by picture.

    Raises: DataError for a sample without boxes.
    """
    at_once = getattr(source, "every_box", None)
    if at_once is not None:
        return at_once()
    annotations = [annotation(source, i) for i in range(len(source))]
    picture = np.repeat(np.arange(len(annotations)), [len(boxes) for boxes in annotations])
    sizes = np.array([boxes.size for boxes in annotations], np.int64).reshape(-1, 2)
    return EveryBox(picture, Boxes.join(annotations), sizes)


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
        "width": quantiles(boxes.width),
        "height": quantiles(boxes.height),
        "side": quantiles(boxes.share[~np.isnan(boxes.share)]),
        "aspect": quantiles(boxes.width / boxes.height),
    }


def per_class(boxes: BoxStats, classes: tuple[str, ...]) -> dict[str, int]:
    """Class name -> number of boxes."""
    counts = np.bincount(boxes.labels, minlength=len(classes))
    return {name: int(n) for name, n in zip(classes, counts, strict=True)}


def quantiles(values: NDArray[np.float64]) -> dict[str, float] | None:
    """Percent -> value; None if there are no values."""
    if not len(values):
        return None
    quantiles = np.quantile(values, QUANTILES)
    return {f"{q:.0%}": round(float(v), 4) for q, v in zip(QUANTILES, quantiles, strict=True)}
