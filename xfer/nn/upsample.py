"""Bilinear upsampling as two small matrix products, one per axis, placed by geometry.

FCN upsamples its scores by a transposed convolution with a fixed bilinear kernel. That kernel is a
product of two triangles, so each axis is a small matrix: equal to 1e-6 and ten times as fast.
FeatureSpec tells where cells look, so crops need no constants: the matrices are computed for the
requested pixels.
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
    """(P, n): 1 where a place is at a centre, falling linearly to 0 at a distance of `reach`."""
    return (1 - (places[:, None] - centres).abs() / reach).clamp_(min=0)


def reading(
    spec: FeatureSpec, cells: int, pixels: Tensor, side: int = 0, fade: bool = False
) -> Tensor:
    """The weight of each cell of a map at positions along one axis of the picture.

    Beyond the centres of the outermost cells, these have full weight, or `fade` to 0 within a
    stride, as in FCN's transposed convolutions.

    Args:
        spec: geometry of the map; cells: its length along the axis.
        pixels: (P,) floating, positions in pixels of the net's input.
        side: length of the picture along the axis, pixels, if padding follows: cells wholly in the
            padding are not read; 0: there is no padding.

    Returns: (P, cells), rows sum to 1, or to less where they fade.
    """
    if fade:
        places = (pixels - spec.offset) / spec.stride
        return triangle(places, torch.arange(cells, device=pixels.device), 1.0)
    read = cells
    if side:  # a cell is as wide as the stride; the first is always read
        reach = side + (spec.stride - 1) / 2 - spec.offset
        read = min(cells, max(1, math.ceil(reach / spec.stride)))
    places = ((pixels - spec.offset) / spec.stride).clamp(0, read - 1)
    return triangle(places, torch.arange(cells, device=pixels.device), 1.0)


def interpolate(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Two products: (N, C, h, w), (H, h), (W, w) -> float32 (N, C, H, W), also under autocast.

    Columns go first: the long product of the backward pass is then one per map, twice as fast as
    one with a matrix of many short rows.
    """
    with exact(maps):
        wide = maps.float() @ columns.float().T
        return rows.float() @ wide


def at_pixels(maps: Tensor, spec: FeatureSpec, height: int, width: int, step: int = 1) -> Tensor:
    """A map interpolated at every `step`-th pixel of a net's input, starting at the first.

    Shapes: (N, C, h, w) -> float32 (N, C, height, width).
    """
    rows, columns = (
        reading(spec, cells, torch.arange(side, device=maps.device, dtype=torch.float32) * step)
        for cells, side in zip(maps.shape[2:], (height, width), strict=True)
    )
    return interpolate(maps, rows, columns)


def bilinear_kernel(size: int) -> Tensor:
    """(size, size): the fixed kernel of FCN's transposed convolutions.

    Source: shelhamer/fcn.berkeleyvision.org, surgery.py, upsample_filt.
    """
    reach = (size + 1) // 2
    places = torch.arange(size, dtype=torch.float32)
    line = triangle(places, torch.tensor([(size - 1) / 2]), reach)[:, 0]
    return line[:, None] * line


def transposed_bilinear(maps: Tensor, stride: int, kernel: int) -> Tensor:
    """FCN's transposed convolution with the fixed bilinear kernel, per class.

    Args:
        maps: (N, C, h, w).
        stride, kernel: of the transposed convolution, pixels: 32 and 64 in FCN-32s.

    Returns: float32 (N, C, (h - 1) * stride + kernel, (w - 1) * stride + kernel), fading to zero
        around the outermost cells, as in FCN.
    Raises: XferError for a stride or kernel below 1.
    """
    if stride < 1 or kernel < 1:
        raise XferError(f"can't upsample with stride {stride} and kernel {kernel}")
    reach = (kernel + 1) // 2
    matrices: list[Tensor] = []
    for cells in maps.shape[2:]:
        places = torch.arange((cells - 1) * stride + kernel, device=maps.device)
        centres = torch.arange(cells, device=maps.device) * stride + (kernel - 1) / 2
        matrices.append(triangle(places, centres, reach))
    return interpolate(maps, *matrices)


def crop_between(coarse: FeatureSpec, fine: FeatureSpec, kernel: int) -> float:
    """How many cells to crop from `fine`, at the top and left, to align it with `coarse` after a
    transposed convolution with this kernel and no padding; if negative, crop the upsampled map
    instead. This is the `offset` of the Crop layers in Caffe's FCN nets.
    """
    return (coarse.offset - fine.offset) / fine.stride - (kernel - 1) / 2
