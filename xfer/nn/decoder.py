"""A light decoder: the deepest map with whole-picture context, then finer maps merged in."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfer.nn.merge import resample
from xfer.nn.precision import exact
from xfer.types import FeatureSpec


class Layer(nn.Sequential):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, dilation: int = 1) -> None:
        padding = dilation * (kernel // 2)
        conv = nn.Conv2d(inputs, outputs, kernel, 1, padding, dilation, bias=False)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        super().__init__(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))

    def forward(self, input: Tensor) -> Tensor:
        conv, norm, relu = self
        x = conv(input)
        if not (norm.training and x.numel() == x.shape[1]):
            return relu(norm(x))
        # a single cell has no deviation: it is normalised as in evaluation
        norm.eval()
        try:
            return relu(norm(x))
        finally:
            norm.train()


class Context(nn.Module):
    """The picture's mean cell, to be added to each cell (Liu et al. 2016, ParseNet).

    Shapes: (N, C, h, w), inside (N, h, w) 0..1 -> (N, width, h, w).
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.layer = nn.Linear(channels, width)

    def forward(self, maps: Tensor, inside: Tensor) -> Tensor:
        share = inside / inside.sum((1, 2), keepdim=True)
        with exact(maps):
            mean = (maps.float() * share[:, None]).sum((2, 3))
        return F.relu(self.layer(self.norm(mean)))[:, :, None, None]


class Decoder(nn.Module):
    """Scores on the grid of the finest of several maps.

    Args:
        specs: geometry of the maps, deepest first.
        classes: number; width: channels of the two deepest levels; each finer one has half.
        dropout: fraction of channels dropped before the scores, in training.

    Shapes: {name: (N, C, h, w)} -> float32 (N, classes, h, w) on the grid of the last of `specs`.
    Source: after DeepLab v3+'s decoder (Chen et al. 2018, sec. 3) and U-Net's skips
        (Ronneberger et al. 2015).  Differs: maps are aligned by what their cells see.
    """

    def __init__(
        self, specs: Sequence[FeatureSpec], classes: int, width: int, dropout: float
    ) -> None:
        super().__init__()
        self.specs = tuple(specs)
        deep = specs[0]
        self.near = Layer(deep.channels, width, 3)
        self.wide = Layer(deep.channels, width, 3, 3)
        self.context = Context(deep.channels, width)
        widths = [width] + [max(16, width // 2**k) for k in range(len(specs) - 1)]
        self.skips = nn.ModuleList(
            Layer(spec.channels, max(16, out // 2), 1)
            for spec, out in zip(specs[1:], widths[1:], strict=True)
        )
        self.joins = nn.ModuleList(
            Layer(above + max(16, out // 2), out) for above, out in itertools.pairwise(widths)
        )
        self.drop = nn.Dropout2d(dropout)
        self.score = nn.Conv2d(widths[-1], classes, 1)
        # torch's default initialisation: from N(0, 0.01) a net without weights learns where things
        # are for hundreds of steps before it begins to tell them apart
        assert self.score.bias is not None
        nn.init.zeros_(self.score.bias)

    @property
    def spec(self) -> FeatureSpec:
        """Geometry of the result."""
        return self.specs[-1]

    def forward(self, maps: Mapping[str, Tensor], sizes: Tensor | None = None) -> Tensor:
        """Args: sizes: int64 (N, 2), H and W of the pictures in the batch; None: no padding."""
        deep = maps[self.specs[0].name]
        inside = _inside(deep, self.specs[0], sizes)
        x = self.near(deep) + self.wide(deep) + self.context(deep, inside)
        before = self.specs[0]
        each = zip(self.skips, self.joins, self.specs[1:], strict=True)
        for skip, join, spec in each:
            fine = skip(maps[spec.name])
            x = resample(x, before, spec, (fine.shape[2], fine.shape[3]))
            x = join(torch.cat([x, fine.to(x.dtype)], 1))
            before = spec
        return self.score(self.drop(x)).float()


def _inside(maps: Tensor, spec: FeatureSpec, sizes: Tensor | None) -> Tensor:
    """(N, h, w): 1 for cells whose centre is in their picture, 0 for those in the padding."""
    count, _, height, width = maps.shape
    if sizes is None:
        return maps.new_ones((count, height, width), dtype=torch.float32)
    axes: list[Tensor] = []
    for cells, side in zip((height, width), sizes.unbind(1), strict=True):
        centres = torch.arange(cells, device=maps.device) * spec.stride + spec.offset
        reach = side[:, None].clamp(min=spec.offset + 1)  # the first cell is always inside
        axes.append((centres < reach).float())
    return axes[0][:, :, None] * axes[1][:, None]
