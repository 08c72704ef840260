"""Crops cut on the device show what those cut on the host do."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from xfer.data.transforms.colour import jitter
from xfer.data.transforms.crops import TrainTransform, random_part
from xfer.nn.device_crop import DRAWS, DeviceCrop, alter, cut, parts, random_crops, windows


def ramps(count: int, height: int = 96, width: int = 128) -> torch.Tensor:
    """Pictures whose red tells x, green y, both in pixels; blue is one value each."""
    x = torch.arange(width).expand(height, width)
    y = torch.arange(height)[:, None].expand(height, width)
    rows = [torch.stack([x, y, torch.full_like(x, 7 * k % 256)]) for k in range(count)]
    return torch.stack(rows).to(torch.uint8).contiguous(memory_format=torch.channels_last)


def numbers(count: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((count, DRAWS), np.float32))


@pytest.mark.parametrize("size", [32, 64, 112])
def test_parts_keep_to_their_area_and_shape(size: int) -> None:
    """Slopes of the ramps tell each part's sides: area and ratio as asked, half mirrored."""
    crops = random_crops(ramps(400), size, DeviceCrop(area=(0.3, 0.9)), numbers(400))
    assert crops.shape == (400, 3, size, size)
    assert crops.is_contiguous(memory_format=torch.channels_last)
    a, b = size // 4, 3 * size // 4
    width = (crops[:, 0, a, b] - crops[:, 0, a, a]) * size / (b - a)
    height = (crops[:, 1, b, a] - crops[:, 1, a, a]) * size / (b - a)
    share = width.abs() * height / (96 * 128)
    assert share.max() < 0.93 and share.min() > 0.25
    logs = (width.abs() / height).log()
    assert logs.abs().max() < math.log(4 / 3) + 0.1
    assert 0.4 < (width < 0).float().mean() < 0.6
    assert (height > 0).all()
    assert torch.equal(crops[:, 2].amax((1, 2)).round(), torch.arange(400) * 7 % 256)


@pytest.mark.parametrize(("height", "width", "area"), [
    (64, 64, (0.35, 1.0)), (96, 128, (0.08, 1.0)), (40, 200, (0.6, 1.0)),
])  # fmt: skip
def test_parts_are_distributed_as_the_hosts(
    height: int, width: int, area: tuple[float, float]
) -> None:
    """Mean and deviation of each side and corner; the last picture is too long for most parts."""
    count, ratio = 20_000, (3 / 4, 4 / 3)
    rng = np.random.default_rng(1)
    host = np.array([random_part(width, height, area, ratio, rng) for _ in range(count)])
    ours = parts(numbers(count), height, width, area, ratio).numpy()
    assert (ours == np.round(ours)).all() and (ours[:, :2] >= 0).all()
    assert (ours[:, 0] + ours[:, 2]).max() <= width
    assert (ours[:, 1] + ours[:, 3]).max() <= height
    spread = host.std(0)
    assert np.abs(host.mean(0) - ours.mean(0)).max() <= 0.04 * spread.max()
    assert np.allclose(spread, ours.std(0), rtol=0.04, atol=0.05)
    quartiles = [np.quantile(x, [0.1, 0.25, 0.5, 0.75, 0.9], axis=0) for x in (host, ours)]
    assert np.abs(quartiles[0] - quartiles[1]).max() <= 1 + 0.02 * width


def test_a_part_is_what_the_host_cuts_there() -> None:
    """Smooth pictures: the scaled part itself, plain, mirrored and smaller, to 2 of 255."""
    y, x = np.mgrid[0:96, 0:128]
    waves = [np.sin(x / 9) * 100 + 128, np.cos(y / 7) * 100 + 128, (x + y) * 1.1]
    image = np.stack(waves, 2).astype(np.uint8)
    for seed in range(6):
        how = TrainTransform(48, (0.35, 1.0), flip=bool(seed % 2), augment="light")
        rng = np.random.default_rng(seed)
        left, top, w, h = random_part(128, 96, (0.35, 1.0), (3 / 4, 4 / 3), rng)
        mirror = bool(seed % 2) and bool(rng.random() < 0.5)
        wanted = how(image, np.random.default_rng(seed)).astype(float)
        box = torch.tensor([[left, top, w, h]], dtype=torch.float32)
        batch = torch.from_numpy(image).permute(2, 0, 1)[None]
        found = cut(batch, box, torch.tensor([mirror]), 48)
        off = np.abs(found[0].permute(1, 2, 0).numpy() - wanted)
        assert off.mean() < 1.2 and off[2:-2, 2:-2].max() < 6


def test_the_same_numbers_cut_the_same_parts_in_any_company() -> None:
    how, images, draws = DeviceCrop(strength=0.2), ramps(8), numbers(8)
    whole = random_crops(images, 32, how, draws)
    assert torch.equal(whole, random_crops(images, 32, how, draws))
    assert torch.equal(whole[5:7], random_crops(images[5:7], 32, how, draws[5:7]))
    with torch.autocast("cpu", torch.bfloat16):  # training runs it inside one
        assert torch.equal(whole, random_crops(images, 32, how, draws))


def test_the_whole_picture_is_the_picture() -> None:
    images = ramps(2, 64, 64)
    how = DeviceCrop((1, 1), (1, 1), flip=False)
    assert torch.allclose(random_crops(images, 64, how), images.float(), atol=1e-3)


def test_small_crops_are_averaged_not_thinned_out() -> None:
    stripes = torch.zeros(1, 3, 128, 128, dtype=torch.uint8)
    stripes[..., ::2] = 200
    small = random_crops(stripes, 32, DeviceCrop((1, 1), (1, 1), flip=False))
    assert (small - 100).abs().max() < 30


def test_windows_are_squares_at_the_scale_of_the_test() -> None:
    boxes = windows(numbers(2000), 256, 340, 224 / 256)
    assert (boxes[:, 2:] == 224).all()
    assert boxes[:, 0].min() == 0 and boxes[:, 0].max() == 340 - 224
    assert boxes[:, 1].min() == 0 and boxes[:, 1].max() == 256 - 224


def test_colours_are_altered_as_on_the_host() -> None:
    class Fixed:
        def __init__(self, values: Any) -> None:
            self.values = values

        def uniform(self, low: float, high: float, count: int) -> Any:
            return low + (high - low) * self.values[:count]

    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (12, 8, 9, 3), np.uint8)
    draws = rng.random((12, 3), np.float32)
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    found = alter(batch, torch.from_numpy(draws), 0.2).permute(0, 2, 3, 1).numpy()
    fixed: Any = [Fixed(row) for row in draws]
    wanted = np.stack([jitter(i, r, 0.2) for i, r in zip(images, fixed, strict=True)])
    assert np.abs(found - wanted).max() < 2.5
