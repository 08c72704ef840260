"""Boxes as tensors: overlap, the offsets that a net predicts, clipping.

A box is xyxy in pixels, right and bottom exclusive: its width is x2 - x1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# maximum factor from a start box to the predicted box, so that exp() stays finite
MAX_LOG_SCALE = math.log(1000 / 16)


def iou_xyxy(one: Tensor, two: Tensor) -> Tensor:
    """Intersection over union of every pair; 0 where both boxes are empty.

    Shapes: one (R, 4), two (G, 4) -> (R, G), float32.
    """
    inside = intersection_xyxy(one, two)
    union = (area(two)[:, None] + area(one)).sub_(inside.T).clamp_(min=1e-9)
    return (inside.T / union).T


def intersection_xyxy(one: Tensor, two: Tensor) -> Tensor:
    """Intersection area of every pair, square pixels: (R, 4), (G, 4) -> (R, G).

    Computed one coordinate at a time, R innermost: with thousands of anchors (R) and a few true
    boxes (G) it reads whole vectors, 6x as fast as the same on (R, G, 2).
    """
    x1, y1, x2, y2 = one.T.contiguous().unbind(0)
    u1, v1, u2, v2 = (edge[:, None] for edge in two.unbind(1))
    width = torch.minimum(x2, u2).sub_(torch.maximum(x1, u1)).clamp_(min=0)
    height = torch.minimum(y2, v2).sub_(torch.maximum(y1, v1)).clamp_(min=0)
    return width.mul_(height).T


def area(boxes: Tensor) -> Tensor:
    """Areas in square pixels: (..., 4) -> (...)."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def giou_loss(one: Tensor, two: Tensor) -> Tensor:
    """1 - generalised IoU of pairs of boxes: (P, 4), (P, 4) -> (P,).

    As torchvision.ops.generalized_box_iou_loss, without its boolean index, for which a GPU would
    have to be waited for.  Source: Rezatofighi et al. 2019.
    """
    low, high = torch.maximum(one[:, :2], two[:, :2]), torch.minimum(one[:, 2:], two[:, 2:])
    sides = high - low
    touch = (sides > 0).all(1)
    inside = torch.where(touch, sides[:, 0] * sides[:, 1], 0.0)
    union = area(one) + area(two) - inside
    hull = torch.maximum(one[:, 2:], two[:, 2:]) - torch.minimum(one[:, :2], two[:, :2])
    around = hull[:, 0] * hull[:, 1]
    return 1 - (inside / (union + 1e-7) - (around - union) / (around + 1e-7))


def encode(boxes: Tensor, start: Tensor, std: Tensor, mean: Tensor | None = None) -> Tensor:
    """The offsets of boxes from the boxes that the net starts from, less `mean`, in units of `std`.

    Shapes: boxes, start (..., 4); std, mean (4,) or (..., 4) -> (..., 4): dx, dy in widths and
        heights of `start`, then the logs of the ratios of width and height.
    Source: Girshick et al. 2014, appendix C; the normalisation: Girshick 2015, sec. 2.3.
    """
    size = start[..., 2:] - start[..., :2]
    wanted = boxes[..., 2:] - boxes[..., :2]
    centre = (boxes[..., :2] + boxes[..., 2:] - start[..., :2] - start[..., 2:]) / 2
    offsets = torch.cat([centre / size, torch.log(wanted / size)], -1)
    return (offsets if mean is None else offsets - mean) / std


def decode(offsets: Tensor, start: Tensor, std: Tensor, mean: Tensor | None = None) -> Tensor:
    """The inverse of `encode`; sizes are bounded, so that no box is infinite.

    Shapes: offsets (..., 4) and start (..., 4), broadcast -> (..., 4).
    """
    offsets = offsets * std if mean is None else offsets * std + mean
    size = start[..., 2:] - start[..., :2]
    centre = (start[..., :2] + start[..., 2:]) / 2 + offsets[..., :2] * size
    half = offsets[..., 2:].clamp(max=MAX_LOG_SCALE).exp() * size / 2
    return torch.cat([centre - half, centre + half], -1)


def clip(boxes: Tensor, size: Tensor) -> Tensor:
    """The parts of boxes inside the picture.

    Shapes: boxes (R, 4), size (2,): H, W -> (R, 4).
    """
    bounds = size.flip(0).to(boxes.dtype)  # W, H
    return torch.minimum(boxes.view(-1, 2, 2).clamp(min=0), bounds).view(-1, 4)
