"""Scores a model on a split, each picture once over all processes."""

from __future__ import annotations

from collections.abc import Callable

import torch

from xfer.data.loading.feature_loader import FeatureLoader
from xfer.data.loading.loader import Loader
from xfer.device import Place, gather
from xfer.task import Metric, Task


@torch.no_grad()  # not inference_mode: what a net keeps of a pass must serve training as well
def score(
    task: Task,
    loader: Loader | FeatureLoader,
    place: Place,
    tta: str = "none",
    tick: Callable[[int], None] | None = None,
) -> Metric:
    """The task's metric over everything that the loader yields, merged over all processes.

    Args:
        task: in eval mode during the call, in its previous mode afterwards.
        tta: one of the task's views; the loader's transform must cut these views.
        tick: called with the number of pictures done, for a progress bar.
    """
    was_training = task.training
    task.eval()
    metric = task.metric()
    done = 0
    for batch in loader.batches(0):
        moved = batch.to(place.device)
        with place.autocast():
            predictions = task.predict(moved, tta)
        metric.update(predictions, batch)
        done += len(batch)
        if tick is not None:
            tick(done)
    if place.world > 1:
        metric.load_states(gather(metric.state(), place))
    task.train(was_training)
    return metric


def view_protocol(task: Task, tta: str) -> dict[str, str]:
    """A description of how the pictures were cut: part of `protocol`."""
    if hasattr(task, "view_words"):  # the crops of a probe are those of its features
        return {"views": str(task.view_words)}
    return {"views": task.view_protocol(tta)}
