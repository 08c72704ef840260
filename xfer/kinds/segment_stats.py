"""Statistics of segments to look at before training."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.threads import cores
from xfer.errors import DataError
from xfer.objects.segments import Segments
from xfer.types import Source


@dataclass(frozen=True)
class SegmentStats:
    """Of all pictures of a source.

    segments | int64 (C,), how many segments of each class have a pixel, without crowds
    split    | bool (C,), whether a class of stuff has several segments in one picture
    crowds   | how many segments are crowds
    empty    | int64 (N,), how many segments of each picture have no pixel
    void     | float64 (N,), share of each picture that is in no segment
    """

    segments: NDArray[np.int64]
    split: NDArray[np.bool_]
    crowds: int
    empty: NDArray[np.int64]
    void: NDArray[np.float64]


def segments_of(source: Source, i: int) -> Segments:
    """The segments of sample i, as stored, without decoding its picture if the source can.

    Raises: DataError for a sample without segments.
    """
    reader = getattr(source, "read_segments", None)
    found = source[i].segments if reader is None else reader(i)
    if found is None:
        raise DataError(f"{source.ids[i]}: no segments are known for this picture")
    return found


def segment_stats(source: Source) -> SegmentStats:
    """Reads every map, with one thread per core. Raises DataError for an unusable one."""
    info, count = source.info, len(source.info.classes)
    stuff = np.array([name not in info.things for name in info.classes], bool)

    def of(i: int) -> tuple[NDArray[np.int64], int, int, float]:
        own = segments_of(source, i)
        seen = own.areas() > 0
        single = np.bincount(own.labels[seen & ~own.crowd], minlength=count)
        void = float((own.map < 0).mean()) if own.map.size else 0.0
        return single, int((seen & own.crowd).sum()), int((~seen).sum()), void

    with ThreadPoolExecutor(cores()) as pool:
        rows = list(pool.map(of, range(len(source))))
    per_picture = np.array([row[0] for row in rows], np.int64).reshape(-1, count)
    return SegmentStats(
        per_picture.sum(0), (per_picture > 1).any(0) & stuff,
        sum(row[1] for row in rows), np.array([row[2] for row in rows], np.int64),
        np.array([row[3] for row in rows], np.float64),
    )  # fmt: skip
