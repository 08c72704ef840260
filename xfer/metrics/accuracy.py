"""Accuracy of a classifier: top-1, top-5, per class, and the confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError, DivergedError, XferError
from xfer.metrics.calibration import most_of, some_of
from xfer.metrics.example import Example, as_array, natural_order, unique_names
from xfer.metrics.interval import Interval, bootstrap, wilson
from xfer.metrics.resampled import Ratios
from xfer.types import Batch, ClassPrediction

TOP = 5
# a probability of 0 would cost infinity: the smallest normal float32 costs 87.3
_TINY = float(np.finfo(np.float32).tiny)


class Accuracy:
    """Counts right answers; keeps per picture the truth, its rank, and the five best classes.

    Counts are whole numbers and the mean loss is summed exactly (math.fsum), so the result does
    not depend on the order of pictures, batches or processes. Memory: about 60 bytes per picture,
    and 8 MB of probabilities, of all pictures or of some, by which they can be calibrated.

    Ties: of two classes with equal scores the one with the lower index is ranked first, as argmax
    does; a net that gives all classes the same score is right only on class 0.

    Args:
        classes: class names; a label is an index into them.

    compute() returns
        top1, top5     | share of pictures whose class is the best, or among the min(5, C) best
        loss           | mean of -log p(truth), nats
        mean_class_acc | mean of top-1 over the classes that occur
        per_class      | {name: {"acc": top-1 or None if n is 0, "n": pictures}}
    """

    primary: ClassVar[str] = "top1"

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.top = min(TOP, len(self.classes))
        self._parts: list[dict[str, Any]] = []

    def update(self, predictions: Sequence[ClassPrediction], batch: Batch) -> None:
        """Count a batch of predictions against `batch.targets["label"]`, int64 (N,)."""
        if "label" not in batch.targets:
            raise DataError("nothing to compare with: these pictures have no labels")
        if predictions:
            scores = np.stack([p.scores for p in predictions])
            self.add(scores, batch.targets["label"], [p.id for p in predictions])

    def add(self, scores: Any, labels: Any, ids: Sequence[str]) -> None:
        """Count pictures.

        Args:
            scores: (N, C) probabilities, tensor or array.
            labels: int (N,) class indices; -1 (unlabelled) is left out.
            ids: N sample ids.

        Raises: DivergedError for scores that are not finite, XferError for shapes or labels that
            don't fit the classes.
        """
        table, truth = as_array(scores).astype(np.float32), as_array(labels).astype(np.int64)
        count = len(self.classes)
        if table.shape != (len(truth), count) or len(ids) != len(truth):
            raise XferError(
                f"scores {table.shape}, {len(truth)} labels and {len(ids)} ids don't fit "
                f"{count} classes"
            )
        if len(truth) and not -1 <= truth.min() <= truth.max() < count:
            raise XferError(f"labels must be -1..{count - 1}, got {truth.min()}..{truth.max()}")
        known = truth >= 0
        table, truth = table[known], truth[known]
        names = [name for name, keep in zip(ids, known, strict=True) if keep]
        bad = np.flatnonzero(~np.isfinite(table).all(1))
        if len(bad):
            raise DivergedError(
                f"the scores of {names[bad[0]]} are not finite",
                "a lower --lr, or --precision fp32",
            )
        own = np.take_along_axis(table, truth[:, None], 1)
        earlier = np.arange(count) < truth[:, None]
        best = _highest(table, self.top)
        self._parts.append(
            {
                "ids": names,
                "truth": truth,
                "rank": ((table > own) | ((table == own) & earlier)).sum(1),
                "own": own[:, 0],
                "best": best,
                "best_scores": np.take_along_axis(table, best, 1),
                "kept": np.arange(len(names)),
                "scores": table,
            }
        )
        if sum(len(part["kept"]) for part in self._parts) > 2 * most_of(count):
            self.state()  # the parts are joined, and most of the probabilities let go

    def merge(self, other: Accuracy) -> None:
        """Add the counts of another one."""
        if other.classes != self.classes:
            raise XferError("metrics of different classes can't be merged")
        self._parts.extend(other._parts)

    def state(self) -> dict[str, Any]:
        """All counts as plain arrays, which can be sent to another process."""
        if len(self._parts) != 1:
            self._parts = [_joined(self._parts, self.top, len(self.classes))]
        return self._parts[0]

    def load_states(self, states: Sequence[dict[str, Any]]) -> None:
        """Replace the counts by the sum of several states, e.g. of all processes."""
        self._parts = list(states)

    def compute(self) -> dict[str, Any]:
        """The scores, fractions in 0..1. Raises DataError if no labelled picture was counted."""
        state, count = self._scored(), len(self.classes)
        truth, rank = state["truth"], state["rank"]
        total = len(truth)
        seen = np.bincount(truth, minlength=count)
        right = np.bincount(truth[rank == 0], minlength=count)
        acc = [int(r) / int(n) if n else None for r, n in zip(right, seen, strict=True)]
        present = [a for a in acc if a is not None]
        return {
            "top1": int((rank == 0).sum()) / total,
            "top5": int((rank < self.top).sum()) / total,
            "loss": math.fsum(self._losses(state)) / total,
            "mean_class_acc": math.fsum(present) / len(present),
            "per_class": {
                name: {"acc": a, "n": int(n)}
                for name, a, n in zip(unique_names(self.classes), acc, seen, strict=True)
            },
        }

    @property
    def picture_ids(self) -> list[str]:
        """The pictures' ids, in the order of `per_picture`."""
        ids = self.state()["ids"]
        return [ids[i] for i in natural_order(ids)]

    def per_picture(self, figure: str = "") -> Ratios | None:
        """What resampling pictures needs, in natural order of ids; for top1, top5, loss and
        mean_class_acc."""
        state = self.state()
        order = natural_order(state["ids"])
        truth, rank = state["truth"][order], state["rank"][order]
        if figure == "mean_class_acc":
            own = np.eye(len(self.classes), dtype=np.int8)[truth]
            return Ratios(own * (rank == 0)[:, None], own, own)
        values: dict[str, NDArray[Any]] = {
            "top1": rank == 0, "top5": rank < self.top, "loss": self._losses(state)[order]
        }  # fmt: skip
        value = values.get(figure or self.primary)
        return None if value is None or not len(order) else Ratios.of_values(value)

    def interval(self, figure: str = "") -> Interval | None:
        """The interval of a score, by default of top1; of top1 and top5 Wilson's."""
        rank = self.state()["rank"]
        if figure in ("", "top1", "top5"):
            correct = rank < (self.top if figure == "top5" else 1)
            return wilson(int(correct.sum()), len(rank))
        return bootstrap(self.per_picture(figure))

    def probabilities(self) -> tuple[list[str], NDArray[np.float32], NDArray[np.int64], bool]:
        """(ids, scores, truth, False) of the pictures whose probabilities are kept, as
        `calibration.calibrate` takes them."""
        state = self.state()
        kept = state["kept"]
        return [state["ids"][i] for i in kept], state["scores"], state["truth"][kept], False

    @property
    def confusion(self) -> NDArray[np.int64]:
        """How often the row's class was predicted as the column's class: int64 (C, C)."""
        state, count = self.state(), len(self.classes)
        pairs = state["truth"] * count + state["best"][:, 0]
        return np.bincount(pairs, minlength=count * count).reshape(count, count)

    def protocol(self) -> dict[str, str]:
        """What the numbers mean, in words."""
        return {
            "top1": "share of pictures whose class has the highest score; of equal scores the "
            "lower class index wins",
            "top5": f"share of pictures whose class is among the {self.top} highest scores",
            "loss": "mean negative log-probability of the true class, nats",
            "mean_class_acc": "mean of top1 over the classes that occur",
        }

    def rows(self) -> list[dict[str, Any]]:
        """One dict per picture: id, truth, predicted, its probability, the truth's, correct."""
        state, names = self.state(), self.classes
        return [
            {
                "id": state["ids"][i],
                "truth": names[state["truth"][i]],
                "predicted": names[state["best"][i, 0]],
                "score": round(float(state["best_scores"][i, 0]), 6),
                "truth_score": round(float(state["own"][i]), 6),
                "correct": int(state["rank"][i] == 0),
            }
            for i in natural_order(state["ids"])
        ]

    def examples(self) -> list[Example]:
        """Every picture with its truth and prediction in words, in the order of `rows`."""
        state, names = self.state(), self.classes
        losses = self._losses(state)
        examples: list[Example] = []
        for i in natural_order(state["ids"]):
            good = bool(state["rank"][i] == 0)
            predicted = f"{names[state['best'][i, 0]]} {float(state['best_scores'][i, 0]):.2f}"
            truth = f"{names[state['truth'][i]]} {float(state['own'][i]):.2f}"
            lines = (predicted,) if good else (predicted, f"is {truth}")
            cell = int(state["truth"][i]), int(state["best"][i, 0])
            examples.append(Example(state["ids"][i], lines, good, float(losses[i]), cells=(cell,)))
        return examples

    def _scored(self) -> dict[str, Any]:
        state = self.state()
        if not len(state["truth"]):
            raise DataError("nothing to score: no labelled pictures")
        return state

    @staticmethod
    def _losses(state: dict[str, Any]) -> NDArray[np.float64]:
        return -np.log(np.maximum(state["own"].astype(np.float64), _TINY))


def _highest(scores: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Indices of the highest scores of each row, falling; of equal ones the lower index first.

    A few passes of argmax are five times as fast as sorting 1000 classes.
    """
    rest, rows = scores.copy(), np.arange(len(scores))
    best = np.empty((len(scores), count), np.int64)
    for place in range(count):
        best[:, place] = rest.argmax(1)
        rest[rows, best[:, place]] = -np.inf
    return best


def _joined(parts: list[dict[str, Any]], top: int, classes: int) -> dict[str, Any]:
    empty = {
        "truth": np.zeros(0, np.int64),
        "rank": np.zeros(0, np.int64),
        "own": np.zeros(0, np.float32),
        "best": np.zeros((0, top), np.int64),
        "best_scores": np.zeros((0, top), np.float32),
    }
    joined: dict[str, Any] = {
        key: np.concatenate([none, *(p[key] for p in parts)]) for key, none in empty.items()
    }
    ids = joined["ids"] = [name for part in parts for name in part["ids"]]
    starts = np.cumsum([0, *(len(part["ids"]) for part in parts)])
    kept = np.concatenate(
        [starts[:0], *(p["kept"] + s for p, s in zip(parts, starts, strict=False))]
    )
    scores = [np.zeros((0, classes), np.float32), *(part["scores"] for part in parts)]
    some = some_of([ids[i] for i in kept], classes)
    joined["kept"], joined["scores"] = kept[some], np.concatenate(scores)[some]
    return joined
