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

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from xfer.data.transforms.boxes import BoxItem, BoxTransform, box_sizes
from xfer.detectors.batches import MULTISCALE, collate_boxes, parts_of, to_pictures, views_of
from xfer.detectors.build import build, resolved
from xfer.detectors.contract import Maps, Seen, Truth
from xfer.detectors.options import DetectorOptions
from xfer.explain.contract import ExplainsBoxes
from xfer.exporting.boxes import ExportedBoxes
from xfer.metrics.detection import PRIMARIES, DetectionAP, usual_primary
from xfer.ops.boxes import clip
from xfer.proposals.by_source import ProposalsBySource
from xfer.proposals.propose import check_method
from xfer.task import NO_CHANCE, Proposes, Stage, Task, option
from xfer.types import Batch, BoxPrediction, DataInfo, Sample

if TYPE_CHECKING:
    from xfer.backbones.base import Backbone
    from xfer.data.sources.base import Bundle
    from xfer.recipe.tables import DataTable
    from xfer.types import Source

SHORT, LONG = 480, 5 / 3  # default short side, pixels, and most of long side / short side


@dataclass(frozen=True, slots=True)
class Options(DetectorOptions):
    """The [task] table of a detection recipe."""

    primary: str = option(
        "auto", "the score that chooses the best step; auto: voc_ap50_area for VOC's format, "
        "voc_ap50_11pt for VOC 2007, else coco_ap", choices=("auto", *PRIMARIES),
    )  # fmt: skip


class Detect(Task, Proposes, ExplainsBoxes):
    """A detector (see `xfer.detectors`) on the maps of a backbone.

    Shapes: batches are those of `xfer.detectors.batches.collate_boxes`.

    Raises XferError for options that don't fit the backbone.
    """

    kinds: ClassVar[tuple[str, ...]] = ("detect",)
    Options = Options
    exports = ExportedBoxes
    recipe_by = "detector"
    counts_when = NO_CHANCE
    any_shape = True
    size_words = "pictures are scaled to this long side, and padded"
    views: ClassVar[dict[str, str]] = {
        "none": "one view",
        "flip": "picture and mirror image",
        "multiscale": f"scales {', '.join(map(str, MULTISCALE))} with mirror images",
    }

    def __init__(
        self, backbone: Backbone, info: DataInfo, options: Options, data: DataTable
    ) -> None:
        super().__init__(backbone, info, options, data)
        self.options = resolved(options, backbone)
        if self._needs_proposals:
            check_method(self.options.proposals)
        self.head, self._stages = build(
            backbone, len(info.classes), self.options, self.preprocess.size
        )
        self._proposals = ProposalsBySource(self.options.proposals, options.most_proposals)

    @property
    def _needs_proposals(self) -> bool:
        return self.options.detector == "fast"

    @property
    def picture_side(self) -> int:
        return self.data.size or SHORT

    @property
    def long_side(self) -> int:
        """Largest long side, pixels."""
        return self.backbone.fixed_side or self.options.long_side or round(self.picture_side * LONG)

    def fit_data(self, bundle: Bundle) -> None:
        """Fits anchors to the training boxes, and chooses the primary score for the data set."""
        primary = self.options.primary
        if primary == "auto":
            primary = usual_primary(bundle.format, bundle.name)
        train, short = bundle.splits["train"], self.preprocess.size
        fitted = self.head.fit(lambda: box_sizes(train, short, self.long_side))
        self.options = replace(self.options, primary=primary, **fitted)

    def prepare(self, source: Source, say: Callable[[str], None] | None = None) -> None:
        """Computes or reads the proposals of a source, before `transform` is called."""
        if self._needs_proposals:
            self._proposals.prepare(source, say)

    def transform(
        self, train: bool, tta: str = "none"
    ) -> Callable[[Sample, np.random.Generator], Any]:
        data, options, short = self.data, self.options, self.preprocess.size
        lookup = self._proposals.lookup() if self._needs_proposals else None
        if train:
            return BoxTransform(
                short, self.long_side, train=True, flip=data.flip, augment=data.augment,
                area=data.crop_area, scales=options.scales, propose=lookup,
            )  # fmt: skip
        scale = max(MULTISCALE) if tta == "multiscale" else 1
        return BoxTransform(round(short * scale), round(self.long_side * scale), propose=lookup)

    def collate(self, items: list[BoxItem]) -> Batch:
        return collate_boxes(items, self.backbone.mean_colour)

    def maps_of(self, images: Tensor) -> Maps:
        """The backbone's maps of normalised images that the detector reads."""
        return self.backbone(images, want=self.head.names)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        maps = self.maps_of(self.backbone.normalise(batch.images))
        return self.head.losses(maps, Truth.of(batch))

    @torch.no_grad()
    def predict(self, batch: Batch, tta: str = "none") -> list[BoxPrediction]:
        """Boxes per picture, in its own pixels, from one or several views of it."""
        return [one for part in parts_of(batch) for one in self._predict(part, tta)]

    def _predict(self, batch: Batch, tta: str) -> list[BoxPrediction]:
        sizes = batch.targets["sizes"]
        views = views_of(self.backbone.normalise(batch.images), sizes, tta)
        seen = [Seen(view, self.maps_of(view.images)) for view in views]
        found = self.head.detect(seen, sizes, batch.targets.get("proposals"))
        return to_pictures(found, batch)

    @torch.no_grad()
    def propose(self, batch: Batch, max_boxes: int) -> list[Tensor]:
        """The detector's own proposals, from one view, in each picture's own pixels."""
        sizes = batch.targets["sizes"]
        maps = self.maps_of(self.backbone.normalise(batch.images))
        proposals = self.head.propose(maps, sizes, max_boxes)
        each = zip(proposals, sizes, batch.targets["originals"], strict=True)
        return [clip(own * (full / size).flip(0).repeat(2), full) for own, size, full in each]

    def metric(self) -> DetectionAP:
        primary = self.options.primary
        return DetectionAP(self.info.classes, "coco_ap" if primary == "auto" else primary)

    def stages(self) -> list[Stage]:
        used = (Stage(name, module) for name, module in self._stages)
        return [*used, Stage("head", self.head, "head")]

    def resolved_options(self) -> dict[str, Any]:
        chosen = super().resolved_options()
        return {**chosen, "primary": self.metric().primary}

    def view_protocol(self, tta: str) -> str:
        """A description of how the pictures were shown."""
        merging = f", {self.head.merging}" if tta != "none" else ""
        size = self.preprocess.size
        return (
            f"{self.views[tta]}{merging}, short side {size} px, long side at most "
            f"{self.long_side} px"
        )
