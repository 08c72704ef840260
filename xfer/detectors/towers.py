"""What single-stage detectors run on every level of a pyramid: two towers and their outputs."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from xfer.nn.precision import exact

PRIOR = 0.01  # probability of an object that training starts from (Lin et al. 2017, sec. 4.1)


def tower(width: int, depth: int) -> nn.Sequential:
    """`depth` times a 3 x 3 convolution, group norm and ReLU."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        conv = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        nn.init.normal_(conv.weight, std=0.01)
        layers += [conv, nn.GroupNorm(math.gcd(32, width), width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class Towers(nn.Module):
    """Class scores and box numbers of every cell, from two towers shared by all levels.

    Args:
        width: channels of the levels; depth: convolutions of a tower; classes: C.
        starts: boxes that each cell starts from; numbers: of each of them besides the classes, from
            the tower of boxes.

    Shapes: (N, width, h, w) -> float32 (N, h * w * starts, C) and (N, h * w * starts, numbers).
    Source: Lin et al. 2017 (RetinaNet), sec. 4; Tian et al. 2019 (FCOS), sec. 3.
    """

    def __init__(self, width: int, depth: int, classes: int, starts: int, numbers: int) -> None:
        super().__init__()
        self.classes, self.numbers = classes, numbers
        self.cls_tower, self.box_tower = tower(width, depth), tower(width, depth)
        self.cls_logits = nn.Conv2d(width, starts * classes, 3, 1, 1)
        self.box_numbers = nn.Conv2d(width, starts * numbers, 3, 1, 1)
        for layer, bias in (
            (self.cls_logits, -math.log((1 - PRIOR) / PRIOR)),
            (self.box_numbers, 0),
        ):
            assert layer.bias is not None
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.constant_(layer.bias, bias)

    def forward(self, level: Tensor) -> tuple[Tensor, Tensor]:
        scored, boxed = self.cls_tower(level), self.box_tower(level)
        with exact(level):  # scores rank boxes, and bf16 would move an edge by pixels
            logits = self.cls_logits(scored.float())
            numbers = self.box_numbers(boxed.float())
        return by_cell(logits, self.classes), by_cell(numbers, self.numbers)


def by_cell(map: Tensor, numbers: int) -> Tensor:
    """(N, K * numbers, h, w) -> (N, h * w * K, numbers)."""
    return map.permute(0, 2, 3, 1).reshape(map.shape[0], -1, numbers)


def focal_loss(logits: Tensor, wanted: Tensor, alpha: float, gamma: float) -> Tensor:
    """Focal loss of each score, after a sigmoid: the shape of both, wanted 0 or 1.

    Equal to torchvision's sigmoid_focal_loss, with a third of its passes over the scores.
    Source: Lin et al. 2017 (RetinaNet), sec. 3: -alpha_t (1 - p_t)^gamma log p_t.
    """
    signed = logits * (1 - 2 * wanted)  # p_t = sigmoid(-signed)
    weight = (1 - alpha) + (2 * alpha - 1) * wanted
    return weight * signed.sigmoid().pow(gamma) * F.softplus(signed)
