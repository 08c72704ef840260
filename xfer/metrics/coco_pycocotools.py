"""The one file that scores with pycocotools: the reference, used if no faster engine is there."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np

from xfer.metrics.boxes import FoundBoxes, TrueBoxes
from xfer.metrics.coco_figures import CocoScores
from xfer.metrics.object_masks import object_areas, segmentations


def run(
    truth: TrueBoxes, found: FoundBoxes, images: int, classes: int, masks: bool = False
) -> CocoScores:
    """Like `coco_scores`."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        true: Any = COCO()
        columns = zip(truth.image.tolist(), truth.label.tolist(), truth.xywh.tolist(),
                      truth.boxes.area.tolist(), truth.ignored.tolist(), strict=True)  # fmt: skip
        true.dataset = {
            # sizes, which run lengths bring along, are asked for all the same
            "images": [{"id": i + 1, "height": 0, "width": 0} for i in range(images)],
            "categories": [{"id": c + 1} for c in range(classes)],
            "annotations": [
                {"id": n, "image_id": image + 1, "category_id": label + 1, "bbox": box,
                 "area": area, "iscrowd": int(crowd)}
                for n, (image, label, box, area, crowd) in enumerate(columns, 1)
            ],
        }  # fmt: skip
        if masks:
            for one, outline in zip(true.dataset["annotations"], segmentations(truth), strict=True):
                one["segmentation"] = outline
        true.createIndex()
        detections: Any = COCO()
        columns = zip(found.image.tolist(), found.label.tolist(), found.xywh.tolist(),
                      found.score.tolist(), strict=True)  # fmt: skip
        # as COCO.loadRes would set them; it refuses an empty list
        detections.dataset = {
            "images": true.dataset["images"],
            "categories": true.dataset["categories"],
            "annotations": [
                {"id": n, "image_id": image + 1, "category_id": label + 1, "bbox": box,
                 "area": box[2] * box[3], "iscrowd": 0, "score": score}
                for n, (image, label, box, score) in enumerate(columns, 1)
            ],
        }  # fmt: skip
        if masks:
            areas = object_areas(found).tolist()
            for one, outline, area in zip(
                detections.dataset["annotations"], segmentations(found), areas, strict=True
            ):
                one |= {"segmentation": outline, "area": area}
        detections.createIndex()
        scorer = COCOeval(true, detections, "segm" if masks else "bbox")
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    tables = scorer.eval
    return CocoScores(
        np.asarray(scorer.stats, np.float64),
        tables["precision"][:, :, :, 0, -1],
        tables["scores"][:, :, :, 0, -1],
    )
