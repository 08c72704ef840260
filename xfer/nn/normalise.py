"""uint8 pictures to a net's input: one multiply-add per pixel, in blocks that fit the cache."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xfer.ops.fixed import constants

_CACHE_BYTES = 1 << 18


def scale_and_shift(
    images: Tensor, scale: Sequence[float], shift: Sequence[float], dtype: torch.dtype
) -> Tensor:
    """images * scale + shift, with one pair per channel.

    Computed in float32 for every `dtype`: pixels are exact in bf16, scale and shift are not.
    On a CPU in channels_last the blocks are whole rows, since torch's broadcasting over three
    channels is twice as slow as over a row of them.

    Shapes: images (N, C, H, W) uint8 -> the same shape and memory format, of `dtype`.
    """
    numbers = images.new_empty(0, dtype=torch.float32)
    a, b = constants(scale, numbers), constants(shift, numbers)
    last = images.is_contiguous(memory_format=torch.channels_last)
    if images.device.type != "cpu" or not last or images.numel() == 0:
        shape = (1, -1, 1, 1)
        return torch.addcmul(b.view(shape), images.to(torch.float32), a.view(shape)).to(dtype)
    channels, width = images.shape[1], images.shape[3]
    out = torch.empty_like(images, dtype=dtype, memory_format=torch.channels_last)
    pixels, results = (t.permute(0, 2, 3, 1).reshape(-1, width * channels) for t in (images, out))
    a, b = a.repeat(width), b.repeat(width)
    step = max(1, _CACHE_BYTES * torch.get_num_threads() // (4 * width * channels))
    for start in range(0, len(pixels), step):
        part = results[start : start + step]
        # in place if the result is float32: a third less to write
        block = part if dtype == torch.float32 else torch.empty_like(part, dtype=torch.float32)
        block.copy_(pixels[start : start + step])
        torch.addcmul(b, block, a, out=block)
        if block is not part:
            part.copy_(block)
    return out
