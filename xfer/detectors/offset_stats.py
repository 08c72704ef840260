"""Means and deviations of the box offsets of each class, over the regions of the training pictures.

Source: rbgirshick/fast-rcnn, lib/roi_data_layer/roidb.py, add_bbox_regression_targets: over all
    proposals and true boxes of the training pictures and of their mirror images that overlap a true
    box by at least .5, for each class.  Differs: a class that no region has gets those of all
    classes together, and no deviation is below LEAST.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfer.errors import XferError
from xfer.ops.boxes import encode
from xfer.ops.sampling import match

LEAST = 0.01  # where all regions are true boxes, every offset is 0


class Proposed(NamedTuple):
    """A training picture: its objects and what was proposed, xyxy in one and the same pixels.

    boxes float32 (G, 4), labels int64 (G,), proposals float32 (P, 4).
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    proposals: NDArray[np.float32]


def offset_stats(
    pictures: Iterable[Proposed], classes: int, object_iou: float, mirrored: bool
) -> tuple[float, ...]:
    """Four means, then four deviations, of dx, dy, log w and log h, for one class after the other.

    Args:
        classes: how many; 1: all labels together.
        object_iou: from which overlap a region is an object.
        mirrored: whether pictures are shown mirrored as well.
    Returns: 8 * classes numbers; none if the pictures have no object.
    """
    count = torch.zeros(classes, 1, dtype=torch.float64)
    total = torch.zeros(classes, 4, dtype=torch.float64)
    squares = torch.zeros(classes, 4, dtype=torch.float64)
    for boxes, labels, proposals in pictures:
        truth = torch.from_numpy(boxes).float()
        regions = torch.cat([truth, torch.from_numpy(proposals).float()])
        regions = regions[(regions[:, 2:] > regions[:, :2]).all(1)]
        matches = match(regions, truth)
        chosen = matches.iou >= object_iou
        index = matches.index[chosen]
        if len(index) == 0:
            continue
        own = torch.from_numpy(labels)[index].clamp(max=classes - 1)
        offsets = encode(truth[index], regions[chosen], torch.ones(4)).double()
        count.index_add_(0, own, torch.ones(len(own), 1, dtype=torch.float64))
        total.index_add_(0, own, offsets)
        squares.index_add_(0, own, offsets.square())
    if not count.any():
        return ()
    if mirrored:  # every dx occurs with both signs
        total[:, 0] = 0
    empty = count == 0
    count = torch.where(empty, count.sum(), count)
    total = torch.where(empty, total.sum(0), total)
    squares = torch.where(empty, squares.sum(0), squares)
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt().clamp(min=LEAST)
    return tuple(round(value, 6) for value in torch.cat([mean, std], 1).flatten().tolist())


def units_of(numbers: tuple[float, ...], classes: int) -> tuple[Tensor, Tensor]:
    """Means and deviations, (classes, 4) each, from what `offset_stats` returns.

    Raises: XferError for another count, and for deviations that are not above 0.
    """
    if len(numbers) != 8 * classes:
        raise XferError(
            f"task.box_units: {len(numbers)} numbers, where four means and four deviations for "
            f"each of {classes} are {8 * classes}",
            "leave it out, and they are computed",
        )
    mean, std = torch.tensor(numbers).view(classes, 2, 4).unbind(1)
    if not bool((std > 0).all()):
        raise XferError("task.box_units: deviations must be above 0", "leave it out")
    return mean, std
