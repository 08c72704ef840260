"""FCOS: every cell near the centre of an object gives its four distances to the object's edges."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from xfer.detectors.focal import FocalDetector
from xfer.detectors.one_stage import Cells
from xfer.detectors.options import DetectorOptions
from xfer.ops.anchors import grid_anchors
from xfer.ops.boxes import MAX_LOG_SCALE, area, giou_loss
from xfer.types import FeatureSpec

# an object's largest distance to an edge, in strides of the level that learns it (sec. 3.2)
LEAST, MOST = 4.0, 8.0
START = 1.0  # log of the distance to an edge that training starts from, strides


class FCOS(FocalDetector):
    """Fully convolutional one-stage detection (Tian et al. 2019), with what its authors added.

    A cell learns the smallest object whose centre is within `centre_radius` strides, that contains
    the cell's centre, and whose farthest edge is 4 to 8 strides away (from 0 on the finest level,
    without limit on the coarsest). Its score is the geometric mean of the class's and of the
    centre-ness, which is predicted beside the box.

    Source: Tian et al. 2019, and the authors' code: centre sampling, GIoU, centre-ness beside the
        box, distances in strides. Assignments are torchvision's.
    Differs: no scale is learned per level, since distances are in strides.
    """

    def __init__(
        self, specs: Sequence[FeatureSpec], options: DetectorOptions, classes: int
    ) -> None:
        super().__init__(specs, options, classes, starts=1, numbers=5)
        bias = self.towers.box_numbers.bias
        assert bias is not None
        with torch.no_grad():
            bias[:4] = START
        sides = [torch.full((1, 2), float(spec.stride)) for spec in self.pyramid.specs]
        self.register_buffer("sides", torch.stack(sides), persistent=False)

    sides: Tensor

    def starts_of(self, level: int, grid: tuple[int, int]) -> Tensor:
        """A square of the level's stride around each cell's centre."""
        return grid_anchors(self.pyramid.specs[level], grid, self.sides[level])

    def decode(self, numbers: Tensor, starts: Tensor) -> Tensor:
        stride = starts[..., 2:] - starts[..., :2]
        centre = (starts[..., 2:] + starts[..., :2]) / 2
        away = numbers[..., :4].clamp(max=MAX_LOG_SCALE).exp()
        return torch.cat([centre - away[..., :2] * stride, centre + away[..., 2:] * stride], -1)

    def scores(self, logits: Tensor, numbers: Tensor) -> Tensor:
        return (logits.sigmoid() * numbers[..., 4:].sigmoid()).sqrt()

    def assign(self, cells: Cells, boxes: Tensor) -> tuple[Tensor, Tensor]:
        starts = cells.starts
        if len(boxes) == 0:
            none = torch.full((len(starts),), -1, dtype=torch.int64, device=starts.device)
            return none, none > 0
        strides = starts[:, 2] - starts[:, 0]
        low, high = strides * LEAST, strides * MOST
        low[: cells.counts[0]] = 0
        high[len(starts) - cells.counts[-1] :] = torch.inf
        index = nearest_objects(starts, boxes, low, high, self.options.centre_radius)
        return index, torch.zeros_like(index, dtype=torch.bool)

    def box_losses(self, numbers: Tensor, starts: Tensor, goals: Tensor) -> dict[str, Tensor]:
        boxes = self.decode(numbers, starts)
        centres = centre_ness(starts, goals)
        return {
            "box": giou_loss(boxes, goals),
            "centre": F.binary_cross_entropy_with_logits(numbers[:, 4], centres, reduction="none"),
        }


def nearest_objects(
    starts: Tensor, boxes: Tensor, low: Tensor, high: Tensor, radius: float
) -> Tensor:
    """The object that each cell learns, int64 (A,), -1: none.

    Args: starts: squares (A, 4) of a stride's side around the cells' centres; boxes (G, 4), G > 0;
        low, high: (A,) pixels between which the farthest edge must be; radius: strides.
    """
    centres = (starts[:, :2] + starts[:, 2:]) / 2
    strides = starts[:, 2] - starts[:, 0]
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    near = (centres[:, None] - middles).abs().amax(2) < radius * strides[:, None]
    edges = torch.cat([centres[:, None] - boxes[:, :2], boxes[:, 2:] - centres[:, None]], 2)
    farthest = edges.amax(2)
    fits = near & (edges.amin(2) > 0) & (farthest > low[:, None]) & (farthest < high[:, None])
    size = torch.where(fits, area(boxes)[None], torch.inf)
    least, index = size.min(1)
    return torch.where(least.isfinite(), index, -1)


def centre_ness(starts: Tensor, goals: Tensor) -> Tensor:
    """1 at the centre of an object, 0 at its edges, (P,).

    Source: Tian et al. 2019, sec. 3.3: sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)).
    """
    centres = (starts[:, :2] + starts[:, 2:]) / 2
    one, two = centres - goals[:, :2], goals[:, 2:] - centres
    shares = torch.minimum(one, two) / torch.maximum(one, two).clamp(min=1e-9)
    return shares.clamp(min=0).prod(1).sqrt()
