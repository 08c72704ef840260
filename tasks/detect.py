"""Detection: locates and classifies objects, by Fast and Faster R-CNN on any backbone.

Regions of the picture (proposals, computed from it or by a network trained jointly) are pooled from
a feature map; the backbone's own fc6 and fc7, or fresh layers, then predict class and box of each.

The path of a training batch, step by step, with the file under xfer/ for each step:

    picture and boxes cut, scaled, mirrored | BoxTransform             data/transforms/boxes.py
    pictures padded to one size             | stack_padded             data/loading/collate.py
    normalised, through the backbone        | Backbone.forward         backbones/base.py
    all that follows                        | TwoStage.losses          detectors/two_stage.py
    several maps merged to one              | MergedMap                nn/merge.py
    proposals from a file or the picture    | ProposalsBySource        proposals/by_source.py
      or learned: scores, offsets of anchors| RegionProposalNet        detectors/rpn.py
      its losses, on sampled anchors        | its losses()             detectors/rpn.py
      its best boxes after suppression      | its propose(), nms       detectors/rpn.py, ops/nms.py
    matched to true boxes, drawn by quota   | sample_batch             ops/sampling.py
    cells of each region                    | pool_regions             nn/roi_pool.py
    fc6, fc7: fresh, or the backbone's own  | HiddenLayers or Tail     detectors/, backbones/tail.py
    class scores and box offsets            | BoxOutputs               detectors/box_head.py
    true boxes as offsets                   | encode                   ops/boxes.py
    cross-entropy and smooth L1             | box_losses               detectors/box_head.py

At test: the same maps and proposals, then `decode`, `best_boxes` (suppression per class, voting;
ops/nms.py), all in `TwoStage.detect`; scaled back to the picture's own pixels by `to_pictures`
(detectors/batches.py), scored by DetectionAP (metrics/detection.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from xfer.detectors.batches import parts_of, to_pictures
from xfer.detectors.box_task import BoxTask
from xfer.detectors.build import build
from xfer.detectors.contract import Detector, Truth
from xfer.detectors.options import DetectorOptions
from xfer.exporting.boxes import ExportedBoxes
from xfer.metrics.detection import PRIMARIES, DetectionAP, usual_primary
from xfer.task import option
from xfer.types import Batch, BoxPrediction

if TYPE_CHECKING:
    from xfer.data.sources.base import Bundle


@dataclass(frozen=True, slots=True)
class Options(DetectorOptions):
    """The [task] table of a detection recipe."""

    primary: str = option(
        "auto", "the score that chooses the best step; auto: voc_ap50_area for VOC's format, "
        "voc_ap50_11pt for VOC 2007, else coco_ap", choices=("auto", *PRIMARIES),
    )  # fmt: skip


class Detect(BoxTask):
    """A detector (see `xfer.detectors`) on the maps of a backbone.

    Shapes: batches are those of `xfer.detectors.batches.collate_boxes`.

    Raises XferError for options that don't fit the backbone.
    """

    kinds: ClassVar[tuple[str, ...]] = ("detect",)
    Options = Options
    exports = ExportedBoxes
    recipe_by = "detector"
    short = 480

    def build_head(self) -> tuple[Detector, list[tuple[str, nn.Module]]]:
        return build(self.backbone, len(self.info.classes), self.options, self.preprocess.size)

    def fit_data(self, bundle: Bundle) -> None:
        """Fits anchors to the training boxes, and chooses the primary score for the data set."""
        super().fit_data(bundle)
        if self.options.primary == "auto":
            primary = usual_primary(bundle.format, bundle.name)
            self.options = replace(self.options, primary=primary)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        maps = self.maps_of(self.backbone.normalise(batch.images))
        return self.head.losses(maps, Truth.of(batch))

    @torch.no_grad()
    def predict(self, batch: Batch, tta: str = "none") -> list[BoxPrediction]:
        """Boxes per picture, in its own pixels, from one or several views of it."""
        return [one for part in parts_of(batch) for one in self._predict(part, tta)]

    def _predict(self, batch: Batch, tta: str) -> list[BoxPrediction]:
        _, found = self.find(batch, tta)
        return to_pictures(found, batch)

    def metric(self) -> DetectionAP:
        primary = self.options.primary
        return DetectionAP(self.info.classes, "coco_ap" if primary == "auto" else primary)

    def resolved_options(self) -> dict[str, Any]:
        chosen = super().resolved_options()
        return {**chosen, "primary": self.metric().primary}
