"""Segments from overlapping masks of objects and the classes of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xfer.objects.segments import VOID, Segments


@dataclass(frozen=True, slots=True)
class MaskRules:
    """Lowest score of an object; largest share of it that surer ones may cover; smallest region of
    stuff and smallest object, shares of the picture."""

    least_score: float
    overlap: float
    least_stuff: float
    least_thing: float


def merged_masks(
    masks: Sequence[NDArray[np.bool_]],
    labels: NDArray[np.int64],
    scores: NDArray[np.float32],
    stuff: NDArray[np.int64],
    chance: NDArray[np.float32],
    rules: MaskRules,
) -> tuple[Segments, NDArray[np.float32]]:
    """The segments of a picture, and how sure each is, 0..1: objects by falling score, then stuff.

    A pixel in several objects goes to the surest. An object that surer ones cover by more than
    `overlap`, or that is too small after them, is left out. Each class of stuff has the pixels that
    are in no object, if they are enough; all others are void.

    Args:
        masks: R, bool (H, W); labels, scores: (R,), in any order.
        stuff: int64 (H, W), the class of stuff of each pixel, VOID (-1) for that of no stuff.
        chance: float32 (H, W), its probability.

    Source: Kirillov et al. 2019, "Panoptic Segmentation", sec. 7, and "Panoptic Feature Pyramid
        Networks", the paragraph on panoptic inference; panopticapi,
        combine_semantic_and_instance_predictions.py.
        Differs: sizes are shares of the picture (there 4096 pixels for stuff), and small objects
        can be left out as well.
    """
    area = stuff.size
    ids = np.full(stuff.shape, VOID, np.int32)
    found: list[int] = []
    sure: list[float] = []
    for k in np.argsort(-scores, kind="stable").tolist():
        if scores[k] < rules.least_score:
            break
        whole = int(masks[k].sum())
        free = masks[k] & (ids == VOID)
        left = int(free.sum())
        if not left or whole - left > rules.overlap * whole or left < rules.least_thing * area:
            continue
        ids[free] = len(found)
        found.append(int(labels[k]))
        sure.append(float(scores[k]))
    for label in np.unique(stuff).tolist():
        there = (stuff == label) & (ids == VOID)
        size = int(there.sum())
        if label != VOID and size and size >= rules.least_stuff * area:
            ids[there] = len(found)
            found.append(label)
            sure.append(float(chance[there].mean()))
    return Segments.of(ids, found), np.array(sure, np.float32)
