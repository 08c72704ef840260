"""Instance segmentation: locates objects and their pixels, by Mask R-CNN on any backbone.

Faster R-CNN's path, which the top of `tasks/detect.py` lists, and beside it

    masks cut, mirrored, on a grid per box  | object_grids             data/transforms/objects.py
    sampled regions that are objects        | MaskRCNN.losses          detectors/mask_rcnn.py
    cells of each region, 14 x 14           | roi_align                nn/roi_pool.py
    convolutions, a mask of 28 x 28         | MaskBranch               detectors/mask_branch.py
    the true mask, read at the same cells   | mask_goals               detectors/mask_branch.py

At test each box that is found gets its mask, `paste` (objects/paste.py) makes pixels of it, and
InstanceAP (metrics/instances.py) scores these.
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
from xfer.detectors.build import resolved
from xfer.detectors.contract import Maps, Seen
from xfer.detectors.mask_rcnn import MaskOptions, OutlinedTruth, build_masked
from xfer.errors import DataError
from xfer.explain.contract import ExplainsBoxes
from xfer.exporting.instances import ExportedInstances
from xfer.metrics.instances import MASK_FIGURES, InstanceAP
from xfer.objects.mask import as_column
from xfer.objects.paste import paste
from xfer.proposals.by_source import ProposalsBySource
from xfer.proposals.propose import check_method
from xfer.task import NO_CHANCE, Stage, Task, option
from xfer.types import Batch, DataInfo, InstancePrediction, Sample

if TYPE_CHECKING:
    from xfer.backbones.base import Backbone
    from xfer.data.sources.base import Bundle
    from xfer.recipe.tables import DataTable
    from xfer.types import Source

SHORT, LONG = 400, 5 / 3  # default short side, pixels, and most of long side / short side


@dataclass(frozen=True, slots=True)
class Options(MaskOptions):
    """The [task] table of a recipe for instances."""

    primary: str = option(
        "coco_mask_ap", "the score that chooses the best step",
        choices=(*MASK_FIGURES, "boundary_ap", "coco_ap"),
    )  # fmt: skip


class Instance(Task, ExplainsBoxes):
    """Mask R-CNN (He et al. 2017) on the maps of a backbone.

    Shapes: batches are those of `xfer.detectors.batches.collate_boxes`, and in batch.targets

    shares | N uint8 (R, g, g)  | the mask of each true object on a grid, 0..255
    places | N float32 (R, 4)   | the rectangle that it covers, xyxy in pixels of batch.images

    Raises XferError for options that don't fit the backbone.
    """

    kinds: ClassVar[tuple[str, ...]] = ("instance",)
    Options = Options
    exports = ExportedInstances
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
        self.head, self._stages = build_masked(
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
        """Fits anchors to the training boxes."""
        train, short = bundle.splits["train"], self.preprocess.size
        fitted = self.head.fit(lambda: box_sizes(train, short, self.long_side))
        self.options = replace(self.options, **fitted)

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
        batch = collate_boxes(items, self.backbone.mean_colour)
        grids = [item.objects for item in items if item.objects is not None]
        if len(grids) == len(items):
            batch.targets["shares"] = [torch.from_numpy(one.shares) for one in grids]
            batch.targets["places"] = [torch.from_numpy(one.places) for one in grids]
        return batch

    def maps_of(self, images: Tensor) -> Maps:
        """The backbone's maps of normalised images that the head reads."""
        return self.backbone(images, want=self.head.names)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        if "shares" not in batch.targets:
            raise DataError(f"{', '.join(batch.ids)}: objects without masks can't be learnt from")
        maps = self.maps_of(self.backbone.normalise(batch.images))
        return self.head.losses(maps, OutlinedTruth.of(batch))

    @torch.no_grad()
    def predict(self, batch: Batch, tta: str = "none") -> list[InstancePrediction]:
        """Objects per picture, in its own pixels, from one or several views of it."""
        return [one for part in parts_of(batch) for one in self._predict(part, tta)]

    def _predict(self, batch: Batch, tta: str) -> list[InstancePrediction]:
        sizes = batch.targets["sizes"]
        views = views_of(self.backbone.normalise(batch.images), sizes, tta)
        seen = [Seen(view, self.maps_of(view.images)) for view in views]
        found = self.head.detect(seen, sizes, batch.targets.get("proposals"))
        masks = [one.float().cpu().numpy() for one in self.head.masks(seen, found)]
        return [
            InstancePrediction(
                one.id, one.boxes, one.scores, one.labels, one.size,
                as_column(paste(own, one.boxes, one.size)),
            )
            for one, own in zip(to_pictures(found, batch), masks, strict=True)
        ]  # fmt: skip

    def metric(self) -> InstanceAP:
        return InstanceAP(self.info.classes, self.options.primary)

    def stages(self) -> list[Stage]:
        used = (Stage(name, module) for name, module in self._stages)
        return [*used, Stage("head", self.head, "head")]

    def view_protocol(self, tta: str) -> str:
        """A description of how the pictures were shown."""
        merging = f", {self.head.merging}, masks averaged" if tta != "none" else ""
        size = self.preprocess.size
        return (
            f"{self.views[tta]}{merging}, short side {size} px, long side at most "
            f"{self.long_side} px"
        )
