"""Which sizes of pictures a net takes, and how pictures of other sizes are shown to it.

Convolutions take any size. Attention in windows takes multiples of a window: pictures are padded,
right and below. A net that mixes all positions by learnt weights (MLP-Mixer, LeViT) takes one
square alone: larger pictures are scaled down to it, and all are padded. Either way its maps come
back on the grid that they would have had, so that whoever reads them by their geometry (boxes,
masks) needs to know nothing of it.
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

# what nets raise for a size that they don't take
WRONG_SIZE = (RuntimeError, AssertionError, ValueError, IndexError)


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of pictures that a net takes.

    multiple | height and width are padded to multiples of it, pixels
    fixed    | the side of the one square that it takes, pixels; 0: there are others
    """

    multiple: int = 1
    fixed: int = 0

    def fit(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Pictures (N, 3, H, W) in a size that the net takes, and the rows and columns that they
        fill of it: the rest, right and below, is zero."""
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
    maps: Tensor, spec: FeatureSpec, given: tuple[int, int], filled: tuple[int, int]
) -> Tensor:
    """A map on the grid of the pictures as they were given.

    Args:
        maps: (N, C, h, w), of pictures that `Sizes.fit` brought to another size.
        given: height and width of the pictures, pixels; filled: the same once they were scaled.

    Returns: (N, C, ceil(H / stride), ceil(W / stride)); read bilinearly where pictures were scaled.
    """
    rows, columns = (-(-side // spec.stride) for side in given)
    if filled == given:
        return maps[:, :, :rows, :columns]
    across: list[Tensor] = []
    for cells, have, side, shown in zip(
        (rows, columns), maps.shape[-2:], given, filled, strict=True
    ):
        places = torch.arange(cells, device=maps.device) * spec.stride + spec.offset
        across.append(reading(spec, have, (places + 0.5) * (shown / side) - 0.5, shown))
    return interpolate(maps, *across).to(maps.dtype)


class _AsIs(nn.Module):
    """A net's maps of pictures that nobody brings to another size."""

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
    """Rows and columns of all maps of pictures of that size; None: the net does not take it.

    Computes on no data, unless the net looks things up in tables: only then does it show whether
    they are large enough.
    """
    try:
        seen = trace(_AsIs(net), (height, width), net.map_names)
        if any(name.startswith("index") for name in seen.operations):
            _run(net, height, width)
    except WRONG_SIZE:
        return None
    return {name: (shape[-2], shape[-1]) for name, (_, shape) in seen.outputs.items()}


def takes(net: Net, height: int, width: int, own: Grids) -> bool:
    """Whether a net makes all its maps of pictures of that size, as much larger as they are.

    Args: own: grids of the maps at the net's own size.
    """
    got, side = grids(net, height, width), net.preprocess.size
    if got is None:
        return False
    for name, cells in got.items():
        stride = net.specs[name].stride
        for have, before, given in zip(cells, own[name], (height, width), strict=True):
            if abs(have - before - (given - side) / stride) > 1.5:
                return False
    return True


def find_sizes(net: Net) -> Sizes:
    """What sizes a net takes, found by trying some that are not square."""
    side = net.preprocess.size
    own = grids(net, side, side)
    if own is None:
        return Sizes(fixed=side)
    if takes(net, side + 45, side + 83, own):
        return ANY
    for multiple in (32, 64):
        base = -(-side // multiple) * multiple
        if takes(net, base + multiple, base + 3 * multiple, own):
            return Sizes(multiple)
    if takes(net, 2 * side, 3 * side, own):  # windows are a share of the net's own size
        return Sizes(side)
    return Sizes(fixed=side)
