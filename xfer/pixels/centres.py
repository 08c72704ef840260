"""Objects as centres, and the way to its centre from each of an object's pixels.

Source: Cheng et al. 2020, "Panoptic-DeepLab", sec. 3.  Differs: the deviation of a centre's
Gaussian is an option (the paper: 8 pixels), offsets are learnt in units of UNIT pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from xfer.objects.segments import Segments

UNIT = 32.0  # pixels: an offset of 1
MOST = 200  # centres of a picture, the surest


@dataclass(frozen=True, slots=True)
class CentreTargets:
    """What the pixels of a picture are taught, at every `step`-th pixel.

    heat    | float32 (h, w), 1 at the centre of an object, falling as a Gaussian
    offsets | float32 (2, h, w), down and right to the centre of the pixel's object, pixels
    inside  | bool (h, w), whether the pixel is of an object
    known   | bool (h, w), whether there may be an object: False in void and crowds
    """

    heat: NDArray[np.float32]
    offsets: NDArray[np.float32]
    inside: NDArray[np.bool_]
    known: NDArray[np.bool_]


def centre_targets(
    segments: Segments, things: NDArray[np.bool_], deviation: float, step: int
) -> CentreTargets:
    """The targets of a picture: an object's centre is the mean of the pixels that are seen of it.

    Args: things: bool (C,), which classes are; deviation: of the Gaussian, pixels.
    """
    rows, columns = segments.map[::step], segments.map.shape[1]
    small = rows[:, ::step]
    height, width = small.shape
    count = len(segments)
    objects = things[segments.labels] & ~segments.crowd
    whole = segments.map.ravel() + 1
    areas = np.maximum(1, np.bincount(whole, minlength=count + 1)[1:])
    down = np.repeat(np.arange(segments.map.shape[0]), columns)
    right = np.tile(np.arange(columns), segments.map.shape[0])
    centres = np.stack(
        [np.bincount(whole, weights=at, minlength=count + 1)[1:] / areas for at in (down, right)], 1
    )
    heat = np.zeros((height, width), np.float32)
    reach = 3 * deviation
    for k in np.flatnonzero(objects & (segments.areas() > 0)).tolist():
        y, x = centres[k]
        y1, y2 = max(0, int((y - reach) / step)), min(height, int((y + reach) / step) + 2)
        x1, x2 = max(0, int((x - reach) / step)), min(width, int((x + reach) / step) + 2)
        tall = np.exp(-((np.arange(y1, y2) * step - y) ** 2) / (2 * deviation**2))
        wide = np.exp(-((np.arange(x1, x2) * step - x) ** 2) / (2 * deviation**2))
        part = heat[y1:y2, x1:x2]
        np.maximum(part, (tall[:, None] * wide).astype(np.float32), out=part)
    inside = np.append(objects, False)[small]
    there = np.append(centres, [[0.0, 0.0]], 0)[small]
    offsets = np.stack([
        there[..., 0] - (np.arange(height) * step)[:, None],
        there[..., 1] - np.arange(width) * step,
    ]).astype(np.float32)  # fmt: skip
    known = np.append(~segments.crowd, False)[small]
    return CentreTargets(heat, offsets, inside, known)


def centre_losses(heat: Tensor, offsets: Tensor, targets: CentreBatch) -> tuple[Tensor, Tensor]:
    """Mean squared error of the centres and mean absolute error of the offsets, in units of UNIT.

    Shapes: heat (N, h, w), offsets (N, 2, h, w) in units of UNIT; 0 where nothing is known.
    """
    known, inside = targets.known.float(), targets.inside.float()
    centre = ((heat.float() - targets.heat) ** 2 * known).sum() / known.sum().clamp(min=1)
    off = (offsets.float() - targets.offsets / UNIT).abs().sum(1) * inside
    return centre, off.sum() / inside.sum().clamp(min=1)


@dataclass(frozen=True, slots=True)
class CentreBatch:
    """CentreTargets of N pictures, stacked as tensors."""

    heat: Tensor
    offsets: Tensor
    inside: Tensor
    known: Tensor


def peaks(heat: Tensor, window: int, least: float, most: int = 0) -> tuple[Tensor, Tensor]:
    """The cells that are the largest of a window around them.

    Args: heat: float (h, w); window: side, cells, odd; least: smallest value of a peak; most: how
        many are returned, beyond the last peak with the value 0; 0: as many as there are.
    Returns: int64 (K, 2), row and column, and float (K,), their values, falling; K <= MOST.
    """
    largest = F.max_pool2d(heat[None, None], window, 1, window // 2)[0, 0]
    found = torch.where((heat == largest) & (heat >= least), heat, 0.0)
    count = min(MOST, most or int((found > 0).sum()))
    values, places = found.flatten().topk(count)
    return torch.stack([places // heat.shape[1], places % heat.shape[1]], 1), values


def nearest_centre(points: Tensor, centres: Tensor) -> Tensor:
    """int64 (P,): the centre nearest to each point. Shapes: (P, 2) and (K, 2), K > 0."""
    parts = [torch.cdist(part, centres).argmin(1) for part in points.float().split(1 << 18)]
    return torch.cat(parts) if parts else points.new_zeros(0, dtype=torch.int64)
