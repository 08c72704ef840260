"""The pixels of one object, kept as run lengths."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError

_MAX_BITS = 60  # of a run length
_MAX_CHARACTERS = _MAX_BITS // 5 + 1


@dataclass(frozen=True, slots=True)
class ObjectMask:
    """Which pixels of a picture belong to an object.

    size   | (H, W) of the picture
    counts | COCO's compressed run lengths: by column, zeros first
    """

    size: tuple[int, int]
    counts: bytes

    def as_json(self) -> dict[str, object]:
        """COCO's `segmentation`: {"size": [H, W], "counts": text}."""
        return {"size": list(self.size), "counts": self.counts.decode("ascii")}

    def pixels(self) -> NDArray[np.uint8]:
        """uint8 (H, W): 1 in the object, else 0. Raises DataError for damaged run lengths."""
        height, width = self.size
        runs = run_lengths(self.counts)
        check_runs(runs, self.size)
        values = (np.arange(len(runs)) % 2).astype(np.uint8)
        return np.ascontiguousarray(np.repeat(values, runs).reshape(width, height).T)


def check_runs(runs: NDArray[np.int64], size: tuple[int, int]) -> None:
    """Raises DataError unless run lengths add up to a picture of (H, W)."""
    pixels = size[0] * size[1]
    if runs.max(initial=0) > pixels or int(runs.sum()) != pixels:
        raise DataError("an RLE's counts do not add up to the picture")


def run_lengths(counts: bytes) -> NDArray[np.int64]:
    """The run lengths of a compressed RLE, int64. Raises DataError if it is damaged.

    Source: cocoapi, common/maskApi.c, rleFrString: five bits per character from 48 on, the sixth
    bit says that more follow, the fifth bit of the last is the number's sign; from the fourth count
    on, the difference to the count two before is stored.
    """
    codes = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if not len(codes):
        return codes
    last = (codes & 32) == 0
    if codes.min() < 0 or codes.max() >= 64 or not last[-1]:
        raise DataError("a compressed RLE is damaged")
    ends = np.flatnonzero(last)
    starts = np.append(0, ends[:-1] + 1)
    lengths = ends - starts + 1
    if lengths.max() > _MAX_CHARACTERS:
        raise DataError("a compressed RLE is damaged")
    place = np.arange(len(codes)) - np.repeat(starts, lengths)
    values = np.add.reduceat((codes & 31) << (5 * place), starts)
    negative = (codes[ends] & 16) != 0
    values[negative] -= np.int64(1) << (5 * lengths[negative])
    # each count from the fourth on is stored as the difference to the one two before it
    for first in (1, 2):
        values[first::2] = np.cumsum(values[first::2])
    if values.min() < 0:
        raise DataError("a compressed RLE is damaged")
    return values


def as_column(masks: Iterable[ObjectMask]) -> NDArray[np.object_]:
    """Masks as a column of `Boxes`: object (R,)."""
    listed = list(masks)
    column = np.empty(len(listed), object)
    column[:] = listed
    return column
