"""Chooses the regions a detector learns from: matched to true boxes, then drawn by quota.

Draws come from torch's generator, whose state a run stores, so a resumed run draws the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from xfer.ops.boxes import area, intersection_xyxy, iou_xyxy
from xfer.ops.nms import nms

HARD_NMS = 0.7  # IoU above which the easier of two regions is not learned


@dataclass(frozen=True, slots=True)
class Matches:
    """The true box that each region overlaps most.

    index | int64 (R,)   | which true box; 0 if there is none
    iou   | float32 (R,) | their IoU, 0..1
    best  | bool (R,)    | the region has the highest IoU of all with some true box
    """

    index: Tensor
    iou: Tensor
    best: Tensor


def match(regions: Tensor, truth: Tensor) -> Matches:
    """Matches regions (R, 4) to true boxes (G, 4); G may be 0."""
    if len(truth) == 0:
        none = regions.new_zeros(len(regions))
        return Matches(none.long(), none, none.bool())
    overlap = iou_xyxy(regions, truth).T  # (G, R): rows are contiguous
    iou, index = overlap.max(0)
    most = overlap.amax(1) if len(regions) else overlap.new_zeros(len(truth))
    # a true box that nothing touches has no best region: no overlap equals 2
    # `amax` of bytes is `any`, in a tenth of the time
    best = (overlap == most.where(most > 0, 2.0)[:, None]).view(torch.uint8).amax(0).bool()
    return Matches(index, iou, best)


def ignored(regions: Tensor, crowds: Tensor) -> Tensor:
    """Regions (R, 4) at least half inside a crowd (M, 4): neither object nor background."""
    if len(crowds) == 0:
        return torch.zeros(len(regions), dtype=torch.bool, device=regions.device)
    inside = intersection_xyxy(regions, crowds)
    return (inside >= 0.5 * area(regions)[:, None]).any(1)


def draw(foreground: Tensor, background: Tensor, count: int, share: float) -> tuple[Tensor, Tensor]:
    """Indices of at most `share` * count foreground regions, and background ones up to `count`.

    Shapes: foreground, background bool (R,) -> int64 (F,), int64 (B,), F + B <= count.
    Source: Girshick 2015, sec. 2.3 (count 64, share .25); Ren et al. 2015, sec. 3.1.3 (256, .5).
    """
    positive = _some(foreground, int(count * share))
    return positive, _some(background, count - len(positive))


def _some(chosen: Tensor, count: int) -> Tensor:
    """At most `count` of the marked indices, drawn uniformly, in order."""
    indices = torch.nonzero(chosen).flatten()
    if len(indices) <= count:
        return indices
    drawn = torch.randperm(len(indices), device=indices.device)[:count]
    return indices[drawn.sort().values]


def equal_shares(
    counts: Sequence[int], device: torch.device, rows: Sequence[int] | None = None
) -> Tensor:
    """Each drawn region's part in a mean over pictures of the mean over each one's regions.

    So the loss of a batch is the mean of its pictures' losses, however it is split into passes and
    processes, and however many regions each picture has to draw from.

    Args: counts: regions drawn from each picture; rows: of how many the shares are returned, if
        not of all: of those that are objects.
    Returns: float32 (sum of rows,); with rows left out they add up to 1, if no count is 0.
    Source: as py-faster-rcnn, whose passes are of one picture (Ren et al. 2015, sec. 3.1.3).
    """
    each = torch.tensor([1 / (len(counts) * max(1, n)) for n in counts])
    repeated = each.repeat_interleave(torch.tensor(counts if rows is None else rows))
    return repeated.to(device, non_blocking=True)


@dataclass(frozen=True, slots=True)
class RegionRules:
    """Which regions the classifier is trained on.

    count      | regions per picture
    share      | maximum fraction of objects among them
    foreground | IoU with a true box from which a region is an object
    background | IoU between which (low included) it is background
    """

    count: int = 64
    share: float = 0.25
    foreground: float = 0.5
    background: tuple[float, float] = (0.1, 0.5)


class Sampled(NamedTuple):
    """Regions drawn for training, of one picture or, one after the other, of several.

    regions | (R, 4), or N tensors (R_n, 4)
    labels  | int64 (R,), that of background for regions that are no object
    goals   | (R, 4), the true box of each; the region itself for background
    objects | int64 (R,), which of its picture's true boxes each is matched to; -1: background
    """

    regions: Any
    labels: Tensor
    goals: Tensor
    objects: Tensor


@torch.no_grad()
def sample_regions(
    proposals: Tensor, truth: Tensor, labels: Tensor, crowds: Tensor, rules: RegionRules, other: int
) -> Sampled:
    """Draws one picture's regions for training; the true boxes are among the candidates.

    Args:
        proposals (P, 4), truth (G, 4), labels int64 (G,), crowds (M, 4).
        other: the label of background.

    Source: Girshick 2015, sec. 2.3.  Differs: in a picture without objects every region may be
        background; in the paper none could.
    """
    regions = torch.cat([truth, proposals])
    matches = match(regions, truth)
    low, high = rules.background
    object_ = matches.iou >= rules.foreground
    rest = (matches.iou < high) & ~object_ & ~ignored(regions, crowds)
    if len(truth):
        rest &= matches.iou >= low
    positive, negative = draw(object_, rest, rules.count, rules.share)
    drawn = torch.cat([positive, negative])
    drawn_labels = torch.full((len(drawn),), other, dtype=torch.int64, device=regions.device)
    objects = torch.full_like(drawn_labels, -1)
    goals = regions[drawn].clone()
    if len(positive):
        objects[: len(positive)] = matches.index[positive]
        drawn_labels[: len(positive)] = labels[matches.index[positive]]
        goals[: len(positive)] = truth[matches.index[positive]]
    return Sampled(regions[drawn], drawn_labels, goals, objects)


def sample_batch(
    proposals: Sequence[Tensor],
    truth: Sequence[Tensor],
    labels: Sequence[Tensor],
    crowds: Sequence[Tensor],
    rules: RegionRules,
    other: int,
) -> Sampled:
    """`sample_regions` for each picture: the regions as N tensors, the rest of all regions."""
    each = zip(proposals, truth, labels, crowds, strict=True)
    drawn = [sample_regions(*one, rules, other) for one in each]
    regions, drawn_labels, goals, objects = zip(*drawn, strict=True)
    return Sampled(list(regions), torch.cat(drawn_labels), torch.cat(goals), torch.cat(objects))


@torch.no_grad()
def hardest_regions(sampled: Sampled, losses: Tensor, count: int) -> Sampled:
    """Those of the highest losses, at most `count` per picture; of regions that overlap much, only
    the hardest.

    Args: sampled: all regions of several pictures, as of `sample_batch`; losses: (R,), of each.
    Source: Shrivastava et al. 2016, sec. 4.2: suppression by loss with an IoU of .7.
    """
    counts = [len(one) for one in sampled.regions]
    each = zip(sampled.regions, losses.split(counts), strict=True)
    kept = [nms(regions, own, HARD_NMS, count) for regions, own in each]
    firsts = [sum(counts[:n]) for n in range(len(counts))]
    index = torch.cat([own + first for own, first in zip(kept, firsts, strict=True)])
    return Sampled(
        [regions[own] for regions, own in zip(sampled.regions, kept, strict=True)],
        sampled.labels[index], sampled.goals[index], sampled.objects[index],
    )  # fmt: skip
