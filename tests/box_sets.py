"""Synthetic true boxes and detections for the tests of metrics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xfer.metrics.boxes import FoundBoxes, TrueBoxes


def truth(
    rows: Sequence[tuple[int, int, Sequence[float]]],
    *,
    crowd: Sequence[int] = (),
    difficult: Sequence[int] = (),
) -> TrueBoxes:
    """True boxes from (image, label, xywh); crowd, difficult: indices of such rows."""
    boxes = np.array([row[2] for row in rows], np.float64).reshape(-1, 4)
    marks = np.arange(len(rows))
    return TrueBoxes.of_xywh(
        np.array([row[0] for row in rows], np.int64), boxes,
        np.array([row[1] for row in rows], np.int64),
        crowd=np.isin(marks, crowd), difficult=np.isin(marks, difficult),
    )  # fmt: skip


def found(rows: Sequence[tuple[int, int, Sequence[float], float]]) -> FoundBoxes:
    """Detections from (image, label, xywh, score)."""
    return FoundBoxes(
        np.array([row[0] for row in rows], np.int64), np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.float64).reshape(-1, 4),
        np.array([row[3] for row in rows], np.float64),
    )  # fmt: skip


def scene(
    seed: int, images: int = 20, classes: int = 5, ignored: bool = True, most: int = 12
) -> tuple[TrueBoxes, FoundBoxes]:
    """A random set with many near hits, equal scores, empty boxes, and ignored ones."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 6 * images))
    place = rng.uniform(0, 200, (count, 2)).round(1)
    boxes = np.concatenate([place, rng.lognormal(3.4, 1, (count, 2)).round(1) + 1], 1)
    share = 0.1 if ignored else 0
    image, label = rng.integers(0, images, count), rng.integers(0, classes, count)
    true = TrueBoxes.of_xywh(
        image, boxes, label, area=boxes[:, 2] * boxes[:, 3] * rng.uniform(0.3, 1, count),
        crowd=rng.random(count) < share, difficult=rng.random(count) < share,
    )  # fmt: skip
    total = int(rng.integers(0, most * images))
    source = rng.integers(0, count, total)
    sides = np.tile(boxes[source, 2:], 2)
    moved = boxes[source] + sides * rng.normal(0, 0.2, (total, 4)) * rng.random((total, 1))
    moved[:, 2:] = np.abs(moved[:, 2:])
    strange = rng.random(total) < 0.2
    return true, FoundBoxes(
        np.where(strange, rng.integers(0, images, total), true.image[source]),
        np.where(rng.random(total) < 0.2, rng.integers(0, classes, total), true.label[source]),
        moved.round(2), rng.random(total).round(1),
    )  # fmt: skip
