"""A file compared with its run on real pictures: predictions, times, scores."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from xfer.data.sources.base import Subset
from xfer.device import Place
from xfer.errors import DataError
from xfer.exporting.contract import Exportable, Run
from xfer.exporting.opened import ThroughFile
from xfer.inference.evaluate import eval_loader
from xfer.inference.score import score
from xfer.recipe.tables import Recipe
from xfer.types import Batch, Source

PICTURES = 16  # compared
SCORED = 1000  # at most, before and after int8
SECONDS = 4.0  # of each of the two that are timed
BATCH = 8


@dataclass(frozen=True)
class Pictures:
    """Evenly chosen pictures of a split, as the run sees them.

    Args: recipe: the run's; source: the split; place: a CPU in float32; name: of the split.
    """

    recipe: Recipe
    source: Source
    place: Place
    name: str = "val"

    def first(self, count: int) -> Source:
        """At most `count` of them, evenly spread."""
        count = min(count, len(self.source))
        return Subset(self.source, np.linspace(0, len(self.source) - 1, count).round().astype(int))

    def batches(self, task: Any, count: int, batch: int = BATCH) -> Iterator[Batch]:
        source = self.first(count)
        loader = eval_loader(self.recipe, task, source, self.place, "none", batch=batch)
        yield from loader.batches(0)

    def scores(self, task: Any, say: Callable[[str], None] | None = None) -> dict[str, Any]:
        """The task's metrics on at most SCORED of them, and which is the primary one."""
        source = self.first(SCORED)
        loader = eval_loader(self.recipe, task, source, self.place, "none")
        metric = score(task, loader, self.place, "none", say=say)
        return {"primary": metric.primary, "images": len(source), "metrics": metric.compute()}


@torch.no_grad()
def compare(net: Exportable, run: Run, pictures: Pictures) -> dict[str, Any]:
    """The largest difference between the run's predictions and a file's.

    Returns: {"pictures", "difference", "of": in words, "tolerance", "worst": id}.
    """
    most, worst, count = 0.0, "", 0
    for batch in map(net.framed, pictures.batches(net.task, PICTURES)):
        wanted = net.task.predict(batch, "none")
        for one, two in zip(wanted, net.predict(run, batch), strict=True):
            apart = net.difference(one, two)
            if not apart <= most:  # NaN as well
                most, worst = apart, one.id
            count += 1
    return {
        "pictures": count, "split": pictures.name, "difference": most,
        "of": net.difference_words, "tolerance": net.tolerance, "worst": worst,
    }  # fmt: skip


def check(found: dict[str, Any], file: object) -> None:
    """Raises DataError if a file differs from its run by more than the tolerance."""
    if not found["difference"] <= found["tolerance"]:
        raise DataError(
            f"{file} was not written: {found['of']} {found['difference']:.3g} "
            f"({found['worst']}), where at most {found['tolerance']:g} is tolerated",
            "please report it, with the run's recipe.toml",
        )


@torch.no_grad()
def bench(net: Exportable, run: Run, pictures: Pictures) -> dict[str, float]:
    """Median milliseconds per picture, one at a time, of the run in torch and of the file; with
    decoding of boxes and upsampling of maps, without reading the picture."""
    batches = [net.framed(one) for one in pictures.batches(net.task, PICTURES, 1)]
    through = ThroughFile(net.task, net, run)

    def median(predict: Callable[[Batch], Any]) -> float:
        predict(batches[0])
        times: list[float] = []
        end = time.perf_counter() + SECONDS
        while len(times) < 5 or (time.perf_counter() < end and len(times) < 200):
            start = time.perf_counter()
            predict(batches[len(times) % len(batches)])
            times.append(1000 * (time.perf_counter() - start))
        return statistics.median(times)

    return {"torch_ms": median(net.task.predict), "file_ms": median(through.predict)}
