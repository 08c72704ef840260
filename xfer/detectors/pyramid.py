"""A light feature pyramid from any net's maps: coarse ones are added to finer ones by geometry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor, nn

from xfer.nn.levels import Specs, named_levels
from xfer.nn.merge import resample
from xfer.types import FeatureSpec

FINEST, COARSEST = 8, 32  # strides of the maps that a pyramid starts from


def pyramid_maps(specs: Specs, names: Sequence[str], net: str) -> list[FeatureSpec]:
    """The maps that a pyramid is made from, finest first, one of each stride.

    Args: names: as in `named_levels`; empty: the deepest map of each stride from 8 to 32, except
        those that only pool another one, or else the deepest with a stride of at most 16.
    Raises: XferError for a name that the net does not have.
    """
    if not names:
        fitting = [s for n, s in specs.items() if not n.startswith("pool")]
        by_stride = {s.stride: s.name for s in fitting if FINEST <= s.stride <= COARSEST}
        names = tuple(by_stride.values()) or ("stride16",)
    chosen = {spec.stride: spec for spec in named_levels(specs, names, net)}
    return [chosen[stride] for stride in sorted(chosen)]


class Pyramid(nn.Module):
    """A 1 x 1 convolution per map, coarse added to fine; coarser levels by pooling.

    Args:
        specs: the maps, finest first; width: channels of every level.
        max_stride: of the coarsest level: the net's last map is halved until the next halving would
            exceed it.

    Shapes: {name: (N, C, h, w)} -> one (N, width, h, w) per level, finest first; `specs` is their
        geometry.
    Source: Lin et al. 2017 (FPN), sec. 3.  Differs: maps are resampled bilinearly at the centres of
        their cells, whatever the paddings below; no convolution follows the sum, as towers do;
        levels beyond the net's maps are maxima of 3 x 3 cells.
    """

    def __init__(self, specs: Sequence[FeatureSpec], width: int, max_stride: int) -> None:
        super().__init__()
        self.names = tuple(spec.name for spec in specs)
        self.lateral = nn.ModuleList(nn.Conv2d(s.channels, width, 1) for s in specs)
        for conv in self.lateral:
            assert isinstance(conv, nn.Conv2d) and conv.bias is not None
            nn.init.kaiming_uniform_(conv.weight, a=1)
            nn.init.zeros_(conv.bias)
        levels = [replace(spec, channels=width) for spec in specs]
        while levels[-1].stride * 2 <= max_stride:
            last = levels[-1]
            levels.append(
                FeatureSpec(
                    f"{last.name}_pooled", width, last.stride * 2,
                    last.receptive_field + 2 * last.stride, last.offset,
                )
            )  # fmt: skip
        self.specs = tuple(levels)

    def forward(self, maps: Mapping[str, Tensor]) -> list[Tensor]:
        own = len(self.names)
        levels = [conv(maps[n]) for conv, n in zip(self.lateral, self.names, strict=True)]
        for k in range(own - 2, -1, -1):
            fine, coarse = levels[k], levels[k + 1]
            grid = (fine.shape[2], fine.shape[3])
            levels[k] = fine + resample(coarse, self.specs[k + 1], self.specs[k], grid)
        for _ in self.specs[own:]:
            levels.append(F.max_pool2d(levels[-1], 3, 2, 1))
        return levels
