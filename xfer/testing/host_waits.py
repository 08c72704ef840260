"""How often the host waits for the device in a training step and in a prediction, by task.

Measured with the product's own Job, train_step and predict_batch on the pretended GPU.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from xfer.data.loading.halved import Halved
from xfer.device import Place, on_device
from xfer.inference.score import predict_batch
from xfer.recipe.data import open_recipe_data
from xfer.recipe.tables import DataTable, Recipe, RunTable, ScheduleTable, override
from xfer.testing.pretended_gpu import CARD, HostWaits, pretended_gpu
from xfer.train.job import Job
from xfer.train.step import train_step


@dataclass(frozen=True, slots=True)
class Case:
    """A task with options, and at most how often the host may wait: in a step, in a prediction."""

    task: str
    step: int
    predict: int
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


# few regions and narrow layers: the waits are the same, and the CPU that pretends is soon done;
# all regions and no dropout: nothing is drawn at random, so that losses can be compared
FEW: dict[str, Any] = {"head": "fc", "head_width": 16, "regions": 100, "object_share": 1.0,
                       "most_boxes": 10}  # fmt: skip
RPN: dict[str, Any] = {**FEW, "rpn_width": 16, "rpn_train": (60, 30), "rpn_test": (40, 20),
                       "anchor_count": 3, "rpn_batch": 8000}  # fmt: skip
CELLS: dict[str, Any] = {"width": 16, "towers": 1, "candidates": 20, "most_boxes": 10}

CASES = {
    "classify": Case("classify", 0, 1, {"dropout": 0.0}),
    "segment": Case("segment", 0, 1, {"width": 16, "dropout": 0.0}),
    "fast_rcnn": Case("detect", 0, 1, {
        **FEW, "detector": "fast", "proposals": "grid", "most_proposals": 40,
    }),
    "faster_rcnn": Case("detect", 0, 1, {**RPN, "detector": "faster"}),
    "fcos": Case("detect", 0, 1, {**CELLS, "detector": "fcos"}),
    "retina": Case("detect", 0, 1, {**CELLS, "detector": "retina"}),
    "ssd": Case("detect", 0, 1, {"detector": "ssd", "candidates": 20, "most_boxes": 10}),
    "instance": Case("instance", 0, 1, {**RPN, "mask_width": 8, "mask_convs": 1}),
    "panoptic": Case("panoptic", 0, 1, {"width": 16, "dropout": 0.0}),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Waits:
    """Host waits of the second step, and of a prediction, with where they are; the losses of the
    first step."""

    step: int
    predict: int
    where: str
    losses: Mapping[str, float]


def recipe_of(
    case: Case, backbone: str, pictures: int = 16, keys: Mapping[str, Any] | None = None
) -> Recipe:
    """A recipe that trains the case on the digits; keys: other values of its own."""
    recipe = Recipe(
        name="waits", task=case.task, backbone=backbone, weights="none",
        task_options=dict(case.options),
        data=DataTable(source="digits", batch=pictures, workers=0, limit=2 * pictures, size=64),
        schedule=ScheduleTable(epochs=3, min_steps=0),
        run=RunTable(precision="bf16", plots=False),
    )  # fmt: skip
    return override(recipe, keys or {})


def count_waits(
    case: Case,
    backbone: str,
    pictures: int = 16,
    precision: str = "bf16",
    keys: Mapping[str, Any] | None = None,
) -> Waits:
    """The waits of the second step, and of predicting a batch of that many pictures."""
    recipe = recipe_of(case, backbone, pictures, keys)
    bundle = open_recipe_data(recipe)
    with pretended_gpu() as waits:
        job = Job(recipe, Place(CARD, precision), bundle)
        batches = on_device(job.batches(), job.place)
        losses: dict[str, float] = {}
        for batch in itertools.islice(batches, 2):
            with waits.counting():
                job.begin_step()
                job.add_losses(train_step(job, batch))
                job.step += 1
            losses = losses or {k: float(v) for k, v in job.pending["losses"].items()}
        step, where = waits.total, f"step: {waits}"
        predicted = _predict(job, waits, pictures)
    return Waits(step, predicted, f"{where}\nprediction: {waits}", losses)


def _predict(job: Job, waits: HostWaits, pictures: int) -> int:
    task = job.final_task().eval()
    host = next(_host_batches(job, pictures))
    with torch.no_grad(), waits.counting():
        predict_batch(task, host, "none", Halved[list[Any]](job.place))
    return waits.total


def _host_batches(job: Job, pictures: int) -> Iterator[Any]:
    loader = job.loader("val")
    loader.batch = pictures
    return loader.batches(0)
