"""Segments in a pack: their map lies in the place of a mask, their classes in the shard's table."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError
from xfer.objects.segments import Segments

# arrays of a shard: how many of the S segments belong to each picture (-1: not known), the class of
# each, and whether it is a crowd
COUNT, LABELS, CROWD = "segment_count", "segment_labels", "segment_crowd"
MOST = 1 << 15  # segments of a picture


def map_bytes(segments: Segments) -> bytes:
    """The map of a picture's segments as a pack stores it. Raises DataError for too many."""
    if len(segments) >= MOST:
        raise DataError(f"{len(segments)} segments in a picture, more than {MOST - 1}")
    return zlib.compress(segments.map.astype("<i2").tobytes())


def map_of(data: Any, size: tuple[int, ...]) -> NDArray[np.int32]:
    """The inverse of `map_bytes`. Raises zlib.error or ValueError for damaged bytes."""
    return np.frombuffer(zlib.decompress(data), "<i2").reshape(size).astype(np.int32)


def arrays_of(known: Sequence[Segments | None]) -> dict[str, NDArray[Any]]:
    """The arrays of a shard, one entry per picture or segment; {} if none is known."""
    there = [one for one in known if one is not None]
    if not there:
        return {}
    return {
        COUNT: np.array([-1 if one is None else len(one) for one in known], np.int64),
        LABELS: np.concatenate([one.labels for one in there]),
        CROWD: np.concatenate([one.crowd for one in there]),
    }


@dataclass(frozen=True)
class SegmentTable:
    """The classes of the segments of N pictures.

    first, count  | int64 (N,), the first segment of each picture, and how many: -1, not known
    labels, crowd | (S,), of all segments, as they are stored
    """

    first: NDArray[np.int64]
    count: NDArray[np.int64]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]

    @classmethod
    def join(
        cls, tables: Sequence[dict[str, NDArray[Any]]], images: Sequence[int],
        place: NDArray[np.int64],
    ) -> SegmentTable | None:  # fmt: skip
        """Of all shards; None if no picture has segments.

        Args: images: how many each shard holds; place: where each picture is stored.
        """
        if not any(COUNT in table for table in tables):
            return None
        parts = [table.get(COUNT, np.full(n, -1)) for table, n in zip(tables, images, strict=True)]
        counts = np.concatenate(parts).astype(np.int64)
        none = np.zeros(0, np.int64)
        own = np.maximum(counts, 0)
        return cls(
            (np.cumsum(own) - own)[place], counts[place],
            np.concatenate([table.get(LABELS, none) for table in tables]).astype(np.int64),
            np.concatenate([table.get(CROWD, none) for table in tables]).astype(bool),
        )  # fmt: skip

    def of(self, i: int, map: NDArray[np.int32]) -> Segments:
        """The segments of picture i. Raises DataError for a map of other ones."""
        rows = slice(self.first[i], self.first[i] + self.count[i])
        return Segments.of(map, self.labels[rows], self.crowd[rows])
