"""Segments from the classes of pixels, centres of objects, and each pixel's way to its centre."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfer.nn.sliding_window import ScoreView
from xfer.nn.upsample import interpolate
from xfer.nn.views import View
from xfer.objects.segments import VOID, Segments
from xfer.pixels.centres import UNIT, nearest_centre, peaks
from xfer.types import FeatureSpec


@dataclass(frozen=True, slots=True)
class Rules:
    """Lowest value of a centre; side of the window in which it is the largest, cells; smallest
    region of stuff and smallest object, shares of the picture."""

    least_centre: float
    window: int
    least_stuff: float
    least_thing: float


def merged(
    scores: Sequence[tuple[Tensor, View]],
    spec: FeatureSpec,
    n: int,
    size: tuple[int, ...],
    things: NDArray[np.bool_],
    rules: Rules,
) -> tuple[Segments, NDArray[np.float32]]:
    """The segments of picture n of a batch, and how sure each is, 0..1.

    Pixels whose likeliest class is a thing go to the centre nearest to where they point; an object
    takes the class with the largest mean probability in its pixels. Each class of stuff is one
    segment. What is too small, and things without any centre, are void.

    Args:
        scores: (N, C + 3, h, w) of each view, see `tasks/panoptic.py`; spec: their geometry.
        size: (H, W) of the picture in the batch; things: bool (C,).

    Source: Cheng et al. 2020, sec. 3.1.  Differs: there an object takes the class of most of its
        pixels; views are averaged; an object is as sure as its centre times that probability.
    """
    chance, heat, ways = averaged(scores, spec, n, size)
    which = torch.from_numpy(things).to(chance.device)
    best, label = torch.where(which[:, None, None], -1.0, chance).max(0)  # of stuff
    of_things = chance[which]
    is_thing = (of_things > best).any(0)
    area = size[0] * size[1]
    ids = torch.full(label.shape, VOID, dtype=torch.int64, device=label.device)
    labels: list[int] = []
    sure: list[float] = []
    places, values = peaks(
        heat, max(1, rules.window * spec.stride // 2) * 2 + 1, rules.least_centre
    )
    if len(places) and is_thing.any():
        rows, columns = torch.nonzero(is_thing, as_tuple=True)
        points = torch.stack([rows, columns], 1) + UNIT * ways[:, rows, columns].T
        owner = nearest_centre(points, places.float())
        votes = torch.zeros(len(places), len(of_things), device=label.device)
        votes.index_add_(0, owner, of_things[:, rows, columns].T)
        sizes = torch.bincount(owner, minlength=len(places))
        kept = (sizes > 0) & (sizes >= rules.least_thing * area)
        place = torch.where(kept, kept.cumsum(0) - 1, VOID)
        ids[rows, columns] = place[owner]
        most, chosen = votes.max(1)
        certain = values * most / sizes.clamp(min=1)
        labels += torch.nonzero(which)[:, 0][chosen[kept]].tolist()
        sure += certain[kept].clamp(0, 1).tolist()
    for c in torch.unique(label[~is_thing]).tolist():
        there = (label == c) & ~is_thing
        if int(there.sum()) >= rules.least_stuff * area:
            ids[there] = len(labels)
            labels.append(c)
            sure.append(float(best[there].mean()))
    found = Segments.of(ids.cpu().numpy(), labels)
    return found, np.array(sure, np.float32)


def averaged(
    scores: Sequence[tuple[Tensor, View]], spec: FeatureSpec, n: int, size: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities (C, H, W), centres (H, W) and ways (2, H, W) at each pixel of picture n."""
    total = mean_of_views(scores, spec, n, size, 3)
    return total[:-3], total[-3], total[-2:]


def mean_of_views(
    scores: Sequence[tuple[Tensor, View]], spec: FeatureSpec, n: int, size: Sequence[int], more: int
) -> Tensor:
    """(C + more, H, W) at each pixel of picture n: probabilities of the classes, then what else the
    scores hold, of which the last is a way to the right.

    Args: scores: (N, C + more, h, w) of each view; more: 0 or 3.
    """
    total: Tensor | None = None
    for values, view in scores:
        shown = ScoreView(values, view)
        down, right = (torch.arange(side, device=values.device, dtype=torch.float32)
                       for side in size)  # fmt: skip
        own = interpolate(values[n : n + 1], shown.rows(spec, down, n),
                          shown.columns(spec, right, n))[0]  # fmt: skip
        classes = len(own) - more
        own[:classes] = own[:classes].softmax(0)
        if more and view.flipped:
            own[-1] = -own[-1]
        total = own if total is None else total + own
    assert total is not None
    return total / len(scores)
