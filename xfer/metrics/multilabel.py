"""Average precision per class and its mean, for pictures with several labels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError, DivergedError, XferError
from xfer.metrics.calibration import some_of
from xfer.metrics.example import Example, as_array, natural_order, unique_names
from xfer.metrics.interval import Interval, bootstrap
from xfer.metrics.resampled import Ranked
from xfer.types import Batch, ClassPrediction

_TINY = float(np.finfo(np.float32).tiny)


def average_precision(truth: NDArray[Any], scores: NDArray[Any]) -> float | None:
    """Area under the precision-recall steps: the sum of (R_n - R_n-1) P_n over thresholds.

    Args:
        truth: (N,) 1 yes, 0 no.
        scores: (N,); pictures with equal scores share one threshold.

    Returns: in 0..1, or None if no picture is positive.
    Source: the definition of scikit-learn's average_precision_score; not interpolated, so it is
        neither VOC's 11-point nor its area measure.
    """
    positives = int(truth.sum())
    if not positives:
        return None
    order = np.argsort(-scores, kind="stable")
    ranked, falling = truth[order].astype(np.int64), scores[order]
    last = np.append(np.flatnonzero(np.diff(falling)), len(falling) - 1)
    hits = np.cumsum(ranked)[last]
    gains = np.diff(hits, prepend=0)
    return math.fsum(gains / positives * (hits / (last + 1)))


class MultiLabelAP:
    """Average precision of every class over the pictures labelled for it.

    Labels: 1 yes, 0 no, -1 unknown (left out for that class). Classes without a positive have no
    precision: they are left out of the mean and named. The result does not depend on the order
    of pictures or processes.

    Args:
        classes: class names; column c of labels and scores is class c.

    compute() returns
        map               | mean of the classes' average precisions
        loss              | mean binary cross-entropy over known entries, nats
        per_class         | {name: {"ap": x or None, "n": known, "positives": n}}
        without_positives | names of the classes left out of the mean
    """

    primary: ClassVar[str] = "map"

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self._parts: list[dict[str, Any]] = []

    def update(self, predictions: Sequence[ClassPrediction], batch: Batch) -> None:
        """Count a batch of predictions against `batch.targets["label"]`, (N, C)."""
        if "label" not in batch.targets:
            raise DataError("nothing to compare with: these pictures have no labels")
        if predictions:
            scores = np.stack([p.scores for p in predictions])
            self.add(scores, batch.targets["label"], [p.id for p in predictions])

    def add(self, scores: Any, labels: Any, ids: Sequence[str]) -> None:
        """Count pictures.

        Args:
            scores: (N, C) probabilities, one per class.
            labels: (N, C) of 1, 0 and -1.
            ids: N sample ids.

        Raises: DivergedError for scores that are not finite, XferError for shapes or labels that
            don't fit the classes.
        """
        table, truth = as_array(scores).astype(np.float32), as_array(labels)
        if table.shape != (len(ids), len(self.classes)) or truth.shape != table.shape:
            raise XferError(
                f"scores {table.shape}, labels {truth.shape} and {len(ids)} ids don't fit "
                f"{len(self.classes)} classes"
            )
        if not np.isin(truth, (-1, 0, 1)).all():
            raise XferError("multi-label labels must be 1, 0 or -1")
        bad = np.flatnonzero(~np.isfinite(table).all(1))
        if len(bad):
            raise DivergedError(
                f"the scores of {ids[bad[0]]} are not finite", "a lower --lr, or --precision fp32"
            )
        self._parts.append({"ids": list(ids), "truth": truth.astype(np.int8), "scores": table})

    def merge(self, other: MultiLabelAP) -> None:
        """Add the counts of another one."""
        if other.classes != self.classes:
            raise XferError("metrics of different classes can't be merged")
        self._parts.extend(other._parts)

    def state(self) -> dict[str, Any]:
        """All counts as plain arrays, which can be sent to another process."""
        if len(self._parts) != 1:
            none = np.zeros((0, len(self.classes)))
            self._parts = [
                {
                    "ids": [name for part in self._parts for name in part["ids"]],
                    "truth": np.concatenate(
                        [none.astype(np.int8), *(p["truth"] for p in self._parts)]
                    ),
                    "scores": np.concatenate(
                        [none.astype(np.float32), *(p["scores"] for p in self._parts)]
                    ),
                }
            ]
        return self._parts[0]

    def load_states(self, states: Sequence[dict[str, Any]]) -> None:
        """Replace the counts by the sum of several states, e.g. of all processes."""
        self._parts = list(states)

    def compute(self) -> dict[str, Any]:
        """The scores, fractions in 0..1. Raises DataError if no class has a positive."""
        state = self.state()
        truth, scores = state["truth"], state["scores"]
        per_class: dict[str, dict[str, Any]] = {}
        for c, name in enumerate(unique_names(self.classes)):
            known = truth[:, c] >= 0
            own = truth[known, c]
            per_class[name] = {
                "ap": average_precision(own, scores[known, c]),
                "n": int(known.sum()),
                "positives": int((own == 1).sum()),
            }
        precisions = [row["ap"] for row in per_class.values() if row["ap"] is not None]
        if not precisions:
            raise DataError("nothing to score: no picture is positive for any class")
        return {
            "map": math.fsum(precisions) / len(precisions),
            "loss": math.fsum(self._losses(state)) / max(1, int((truth >= 0).sum())),
            "per_class": per_class,
            "without_positives": [n for n, row in per_class.items() if row["ap"] is None],
        }

    @property
    def picture_ids(self) -> list[str]:
        """The pictures' ids, in the order of `per_picture`."""
        ids = self.state()["ids"]
        return [ids[i] for i in natural_order(ids)]

    def per_picture(self, figure: str = "") -> Ranked | None:
        """What resampling pictures needs, in natural order of ids; for the mean precision."""
        state = self.state()
        if figure not in ("", self.primary) or not len(state["ids"]):
            return None
        order = natural_order(state["ids"])
        truth, scores = state["truth"][order].T, state["scores"][order].T
        group, image = np.nonzero(truth >= 0)
        score = scores[group, image]
        falling = np.lexsort((-score, group))
        group, image = group[falling], image[falling]
        right = (truth[group, image] == 1)[None]
        true_group, true_image = np.nonzero(truth == 1)
        return Ranked(
            len(order), "steps", image, group, score[falling], right, np.ones_like(right),
            true_image, true_group,
        )  # fmt: skip

    def interval(self, figure: str = "") -> Interval | None:
        """The interval of the mean precision."""
        return bootstrap(self.per_picture(figure))

    def probabilities(self) -> tuple[list[str], NDArray[np.float32], NDArray[np.int8], bool]:
        """(ids, scores, truth, True), as `calibration.calibrate` takes them."""
        state = self.state()
        some = some_of(state["ids"], len(self.classes))
        return [state["ids"][i] for i in some], state["scores"][some], state["truth"][some], True

    curves_of: ClassVar[str] = "pictures; highest precision from this recall on"

    def curves(self) -> dict[str, NDArray[np.float64]]:
        """Class name -> precision at recall 0, .01 ... 1, for the classes that occur: the highest
        one at this recall or a larger one, so that its mean is not the average precision."""
        state = self.state()
        found: dict[str, NDArray[np.float64]] = {}
        for c, name in enumerate(unique_names(self.classes)):
            known = state["truth"][:, c] >= 0
            own, scores = state["truth"][known, c] == 1, state["scores"][known, c]
            if not own.any():
                continue
            order = np.argsort(-scores, kind="stable")
            last = np.append(np.diff(scores[order]) != 0, True)  # equal scores are one threshold
            hits = np.cumsum(own[order])[last]
            precision = hits / (np.flatnonzero(last) + 1)
            falling = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
            places = np.searchsorted(hits / own.sum(), np.linspace(0, 1, 101), "left")
            found[name] = falling[places]
        return found

    def protocol(self) -> dict[str, str]:
        """What the numbers mean, in words."""
        return {
            "map": "mean over the classes with positives of average precision: the sum of "
            "(R_n - R_n-1) P_n over thresholds, not interpolated (scikit-learn's "
            "average_precision_score); unknown labels (-1) are left out",
            "loss": "mean binary cross-entropy over known labels, nats",
        }

    def rows(self) -> list[dict[str, Any]]:
        """One dict per picture: id, truth and predicted (score >= 0.5), and a score per class."""
        state = self.state()
        names = unique_names(self.classes)
        rows: list[dict[str, Any]] = []
        for i in natural_order(state["ids"]):
            truth, scores = state["truth"][i], state["scores"][i]
            row: dict[str, Any] = {
                "id": state["ids"][i],
                "truth": "; ".join(names[c] for c in np.flatnonzero(truth == 1)),
                "predicted": "; ".join(names[c] for c in np.flatnonzero(scores >= 0.5)),
            }
            row.update(
                {f"score:{n}": round(float(s), 6) for n, s in zip(names, scores, strict=True)}
            )
            rows.append(row)
        return rows

    def examples(self) -> list[Example]:
        """Every labelled picture with its right, missed and wrong classes, in order of `rows`."""
        state = self.state()
        losses = self._losses(state)
        names = self.classes
        examples: list[Example] = []
        for i in natural_order(state["ids"]):
            truth, predicted = state["truth"][i], state["scores"][i] >= 0.5
            known = int((truth >= 0).sum())
            if not known:
                continue
            missed = np.flatnonzero((truth == 1) & ~predicted)
            extra = np.flatnonzero((truth == 0) & predicted)
            right = [names[c] for c in np.flatnonzero((truth == 1) & predicted)]
            lines = [", ".join(right)] if right or not (len(missed) or len(extra)) else []
            lines += [f"missed: {', '.join(names[c] for c in missed)}"] if len(missed) else []
            lines += [f"wrong: {', '.join(names[c] for c in extra)}"] if len(extra) else []
            lines = [line or "none" for line in lines]
            good = not len(missed) and not len(extra)
            loss = float(losses[i]) / known
            examples.append(Example(state["ids"][i], tuple(lines), good, loss))
        return examples

    @staticmethod
    def _losses(state: dict[str, Any]) -> NDArray[np.float64]:
        """Binary cross-entropy of each picture, summed over its known labels."""
        truth, scores = state["truth"], state["scores"].astype(np.float64)
        own = np.where(truth == 1, scores, 1 - scores)
        return np.where(truth >= 0, -np.log(np.maximum(own, _TINY)), 0.0).sum(1)
