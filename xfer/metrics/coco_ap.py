"""COCO's twelve figures, by whichever engine is installed; all to the same bits as pycocotools."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xfer.metrics.boxes import FoundBoxes, TrueBoxes

Engine = Literal["auto", "hotcoco", "pycocotools"]

# pycocotools' order of its `stats`
FIGURES = (
    "coco_ap", "coco_ap50", "coco_ap75", "coco_ap_small", "coco_ap_medium", "coco_ap_large",
    "coco_ar1", "coco_ar10", "coco_ar100", "coco_ar_small", "coco_ar_medium", "coco_ar_large",
)  # fmt: skip
MOST_FOUND = 100


@dataclass(frozen=True, slots=True)
class CocoScores:
    """What an engine says.

    figures   | float64 (12,)              | in the order of FIGURES; -1 where there is nothing
    precision | float64 (10, 101, C)       | all sizes, 100 boxes: IoU .5 to .95 | recall 0 to 1 |
              |                            | class; -1 for a class that does not occur
    scores    | float64 (10, 101, C)       | the score at which that recall is reached
    """

    figures: NDArray[np.float64]
    precision: NDArray[np.float64]
    scores: NDArray[np.float64]


def coco_scores(
    truth: TrueBoxes, found: FoundBoxes, images: int, classes: int, engine: Engine = "auto"
) -> CocoScores:
    """Average precision and recall as pycocotools 2 computes them for boxes.

    Crowds are ignore regions: a found box that lies in one (by half, or whatever the threshold is,
    of its own area) counts for nothing. Difficult boxes are handed over as crowds, since COCO has
    no other mark for "neither rewarded nor punished". At most 100 boxes a picture and class count.

    Args:
        images: number of pictures; `image` columns are indices below it, in the order in which
            boxes of equal scores rank.
        classes: number of classes, with or without boxes.
        engine: auto takes hotcoco where it is installed.

    Source: COCOeval of github.com/cocodataset/cocoapi, bbox, its default Params.
    """
    from xfer.metrics import coco_hotcoco, coco_pycocotools

    if engine == "auto":
        fast = importlib.util.find_spec("hotcoco") is not None
        engine = "hotcoco" if fast else "pycocotools"
    run = coco_hotcoco.run if engine == "hotcoco" else coco_pycocotools.run
    if not len(truth):
        nothing = np.full((10, 101, classes), -1.0)
        return CocoScores(np.full(len(FIGURES), -1.0), nothing, nothing)
    return run(truth, found, images, classes)
