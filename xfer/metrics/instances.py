"""Scores of instances: COCO's twelve figures of masks, boundary AP, and the boxes' beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError
from xfer.metrics.boxes import Compare, FoundBoxes, TrueBoxes
from xfer.metrics.coco_ap import Engine, coco_scores
from xfer.metrics.coco_figures import FIGURES, CocoScores
from xfer.metrics.detection import PRIMARIES, DetectionAP, mean_of
from xfer.metrics.detection_counts import COCO, matches_of
from xfer.metrics.example import unique_names
from xfer.metrics.object_masks import (
    FoundObjects,
    boundary_overlaps,
    mask_overlaps,
    masks_in,
)
from xfer.metrics.resampled import Ranked
from xfer.objects.mask import ObjectMask, as_column
from xfer.types import Batch, BoxPrediction, InstancePrediction

MASK_FIGURES = tuple(name.replace("coco_", "coco_mask_", 1) for name in FIGURES)
# name of a boundary score -> COCO's with the same thresholds
BOUNDARY = {"boundary_ap": "coco_ap", "boundary_ap50": "coco_ap50", "boundary_ap75": "coco_ap75"}


class InstanceAP(DetectionAP):
    """Collects detected and true objects with masks picture by picture, as DetectionAP does boxes.

    compute() returns what DetectionAP's does, with errors matched by masks, and
        coco_mask_ap ... coco_mask_ar_large | COCO's twelve figures of masks (segm)
        boundary_ap, _ap50, _ap75           | AP by the boundaries' overlap, see object_masks
        per_class                           | also "mask_ap", "mask_ap50"
    """

    unit: ClassVar[str] = "objects"
    primaries: ClassVar[tuple[str, ...]] = (*MASK_FIGURES, *PRIMARIES)
    compare: Compare = staticmethod(mask_overlaps)
    nothing: ClassVar[FoundBoxes] = FoundObjects(
        np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0), as_column(())
    )

    def __init__(
        self, classes: Sequence[str], primary: str = "coco_mask_ap", engine: Engine = "auto"
    ) -> None:
        super().__init__(classes, primary, engine)
        self._masks: CocoScores | None = None

    def update(self, predictions: Sequence[BoxPrediction], batch: Batch) -> None:
        """As DetectionAP; raises DataError if the pictures' objects have no masks."""
        truths = batch.targets.get("annotations") or ()
        if any(len(truth) and truth.masks is None for truth in truths):
            raise DataError("nothing to compare with: the objects of these pictures have no masks")
        super().update(predictions, batch)

    def collected(
        self, image: NDArray[np.int64], predictions: Sequence[BoxPrediction]
    ) -> FoundBoxes:
        own = super().collected(image, predictions)
        masks = [m for p in predictions if isinstance(p, InstancePrediction) for m in p.masks]
        return FoundObjects(own.image, own.label, own.xywh, own.score, as_column(masks))

    def add(self, ids: Sequence[str], truth: TrueBoxes, found: FoundBoxes) -> None:
        super().add(ids, truth, found)
        self._masks = None

    def load_states(self, states: Sequence[dict[str, Any]]) -> None:
        super().load_states(states)
        self._masks = None

    def masks_of(self, boxes: TrueBoxes | FoundBoxes) -> Sequence[ObjectMask | None]:
        return masks_in(boxes)

    def mask_scores(self) -> CocoScores:
        """COCO's figures of masks with their tables; computed once."""
        if self._masks is None:
            ids, truth, found = self.tables()
            self._masks = coco_scores(
                truth, found, len(ids), len(self.classes), self.engine, masks=True
            )
        return self._masks

    def curves(self) -> dict[str, NDArray[np.float64]]:
        """As DetectionAP, of masks."""
        table = self.mask_scores().precision[0]
        names = unique_names(self.classes)
        return {name: table[:, c] for c, name in enumerate(names) if table[0, c] > -1}

    def compute(self) -> dict[str, Any]:
        """The scores, fractions in 0..1. Raises DataError if no true object counts."""
        boxes = super().compute()
        masks = self.mask_scores()
        for c, one in enumerate(boxes["per_class"].values()):
            one["mask_ap"] = mean_of(masks.precision[:, :, c])
            one["mask_ap50"] = mean_of(masks.precision[0, :, c])
        figures = {
            name: float(value) if value > -1 else None
            for name, value in zip(MASK_FIGURES, masks.figures, strict=True)
        }
        return {**figures, **self._boundary(), **boxes}

    def _boundary(self) -> dict[str, float | None]:
        ranked, found = self.per_picture("boundary_ap"), dict[str, float | None]()
        assert ranked is not None
        for name, figure in BOUNDARY.items():
            rows = np.flatnonzero(np.isin(COCO["coco_ap"], COCO[figure]))
            own = replace(ranked, right=ranked.right[rows], counted=ranked.counted[rows])
            value = own.scores(np.ones((1, own.pictures), np.int64))[0]
            found[name] = float(value) if np.isfinite(value) else None
        return found

    def per_picture(self, figure: str = "") -> Ranked | None:
        figure = figure or self.primary
        plain = figure.replace("coco_mask_", "coco_", 1)
        compare = boundary_overlaps if figure in BOUNDARY else mask_overlaps
        if figure not in BOUNDARY and (figure not in MASK_FIGURES or plain not in COCO):
            return None if figure in MASK_FIGURES else super().per_picture(figure)
        ids, truth, found = self.tables()
        return matches_of(truth, found, len(ids), BOUNDARY.get(figure, plain), compare)

    def protocol(self) -> dict[str, str]:
        own = super().protocol()
        return {
            "coco_mask": own["coco"].replace("bbox figures", "segm figures of masks", 1),
            "boundary": "AP as above, with the smaller of mask and boundary overlap in place of "
            "the masks'; a boundary is 2 % of the picture's diagonal wide (Cheng 2021)",
            **own,
            "errors": own["errors"] + ", by masks",
        }
