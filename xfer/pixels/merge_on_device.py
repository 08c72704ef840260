"""Panoptic merging on a device: all pictures of a batch, and one copy to the host."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfer.nn.views import View
from xfer.objects.segments import VOID, Segments
from xfer.ops.fixed import constants, to_host
from xfer.pixels.centres import MOST, UNIT, nearest_centre, peaks
from xfer.pixels.merge import Rules, averaged
from xfer.types import FeatureSpec


def merged_on_device(
    scores: Sequence[tuple[Tensor, View]],
    spec: FeatureSpec,
    sizes: Sequence[Sequence[int]],
    things: NDArray[np.bool_],
    rules: Rules,
) -> list[tuple[Segments, NDArray[np.float32]]]:
    """`merged` for each picture of a batch; sizes: H, W of each.

    Every picture has MOST centres, most of which are not real, and every pixel belongs to one of
    them: what does not count is masked, and nothing has to be looked up on the way.
    """
    values = scores[0][0]
    which = constants(things.astype(float).tolist(), values.new_empty(0)) > 0
    tensors = [
        tensor
        for n, size in enumerate(sizes)
        for tensor in _merged(scores, spec, n, size, which, rules)
    ]
    arrays = to_host(tensors)
    found: list[tuple[Segments, NDArray[np.float32]]] = []
    for ids, labels, sure, real in zip(*(arrays[k::4] for k in range(4)), strict=True):
        used = real.astype(bool)
        found.append((Segments.of(ids, labels[used]), sure[used].astype(np.float32)))
    return found


def _merged(
    scores: Sequence[tuple[Tensor, View]],
    spec: FeatureSpec,
    n: int,
    size: Sequence[int],
    which: Tensor,
    rules: Rules,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The segment of each pixel (H, W), and of each centre, then each class: its label, how sure
    it is, and whether there is such a segment, (MOST + C,)."""
    chance, heat, ways = averaged(scores, spec, n, tuple(size))
    of_things = which[:, None, None]
    best, label = torch.where(of_things, -1.0, chance).max(0)
    is_thing = torch.where(of_things, chance, -1.0).amax(0) > best
    area = size[0] * size[1]
    window = max(1, rules.window * spec.stride // 2) * 2 + 1
    places, values = peaks(heat, window, rules.least_centre, min(MOST, area))
    rows, columns = (torch.arange(side, device=heat.device) for side in size)
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), 2)
    points = (grid + UNIT * ways.permute(1, 2, 0)).view(-1, 2)
    # a place that is no centre is nearest to nothing
    far = torch.where((values > 0)[:, None], places.float(), 1e6)
    owner = nearest_centre(points, far)
    flat, thing = label.flatten(), is_thing.flatten()
    # the probabilities of an object's pixels, summed for each class
    votes = torch.zeros(len(places), len(which), device=heat.device)
    votes.index_add_(0, owner, (chance * is_thing).flatten(1).T)
    sizes = torch.zeros_like(owner[: len(places)]).scatter_add_(0, owner, thing.to(owner.dtype))
    kept = (values > 0) & (sizes > 0) & (sizes >= rules.least_thing * area)
    most, chosen = torch.where(which, votes, -1.0).max(1)
    certain = (values * most / sizes.clamp(min=1)).clamp(0, 1)
    counts = torch.zeros(len(which), dtype=torch.int64, device=heat.device)
    counts.scatter_add_(0, flat, (~thing).to(counts.dtype))
    sums = torch.zeros(len(which), device=heat.device)
    sums.scatter_add_(0, flat, torch.where(thing, 0.0, best.flatten()))
    stuff = (counts > 0) & (counts >= rules.least_stuff * area)
    real = torch.cat([kept, stuff])
    number = torch.where(real, real.cumsum(0) - 1, VOID).to(torch.int32)
    own = torch.where(thing, owner, flat + len(places))
    classes = torch.arange(len(which), device=heat.device)
    return (
        number[own].view(*size), torch.cat([chosen, classes]),
        torch.cat([certain, sums / counts.clamp(min=1)]), real,
    )  # fmt: skip
