"""Merges several maps of a net: resampled to the finest grid by their geometry, and added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfer.nn.upsample import reading
from xfer.types import FeatureSpec


def resample(
    maps: Tensor, spec: FeatureSpec, onto: FeatureSpec, grid: tuple[int, int], fade: bool = False
) -> Tensor:
    """A map interpolated bilinearly at the centres of another map's cells; `fade` as in `reading`.

    Shapes: maps (N, C, h, w) -> (N, C, *grid).
    """
    rows, columns = (
        reading(
            spec,
            have,
            torch.arange(want, device=maps.device) * onto.stride + onto.offset,
            fade=fade,
        )
        for have, want in zip(maps.shape[2:], grid, strict=True)
    )
    rows, columns = rows.to(maps.dtype), columns.to(maps.dtype)
    count, channels, height, width = maps.shape
    last = maps.permute(0, 2, 3, 1)  # (N, h, w, C)
    tall = (rows @ last.reshape(count, height, -1)).view(count * grid[0], width, channels)
    return (columns @ tall).view(count, *grid, channels).permute(0, 3, 1, 2)


class MergedMap(nn.Module):
    """A 1 x 1 convolution per map, the sum on the finest grid, and a ReLU.

    Args:
        specs: geometry of the maps, finest first; width: channels of the result.

    Shapes: {name: (N, C, h, w)} -> (N, width, h, w) on the grid of the first.
    Source: the sum of a feature pyramid (Lin et al. 2017, sec. 3), as one map, as HyperNet's is
        (Kong et al. 2016).  Differs: the maps are not normalised.
    """

    def __init__(self, specs: Sequence[FeatureSpec], width: int) -> None:
        super().__init__()
        self.specs, self.width = tuple(specs), width
        layers = [nn.Conv2d(s.channels, width, 1) for s in specs]
        for conv, spec in zip(layers, specs, strict=True):
            nn.init.normal_(conv.weight, std=(2 / (spec.channels * len(specs))) ** 0.5)
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
        self.lateral = nn.ModuleList(layers)

    @property
    def spec(self) -> FeatureSpec:
        """Geometry of the result: the finest grid, the widest view."""
        field = max(s.receptive_field for s in self.specs)
        return replace(self.specs[0], name="merged", channels=self.width, receptive_field=field)

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        first = self.specs[0]
        total: Tensor | None = None
        for spec, conv in zip(self.specs, self.lateral, strict=True):
            x = conv(maps[spec.name])
            if total is None:
                total = x
            else:
                grid = (total.shape[2], total.shape[3])
                total = total + resample(x, spec, first, grid)
        assert total is not None
        return F.relu(total)
