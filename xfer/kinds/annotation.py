"""Read the boxes of a sample, without its picture if the source can."""

from __future__ import annotations

import numpy as np

from xfer.boxes import Boxes
from xfer.errors import DataError
from xfer.types import Sample, Source


def annotation(source: Source, i: int) -> Boxes:
    """The boxes of sample i, without decoding its picture if the source can.

    Raises: DataError for a sample without boxes.
    """
    reader = getattr(source, "annotation", None)
    return boxes_of(source[i]) if reader is None else reader(i)


def boxes_of(sample: Sample) -> Boxes:
    """The boxes that a sample carries, in float64 and with the picture's size.

    Raises: DataError if none are known (None, not empty).
    """
    if sample.boxes is None:
        raise DataError(f"{sample.id}: no boxes are known for this picture")
    return sample.boxes.astype(np.float64).sized(sample.image.shape[:2])
