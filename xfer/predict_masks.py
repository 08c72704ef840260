"""Predicted masks as tables and csv: how much of each picture a class covers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xfer.types import MaskPrediction

COLUMNS = ("id", "class", "share")
LEAST = 0.005  # of the picture: smaller shares are not told in tables


def csv_rows(prediction: MaskPrediction, classes: Sequence[str]) -> list[dict[str, Any]]:
    """One dict a class that occurs, with the keys of COLUMNS; the largest share first."""
    return [
        dict(zip(COLUMNS, (prediction.id, name, round(share, 6)), strict=True))
        for name, share in _falling(prediction, classes)
    ]


def table_row(prediction: MaskPrediction, classes: Sequence[str]) -> dict[str, Any]:
    """One line a picture: its classes and what they cover."""
    shares = _falling(prediction, classes)
    named = [f"{name} {share:.0%}" for name, share in shares if share >= LEAST]
    height, width = prediction.size
    return {"id": prediction.id, "size": f"{width} x {height}", "classes": ", ".join(named)}


def _falling(prediction: MaskPrediction, classes: Sequence[str]) -> list[tuple[str, float]]:
    shares = [(name, share) for name, share in prediction.shares(classes).items() if share > 0]
    return sorted(shares, key=lambda pair: -pair[1])
