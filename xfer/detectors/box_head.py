"""Classes and boxes from pooled regions: hidden layers for nets without them, two outputs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfer.nn.precision import exact
from xfer.ops.fixed import marked


class HiddenLayers(nn.Module):
    """Two fully connected layers with ReLU on a flattened region: fc6, fc7 for nets without them.

    Shapes: (R, C, s, s) -> (R, width). fc6 reads a region cell by cell, all channels of a cell
    together, which is the memory order after pooling.
    """

    def __init__(self, channels: int, size: int, width: int) -> None:
        super().__init__()
        self.fc6 = nn.Linear(channels * size * size, width)
        self.fc7 = nn.Linear(width, width)
        for layer in (self.fc6, self.fc7):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, regions: Tensor) -> Tensor:
        return F.relu(self.fc7(F.relu(self.fc6(regions.permute(0, 2, 3, 1).flatten(1)))))


class BoxOutputs(nn.Module):
    """Sibling outputs: scores of C classes and the background (last), and box offsets.

    Args:
        width: of the input; classes: C; agnostic: one box per region, not one per class.

    Shapes: (R, width) -> float32 (R, C + 1), float32 (R, C or 1, 4).
    Source: Girshick 2015, sec. 2.1; N(0, .01) and N(0, .001): sec. 2.3.
    """

    def __init__(self, width: int, classes: int, agnostic: bool) -> None:
        super().__init__()
        self.boxes = 1 if agnostic else classes
        self.cls_score = nn.Linear(width, classes + 1)
        self.bbox_pred = nn.Linear(width, 4 * self.boxes)
        for layer, std in ((self.cls_score, 0.01), (self.bbox_pred, 0.001)):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        with exact(hidden):  # scores rank boxes: bf16 has too few distinct values
            hidden = hidden.float()
            return self.cls_score(hidden), self.bbox_pred(hidden).view(-1, self.boxes, 4)


def box_losses(
    logits: Tensor, offsets: Tensor, labels: Tensor, goals: Tensor, beta: float, shares: Tensor
) -> dict[str, Tensor]:
    """Cross-entropy, and smooth L1 of the foreground's boxes, both averaged over the regions.

    Shapes: logits (R, C + 1), offsets (R, C or 1, 4); labels int64 (R,), C for background;
        goals (R, 4), normalised offsets, read where labels < C; shares (R,), each region's part in
        the average, see `equal_shares`.
    Source: Girshick 2015, sec. 2.3, lambda = 1.
    """
    rows, box = _box_errors(logits, offsets, labels, goals, beta)
    scores = F.cross_entropy(logits, labels, reduction="none")
    return {"cls": (scores * shares).sum(), "box": (box * shares[rows]).sum()}


def region_losses(
    logits: Tensor, offsets: Tensor, labels: Tensor, goals: Tensor, beta: float, weight: float
) -> Tensor:
    """The loss of each region, (R,): cross-entropy, and `weight` times smooth L1 of its box if it
    is foreground. Shapes: as `box_losses`."""
    rows, box = _box_errors(logits, offsets, labels, goals, beta)
    scores = F.cross_entropy(logits, labels, reduction="none")
    if isinstance(rows, slice):
        return scores + box * weight
    return scores.index_add(0, rows, box * weight)


def _box_errors(
    logits: Tensor, offsets: Tensor, labels: Tensor, goals: Tensor, beta: float
) -> tuple[Tensor | slice, Tensor]:
    """Which regions are foreground, see `marked`, and smooth L1 of their boxes, (P,); on a device
    it is 0 for the others."""
    is_object = labels < logits.shape[1] - 1
    rows = marked(is_object)
    which = labels[rows].clamp(max=offsets.shape[1] - 1)
    own = offsets[rows].gather(1, which[:, None, None].expand(-1, 1, 4))[:, 0]
    wanted = torch.where(is_object[rows, None], goals[rows], own.detach())
    return rows, F.smooth_l1_loss(own, wanted, reduction="none", beta=beta).sum(1)
