"""Losses over pixels: cross-entropy with class weights and hard pixels, soft Dice; in float32."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from xfer.nn.precision import exact
from xfer.ops.fixed import fixed

IGNORE = 255


def pixel_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    weight: Tensor | None = None,
    hard: float = 1.0,
    summed: bool = False,
) -> Tensor:
    """Cross-entropy over the labelled pixels.

    Args:
        logits: float (N, C, H, W); labels: int64 (N, H, W), 255 is ignored.
        weight: (C,), per class; the mean is weighted.
        hard: fraction of labelled pixels used, those with the highest loss (Shrivastava et al.
            2016, OHEM); 1: all.
        summed: use the sum over pixels, averaged over pictures (Long et al. 2015, code),
            instead of the mean over the batch's pixels.

    Returns: a scalar; 0 if no pixel is labelled.
    """
    with exact(logits):
        logits = logits.float()
        if summed:
            loss = F.cross_entropy(logits, labels, weight, ignore_index=IGNORE, reduction="sum")
            return loss / max(1, len(logits))
        if hard < 1:
            return _hardest(logits, labels, weight, hard)
        loss = F.cross_entropy(logits, labels, weight, ignore_index=IGNORE, reduction="sum")
        return loss / pixel_weight(labels, weight).clamp(min=1 if weight is None else 1e-6)


def pixel_weight(labels: Tensor, weight: Tensor | None = None) -> Tensor:
    """Total weight of the labelled pixels: their number, or the sum of their classes' weights (C,);
    what `pixel_cross_entropy` is a mean over."""
    if weight is None:
        return (labels != IGNORE).sum()
    if fixed(labels):  # whose size torch would look up, though it is given
        return F.pad(weight, (0, IGNORE + 1 - len(weight)))[labels].sum()
    counts = torch.bincount(labels.flatten(), minlength=IGNORE + 1)[: len(weight)]
    return (counts * weight).sum()


def _hardest(logits: Tensor, labels: Tensor, weight: Tensor | None, share: float) -> Tensor:
    losses = F.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none").flatten()
    labelled = labels.flatten() != IGNORE
    if fixed(labels):
        return _hardest_fixed(losses, labels.flatten(), labelled, weight, share)
    losses, classes = losses[labelled], labels.flatten()[labelled]
    if not len(losses):
        return logits.sum() * 0
    count = max(1, math.ceil(share * len(losses)))
    # the loss from which a pixel counts, estimated from every `step`-th pixel if there are many
    step = max(1, len(losses) // 100_000)
    seen = losses.detach()[::step]
    bound = seen.kthvalue(max(1, len(seen) - math.ceil(count / step) + 1)).values
    hard = losses.detach() >= bound
    losses = losses[hard]
    if weight is None:
        return losses.mean()
    class_weights = weight[classes[hard]]
    return (losses * class_weights).sum() / class_weights.sum()


def _hardest_fixed(
    losses: Tensor, labels: Tensor, labelled: Tensor, weight: Tensor | None, share: float
) -> Tensor:
    """The same without picking pixels out, so that a device is not waited for."""
    step = max(1, len(losses) // 100_000)
    seen = labelled[::step]
    falling = losses.detach()[::step].masked_fill(~seen, -1).sort(descending=True).values
    place = (seen.sum() * share).ceil().long().clamp(1, len(falling)) - 1
    hard = (losses.detach() >= falling.gather(0, place[None])) & labelled
    weights = hard.to(losses.dtype)
    if weight is not None:
        weights = weights * F.pad(weight, (0, IGNORE + 1 - len(weight)))[labels]
    return (losses * weights).sum() / weights.sum().clamp(min=1e-6)


def soft_dice(logits: Tensor, labels: Tensor) -> Tensor:
    """1 - the mean soft Dice of the classes that occur in the batch: 2 |A B| / (|A| + |B|).

    Shapes: logits (N, C, H, W); labels int64 (N, H, W), 255 is ignored. Returns a scalar.
    Source: Milletari et al. 2016 (V-Net), with |A| + |B| unsquared, over the batch's pixels.
    """
    with exact(logits):
        labelled = labels != IGNORE
        predicted = logits.float().softmax(1) * labelled[:, None]
        there = torch.where(labelled, labels, 0)[:, None]
        true = torch.zeros_like(predicted).scatter_(1, there, labelled[:, None].to(predicted.dtype))
        both = (predicted * true).sum((0, 2, 3))
        truth = true.sum((0, 2, 3))
        dice = (2 * both + 1) / (predicted.sum((0, 2, 3)) + truth + 1)
        occurs = truth > 0
        return 1 - (dice * occurs).sum() / occurs.sum().clamp(min=1)
