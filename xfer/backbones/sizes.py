"""Which picture sizes a net takes, and how pictures of other sizes are fitted to it.

Convolutions take any size. Windowed attention takes multiples of a window: pictures are padded on
the right and at the bottom. A net that mixes all positions by learnt weights (MLP-Mixer, LeViT)
takes a single square size: larger pictures are scaled down to it, and all are padded. Either way
the maps are returned on the grid that the original size would give, so code that uses their
geometry (boxes, masks) needs no special case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfer.backbones.geometry import trace
from xfer.nn.upsample import interpolate, reading
from xfer.types import FeatureSpec

Net = Any  # a Backbone, whose module imports this one

# exceptions that nets raise for a size they don't take
WRONG_SIZE = (RuntimeError, AssertionError, ValueError, IndexError)


@dataclass(frozen=True, slots=True)
class Sizes:
    """The picture sizes that a net takes.

    multiple | height and width are padded to multiples of this, pixels
    fixed    | side of the only square size that it takes, pixels; 0: it takes others too
    """

    multiple: int = 1
    fixed: int = 0

    def fit(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Pictures (N, 3, H, W) in a size that the net takes, and the rows and columns they fill;
        the rest, on the right and at the bottom, is zero."""
        height, width = images.shape[-2:]
        if self.fixed and max(height, width) > self.fixed:
            scale = self.fixed / max(height, width)
            height, width = (max(1, round(side * scale)) for side in (height, width))
            shown = F.interpolate(
                images.float(), (height, width), mode="bilinear", antialias=True
            ).to(images.dtype)
        else:
            shown = images
        down, right = (self._room(side) for side in (height, width))
        return F.pad(shown, (0, right, 0, down)) if down or right else shown, (height, width)

    def _room(self, side: int) -> int:
        return self.fixed - side if self.fixed else -side % self.multiple


ANY = Sizes()


def on_own_grid(
    maps: Tensor, spec: FeatureSpec, original: tuple[int, int], filled: tuple[int, int]
) -> Tensor:
    """A map on the grid of the original pictures.

    Args:
        maps: (N, C, h, w), of pictures that `Sizes.fit` brought to another size.
        original: height and width of the pictures, pixels; filled: the same after scaling.

    Returns: (N, C, ceil(H / stride), ceil(W / stride)); interpolated bilinearly if scaled.
    """
    rows, columns = (-(-side // spec.stride) for side in original)
    if filled == original:
        return maps[:, :, :rows, :columns]
    across: list[Tensor] = []
    for cells, have, side, shown in zip(
        (rows, columns), maps.shape[-2:], original, filled, strict=True
    ):
        places = torch.arange(cells, device=maps.device) * spec.stride + spec.offset
        across.append(reading(spec, have, (places + 0.5) * (shown / side) - 0.5, shown))
    return interpolate(maps, *across).to(maps.dtype)


class _AsIs(nn.Module):
    """A net's maps of pictures as they are, not fitted to another size."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor, want: tuple[str, ...]) -> dict[str, Tensor]:
        return self.net.maps(images, want)


def _run(net: Net, height: int, width: int) -> None:
    modes = {module: module.training for module in net.modules()}
    first = next(net.parameters())
    net.eval()
    try:
        with torch.no_grad():
            net.maps(torch.zeros(1, 3, height, width).to(first), net.map_names)
    finally:
        for module, training in modes.items():
            module.training = training


Grids = Mapping[str, tuple[int, int]]


def grids(net: Net, height: int, width: int) -> dict[str, tuple[int, int]] | None:
    """Rows and columns of all maps for pictures of this size; None: the net does not take it.

    Computed without data, unless the net looks values up in tables: only a run with data shows
    whether these are large enough.
    """
    try:
        seen = trace(_AsIs(net), (height, width), net.map_names)
        if any(name.startswith("index") for name in seen.operations):
            _run(net, height, width)
    except WRONG_SIZE:
        return None
    return {name: (shape[-2], shape[-1]) for name, (_, shape) in seen.outputs.items()}


def takes(net: Net, height: int, width: int, native: Grids) -> bool:
    """Whether a net computes all its maps for this size, in proportion to the size.

    Args: native: grids of the maps at the net's own size.
    """
    got, side = grids(net, height, width), net.preprocess.size
    if got is None:
        return False
    for name, cells in got.items():
        stride = net.specs[name].stride
        for have, before, length in zip(cells, native[name], (height, width), strict=True):
            if abs(have - before - (length - side) / stride) > 1.5:
                return False
    return True


def find_sizes(net: Net) -> Sizes:
    """The sizes that a net takes, found by trying some that are not square."""
    side = net.preprocess.size
    native = grids(net, side, side)
    if native is None:
        return Sizes(fixed=side)
    if takes(net, side + 45, side + 83, native):
        return ANY
    for multiple in (32, 64):
        base = -(-side // multiple) * multiple
        if takes(net, base + multiple, base + 3 * multiple, native):
            return Sizes(multiple)
    if takes(net, 2 * side, 3 * side, native):  # the window is a fraction of the net's own size
        return Sizes(side)
    return Sizes(fixed=side)
