"""Suppression of whole batches on a device, without a wait: all pictures and classes at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from xfer.ops.boxes import area
from xfer.ops.fixed import fixed
from xfer.ops.nms import Suppression, soft_nms

ROUNDS = 48  # chains of suppressed suppressors up to this length are followed to their end
CANDIDATES = 2048  # boxes of a picture that are compared, the best ones
PAIRS = 1 << 25  # compared at a time


class Kept(NamedTuple):
    """The kept boxes of N pictures, by falling score, K of each.

    index | int64 (N, K), of the candidates
    real  | bool (N, K): in a picture that has fewer the last ones are not
    """

    index: Tensor
    real: Tensor


@torch.no_grad()
def suppress(
    boxes: Tensor, real: Tensor, groups: Tensor | None, threshold: float, most: int
) -> Kept:
    """The boxes that no better kept box of their group overlaps by more than `threshold`.

    Greedy suppression is what remains when each round asks again: is a box overlapped by a better
    one that is itself kept? After k rounds the answer is final wherever at most k boxes suppress
    each other in turn. ROUNDS are always done, as stopping early would ask the device.

    Args:
        boxes: (N, R, 4), by falling score in each picture; real: bool (N, R), the others are
            padding; groups: int64 (N, R), boxes of different ones ignore each other; None: one.
        threshold: IoU; most: K.

    Source: as torchvision.ops.nms.  Differs: chains longer than ROUNDS.
    """
    count, rows = real.shape
    step = max(1, PAIRS // max(1, rows * rows))
    kept = torch.cat([
        _unsuppressed(boxes[s : s + step], real[s : s + step],
                      None if groups is None else groups[s : s + step], threshold)
        for s in range(0, count, step)
    ])  # fmt: skip
    falling = torch.arange(rows, 0, -1, device=boxes.device)
    values, index = torch.where(kept, falling, 0).topk(min(most, rows), 1)
    return Kept(index, values > 0)


def _unsuppressed(boxes: Tensor, real: Tensor, groups: Tensor | None, threshold: float) -> Tensor:
    """Which boxes remain, bool (N, R)."""
    x1, y1, x2, y2 = boxes.unbind(2)
    width = torch.minimum(x2[:, :, None], x2[:, None]) - torch.maximum(x1[:, :, None], x1[:, None])
    height = torch.minimum(y2[:, :, None], y2[:, None]) - torch.maximum(y1[:, :, None], y1[:, None])
    inside = width.clamp_(min=0).mul_(height.clamp_(min=0))
    areas = area(boxes)
    union = areas[:, :, None] + areas[:, None] - inside
    over = (inside / union > threshold).triu_(1)  # row k suppresses the boxes after it
    if groups is not None:
        over &= groups[:, :, None] == groups[:, None]
    # a sum of zeros and ones is 0 in every type if all are; a GPU is fastest in this one
    weight = over.to(torch.bfloat16 if fixed(boxes) else torch.float32)
    kept = real
    for _ in range(min(ROUNDS, boxes.shape[1])):
        hits = torch.bmm(kept.to(weight.dtype)[:, None], weight)[:, 0]
        kept = real & (hits == 0)
    return kept


class Best(NamedTuple):
    """Detections of N pictures, by falling score: boxes (N, K, 4), scores (N, K), -1 where there is
    none, labels int64 (N, K)."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def best_of_batch(boxes: Tensor, scores: Tensor, labels: Tensor, rules: Suppression) -> Best:
    """Each picture's detections from its candidates, as `xfer.ops.nms.suppressed`.

    Args: boxes: (N, R, 4); scores: (N, R), negative in padding; labels: int64 (N, R).

    Differs: in a picture only the CANDIDATES best boxes are compared, and vote.
    """
    score, order = scores.topk(min(CANDIDATES, scores.shape[1]), 1)
    where = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    label = labels.gather(1, order)
    sides = where[..., 2:] - where[..., :2]
    real = (score >= max(rules.least, 0.0)) & (sides > 0).all(2)
    score = score.masked_fill(~real, 0)
    if rules.kind == "hard":
        index, kept = suppress(where, real, label, rules.iou, rules.most)
        final = score.gather(1, index)
    else:
        count = min(rules.most, score.shape[1])
        index, final = soft_nms(where, score, label, rules, count)
        kept = real.gather(1, index) & (final >= rules.least)
    chosen = where.gather(1, index[..., None].expand(-1, -1, 4))
    own = label.gather(1, index)
    if rules.vote > 0:
        chosen = _voted(chosen, own, where, score, label, rules.vote)
    return Best(chosen, final.masked_fill(~kept, -1.0), own)


def _voted(
    chosen: Tensor, own: Tensor, boxes: Tensor, scores: Tensor, labels: Tensor, vote: float
) -> Tensor:
    """The score-weighted means of the boxes of a class that overlap the chosen ones."""
    low = torch.maximum(chosen[:, :, None, :2], boxes[:, None, :, :2])
    high = torch.minimum(chosen[:, :, None, 2:], boxes[:, None, :, 2:])
    inside = (high - low).clamp(min=0).prod(3)
    union = area(chosen)[:, :, None] + area(boxes)[:, None] - inside
    alike = (inside / union.clamp(min=1e-9) >= vote) & (own[:, :, None] == labels[:, None])
    weight = scores[:, None] * alike
    with torch.autocast(boxes.device.type, enabled=False):
        total = weight.sum(2, keepdim=True)
        return torch.where(total > 0, weight @ boxes / total.clamp(min=1e-9), chosen)
