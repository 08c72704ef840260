"""Predicted masks, compressed in memory, and as tables and csv of the area of each class."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np

from xfer.types import MaskPrediction

COLUMNS = ("id", "class", "share")
_NONE = np.zeros((0, 0), np.uint8)
MIN_SHARE = 0.005  # of the picture: smaller shares are left out of tables


class KeptMasks(Sequence[MaskPrediction]):
    """Predictions whose masks are compressed until they are needed: a photo's mask takes about
    100 KB instead of 12 MB. `scores` are not kept."""

    def __init__(self) -> None:
        self._kept: list[tuple[MaskPrediction, bytes]] = []

    def extend(self, predictions: Iterable[MaskPrediction]) -> None:
        for one in predictions:
            packed = zlib.compress(one.mask.tobytes(), 1)
            self._kept.append((replace(one, mask=_NONE, scores=None), packed))

    def __len__(self) -> int:
        return len(self._kept)

    @overload
    def __getitem__(self, i: int) -> MaskPrediction: ...
    @overload
    def __getitem__(self, i: slice) -> list[MaskPrediction]: ...
    def __getitem__(self, i: int | slice) -> MaskPrediction | list[MaskPrediction]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        one, packed = self._kept[i]
        # a copy, so that the mask can be written to
        mask = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(one.size).copy()
        return replace(one, mask=mask)


def shares_in_words(prediction: MaskPrediction, classes: Sequence[str]) -> str:
    """The largest classes of a mask and their shares: "road 45 %, sky 20 %", at most four."""
    largest = [(name, share) for name, share in _falling(prediction, classes) if share >= MIN_SHARE]
    return ", ".join(f"{name} {100 * share:.0f} %" for name, share in largest[:4])


def csv_rows(prediction: MaskPrediction, classes: Sequence[str]) -> list[dict[str, Any]]:
    """One dict per class that occurs, with the keys of COLUMNS; the largest share first."""
    return [
        dict(zip(COLUMNS, (prediction.id, name, round(share, 6)), strict=True))
        for name, share in _falling(prediction, classes)
    ]


def table_row(prediction: MaskPrediction, classes: Sequence[str]) -> dict[str, Any]:
    """One line per picture: its classes and the share of each."""
    shares = _falling(prediction, classes)
    named = [f"{name} {share:.0%}" for name, share in shares if share >= MIN_SHARE]
    height, width = prediction.size
    return {"id": prediction.id, "size": f"{width} x {height}", "classes": ", ".join(named)}


def _falling(prediction: MaskPrediction, classes: Sequence[str]) -> list[tuple[str, float]]:
    shares = [(name, share) for name, share in prediction.shares(classes).items() if share > 0]
    return sorted(shares, key=lambda pair: -pair[1])
