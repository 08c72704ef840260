"""Non-maximum suppression: keeps the best of overlapping boxes, class by class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import nms as torchvision_nms

from xfer.ops.boxes import area, iou_xyxy

BLOCK = 128  # boxes compared at once with all remaining ones
FEW = 600  # torchvision's loop is as fast up to this many boxes


def nms(boxes: Tensor, scores: Tensor, threshold: float, max_boxes: int) -> Tensor:
    """Indices of the boxes that no better kept box overlaps by more than `threshold`, by falling
    score, at most `max_boxes`: bit for bit torchvision.ops.nms(...)[:max_boxes].

    On a CPU torchvision compares one pair at a time, on one core, and does not stop at `max_boxes`.
    Here whole blocks are compared, by all cores: 2,000 or 6,000 boxes that hardly overlap take a
    third of the time on one core (3 instead of 13 ms, 45 instead of 140 ms).

    Shapes: boxes float32 (R, 4), scores (R,) -> int64 (K,).
    """
    if boxes.device.type != "cpu" or len(boxes) <= FEW or boxes.dtype != torch.float32:
        return torchvision_nms(boxes, scores, threshold)[:max_boxes]
    order = scores.sort(stable=True, descending=True).indices
    left = boxes[order].T.contiguous()
    left = torch.stack([*left, (left[2] - left[0]) * (left[3] - left[1])])
    kept: list[Tensor] = []
    count = 0
    while len(order) and count < max_boxes:
        size = min(BLOCK, len(order))
        block = left[:, :size]
        good = _unsuppressed(_overlapping(block, block, threshold))
        kept.append(order[good])
        count += len(good)
        gone = _overlapping(block[:, good], left[:, size:], threshold)
        # torch's `any` takes ten times as long as `amax` of bytes
        rest = torch.nonzero(gone.view(torch.uint8).amax(0) == 0).flatten() + size
        order, left = order[rest], left[:, rest]
    return torch.cat(kept)[:max_boxes] if kept else order


def _overlapping(one: Tensor, two: Tensor, threshold: float) -> Tensor:
    """Whether IoU > threshold, for every pair of columns x1, y1, x2, y2, area: bool (R, G).

    In torchvision's order of operations; it compares a float32 with a double.
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
    """Indices of a block's boxes that no earlier kept box overlaps: bool (R, R) -> int64 (K,)."""
    packed = np.packbits(overlapping.numpy(), axis=1, bitorder="little")
    gone = 0  # one bit per box
    good: list[int] = []
    for i, row in enumerate(packed):
        if not gone >> i & 1:
            good.append(i)
            gone |= int.from_bytes(row.tobytes(), "little")
    return torch.tensor(good, dtype=torch.int64)


def class_nms(
    boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float, max_boxes: int
) -> Tensor:
    """Indices of the kept boxes, by falling score, at most `max_boxes`.

    Boxes of different classes never suppress each other: each class is shifted to its own area, so
    that one call handles all of them.

    Shapes: boxes float32 (R, 4), scores (R,), labels int64 (R,) -> int64 (K,).
    """
    if len(boxes) == 0:
        return torch.zeros(0, dtype=torch.int64, device=boxes.device)
    apart = boxes + (labels * (boxes.max() - boxes.min() + 1)).to(boxes.dtype)[:, None]
    return nms(apart, scores, threshold, max_boxes)


@dataclass(frozen=True, slots=True)
class Suppression:
    """How one detection of an object is chosen among many.

    iou   | from which overlap on the worse of two boxes of a class yields
    least | lower scores are dropped
    most  | most detections of a picture
    vote  | if positive, a kept box becomes the score-weighted mean of the boxes of its class that
          | overlap it by at least this IoU (Gidaris and Komodakis 2015, sec. 5)
    kind  | hard: the worse box goes; linear, gaussian: its score falls, see `soft_nms`
    sigma | of gaussian
    """

    iou: float
    least: float
    most: int
    vote: float = 0.0
    kind: str = "hard"
    sigma: float = 0.5


def soft_nms(
    boxes: Tensor, scores: Tensor, labels: Tensor, rules: Suppression, count: int
) -> tuple[Tensor, Tensor]:
    """Indices of the chosen boxes of each picture, by falling score, and these scores.

    The best box is chosen, then the scores of the others of its class fall the more they overlap
    it, and so on. linear: by the factor 1 - IoU, where the IoU is above `iou`; gaussian: by
    exp(-IoU^2 / sigma).

    Args: count: K, at most R; rows of score 0 are never better than others.

    Shapes: boxes float32 (N, R, 4), scores (N, R), labels int64 (N, R) -> int64 (N, K), (N, K).
    Source: Bodla et al. 2017, sec. 3, and the authors' code.
    """
    chosen: list[Tensor] = []
    best: list[Tensor] = []
    areas = area(boxes)
    for _ in range(count):
        score, index = scores.max(1, keepdim=True)
        chosen.append(index)
        best.append(score)
        own = boxes.gather(1, index[..., None].expand(-1, -1, 4))
        low = torch.maximum(own[..., :2], boxes[..., :2])
        high = torch.minimum(own[..., 2:], boxes[..., 2:])
        width, height = (high - low).clamp(min=0).unbind(2)
        both = width * height
        overlap = both / (area(own) + areas - both).clamp(min=1e-9)
        overlap = torch.where(labels == labels.gather(1, index), overlap, 0.0)
        if rules.kind == "linear":
            scores = scores * torch.where(overlap > rules.iou, 1 - overlap, 1.0)
        else:
            scores = scores * torch.exp(-(overlap**2) / rules.sigma)
        scores = scores.scatter(1, index, 0.0)
    return torch.cat(chosen, 1), torch.cat(best, 1)


def best_boxes(boxes: Tensor, scores: Tensor, rules: Suppression) -> tuple[Tensor, Tensor, Tensor]:
    """A picture's detections from its regions: every class of a region is a separate candidate.

    Args: boxes: (R, C, 4), or (R, 1, 4) if all classes share a box; scores: (R, C).

    Returns: boxes (K, 4), scores (K,) in falling order, labels int64 (K,).
    """
    region, label = torch.nonzero(scores >= rules.least, as_tuple=True)
    where = boxes[region, label if boxes.shape[1] > 1 else torch.zeros_like(label)]
    return suppressed(where, scores[region, label], label, rules)


def suppressed(
    boxes: Tensor, scores: Tensor, labels: Tensor, rules: Suppression
) -> tuple[Tensor, Tensor, Tensor]:
    """A picture's detections from candidates, boxes (R, 4), scores (R,), labels (R,): as
    `best_boxes`."""
    real = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)
    where, score, label = boxes[real], scores[real], labels[real]
    if rules.kind == "hard" or len(where) == 0:
        kept = class_nms(where, score, label, rules.iou, rules.most)
        final = score[kept]
    else:
        count = min(rules.most, len(where))
        kept, final = (
            found[0] for found in soft_nms(where[None], score[None], label[None], rules, count)
        )
        kept, final = kept[final >= rules.least], final[final >= rules.least]
    chosen = where[kept]
    if rules.vote > 0 and len(chosen):
        alike = label[kept][:, None] == label
        weight = score * (alike & (iou_xyxy(chosen, where) >= rules.vote))
        # every box votes for itself, so the sum is positive; without autocast, since bf16 would
        # move the boxes by up to 2 px in 500
        with torch.autocast(where.device.type, enabled=False):
            chosen = (weight @ where) / weight.sum(1, keepdim=True)
    return chosen, final, label[kept]
