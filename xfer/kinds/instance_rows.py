"""Predicted objects with their masks as csv and COCO results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from xfer.kinds import box_rows
from xfer.objects.rle import areas
from xfer.types import InstancePrediction

COLUMNS = (*box_rows.COLUMNS, "pixels")


def at_least(prediction: InstancePrediction, score: float) -> InstancePrediction:
    """The objects with at least this score."""
    keep = prediction.scores >= score
    kept = box_rows.at_least(prediction, score)
    assert isinstance(kept, InstancePrediction)
    return replace(kept, masks=prediction.masks[keep])


def csv_rows(prediction: InstancePrediction, classes: Sequence[str]) -> list[dict[str, Any]]:
    """One dict per object, with the keys of COLUMNS; pixels: the area of its mask."""
    pixels = areas(prediction.masks.tolist()).tolist()
    rows = box_rows.csv_rows(prediction, classes)
    return [{**row, "pixels": n} for row, n in zip(rows, pixels, strict=True)]


def coco_results(
    predictions: Sequence[InstancePrediction], category_ids: Sequence[int | str]
) -> list[dict[str, Any]]:
    """COCO results with boxes and "segmentation", an RLE, as read by `xfer eval --detections` and
    pycocotools' loadRes. Otherwise as for boxes."""
    rows = box_rows.coco_results(predictions, category_ids)
    masks = [mask for one in predictions for mask in one.masks.tolist()]
    return [{**row, "segmentation": mask.as_json()} for row, mask in zip(rows, masks, strict=True)]
