"""Predicted boxes as tables, csv and COCO results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.types import BoxPrediction

# boxes below this score are neither counted in tables nor drawn, unless the user asks for them
SURE = 0.5
COLUMNS = ("id", "label", "score", "x1", "y1", "x2", "y2")


def at_least(prediction: BoxPrediction, score: float) -> BoxPrediction:
    """The boxes with at least this score."""
    keep = prediction.scores >= score
    return replace(
        prediction,
        boxes=prediction.boxes[keep],
        scores=prediction.scores[keep],
        labels=prediction.labels[keep],
    )


def table_row(
    prediction: BoxPrediction, classes: Sequence[str], min_score: float | None
) -> dict[str, Any]:
    """One line per picture: how many boxes of each class reach the score, and the best score."""
    kept = at_least(prediction, SURE if min_score is None else min_score)
    counts = Counter(classes[c] for c in kept.labels.tolist())
    return {
        "id": prediction.id,
        "boxes": len(kept.scores),
        "found": ", ".join(f"{name} {n}" for name, n in counts.most_common()),
        "best score": float(prediction.scores.max()) if len(prediction.scores) else None,
    }


def counts_in_words(labels: NDArray[np.int64], classes: Sequence[str]) -> str:
    """How many boxes there are of each class: "2 cat, 1 dog", of at most four classes."""
    counts = Counter(classes[c] for c in labels.tolist()).most_common()
    more = sum(n for _, n in counts[4:])
    some = [f"{n} {name}" for name, n in counts[:4]] + ([f"{more} more"] if more else [])
    return ", ".join(some) or "no boxes"


def csv_rows(prediction: BoxPrediction, classes: Sequence[str]) -> list[dict[str, Any]]:
    """One dict per box, with the keys of COLUMNS."""
    row = prediction.row(classes)
    return [
        dict(zip(COLUMNS, (row["id"], box["label"], box["score"], *box["box"]), strict=True))
        for box in row["boxes"]
    ]


def coco_results(
    predictions: Sequence[BoxPrediction], category_ids: Sequence[int | str]
) -> list[dict[str, Any]]:
    """COCO results, as read by `xfer eval --detections` and pycocotools' loadRes.

    image_id is the file's stem if it is a number (000000000139.jpg: 139), else the file's name.
    Pixels are rounded to thousandths; scores are not, so that none become equal.

    Args:
        category_ids: the annotation file's id of each class.
    """
    rows: list[dict[str, Any]] = []
    for prediction in predictions:
        file = Path(prediction.id)
        image_id = int(file.stem) if file.stem.isdecimal() else file.name
        columns = zip(prediction.boxes.tolist(), prediction.scores.tolist(),
                      prediction.labels.tolist(), strict=True)  # fmt: skip
        rows += [
            {
                "image_id": image_id,
                "category_id": category_ids[label],
                "bbox": [round(v, 3) for v in (x1, y1, x2 - x1, y2 - y1)],
                "score": score,
            }
            for (x1, y1, x2, y2), score, label in columns
        ]
    return rows
