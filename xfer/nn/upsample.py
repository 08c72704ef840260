"""Bilinear upsampling as two small matrix products, a matrix an axis, placed by geometry.

FCN upsamples its scores by a transposed convolution with a fixed bilinear kernel. That kernel is a
product of two triangles, so each axis is a small matrix: equal to 1e-6 and ten times as fast.
Where cells look is known (FeatureSpec), so no crop is ever typed: the matrices are written down at
the pixels that are asked for.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from xfer.errors import XferError
from xfer.nn.precision import exact
from xfer.types import FeatureSpec

PIXELS = FeatureSpec("pixels", 3, 1, 1, 0.0)


def triangle(places: Tensor, centres: Tensor, reach: float) -> Tensor:
    """(P, n): 1 where a place is at a centre, falling evenly to 0 at a distance of `reach`."""
    return (1 - (places[:, None] - centres).abs() / reach).clamp_(min=0)


def reading(spec: FeatureSpec, cells: int, pixels: Tensor, side: int = 0) -> Tensor:
    """How much each cell of a map counts at places along one axis of the picture.

    Beyond the centres of the outermost cells, these are read in full.

    Args:
        spec: geometry of the map; cells: its length along the axis.
        pixels: (P,) floating, places in pixels of the net's input.
        side: pixels of the picture along the axis where padding follows: cells that lie wholly in
            there are not read; 0: there is none.

    Returns: (P, cells), rows sum to 1.
    """
    read = cells
    if side:  # a cell is as wide as the stride; the first is read wherever it looks
        reach = side + (spec.stride - 1) / 2 - spec.offset
        read = min(cells, max(1, math.ceil(reach / spec.stride)))
    places = ((pixels - spec.offset) / spec.stride).clamp(0, read - 1)
    return triangle(places, torch.arange(cells, device=pixels.device), 1.0)


def interpolate(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Two products: (N, C, h, w), (H, h), (W, w) -> float32 (N, C, H, W), also under autocast.

    Columns go first: backward, the long product then is one for each map, twice as fast as one with
    a matrix of many short rows.
    """
    with exact(maps):
        wide = maps.float() @ columns.float().T
        return rows.float() @ wide


def at_pixels(maps: Tensor, spec: FeatureSpec, height: int, width: int, step: int = 1) -> Tensor:
    """A map read at every `step`-th pixel of a net's input, from the first on.

    Shapes: (N, C, h, w) -> float32 (N, C, height, width).
    """
    rows, columns = (
        reading(spec, cells, torch.arange(side, device=maps.device, dtype=torch.float32) * step)
        for cells, side in zip(maps.shape[2:], (height, width), strict=True)
    )
    return interpolate(maps, rows, columns)


def bilinear_kernel(size: int) -> Tensor:
    """(size, size): the kernel that FCN's transposed convolutions are filled with.

    Source: shelhamer/fcn.berkeleyvision.org, surgery.py, upsample_filt.
    """
    reach = (size + 1) // 2
    places = torch.arange(size, dtype=torch.float32)
    line = triangle(places, torch.tensor([(size - 1) / 2]), reach)[:, 0]
    return line[:, None] * line


def transposed_bilinear(maps: Tensor, stride: int, kernel: int) -> Tensor:
    """FCN's transposed convolution with the fixed bilinear kernel, class by class.

    Args:
        maps: (N, C, h, w).
        stride, kernel: of the transposed convolution, pixels: 32 and 64 in FCN-32s.

    Returns: float32 (N, C, (h - 1) * stride + kernel, (w - 1) * stride + kernel), faded to zero
        around the outermost cells as there.
    Raises: XferError for a stride or kernel under 1.
    """
    if stride < 1 or kernel < 1:
        raise XferError(f"a stride of {stride} and a kernel of {kernel} upsample nothing")
    reach = (kernel + 1) // 2
    matrices: list[Tensor] = []
    for cells in maps.shape[2:]:
        places = torch.arange((cells - 1) * stride + kernel, device=maps.device)
        centres = torch.arange(cells, device=maps.device) * stride + (kernel - 1) / 2
        matrices.append(triangle(places, centres, reach))
    return interpolate(maps, *matrices)


def crop_between(coarse: FeatureSpec, fine: FeatureSpec, kernel: int) -> float:
    """By how many cells of `fine` it must be cut, at the top and left, to lie under `coarse` once
    that is upsampled by a transposed convolution of this kernel and no padding; where negative,
    the upsampled one is cut by so many. What Caffe's FCN nets have as `offset` of their Crops.
    """
    return (coarse.offset - fine.offset) / fine.stride - (kernel - 1) / 2
