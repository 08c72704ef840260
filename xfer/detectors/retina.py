"""RetinaNet: nine anchors at every cell of a pyramid, learned with the focal loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from xfer.detectors.focal import FocalDetector
from xfer.detectors.one_stage import Cells
from xfer.detectors.options import DetectorOptions
from xfer.ops.anchors import grid_anchors
from xfer.ops.boxes import decode, encode
from xfer.ops.sampling import match
from xfer.types import FeatureSpec

SIDE = 4.0  # of an anchor, strides (sec. 4: 32 px on the level of stride 8)
SCALES, RATIOS = (1.0, 2 ** (1 / 3), 2 ** (2 / 3)), (0.5, 1.0, 2.0)
BACKGROUND, OBJECT = 0.4, 0.5  # IoU below which, and from which (sec. 4)


class RetinaNet(FocalDetector):
    """Focal loss for dense object detection (Lin et al. 2017).

    Source: Lin et al. 2017, sec. 4. Matches are torchvision's: every object's best anchors learn it
        as well, however little they overlap.  Differs: group norm in the towers, the L1 loss.
    """

    def __init__(
        self, specs: Sequence[FeatureSpec], options: DetectorOptions, classes: int
    ) -> None:
        super().__init__(specs, options, classes, starts=len(SCALES) * len(RATIOS), numbers=4)
        shapes = torch.tensor([[s / r**0.5, s * r**0.5] for r in RATIOS for s in SCALES])
        sides = [shapes * SIDE * spec.stride for spec in self.pyramid.specs]
        self.register_buffer("sides", torch.stack(sides), persistent=False)
        self.register_buffer("std", torch.ones(4), persistent=False)

    sides: Tensor
    std: Tensor

    def starts_of(self, level: int, grid: tuple[int, int]) -> Tensor:
        return grid_anchors(self.pyramid.specs[level], grid, self.sides[level])

    def decode(self, numbers: Tensor, starts: Tensor) -> Tensor:
        return decode(numbers, starts, self.std)

    def scores(self, logits: Tensor, numbers: Tensor) -> Tensor:
        return logits.sigmoid()

    def assign(self, cells: Cells, boxes: Tensor) -> tuple[Tensor, Tensor]:
        matches = match(cells.starts, boxes)
        object_ = (matches.iou >= OBJECT) | matches.best
        index = torch.where(object_, matches.index, -1)
        return index, (matches.iou >= BACKGROUND) & ~object_

    def box_losses(self, numbers: Tensor, starts: Tensor, goals: Tensor) -> dict[str, Tensor]:
        wanted = encode(goals, starts, self.std)
        return {"box": F.l1_loss(numbers, wanted, reduction="none").sum(1)}
