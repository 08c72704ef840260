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
from xfer.recipe.tables import DataTable, OptimTable, Recipe, RunTable, ScheduleTable
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


CASES = {
    "classify": Case("classify", 0, 1),
    "segment": Case("segment", 0, 2),
    "fast_rcnn": Case("detect", 1, 4, {"detector": "fast", "proposals": "grid"}),
    "faster_rcnn": Case("detect", 2, 4, {"detector": "faster"}),
    "fcos": Case("detect", 0, 4, {"detector": "fcos"}),
    "retina": Case("detect", 0, 4, {"detector": "retina"}),
    "instance": Case("instance", 2, 4),
    "panoptic": Case("panoptic", 0, 4),
}


@dataclass(frozen=True, slots=True)
class Waits:
    """Host waits of one step, and of a prediction, with where they are; the step's losses."""

    step: int
    predict: int
    where: str
    losses: Mapping[str, float]


def recipe_of(case: Case, backbone: str, pictures: int = 16, **optim: Any) -> Recipe:
    """A recipe that trains the case on the digits."""
    return Recipe(
        name="waits", task=case.task, backbone=backbone, weights="none",
        task_options=dict(case.options),
        data=DataTable(source="digits", batch=pictures, workers=0, limit=2 * pictures, size=96),
        optim=OptimTable(**optim), schedule=ScheduleTable(epochs=3, min_steps=0),
        run=RunTable(precision="bf16", plots=False),
    )  # fmt: skip


def count_waits(
    case: Case, backbone: str, pictures: int = 16, precision: str = "bf16", **optim: Any
) -> Waits:
    """The waits of the second step, and of predicting a batch of that many pictures."""
    recipe = recipe_of(case, backbone, pictures, **optim)
    bundle = open_recipe_data(recipe)
    with pretended_gpu() as waits:
        job = Job(recipe, Place(CARD, precision), bundle)
        batches = on_device(job.batches(), job.place)
        for batch in itertools.islice(batches, 2):
            with waits.counting():
                job.begin_step()
                job.add_losses(train_step(job, batch))
                job.step += 1
        step, where = waits.total, f"step: {waits}"
        losses = {name: float(value) for name, value in job.pending["losses"].items()}
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
