"""Training crops on the device: a random part of each picture of a batch, scaled and mirrored.

The processor then only copies bytes, which is what keeps a fast GPU fed.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# up to here bilinear sampling needs no averaging, as in xfer.data.transforms
MILD = 1.25


def random_crops(
    images: Tensor,
    size: int,
    *,
    area: tuple[float, float] = (0.35, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: bool = True,
    dtype: torch.dtype = torch.float32,
    generator: torch.Generator | None = None,
) -> Tensor:
    """A random part of each picture, `area` of it, scaled to a square, half of them mirrored.

    Args:
        images: (N, 3, H, W) uint8 or floating; area, ratio: as in xfer.data.TrainTransform.
        generator: on the images' device; None: torch's own.

    Returns: (N, 3, size, size) of `dtype`, channels_last, values as in `images`.
    Source: Szegedy et al. 2015, sec. 6.  Differs from the processor's: a part that would not fit is
        shrunk until it does, rather than drawn again; no rounding to whole pixels or bytes.
    """
    count, _, height, width = images.shape
    device = images.device
    draw = torch.rand(5, count, device=device, generator=generator)
    shares = area[0] + (area[1] - area[0]) * draw[0]
    logs = math.log(ratio[0]), math.log(ratio[1])
    shape = torch.exp(logs[0] + (logs[1] - logs[0]) * draw[1])
    pixels = shares * height * width
    w, h = torch.sqrt(pixels * shape), torch.sqrt(pixels / shape)
    fit = torch.clamp(torch.minimum(width / w, height / h), max=1)
    w, h = w * fit / width, h * fit / height  # shares of the sides
    x, y = draw[2] * (1 - w), draw[3] * (1 - h)
    mirror = torch.where(draw[4] < 0.5, -1.0, 1.0) if flip else torch.ones_like(w)
    zero = torch.zeros_like(w)
    # grid_sample counts from -1 to 1: scale and centre of each part
    rows = [torch.stack([w * mirror, zero, 2 * x + w - 1], 1),
            torch.stack([zero, h, 2 * y + h - 1], 1)]  # fmt: skip
    finer = max(1, math.ceil(max(height, width) / (MILD * size)))
    grid = F.affine_grid(torch.stack(rows, 1), [count, 3, size * finer, size * finer], False)
    source = images.to(dtype).contiguous(memory_format=torch.channels_last)
    part = F.grid_sample(source, grid.to(dtype), padding_mode="border", align_corners=False)
    if finer > 1:
        part = F.avg_pool2d(part, finer)
    return part.contiguous(memory_format=torch.channels_last)
