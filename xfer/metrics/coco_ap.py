"""COCO's twelve figures, by whichever engine is installed; all bit-identical to pycocotools."""

from __future__ import annotations

import importlib.util
from typing import Literal

import numpy as np

from xfer.metrics import coco_hotcoco, coco_pycocotools
from xfer.metrics.boxes import FoundBoxes, TrueBoxes
from xfer.metrics.coco_figures import FIGURES, CocoScores

Engine = Literal["auto", "hotcoco", "pycocotools"]


def coco_scores(
    truth: TrueBoxes,
    found: FoundBoxes,
    images: int,
    classes: int,
    engine: Engine = "auto",
    masks: bool = False,
) -> CocoScores:
    """Average precision and recall as pycocotools 2 computes them for boxes, or for masks.

    Crowds are ignored regions: a detected box whose own area is inside one (by half, or whatever
    the threshold is) counts for nothing. Difficult boxes are passed as crowds, since COCO has no
    other mark for "neither rewarded nor punished". At most 100 boxes per picture and class count.

    Args:
        images: number of pictures; `image` columns are indices below it, in the order in which
            boxes of equal scores rank.
        classes: number of classes, with or without boxes.
        engine: auto uses hotcoco if it is installed.
        masks: compare masks (segm), which both must have, instead of boxes.

    Source: COCOeval of github.com/cocodataset/cocoapi, bbox or segm, its default Params.
    """
    if engine == "auto":
        fast = importlib.util.find_spec("hotcoco") is not None
        engine = "hotcoco" if fast else "pycocotools"
    run = coco_hotcoco.run if engine == "hotcoco" else coco_pycocotools.run
    if not len(truth):
        nothing = np.full((10, 101, classes), -1.0)
        return CocoScores(np.full(len(FIGURES), -1.0), nothing, nothing)
    return run(truth, found, images, classes, masks)
