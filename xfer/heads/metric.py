"""The scores of several heads, each by its own metric, and one that chooses the best step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xfer.heads.batches import of_head
from xfer.kinds.joint import JointPrediction
from xfer.metrics.example import Example
from xfer.task import Metric
from xfer.types import Batch

MEAN = "mean"


class HeadsMetric:
    """Each head's metric under the head's name: classify.top1, segment.miou.

    Args:
        metrics: by head, in the order of a prediction's parts.
        chosen: the head whose own primary score is the primary one; "": the mean of them all.
        pixel_classes: the classes of what examples hold for every pixel; () if they do not.

    compute() returns every number of every head as HEAD.NAME, and
        mean | the mean of the heads' primary scores. Each is in 0..1 and rises as its head gets
             | better, so the mean rises too if one head gets better and none gets worse
    """

    judged = "score"  # examples are good by the scores of all heads

    def __init__(
        self,
        metrics: Mapping[str, Metric],
        chosen: str = "",
        pixel_classes: Sequence[str] = (),
    ) -> None:
        self.metrics, self.pixel_classes = dict(metrics), tuple(pixel_classes)
        self.primary = f"{chosen}.{metrics[chosen].primary}" if chosen else MEAN

    @property
    def primaries(self) -> dict[str, str]:
        """Head -> the key of its primary score."""
        return {head: f"{head}.{metric.primary}" for head, metric in self.metrics.items()}

    def update(self, predictions: Sequence[JointPrediction], batch: Batch) -> None:
        for k, (head, metric) in enumerate(self.metrics.items()):
            metric.update([one.parts[k] for one in predictions], of_head(batch, head))

    def state(self) -> dict[str, Any]:
        return {head: metric.state() for head, metric in self.metrics.items()}

    def load_states(self, states: Sequence[dict[str, Any]]) -> None:
        for head, metric in self.metrics.items():
            metric.load_states([state[head] for state in states])

    def compute(self) -> dict[str, Any]:
        scores = {
            f"{head}.{name}": value
            for head, metric in self.metrics.items() for name, value in metric.compute().items()
        }  # fmt: skip
        own = [float(scores[key] or 0.0) for key in self.primaries.values()]
        return {MEAN: sum(own) / len(own), **scores}

    def protocol(self) -> dict[str, str]:
        told = {
            f"{head}.{name}": text
            for head, metric in self.metrics.items() for name, text in metric.protocol().items()
        }  # fmt: skip
        return {MEAN: f"mean of {' and '.join(self.primaries.values())}", **told}

    def rows(self) -> list[dict[str, Any]]:
        """One dict per picture with the heads' rows side by side; a dict per row, with its head, if
        one of them has several rows per picture or leaves some out."""
        each = {head: metric.rows() for head, metric in self.metrics.items()}
        ids = {head: [row["id"] for row in rows] for head, rows in each.items()}
        first = next(iter(ids.values()))
        if any(names != first for names in ids.values()) or len(set(first)) < len(first):
            return [{"head": head, **row} for head, rows in each.items() for row in rows]
        return [
            {"id": name, **{
                f"{head}.{key}": value
                for head, rows in each.items() for key, value in rows[i].items() if key != "id"
            }}
            for i, name in enumerate(first)
        ]  # fmt: skip

    def examples(self) -> list[Example]:
        """Every picture that all heads have an example of; good if it is so for all of them."""
        each: list[dict[str, Example]] = []
        for metric in self.metrics.values():
            own: Any = getattr(metric, "examples", None)
            each.append({} if own is None else {one.id: one for one in own()})
        return [_joined([own[name] for own in each]) for name in each[0]
                if all(name in own for own in each)]  # fmt: skip


def _joined(parts: Sequence[Example]) -> Example:
    return Example(
        parts[0].id,
        tuple(line for part in parts for line in part.lines[:2]),
        all(part.good for part in parts),
        sum(part.loss for part in parts) / len(parts),
        tuple(mark for part in parts for mark in part.marks),
        next((part.masks for part in parts if part.masks is not None), None),
        tuple(mark for part in parts for mark in part.truth),
        (),
        next((part.segments for part in parts if part.segments is not None), None),
    )
