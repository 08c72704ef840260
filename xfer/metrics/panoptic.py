"""Panoptic quality: how well segments are found and outlined, over the set, by class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError, XferError
from xfer.metrics.example import Example, PackedSegments, natural_order, unique_names
from xfer.metrics.resampled import Ratios
from xfer.objects.segments import Segments
from xfer.types import Batch

if TYPE_CHECKING:
    from xfer.types import PanopticPrediction

MATCH = 0.5  # a pair of segments matches above this IoU: no segment can have two such partners
GROUPS = ("", "_things", "_stuff")
# figures that are ratios of sums over pictures; of sq, a class without a match has the value 0
RATIOS = tuple(f"{name}{group}" for group in GROUPS for name in ("pq", "rq"))


def quality_counts(
    truth: Segments, found: Segments, classes: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """What the panoptic quality of one picture is made of.

    A found segment and a true one of the same class match if their IoU is above one half, where
    the void under the found segment does not count into the union. A found segment without a
    match is wrong, unless more than half of it lies on void or on a crowd of its class; a true one
    without a match is missed, unless it is a crowd. Segments without a pixel do not exist.

    Shapes: float64 (C,), the sum of the matches' IoU | int64 (3, C): matched, wrong, missed.
    Raises: XferError for maps of different sizes.
    Source: Kirillov et al. 2019, "Panoptic Segmentation", sec. 4; panopticapi's evaluation.py. As
        there, of several crowds of one class in a picture the last one counts.
    """
    shared = _shared(truth, found)
    on_void, shared_all = shared[0, 1:], shared[1:, 1:]
    true_area, found_area = shared[1:].sum(1), shared[:, 1:].sum(0)

    t, f, iou = _matched(shared, truth, found)
    total = np.zeros(classes, np.float64)
    np.add.at(total, truth.labels[t], iou)

    missed = (true_area > 0) & ~truth.crowd
    missed[t] = False
    excused = on_void.copy()
    crowds = {int(truth.labels[k]): k for k in np.flatnonzero(truth.crowd & (true_area > 0))}
    for label, k in crowds.items():
        excused += np.where(found.labels == label, shared_all[k], 0)
    wrong = (found_area > 0) & (2 * excused <= found_area)
    wrong[f] = False
    counts = [
        np.bincount(labels, minlength=classes)
        for labels in (truth.labels[t], found.labels[wrong], truth.labels[missed])
    ]
    return total, np.stack(counts)


def matches(truth: Segments, found: Segments) -> NDArray[np.int64]:
    """int64 (S,): the found segment that matches each true one; -1: none."""
    partner = np.full(len(truth), -1, np.int64)
    t, f, _ = _matched(_shared(truth, found), truth, found)
    partner[t] = f
    return partner


def _shared(truth: Segments, found: Segments) -> NDArray[np.int64]:
    """int64 (S + 1, F + 1): pixels of each pair of segments; the first of each is void."""
    if truth.size != found.size:
        raise XferError(f"segments of {found.size} for a picture of {truth.size}")
    rows, columns = len(truth) + 1, len(found) + 1
    codes = (truth.map.ravel().astype(np.int64) + 1) * columns + (found.map.ravel() + 1)
    return np.bincount(codes, minlength=rows * columns).reshape(rows, columns)


def _matched(
    shared: NDArray[np.int64], truth: Segments, found: Segments
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The pairs of segments that match, and the IoU of each."""
    both = shared[1:, 1:]
    union = shared[1:].sum(1)[:, None] + shared[1:, 1:].sum(0)[None] - both
    iou = np.divide(both, union, out=np.zeros(union.shape), where=union > 0)
    same = truth.labels[:, None] == found.labels[None]
    t, f = np.nonzero((iou > MATCH) & same & ~truth.crowd[:, None])
    return t, f, iou[t, f]


class PanopticQuality:
    """Panoptic quality over a set: per class, then averaged over the classes that occur.

    Args:
        classes: class names; things: names of those whose objects are told apart, the others are
            stuff.

    compute() returns, for all classes, for things and for stuff (None where no class occurs)
        pq, pq_things, pq_stuff | sum of the matches' IoU / (matched + wrong / 2 + missed / 2)
        sq, ...                 | mean IoU of the matches
        rq, ...                 | matched / (matched + wrong / 2 + missed / 2)
        per_class               | {name: {"pq", "sq", "rq", "n"}}: n true segments; the scores are
                                | None if the class is neither in the truth nor found

    Source: Kirillov et al. 2019, sec. 4.1.
    """

    primary: ClassVar[str] = "pq"
    unit: ClassVar[str] = "segments"  # what `n` counts

    def __init__(self, classes: Sequence[str], things: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.things = np.array([name in set(things) for name in self.classes], bool)
        self._clear()

    def _clear(self) -> None:
        self._ids: list[str] = []
        self._iou: list[NDArray[np.float64]] = []  # per picture (C,)
        self._counts: list[NDArray[np.int64]] = []  # per picture (3, C)
        self._small: list[PackedSegments] = []

    def update(self, predictions: Sequence[PanopticPrediction], batch: Batch) -> None:
        """Count one prediction per picture, in the order of `batch.ids`.

        Shapes: batch.targets["segments"] | N Segments, in the pictures' own sizes.
        Raises: DataError if the pictures have no segments, XferError for maps that don't fit.
        """
        truths = batch.targets.get("segments")
        if truths is None:
            raise DataError("nothing to compare with: these pictures have no segments")
        if not len(predictions) == len(truths) == len(batch.ids):
            raise XferError(
                f"{len(predictions)} predictions, {len(truths)} pictures with segments and "
                f"{len(batch.ids)} ids don't belong together"
            )
        for prediction, truth, name in zip(predictions, truths, batch.ids, strict=True):
            self.add(prediction.segments, truth, name)

    def add(self, found: Segments, truth: Segments, name: str) -> None:
        """Count one picture. Raises: XferError for maps or classes that don't fit, naming it."""
        for segments in (found, truth):
            if len(segments) and not 0 <= segments.labels.min() <= segments.labels.max() < len(
                self.classes
            ):
                raise XferError(
                    f"{name}: a segment's label is not one of 0..{len(self.classes) - 1}"
                )
        try:
            iou, counts = quality_counts(truth, found, len(self.classes))
        except XferError as error:
            raise XferError(f"{name}: {error.message}") from None
        self._ids.append(name)
        self._iou.append(iou)
        self._counts.append(counts)
        self._small.append(PackedSegments.of(truth, found))

    def state(self) -> dict[str, Any]:
        """All counts as plain arrays, which can be sent to another process."""
        count = len(self.classes)
        return {
            "ids": list(self._ids),
            "iou": np.array(self._iou, np.float64).reshape(-1, count),
            "counts": np.array(self._counts, np.int64).reshape(-1, 3, count),
            "small": list(self._small),
        }

    def load_states(self, states: Sequence[dict[str, Any]]) -> None:
        """Replace the counts by the sum of several states, e.g. of all processes."""
        self._clear()
        for state in states:
            self._ids += state["ids"]
            self._iou += list(state["iou"])
            self._counts += list(state["counts"])
            self._small += state["small"]

    def compute(self) -> dict[str, Any]:
        """The scores, fractions in 0..1. Raises DataError if no picture has a segment."""
        counts = sum(self._counts, np.zeros((3, len(self.classes)), np.int64))
        if not counts[[0, 2]].any():
            raise DataError("nothing to score: no picture has a segment that is not a crowd")
        # exact sums: the order of pictures and processes makes no difference
        iou = [math.fsum(column) for column in zip(*self._iou, strict=True)]
        rows = [_qualities(total, *c) for total, c in zip(iou, counts.T.tolist(), strict=True)]
        scores: dict[str, Any] = {}
        for group, chosen in zip(GROUPS, self._groups(), strict=True):
            known = [row for row, own in zip(rows, chosen, strict=True) if own and row is not None]
            for k, name in enumerate(("pq", "sq", "rq")):
                mean = math.fsum(row[k] for row in known) / len(known) if known else None
                scores[f"{name}{group}"] = mean
        names = unique_names(self.classes)
        scores["per_class"] = {
            name: {
                **dict(zip(("pq", "sq", "rq"), row or (None,) * 3, strict=True)),
                "n": int(counts[0, c] + counts[2, c]),
            }
            for c, (name, row) in enumerate(zip(names, rows, strict=True))
        }
        return scores

    def _groups(self) -> tuple[NDArray[np.bool_], ...]:
        return np.ones(len(self.classes), bool), self.things, ~self.things

    @property
    def picture_ids(self) -> list[str]:
        """The pictures' ids, in the order of `per_picture`."""
        return [self._ids[i] for i in natural_order(self._ids)]

    def per_picture(self, figure: str = "") -> Ratios | None:
        """What resampling pictures needs, in natural order of ids; for pq and rq of all classes, of
        things and of stuff."""
        figure = figure or self.primary
        if not self._ids or figure not in RATIOS:
            return None
        order = natural_order(self._ids)
        chosen = self._groups()[GROUPS.index(figure[2:])]
        iou = np.stack([self._iou[i] for i in order])[:, chosen]
        counts = np.stack([self._counts[i] for i in order])[:, :, chosen]
        whole = counts[:, 0] + counts[:, 1:].sum(1) / 2
        part = counts[:, 0].astype(np.float64) if figure.startswith("rq") else iou
        return Ratios(part, whole, counts.sum(1))

    def protocol(self) -> dict[str, str]:
        """What the numbers mean, in words."""
        present = int((sum(self._counts, np.zeros((3, len(self.classes)), np.int64)) > 0)
                      .any(0).sum())  # fmt: skip
        return {
            "pq": "panoptic quality (Kirillov et al. 2019): IoU of the matched segments, summed "
            "over the set, / (matched + wrong / 2 + missed / 2), per class; mean over the "
            f"{present} of {len(self.classes)} classes that occur; segments of a class match above "
            "IoU 0.5; void and crowds are ignored as in panopticapi",
            "sq": "mean IoU of the matched segments, per class, mean over the same classes",
            "rq": "matched / (matched + wrong / 2 + missed / 2), per class, mean over the same",
            "pq_things": "mean over the classes that are things; pq_stuff: over the others",
        }

    def rows(self) -> list[dict[str, Any]]:
        """One dict per picture: id, its own pq (None if it has no segments and none is found), and
        how many segments are matched, wrong and missed."""
        rows: list[dict[str, Any]] = []
        for i in natural_order(self._ids):
            matched, wrong, missed = self._counts[i].sum(1).tolist()
            own = self._own(i)
            rows.append({
                "id": self._ids[i], "pq": None if own is None else round(own, 6),
                "matched": matched, "wrong": wrong, "missed": missed,
            })  # fmt: skip
        return rows

    def _own(self, i: int) -> float | None:
        """The panoptic quality of one picture, over the classes that it holds."""
        each = zip(self._iou[i].tolist(), self._counts[i].T.tolist(), strict=True)
        known = [
            row[0] for total, counts in each if (row := _qualities(total, *counts)) is not None
        ]
        return math.fsum(known) / len(known) if known else None

    def examples(self) -> list[Example]:
        """Every picture that has segments, with its own quality, in the order of `rows`.

        A picture is good if its quality is at least that of the set.
        """
        whole = self.compute()["pq"]
        examples: list[Example] = []
        for i in natural_order(self._ids):
            own = self._own(i)
            if own is None:
                continue
            matched, wrong, missed = self._counts[i].sum(1).tolist()
            lines = (f"PQ {own:.2f}", f"{matched} matched, {wrong} wrong, {missed} missed")
            examples.append(
                Example(self._ids[i], lines, own >= whole, 1 - own, segments=self._small[i])
            )
        return examples


def _qualities(iou: float, matched: int, wrong: int, missed: int) -> list[float] | None:
    """pq, sq and rq of a class; None if it does not occur."""
    if not matched + wrong + missed:
        return None
    whole = matched + 0.5 * wrong + 0.5 * missed
    return [iou / whole, iou / matched if matched else 0.0, matched / whole]
