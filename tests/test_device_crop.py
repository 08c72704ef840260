"""Crops cut on the device show what they should of each picture."""

from __future__ import annotations

import math

import pytest
import torch

from xfer.nn.device_crop import random_crops


def ramps(count: int, height: int = 96, width: int = 128) -> torch.Tensor:
    """Pictures whose red tells x, green y, both in pixels; blue is one value each."""
    x = torch.arange(width).expand(height, width)
    y = torch.arange(height)[:, None].expand(height, width)
    rows = [torch.stack([x, y, torch.full_like(x, 7 * k % 256)]) for k in range(count)]
    return torch.stack(rows).to(torch.uint8).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [32, 64, 112])
def test_parts_keep_to_their_area_and_shape(size: int) -> None:
    """Slopes of the ramps tell each part's sides: area and ratio as asked, half mirrored."""
    torch.manual_seed(0)
    parts = random_crops(ramps(400), size, area=(0.3, 0.9))
    assert parts.shape == (400, 3, size, size)
    assert parts.is_contiguous(memory_format=torch.channels_last)
    a, b = size // 4, 3 * size // 4
    width = (parts[:, 0, a, b] - parts[:, 0, a, a]) * size / (b - a)
    height = (parts[:, 1, b, a] - parts[:, 1, a, a]) * size / (b - a)
    share = width.abs() * height / (96 * 128)
    assert share.max() < 0.93 and share.min() > 0.25
    logs = (width.abs() / height).log()
    assert logs.abs().max() < math.log(4 / 3) + 0.1
    assert 0.4 < (width < 0).float().mean() < 0.6
    assert (height > 0).all()
    assert torch.equal(parts[:, 2].amax((1, 2)).round(), torch.arange(400) * 7 % 256)


def test_the_same_generator_cuts_the_same_parts() -> None:
    a, b = (
        random_crops(ramps(4), 32, generator=torch.Generator().manual_seed(5)) for _ in range(2)
    )
    assert torch.equal(a, b)


def test_the_whole_picture_is_the_picture() -> None:
    images = ramps(2, 64, 64)
    whole = random_crops(images, 64, area=(1, 1), ratio=(1, 1), flip=False)
    assert torch.allclose(whole, images.float(), atol=1e-3)


def test_small_crops_are_averaged_not_thinned_out() -> None:
    stripes = torch.zeros(1, 3, 128, 128, dtype=torch.uint8)
    stripes[..., ::2] = 200
    small = random_crops(stripes, 32, area=(1, 1), ratio=(1, 1), flip=False)
    assert (small - 100).abs().max() < 30
