"""Scores a model on a split, each picture once over all processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from xfer.data.loading.feature_loader import FeatureLoader
from xfer.data.loading.halved import Halved
from xfer.data.loading.loader import Loader
from xfer.device import Place, gather
from xfer.task import Metric, Task
from xfer.types import Batch


@torch.no_grad()  # not inference_mode: what a net keeps of a pass must serve training as well
def score(
    task: Task,
    loader: Loader | FeatureLoader,
    place: Place,
    tta: str = "none",
    tick: Callable[[int], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Metric:
    """The task's metric over everything that the loader yields, merged over all processes.

    Args:
        task: in eval mode during the call, in its previous mode afterwards.
        tta: one of the task's views; the loader's transform must cut these views.
        tick: called with the number of pictures done, for a progress bar.
        say: called with a line if a batch does not fit into memory, and is predicted in parts.
    """
    was_training = task.training
    task.eval()
    metric = task.metric()
    done = 0
    fitting = Halved[list[Any]](place, say)
    for batch in loader.batches(0):
        metric.update(predict_batch(task, batch, tta, fitting), batch)
        done += len(batch)
        if tick is not None:
            tick(done)
    if place.world > 1:
        metric.load_states(gather(metric.state(), place))
    task.train(was_training)
    return metric


def predict_batch(task: Task, batch: Batch, tta: str, fitting: Halved[list[Any]]) -> list[Any]:
    """The task's predictions for a batch, one per picture, in parts if it does not fit."""
    place = fitting.place

    def predict(start: int, stop: int) -> list[Any]:
        part = batch if stop - start == len(batch) else batch.part(start, stop)
        with place.autocast():
            return task.predict(place.send(part), tta)

    parts = fitting(len(batch), predict)
    return parts[0] if len(parts) == 1 else [one for part in parts for one in part]


def view_protocol(task: Task, tta: str) -> dict[str, str]:
    """A description of how the pictures were cut: part of `protocol`."""
    if hasattr(task, "view_words"):  # the crops of a probe are those of its features
        return {"views": str(task.view_words)}
    return {"views": task.view_protocol(tta)}
