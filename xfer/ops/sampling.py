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
from xfer.ops.fixed import fixed
from xfer.ops.nms import nms
from xfer.ops.suppress import suppress

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


def match(regions: Tensor, truth: Tensor, real: Tensor | None = None) -> Matches:
    """Matches regions (R, 4) to true boxes (G, 4); G may be 0. Regions that are not real, bool
    (R,), overlap none."""
    if len(truth) == 0:
        none = regions.new_zeros(len(regions))
        return Matches(none.long(), none, none.bool())
    overlap = iou_xyxy(regions, truth).T  # (G, R): rows are contiguous
    if real is not None:
        overlap = overlap * real
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


class Drawn(NamedTuple):
    """Regions drawn from one picture: foreground first, then background.

    index      | int64 (S,)
    foreground | bool (S,)
    real       | bool (S,): on a device S is always the wanted number, and the last ones are not
               | real if there are fewer
    first      | all foreground is among this many
    """

    index: Tensor
    foreground: Tensor
    real: Tensor
    first: int


def draw(foreground: Tensor, background: Tensor, count: int, share: float) -> Drawn:
    """At most `share` * count foreground regions, and background ones up to `count`.

    Shapes: foreground, background bool (R,).
    Source: Girshick 2015, sec. 2.3 (count 64, share .25); Ren et al. 2015, sec. 3.1.3 (256, .5).
    """
    most = int(count * share)
    if fixed(foreground):
        return draw_fixed(foreground, background, count, most)
    positive = _some(foreground, most)
    index = torch.cat([positive, _some(background, count - len(positive))])
    is_foreground = torch.zeros(len(index), dtype=torch.bool)
    is_foreground[: len(positive)] = True
    return Drawn(index, is_foreground, torch.ones_like(is_foreground), len(positive))


def draw_fixed(foreground: Tensor, background: Tensor, count: int, most: int) -> Drawn:
    """The same without looking at how many there are: every region gets a random key, and those
    with the largest keys are taken."""
    rows = len(foreground)
    keys = torch.rand(rows, device=foreground.device)  # 0 <= key < 1
    values, index = torch.where(foreground, keys, -1.0).topk(min(most, rows))
    taken = torch.zeros_like(foreground).scatter(0, index, values >= 0)
    # foreground from 1 to 2, background from 0 to 1
    ranks = torch.where(taken, keys + 1, torch.where(background & ~foreground, keys, -1.0))
    values, index = ranks.topk(min(count, rows))
    return Drawn(index, values >= 1, values >= 0, min(most, count, rows))


def _some(chosen: Tensor, count: int) -> Tensor:
    """At most `count` of the marked indices, drawn uniformly, in order."""
    indices = torch.nonzero(chosen).flatten()
    if len(indices) <= count:
        return indices
    drawn = torch.randperm(len(indices), device=indices.device)[:count]
    return indices[drawn.sort().values]


def shares_of(real: Sequence[Tensor]) -> Tensor:
    """`equal_shares` of the regions of each picture that are real, 0 for the others: float32
    (sum of rows,)."""
    if not fixed(real[0]):
        return equal_shares([len(one) for one in real], real[0].device)
    parts = [one / (len(real) * one.sum().clamp(min=1)) for one in real]
    return torch.cat(parts)


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
    real    | bool (R,), or N tensors (R_n,), see `Drawn`
    first   | all objects are among this many of a picture's; or N numbers
    """

    regions: Any
    labels: Tensor
    goals: Tensor
    objects: Tensor
    real: Any
    first: Any


@torch.no_grad()
def sample_regions(
    proposals: Tensor,
    truth: Tensor,
    labels: Tensor,
    crowds: Tensor,
    rules: RegionRules,
    other: int,
    real: Tensor | None = None,
) -> Sampled:
    """Draws one picture's regions for training; the true boxes are among the candidates.

    Args:
        proposals (P, 4), truth (G, 4), labels int64 (G,), crowds (M, 4).
        other: the label of background; real: bool (P,), the proposals that are some; None: all.

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
    if real is not None:
        there = torch.cat([real.new_ones(len(truth)), real])
        object_, rest = object_ & there, rest & there
    drawn = draw(object_, rest, rules.count, rules.share)
    own = regions[drawn.index]
    if len(truth) == 0:
        none = torch.full_like(drawn.index, -1)
        return Sampled(own, torch.full_like(none, other), own, none, drawn.real, 0)
    which = matches.index[drawn.index]
    drawn_labels = torch.where(drawn.foreground, labels[which], other)
    objects = torch.where(drawn.foreground, which, -1)
    goals = torch.where(drawn.foreground[:, None], truth[which], own)
    return Sampled(own, drawn_labels, goals, objects, drawn.real, drawn.first)


def sample_batch(
    proposals: Sequence[Tensor],
    truth: Sequence[Tensor],
    labels: Sequence[Tensor],
    crowds: Sequence[Tensor],
    rules: RegionRules,
    other: int,
    real: Sequence[Tensor | None] | None = None,
) -> Sampled:
    """`sample_regions` for each picture: the regions as N tensors, the rest of all regions."""
    each = zip(proposals, truth, labels, crowds, real or [None] * len(truth), strict=True)
    drawn = [sample_regions(p, t, y, c, rules, other, there) for p, t, y, c, there in each]
    regions, drawn_labels, goals, objects, is_real, first = zip(*drawn, strict=True)
    return Sampled(
        list(regions), torch.cat(drawn_labels), torch.cat(goals), torch.cat(objects),
        list(is_real), list(first),
    )  # fmt: skip


@torch.no_grad()
def hardest_regions(sampled: Sampled, losses: Tensor, count: int) -> Sampled:
    """Those of the highest losses, at most `count` per picture; of regions that overlap much, only
    the hardest. Objects come first, where a CPU picks them out.

    Args: sampled: all regions of several pictures, as of `sample_batch`; losses: (R,), of each.
    Source: Shrivastava et al. 2016, sec. 4.2: suppression by loss with an IoU of .7.
    """
    counts = [len(one) for one in sampled.regions]
    kept: list[Tensor] = []
    real: list[Tensor] = []
    first: list[int] = []
    for regions, own, objects, there in zip(
        sampled.regions, losses.split(counts), sampled.objects.split(counts), sampled.real,
        strict=True,
    ):  # fmt: skip
        if fixed(own):
            order = own.masked_fill(~there, -1).sort(descending=True).indices
            best = suppress(regions[order][None], there[order][None], None, HARD_NMS, count)
            kept.append(order[best.index[0]])
            real.append(best.real[0])
            first.append(len(kept[-1]))
            continue
        hard = nms(regions, own, HARD_NMS, count)
        is_object = objects[hard] >= 0
        kept.append(torch.cat([hard[is_object], hard[~is_object]]))
        real.append(torch.ones_like(is_object))
        first.append(int(is_object.sum()))
    firsts = [sum(counts[:n]) for n in range(len(counts))]
    index = torch.cat([own + start for own, start in zip(kept, firsts, strict=True)])
    return Sampled(
        [regions[own] for regions, own in zip(sampled.regions, kept, strict=True)],
        sampled.labels[index], sampled.goals[index], sampled.objects[index], real, first,
    )  # fmt: skip
