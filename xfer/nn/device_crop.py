"""Training crops on the device: a random part of each picture, scaled, mirrored, recoloured.

The CPU then only copies bytes, which keeps a fast GPU fed. All randomness comes in as uniform
numbers, DRAWS per picture, so the same numbers give the same crops on every device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from xfer.nn.precision import exact
from xfer.ops.fixed import constants

TRIES = 10
# numbers 0..1 per picture: TRIES areas, TRIES shapes, then at these indices
X, Y, MIRROR, COLOUR = 2 * TRIES, 2 * TRIES + 1, 2 * TRIES + 2, 2 * TRIES + 3
DRAWS = COLOUR + 3
# bilinear sampling needs no averaging up to this scale, as in xfer.data.transforms.crops
MILD = 1.25
GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class DeviceCrop:
    """How training crops a picture, as in xfer.data.transforms.crops.TrainTransform.

    area, ratio | of the random part; window | fraction of the short side, 0..1: the part is a
    random square of that side instead; 0: use area and ratio
    flip        | mirror half of the pictures
    strength    | of the change of brightness, contrast and saturation; 0: none

    Differs: no rounding to bytes; where a part is enlarged, its edges see the pixels beside it.
    """

    area: tuple[float, float] = (0.35, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    window: float = 0.0
    flip: bool = True
    strength: float = 0.0

    @torch.no_grad()
    def __call__(self, images: Tensor, draws: Tensor, size: int) -> Tensor:
        """Shapes: images (N, 3, H, W) uint8, draws (N, DRAWS) float32, both on one device
        -> float32 (N, 3, size, size), channels_last, values 0..255."""
        height, width = images.shape[2:]
        with exact(images):
            if self.window:
                boxes = windows(draws, height, width, self.window)
            else:
                boxes = parts(draws, height, width, self.area, self.ratio)
            mirror = draws[:, MIRROR] < 0.5 if self.flip else None
            crops = cut(images, boxes, mirror, size)
            return alter(crops, draws[:, COLOUR:], self.strength) if self.strength else crops


def parts(
    draws: Tensor, height: int, width: int, area: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """A part of each picture: float32 (N, 4), x, y, width, height in whole pixels.

    Distributed like `crops.random_part`: the first of TRIES that fits, else the largest centred
    part with an allowed shape.
    Source: Szegedy et al. 2015, sec. 6, drawn as torchvision draws it.
    """
    pixels = height * width * (area[0] + (area[1] - area[0]) * draws[:, :TRIES])
    logs = math.log(ratio[0]), math.log(ratio[1])
    shape = torch.exp(logs[0] + (logs[1] - logs[0]) * draws[:, TRIES : 2 * TRIES])
    w, h = torch.sqrt(pixels * shape).round(), torch.sqrt(pixels / shape).round()
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = fits.to(torch.uint8).argmax(1, keepdim=True)
    some = fits.any(1)
    w, h = w.gather(1, first)[:, 0], h.gather(1, first)[:, 0]
    x, y = _place(draws[:, X], width - w), _place(draws[:, Y], height - h)
    largest = (
        min(width, max(1, round(height * ratio[1]))),
        min(height, max(1, round(width / ratio[0]))),
    )
    middle = constants([(width - largest[0]) // 2, (height - largest[1]) // 2, *largest], draws)
    return torch.where(some[:, None], torch.stack([x, y, w, h], 1), middle)


def windows(draws: Tensor, height: int, width: int, share: float) -> Tensor:
    """A random square of each picture, its side a fraction of the short one; as `parts`."""
    short = min(height, width)
    side = draws.new_full((len(draws),), min(short, max(1, round(short * share))))
    x, y = _place(draws[:, X], width - side), _place(draws[:, Y], height - side)
    return torch.stack([x, y, side, side], 1)


def _place(draw: Tensor, room: Tensor) -> Tensor:
    """An integer from 0 to `room`, as a float."""
    return torch.minimum((draw * (room + 1)).floor(), room)


def cut(images: Tensor, boxes: Tensor, mirror: Tensor | None, size: int) -> Tensor:
    """The parts of pictures (N, 3, H, W) in `boxes`, scaled to a square: channels_last.

    In float32: in bfloat16, positions in a picture of 256 px would be off by up to half a pixel.
    Args: mirror: bool (N,), which pictures to mirror.
    """
    count, _, height, width = images.shape
    finer = max(1, math.ceil(max(height, width) / (MILD * size)))
    steps = (torch.arange(size * finer, device=images.device) + 0.5) / (size * finer)
    x, y, w, h = (column[:, None] for column in boxes.unbind(1))
    along = steps.expand(count, -1)
    if mirror is not None:
        along = torch.where(mirror[:, None], 1 - along, along)
    # grid_sample counts from -1 to 1
    across = ((x + w * along) * (2 / width) - 1)[:, None, :].expand(-1, size * finer, -1)
    down = ((y + h * steps) * (2 / height) - 1)[:, :, None].expand(-1, -1, size * finer)
    grid = torch.stack([across, down], 3)
    source = images.to(torch.float32).contiguous(memory_format=torch.channels_last)
    part = F.grid_sample(source, grid, padding_mode="border", align_corners=False)
    if finer > 1:
        part = F.avg_pool2d(part, finer)
    return part.contiguous(memory_format=torch.channels_last)


def alter(images: Tensor, draws: Tensor, strength: float) -> Tensor:
    """Changes brightness, contrast and saturation like xfer.data.transforms.colour.jitter.

    Shapes: images float32 (N, 3, H, W), values 0..255, draws (N, 3) -> the same shape.
    """
    factors = (1 + strength * (2 * draws - 1))[:, :, None, None, None]
    brightness, contrast, saturation = factors.unbind(1)
    about = _grey(images).mean((2, 3), keepdim=True)
    about = (about * brightness).clamp(max=255)
    changed = (images * brightness).clamp(max=255)
    changed = ((changed - about) * contrast + about).clamp(0, 255)
    grey = _grey(changed)
    return ((changed - grey) * saturation + grey).clamp(0, 255)


def _grey(images: Tensor) -> Tensor:
    red, green, blue = images.split(1, 1)
    return GREY[0] * red + GREY[1] * green + GREY[2] * blue


def random_crops(
    images: Tensor, size: int, how: DeviceCrop | None = None, draws: Tensor | None = None
) -> Tensor:
    """Crops of pictures on a device; without `draws`, that device's torch generator draws."""
    if draws is None:
        draws = torch.rand(len(images), DRAWS, device=images.device)
    return (how or DeviceCrop())(images, draws, size)
