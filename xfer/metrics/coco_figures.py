"""The names of COCO's twelve figures, and the result of an engine that computes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# pycocotools' order of its `stats`
FIGURES = (
    "coco_ap", "coco_ap50", "coco_ap75", "coco_ap_small", "coco_ap_medium", "coco_ap_large",
    "coco_ar1", "coco_ar10", "coco_ar100", "coco_ar_small", "coco_ar_medium", "coco_ar_large",
)  # fmt: skip
MAX_DETECTIONS = 100


@dataclass(frozen=True, slots=True)
class CocoScores:
    """The result of an engine.

    figures   | float64 (12,)              | in the order of FIGURES; -1 if there is nothing
    precision | float64 (10, 101, C)       | all sizes, 100 boxes: IoU .5 to .95 | recall 0 to 1 |
              |                            | class; -1 for a class that does not occur
    scores    | float64 (10, 101, C)       | the score at which that recall is reached
    """

    figures: NDArray[np.float64]
    precision: NDArray[np.float64]
    scores: NDArray[np.float64]
