"""Suppressing all but the best of boxes that overlap, a class at a time."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms as torchvision_nms

from xfer.ops.boxes import iou_xyxy

BLOCK = 128  # boxes that are compared at once with all that are left
FEW = 600  # up to so many boxes torchvision's loop is as fast


def nms(boxes: Tensor, scores: Tensor, threshold: float, most: int) -> Tensor:
    """Indices of the boxes that no better kept one overlaps by more than `threshold`, the first
    `most`, scores falling: torchvision.ops.nms(...)[:most] to the same bits.

    On a CPU torchvision compares a pair at a time, on one core, and goes on when `most` are found.
    Here whole blocks are compared, by all cores: 2,000 or 6,000 boxes that hardly overlap take a
    third of the time on one core (3 ms for 13, 45 for 140).

    Shapes: boxes float32 (R, 4), scores (R,) -> int64 (K,).
    """
    if boxes.device.type != "cpu" or len(boxes) <= FEW or boxes.dtype != torch.float32:
        return torchvision_nms(boxes, scores, threshold)[:most]
    order = scores.sort(stable=True, descending=True).indices
    left = boxes[order].T.contiguous()
    left = torch.stack([*left, (left[2] - left[0]) * (left[3] - left[1])])
    kept: list[Tensor] = []
    found = 0
    while len(order) and found < most:
        size = min(BLOCK, len(order))
        own = left[:, :size]
        good = _unsuppressed(_overlapping(own, own, threshold))
        kept.append(order[good])
        found += len(good)
        gone = _overlapping(own[:, good], left[:, size:], threshold)
        # `any` of torch takes ten times as long as the largest of bytes
        rest = torch.nonzero(gone.view(torch.uint8).amax(0) == 0).flatten() + size
        order, left = order[rest], left[:, rest]
    return torch.cat(kept)[:most] if kept else order


def _overlapping(one: Tensor, two: Tensor, threshold: float) -> Tensor:
    """Whether IoU > threshold, of every pair of columns x1, y1, x2, y2, area: bool (R, G).

    In torchvision's order of operations; its comparison is of a float32 with a double.
    """
    x1, y1, x2, y2, area = one[:, :, None]
    width = torch.minimum(x2, two[2]).sub_(torch.maximum(x1, two[0])).clamp_(min=0)
    height = torch.minimum(y2, two[3]).sub_(torch.maximum(y1, two[1])).clamp_(min=0)
    width.mul_(height)
    torch.add(area, two[4], out=height).sub_(width)
    limit = np.float32(threshold)
    if float(limit) > threshold:
        limit = np.nextafter(limit, np.float32(-1))
    return width.div_(height) > float(limit)


def _unsuppressed(overlapping: Tensor) -> Tensor:
    """Indices of a block's boxes that no earlier kept one overlaps: bool (R, R) -> int64 (K,)."""
    packed = np.packbits(overlapping.numpy(), axis=1, bitorder="little")
    gone = 0  # a bit a box
    good: list[int] = []
    for i, row in enumerate(packed):
        if not gone >> i & 1:
            good.append(i)
            gone |= int.from_bytes(row.tobytes(), "little")
    return torch.tensor(good, dtype=torch.int64)


def class_nms(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float, most: int) -> Tensor:
    """Indices of the boxes that are kept, scores falling, at most `most`.

    Boxes of different classes never suppress each other: each class is moved to a place of its
    own, so that one call serves all.

    Shapes: boxes float32 (R, 4), scores (R,), labels int64 (R,) -> int64 (K,).
    """
    if len(boxes) == 0:
        return torch.zeros(0, dtype=torch.int64, device=boxes.device)
    apart = boxes + (labels * (boxes.max() - boxes.min() + 1)).to(boxes.dtype)[:, None]
    return nms(apart, scores, threshold, most)


def best_boxes(
    boxes: Tensor, scores: Tensor, threshold: float, least: float, most: int, vote: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """What a picture's regions amount to: every class of a region is a candidate of its own.

    Args:
        boxes: (R, C, 4), or (R, 1, 4) where all classes share a box; scores: (R, C).
        threshold: of overlap; least: scores under it are dropped; most: boxes that are kept.
        vote: where positive, a kept box becomes the mean, by score, of the boxes of its class that
            overlap it by this much (Gidaris and Komodakis 2015, sec. 5).

    Returns: boxes (K, 4), scores (K,) falling, labels int64 (K,).
    """
    region, label = torch.nonzero(scores >= least, as_tuple=True)
    where = boxes[region, label if boxes.shape[1] > 1 else torch.zeros_like(label)]
    score = scores[region, label]
    real = ((where[:, 2:] - where[:, :2]) > 0).all(1)
    where, score, label = where[real], score[real], label[real]
    kept = class_nms(where, score, label, threshold, most)
    found = where[kept]
    if vote > 0 and len(found):
        alike = label[kept][:, None] == label
        weight = score * (alike & (iou_xyxy(found, where) >= vote))
        # every box votes for itself, so that the sum is positive; without autocast, whose bf16
        # would move the boxes by up to 2 px in 500
        with torch.autocast(where.device.type, enabled=False):
            found = (weight @ where) / weight.sum(1, keepdim=True)
    return found, score[kept], label[kept]
