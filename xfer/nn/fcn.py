"""Fully convolutional heads: scores on named maps, coarse ones resampled to finer grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfer.errors import XferError
from xfer.nn.dropout import Dropout
from xfer.nn.merge import resample
from xfer.nn.precision import exact
from xfer.types import FeatureSpec


def after_kernel(spec: FeatureSpec, kernel: int, padding: int, channels: int) -> FeatureSpec:
    """The geometry after a convolution of stride 1 on a map."""
    return replace(
        spec,
        channels=channels,
        receptive_field=spec.receptive_field + (kernel - 1) * spec.stride,
        offset=spec.offset + ((kernel - 1) / 2 - padding) * spec.stride,
    )


def padding_for(spec: FeatureSpec, kernel: int) -> int:
    """The smallest padding of a map with which a convolution on it reaches the picture's corner:
    its first cell is at most half a stride inside. It is 0 if the net's input is padded by 100
    pixels, as in Long et al. 2015.
    """
    padding = 0
    while after_kernel(spec, kernel, padding, 1).offset > spec.stride / 2:
        padding += 1
    return padding


class FreshTail(nn.Sequential):
    """A small hidden layer for nets whose own fc6 and fc7 have no weights: 3x3, ReLU, dropout."""

    def __init__(self, channels: int, width: int, dropout: float) -> None:
        self.out_channels = width
        conv = nn.Conv2d(channels, width, 3)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        assert conv.bias is not None
        nn.init.zeros_(conv.bias)
        super().__init__(conv, nn.ReLU(inplace=True), Dropout(dropout))


class FCNHead(nn.Module):
    """FCN-32s, 16s and 8s: a score layer on the deepest map and one on each skip.

    Args:
        specs: maps that scores are made from, deepest first; strides decrease.
        classes: number of classes.
        scales: factors on the skips' maps before they are scored, one per skip; FCN-8s trained
            at once has .01 and .0001.
        fade: coarse scores fall to 0 beyond their outermost cells, as in the authors' transposed
            convolutions, instead of staying as they are there.

    hidden | a layer between the deepest map and its scores, or None

    Shapes: {name: (N, C, h, w)} -> float32 (N, classes, h, w) on the grid of the last of `specs`.
    Raises: XferError if the strides don't decrease, or there isn't one scale per skip.
    Source: Long et al. 2015, sec. 4.2, Fig. 3; score layers start at zero (sec. 4.3).  Differs:
        sums are computed on the skip's own grid, not on a crop of it; scores of pixels beyond the
        outermost cells don't fade (the highest stays the highest).
    """

    def __init__(
        self, specs: Sequence[FeatureSpec], classes: int, scales: Sequence[float],
        fade: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        strides = [spec.stride for spec in specs]
        if strides != sorted(set(strides), reverse=True):
            raise XferError(f"maps must go from coarse to fine; their strides are {strides}")
        if len(scales) != len(specs) - 1:
            raise XferError(f"{len(scales)} scales for {len(specs) - 1} skips")
        self.specs, self.scales = tuple(specs), (1.0, *scales)
        self.fade = fade
        self.hidden: nn.Module | None = None
        layers = [nn.Conv2d(spec.channels, classes, 1) for spec in specs]
        for layer in layers:
            assert layer.bias is not None
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.score = nn.ModuleList(layers)

    @property
    def spec(self) -> FeatureSpec:
        """Geometry of the result."""
        return self.specs[-1]

    def forward(self, maps: Mapping[str, Tensor], sizes: Tensor | None = None) -> Tensor:
        total: Tensor | None = None
        before = self.specs[0]
        each = zip(self.score, self.specs, self.scales, strict=True)
        for layer, spec, scale in each:
            x = maps[spec.name]
            if total is None and self.hidden is not None:
                x = self.hidden(x)
            scores = layer(x if scale == 1 else x * scale)
            with exact(scores):
                scores = scores.float()
                if total is not None:
                    grid = (scores.shape[2], scores.shape[3])
                    scores = scores + resample(total, before, spec, grid, self.fade)
            total, before = scores, spec
        assert total is not None
        return total


def padded(maps: Tensor, padding: int) -> Tensor:
    """A map with zeros around it."""
    return F.pad(maps, (padding,) * 4) if padding else maps


def start_from(head: nn.Module, tensors: Mapping[str, Tensor]) -> list[str]:
    """Loads the tensors that fit a module by name and shape; returns their names."""
    state = head.state_dict()
    fitting = [
        name for name, t in tensors.items() if name in state and state[name].shape == t.shape
    ]
    with torch.no_grad():
        for name in fitting:
            state[name].copy_(tensors[name])
    return fitting
