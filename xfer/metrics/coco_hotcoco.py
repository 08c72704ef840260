"""The one file that uses hotcoco: COCO evaluation in Rust, on arrays (MIT licence)."""

from __future__ import annotations

import contextlib
import io

import numpy as np

from xfer.metrics.boxes import FoundBoxes, TrueBoxes
from xfer.metrics.coco_figures import CocoScores
from xfer.metrics.object_masks import segmentations


def run(
    truth: TrueBoxes, found: FoundBoxes, images: int, classes: int, masks: bool = False
) -> CocoScores:
    """Like `coco_scores`."""
    from hotcoco import COCO, COCOeval

    true = COCO.from_arrays(
        [{"id": i + 1} for i in range(images)],
        [{"id": c + 1, "name": str(c)} for c in range(classes)],
        truth.image + 1,
        truth.label + 1,
        truth.xywh,
        ids=np.arange(1, len(truth) + 1),
        area=truth.boxes.area,
        iscrowd=truth.ignored,
        segmentation=[*segmentations(truth)] if masks else None,
    )
    if masks:  # without boxes: its area is then the mask's, as in pycocotools
        rows = [
            {"image_id": image + 1, "category_id": label + 1, "score": score, "segmentation": one}
            for image, label, score, one in zip(
                found.image.tolist(), found.label.tolist(), found.score.tolist(),
                segmentations(found), strict=True,
            )
        ]  # fmt: skip
    else:
        rows = np.column_stack([found.image + 1, found.xywh, found.score, found.label + 1])
    scorer = COCOeval(true, true.load_res(rows), "segm" if masks else "bbox")
    scorer.evaluate()
    scorer.accumulate()
    with contextlib.redirect_stdout(io.StringIO()):
        scorer.summarize()
    tables = scorer.eval
    assert tables is not None
    return CocoScores(
        np.asarray(scorer.stats, np.float64),
        np.asarray(tables["precision"])[:, :, :, 0, -1],
        np.asarray(tables["scores"])[:, :, :, 0, -1],
    )
