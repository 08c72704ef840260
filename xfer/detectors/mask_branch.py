"""Mask R-CNN's branch: a small grid of probabilities for each object, laid over its box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align as torchvision_roi_align

from xfer.nn.merge import MergedMap
from xfer.nn.precision import exact
from xfer.nn.roi_pool import roi_align
from xfer.types import FeatureSpec

CELLS = 14  # side of a pooled region
SIDE = 2 * CELLS  # of a predicted mask


class MaskBranch(nn.Module):
    """Convolutions on pooled regions, a transposed one that doubles their side, a mask per class.

    Args:
        specs: maps that regions are pooled from, finest first; several are merged.
        width: channels of its layers, and of the merged map; convs: how many convolutions.
        classes: how many masks: one per class, or a single one for all.

    Shapes: maps {name: (N, C, h, w)}, regions N x (R_n, 4) -> float32 (R, classes, 28, 28), before
        the sigmoid.
    Source: He et al. 2017, fig. 4, right, with RoIAlign (sec. 3).
    """

    def __init__(self, specs: Sequence[FeatureSpec], width: int, convs: int, classes: int) -> None:
        super().__init__()
        self.names = tuple(spec.name for spec in specs)
        self.merge = MergedMap(specs, width) if len(specs) > 1 else None
        self.spec = specs[0] if self.merge is None else self.merge.spec
        channels = [self.spec.channels, *[width] * convs]
        layers = [nn.Conv2d(a, width, 3, padding=1) for a in channels[:convs]]
        self.convs = nn.ModuleList(layers)
        self.up = nn.ConvTranspose2d(channels[convs], width, 2, stride=2)
        self.masks = nn.Conv2d(width, classes, 1)
        for layer in (*layers, self.up):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.masks.weight, std=0.001)
        for layer in (*layers, self.up, self.masks):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, maps: Mapping[str, Tensor], regions: Sequence[Tensor]) -> Tensor:
        map = maps[self.names[0]] if self.merge is None else self.merge(maps)
        return self.read(roi_align(map, regions, self.spec, CELLS))

    def read(self, x: Tensor) -> Tensor:
        """The masks of pooled regions (R, C, 14, 14)."""
        for conv in self.convs:
            x = F.relu(conv(x))
        x = F.relu(self.up(x))
        with exact(x):
            return self.masks(x.float())


def chosen(masks: Tensor, labels: Tensor) -> Tensor:
    """The mask of each object's class: (R, classes or 1, s, s), int64 (R,) -> (R, s, s)."""
    which = labels if masks.shape[1] > 1 else torch.zeros_like(labels)
    return masks[torch.arange(len(masks), device=masks.device), which]


def mask_goals(shares: Tensor, places: Tensor, regions: Tensor) -> Tensor:
    """The part of each object that lies in the cells of a region over it.

    Shapes: shares uint8 (R, g, g), 0..255, of `ObjectGrids`; places (R, 4), the rectangle that each
        covers; regions (R, 4) -> float32 (R, 28, 28), 0..1. Outside of its rectangle is no object.
    """
    grid = shares.shape[-1]
    padded = F.pad(shares[:, None].float() / 255, (1, 1, 1, 1))  # readings fade out at its edges
    corner = places[:, :2].repeat(1, 2)
    sides = (places[:, 2:] - places[:, :2]).clamp(min=1e-6).repeat(1, 2)
    inside = (regions - corner) / sides * grid + 1
    index = torch.arange(len(regions), device=regions.device, dtype=inside.dtype)[:, None]
    rois = torch.cat([index, inside], 1)
    return torchvision_roi_align(padded, rois, SIDE, 1.0, 2, True)[:, 0]
