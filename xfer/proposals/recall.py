"""How well proposals cover the true boxes, against the number of proposals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.boxes import overlap_xyxy

PROTOCOL = {
    "recall": "share of the true boxes that a proposal of the same picture overlaps with an "
    "intersection over union of at least 0.5 (0.7); right and bottom exclusive",
    "mabo": "mean over classes of the average best overlap (Uijlings 2013, sec. 5): each true "
    "box's best overlap, averaged over the boxes of its class",
    "left out": "true boxes that are difficult (VOC) or crowds (COCO)",
    "boxes": "the first n proposals of each picture, or all if there are fewer",
}


@dataclass(frozen=True)
class Recall:
    """How well the first n proposals of each picture cover the true boxes, for several n.

    counts    | int64 (K,), increasing: n
    recall_50 | float64 (K,), share of true boxes covered with IoU >= 0.5
    recall_70 | float64 (K,), with IoU >= 0.7
    mabo      | float64 (K,), mean average best overlap
    per_class | class -> {"boxes", "recall_50", "recall_70", "abo"} with all proposals
    boxes     | true boxes counted; left_out: difficult boxes and crowds
    """

    counts: NDArray[np.int64]
    recall_50: NDArray[np.float64]
    recall_70: NDArray[np.float64]
    mabo: NDArray[np.float64]
    per_class: dict[str, dict[str, Any]]
    boxes: int
    left_out: int

    def rows(self) -> list[dict[str, Any]]:
        """The table: one row per number of boxes."""
        columns = (self.counts, self.recall_50, self.recall_70, self.mabo)
        names = ("boxes", "recall_50", "recall_70", "mabo")
        listed = zip(*(column.tolist() for column in columns), strict=True)
        return [dict(zip(names, row, strict=True)) for row in listed]


class RecallMeter:
    """Collects pictures; `compute` returns the Recall.

    Args: max_boxes: the largest number of proposals considered.
    """

    def __init__(self, max_boxes: int) -> None:
        self.counts = counts_to(max_boxes)
        self._best: dict[str, list[NDArray[np.float64]]] = {}
        self._left_out = 0

    def add(
        self,
        proposals_xyxy: NDArray[np.floating],
        boxes_xyxy: NDArray[np.floating],
        classes: list[str],
        ignored: NDArray[np.bool_],
    ) -> None:
        """Adds a picture: proposals (R, 4), best first; true boxes (G, 4), the class of each, and
        whether to leave it out, bool (G,)."""
        self._left_out += int(ignored.sum())
        best = best_overlaps(proposals_xyxy, boxes_xyxy, self.counts)
        for name, row, skip in zip(classes, best, ignored.tolist(), strict=True):
            if not skip:
                self._best.setdefault(name, []).append(row)

    def compute(self) -> Recall:
        """Raises ValueError if no true box was counted."""
        if not self._best:
            raise ValueError("no true boxes")
        by_class = {name: np.stack(rows) for name, rows in sorted(self._best.items())}
        every = np.concatenate(list(by_class.values()))
        return Recall(
            self.counts,
            (every >= 0.5).mean(0),
            (every >= 0.7).mean(0),
            np.mean([rows.mean(0) for rows in by_class.values()], 0),
            {name: _of_class(rows[:, -1]) for name, rows in by_class.items()},
            len(every),
            self._left_out,
        )


def counts_to(largest: int) -> NDArray[np.int64]:
    """1, 2, 5, 10, 20, 50, ... up to `largest`, and `largest`."""
    steps = [m * 10**e for e in range(9) for m in (1, 2, 5) if m * 10**e < largest]
    return np.array([*steps, largest], np.int64)


def best_overlaps(
    proposals_xyxy: NDArray[np.floating],
    boxes_xyxy: NDArray[np.floating],
    counts: NDArray[np.int64],
) -> NDArray[np.float64]:
    """The best overlap of each box with the first n proposals, for each n.

    Shapes: proposals (R, 4), boxes (G, 4), counts (K,) -> float64 (G, K); 0 without proposals.
    """
    if not len(proposals_xyxy) or not len(boxes_xyxy):
        return np.zeros((len(boxes_xyxy), len(counts)))
    best = np.maximum.accumulate(overlap_xyxy(boxes_xyxy[:, None], proposals_xyxy[None]), axis=1)
    return best[:, np.minimum(counts, best.shape[1]) - 1]


def _of_class(best: NDArray[np.float64]) -> dict[str, Any]:
    return {
        "boxes": len(best),
        "recall_50": float((best >= 0.5).mean()),
        "recall_70": float((best >= 0.7).mean()),
        "abo": float(best.mean()),
    }
