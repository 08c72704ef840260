"""The boxes of a sample, read without its picture where the source can."""

from __future__ import annotations

import numpy as np

from xfer.errors import DataError
from xfer.types import Annotation, Sample, Source


def annotation(source: Source, i: int) -> Annotation:
    """The boxes of sample i, without decoding its picture where the source can.

    Raises: DataError for a sample without boxes.
    """
    reader = getattr(source, "annotation", None)
    return annotation_of(source[i]) if reader is None else reader(i)


def annotation_of(sample: Sample) -> Annotation:
    """The boxes that a sample carries. Raises DataError where it has none (None, not empty)."""
    if sample.boxes is None or sample.box_labels is None:
        raise DataError(f"{sample.id}: no boxes are known for this picture")
    boxes = sample.boxes.astype(np.float64)
    none = np.zeros(len(boxes), bool)
    own = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    height, width = sample.image.shape[:2]
    return Annotation(
        boxes,
        sample.box_labels,
        none if sample.difficult is None else sample.difficult,
        none if sample.crowd is None else sample.crowd,
        own if sample.areas is None else sample.areas,
        (height, width),
    )
