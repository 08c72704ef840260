"""Regions of a map as small grids of one size: maxima with Caffe's rounding, or bilinear means.

Both read the map's geometry from its FeatureSpec, so that a box in pixels lands on the cells that
look at it, whatever the paddings below.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torchvision.ops import roi_pool

from xfer.types import FeatureSpec

Pooling = Literal["max", "align"]
# regions whose intermediate products are held at a time, in elements of the widest one
_ELEMENTS = 1 << 25


def pool_regions(
    maps: Tensor, regions: Sequence[Tensor], spec: FeatureSpec, size: int, how: str
) -> Tensor:
    """Pools each picture's regions from its map.

    Args:
        maps: (N, C, h, w); regions: N tensors (R_n, 4), xyxy pixels, right and bottom exclusive.
        spec: the map's geometry; size: side of the pooled grid; how: "max" or "align".

    Returns: (sum of R_n, C, size, size), of the map's dtype.
    """
    if how == "max":
        return roi_max_pool(maps, regions, spec, size)
    return roi_align(maps, regions, spec, size)


def roi_max_pool(maps: Tensor, regions: Sequence[Tensor], spec: FeatureSpec, size: int) -> Tensor:
    """The maximum of each of size x size parts of a region, its edges rounded to cells.

    Source: Girshick 2015, sec. 2.1; Caffe's roi_pooling_layer, whose boxes include their last
        pixel and whose map starts at pixel 0: with the paddings of its nets (conv1 5, pools 1)
        `spec.offset` is 0 and the cells are the same.
    """
    shift = torch.tensor([0.0, 0.0, -1.0, -1.0], device=maps.device) - spec.offset
    rois = [(boxes + shift).to(torch.float32) for boxes in regions]
    # the kernel wants maps and regions of one dtype, and bf16 has no digits for coordinates
    pooled = roi_pool(maps.float(), rois, size, 1 / spec.stride)
    return pooled.to(maps.dtype)


def roi_align(
    maps: Tensor,
    regions: Sequence[Tensor],
    spec: FeatureSpec,
    size: int,
    samples: int = 2,
) -> Tensor:
    """The mean of samples x samples bilinear readings in each of size x size parts of a region.

    Bilinear reading is separable, so that a region's grid is the product of three matrices:
    weights of its rows, the map, weights of its columns. Equal to torchvision's
    roi_align(aligned=True) to rounding; forward and backward are matrix products, where
    torchvision's CPU backward adds into single cells.

    Source: He et al. 2017 (Mask R-CNN), sec. 3.
    """
    channels, height, width = maps.shape[1:]
    found: list[Tensor] = []
    at_once = max(1, _ELEMENTS // (size * width * channels))
    for one, boxes in zip(maps, regions, strict=True):
        cells = (boxes.to(torch.float32) - spec.offset - 0.5) / spec.stride
        flat = one.permute(1, 2, 0).reshape(height, -1)  # (h, w * C), no copy in channels_last
        for part in cells.split(at_once) if len(cells) else [cells]:
            rows = _weights(part[:, 1], part[:, 3], height, size, samples).to(one.dtype)
            columns = _weights(part[:, 0], part[:, 2], width, size, samples).to(one.dtype)
            down = (rows.view(-1, height) @ flat).view(len(part), size, width, channels)
            across = columns[:, None].expand(-1, size, -1, -1) @ down  # (R, size, size, C)
            found.append(across.permute(0, 3, 1, 2))
    return torch.cat(found)


def _weights(start: Tensor, end: Tensor, cells: int, size: int, samples: int) -> Tensor:
    """How much each cell of one axis counts in each part of a region: (R, size, cells)."""
    steps = (torch.arange(size * samples, device=start.device) + 0.5) / (size * samples)
    places = start[:, None] + steps * (end - start)[:, None]
    inside = (places >= -1) & (places <= cells)  # as torchvision: beyond one cell outside, zero
    places = places.clamp(0, cells - 1)
    near = 1 - (places[:, :, None] - torch.arange(cells, device=start.device)).abs()
    weights = near.clamp_(min=0) * inside[:, :, None]
    return weights.view(len(start), size, samples, cells).mean(2)
