"""Suppressing all but the best of boxes that overlap, a class at a time."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import nms

from xfer.ops.boxes import iou_xyxy


def class_nms(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float, most: int) -> Tensor:
    """Indices of the boxes that are kept, scores falling, at most `most`.

    Boxes of different classes never suppress each other: each class is moved to a place of its
    own, so that one call serves all.

    Shapes: boxes float32 (R, 4), scores (R,), labels int64 (R,) -> int64 (K,).
    """
    if len(boxes) == 0:
        return torch.zeros(0, dtype=torch.int64, device=boxes.device)
    apart = boxes + (labels * (boxes.max() - boxes.min() + 1)).to(boxes.dtype)[:, None]
    return nms(apart, scores, threshold)[:most]


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
