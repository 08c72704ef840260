"""Runs whose losses are weighted, and the gradients of one of their steps, however it is split."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from test_detect_run import TINY as DETECT
from test_loop import TINY, changed
from test_segment_run import TINY as SEGMENT

from xfer.device import Place
from xfer.recipe.data import open_recipe_data
from xfer.recipe.tables import Recipe
from xfer.train.job import Job
from xfer.train.step import train_step
from xfer.types import Batch

PLAIN: dict[str, Any] = {"name": "sgd", "momentum": 0.0, "ema": 0.0, "clip": 0.0, "accumulate": 1}
NET = {"batch_norm": False}


def _recipe(base: Recipe, options: dict[str, Any], **data: Any) -> Recipe:
    plain = changed(
        base, optim=PLAIN, schedule={"epochs": 1}, run={"device": "cpu"},
        data={"batch": 7, "limit": 21, "augment": "none", "workers": 0, **data},
    )  # fmt: skip
    return replace(plain, backbone_options=NET, task_options=options)


_SEGMENT = {"head": "fcn32s", "tail": "none"}  # the decoder's batch norms see each pass alone
_CLASSIFY = {"head": "flat", "dropout": 0.0}
# nothing is drawn at random: as many regions and anchors as there may be
_DETECT = {
    "head_width": 16, "rpn_width": 8, "pool_size": 3, "anchors": (16.0, 16.0, 40.0, 40.0),
    "regions": 4000, "object_share": 1.0, "rpn_batch": 4000, "rpn_iou": (0.3, 0.5),
    "rpn_train": (100, 40), "rpn_nms": 0.5,
}  # fmt: skip
_CELLS = {"width": 16, "towers": 1, "max_stride": 16}
INSTANCE, PANOPTIC = replace(DETECT, task="instance"), replace(SEGMENT, task="panoptic")
RECIPES: dict[str, Recipe] = {
    "class weights": _recipe(TINY, {**_CLASSIFY, "class_weights": True, "label_smoothing": 0.1}),
    "several labels": _recipe(TINY, {**_CLASSIFY, "label_smoothing": 0.0}),
    "mixed": _recipe(TINY, {**_CLASSIFY, "class_weights": True, "mixup": 0.4}),
    "pixels": _recipe(SEGMENT, {**_SEGMENT, "class_balance": 1.0}, size=64),
    "every other pixel": _recipe(SEGMENT, {**_SEGMENT, "loss_step": 2}, size=64),
    "sums of pixels": _recipe(SEGMENT, {**_SEGMENT, "normalise": False}, size=64),
    "regions": _recipe(DETECT, _DETECT, size=64),
    "cells": _recipe(DETECT, {"detector": "fcos", **_CELLS}, size=64),
    "cells with anchors": _recipe(DETECT, {"detector": "retina", **_CELLS}, size=64),
    "masks": _recipe(
        INSTANCE, {**_DETECT, "levels": ("conv1",), "mask_width": 8, "mask_convs": 1}, size=64
    ),
    "segments": _recipe(PANOPTIC, {"width": 16, "dropout": 0.0, "class_balance": 1.0}, size=64),
    "regions of a grid": _recipe(
        DETECT,
        {"proposals": "grid", "most_proposals": 200, "head_width": 16, "pool_size": 3,
         "regions": 4000, "object_share": 1.0, "background_iou": (0.1, 0.5)},
        size=64,
    ),
}  # fmt: skip


def uneven(batch: Batch, name: str, place: Place) -> Batch:
    """The batch with unknown labels and ignored pixels, more in some pictures than in others.

    Args: batch: this process's share, which is every second picture if there are two.
    """
    targets = dict(batch.targets)
    numbers = range(place.rank, 7, place.world)  # of its pictures in the whole batch
    if name == "several labels":
        draw = torch.Generator().manual_seed(3)
        labels = torch.randint(0, 2, (7, 10), generator=draw).float()
        for n in numbers:
            labels[n, : (3 * n) % 10] = -1
        targets["label"] = labels[list(numbers)]
    if "masks" in targets:
        masks = [mask.clone() for mask in targets["masks"]]
        for n, mask in zip(numbers, masks, strict=True):
            mask[: 9 * n] = 255
        targets["masks"] = masks
    return replace(batch, targets=targets)


def gradients(
    name: str, accumulate: int, place: Place
) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """The gradients of a step, by parameter, and its losses, on this process's share of 7."""
    recipe = changed(RECIPES[name], optim={"accumulate": accumulate})
    job = Job(recipe, place, open_recipe_data(recipe))
    task: Any = job.task
    task.multilabel = name == "several labels"
    if name == "mixed":  # what mixing draws for a batch differs from what it draws for parts of it
        task._mix = lambda images, labels: (
            images, torch.nn.functional.one_hot(labels, 10) * 0.7 + 0.03
        )  # fmt: skip
    for part in task.head.modules():  # batch norms see each pass alone
        if isinstance(part, torch.nn.BatchNorm2d):
            part.eval()
    with torch.no_grad():  # a head of zeros passes nothing on
        draw = torch.Generator().manual_seed(5)
        for parameter in task.head.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.05)
    found: dict[str, torch.Tensor] = {}

    def keep(*_: Any) -> None:
        found.update({n: p.grad.clone() for n, p in task.named_parameters() if p.grad is not None})

    job.optimizer.register_step_pre_hook(keep)
    batch = uneven(next(job.train.batches(0)), name, place)
    job.begin_step()
    losses = train_step(job, batch)
    return found, {k: float(v) for k, v in losses.items()}
