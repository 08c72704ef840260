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

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from xfer.data.transforms.boxes import BoxItem
from xfer.detectors.batches import parts_of, predictions_of
from xfer.detectors.box_task import BoxTask
from xfer.detectors.mask_rcnn import MaskOptions, MaskRCNN, OutlinedTruth, build_masked
from xfer.errors import DataError
from xfer.exporting.instances import ExportedInstances
from xfer.metrics.instances import MASK_FIGURES, InstanceAP
from xfer.objects.mask import as_column
from xfer.objects.paste import paste
from xfer.ops.fixed import to_host
from xfer.task import option
from xfer.types import Batch, InstancePrediction

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True)
class Options(MaskOptions):
    """The [task] table of a recipe for instances."""

    primary: str = option(
        "coco_mask_ap", "the score that chooses the best step",
        choices=(*MASK_FIGURES, "boundary_ap", "coco_ap"),
    )  # fmt: skip


class Instance(BoxTask):
    """Mask R-CNN (He et al. 2017) on the maps of a backbone.

    Shapes: batches are those of `xfer.detectors.batches.collate_boxes`, and in batch.targets

    shares | N uint8 (R, g, g)  | the mask of each true object on a grid, 0..255
    places | N float32 (R, 4)   | the rectangle that it covers, xyxy in pixels of batch.images

    Raises XferError for options that don't fit the backbone.
    """

    kinds: ClassVar[tuple[str, ...]] = ("instance",)
    Options = Options
    exports = ExportedInstances
    short = 400

    def build_head(self) -> tuple[MaskRCNN, list[tuple[str, nn.Module]]]:
        return build_masked(
            self.backbone, len(self.info.classes), self.options, self.preprocess.size
        )

    def collate(self, items: list[BoxItem]) -> Batch:
        batch = super().collate(items)
        grids = [item.objects for item in items if item.objects is not None]
        if len(grids) == len(items):
            batch.targets["shares"] = [torch.from_numpy(one.shares) for one in grids]
            batch.targets["places"] = [torch.from_numpy(one.places) for one in grids]
        return batch

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
        seen, found = self.find(batch, tta)
        masks = [one.float() for one in self.head.masks(seen, found)]
        arrays = to_host([*(tensor for one in found for tensor in one), *masks])
        boxes, masks = arrays[: 3 * len(found)], arrays[3 * len(found) :]
        return [
            InstancePrediction(
                one.id, one.boxes, one.scores, one.labels, one.size,
                as_column(paste(own[: len(one.boxes)], one.boxes, one.size)),
            )
            for one, own in zip(predictions_of(boxes, batch), masks, strict=True)
        ]  # fmt: skip

    def metric(self) -> InstanceAP:
        return InstanceAP(self.info.classes, self.options.primary)

    @property
    def merging(self) -> str:
        return f"{self.head.merging}, masks averaged"
