"""Labels of whole pictures: one, several, or none."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError
from xfer.kinds.base import UNJUDGED, Kind, moved, register
from xfer.kinds.findings import Finding, counted
from xfer.kinds.findings import named as first_of
from xfer.metrics.calibration import calibrated
from xfer.types import ClassPrediction, DataInfo, Sample, Source

# classes named below a picture: the most likely ones; of several labels
NAMED, MOST_NAMED = 3, 6


class _Labels(Kind):
    """What one label and several have in common."""

    needs: ClassVar[str] = "labels: a folder per class, or a csv of path,label"

    def strata(self, source: Source) -> NDArray[np.int64] | NDArray[np.int8]:
        return source.labels()

    def relabel_labels(
        self, labels: NDArray[Any], table: NDArray[np.int64], classes: int
    ) -> NDArray[Any]:
        return moved(labels, table, classes, UNJUDGED)

    def summary(self, source: Source) -> dict[str, Any]:
        counts = pictures_per_class(source)
        return {
            "images": len(source),
            "classes": {n: int(k) for n, k in zip(source.info.classes, counts, strict=True)},
        }

    def find(self, splits: Mapping[str, Source], classes: Sequence[str]) -> list[Finding]:
        return [*spelt_alike(classes), *absent(splits)]

    def items(self, source: Source) -> list[list[Any]]:
        names = source.info.classes
        return [[i, named(row, names)] for i, row in zip(source.ids, source.labels(), strict=True)]

    def check_calibrated(self) -> None:
        pass

    def calibrated(self, prediction: ClassPrediction, temperature: float) -> ClassPrediction:
        scores = calibrated(prediction.scores, temperature, self.several)
        return replace(prediction, scores=scores)

    def draw_prediction(
        self,
        image: NDArray[np.uint8],
        prediction: ClassPrediction,
        classes: Sequence[str],
        path: Path,
        min_score: float | None = None,
    ) -> None:
        """With the five best classes and their probabilities below the picture."""
        from xfer.drawing.predictions import draw_classes

        if min_score is not None:
            self.at_least(prediction, min_score)
        draw_classes(image, prediction, classes, path)


@register
class OneLabel(_Labels):
    """One class per picture; a picture without a label has -1."""

    name: ClassVar[str] = "classify"
    hub_task: ClassVar[str] = "image-classification"
    holds: ClassVar[str] = "one label per picture"

    def check_labels(self, labels: NDArray[Any], count: int, info: DataInfo) -> None:
        check_one_label(labels, count, len(info.classes))

    def check_sample(self, sample: Sample, label: Any, info: DataInfo) -> None:
        own = UNJUDGED if sample.label is None else sample.label
        assert own == label, f"{sample.id}: label {sample.label}, its row of labels() is {label}"

    def known(self, labels: NDArray[Any]) -> NDArray[np.bool_] | None:
        return labels >= 0

    def used_classes(self, source: Source) -> tuple[str, ...]:
        labels, classes = source.labels(), source.info.classes
        used = np.bincount(labels[labels >= 0], minlength=len(classes)) > 0
        return classes if used.all() else tuple(np.array(classes, dtype=object)[used])

    def check_truth(
        self, title: str, role: str, source: Source, classes: Sequence[str], learn: bool
    ) -> None:
        if learn and len(classes) < 2:
            raise DataError(
                f"{title}: only one class ({', '.join(classes)})", "there must be at least two"
            )

    def relabel(self, sample: Sample, table: NDArray[np.int64], classes: int) -> Sample:
        if sample.label is None or sample.label < 0:
            return sample
        return replace(sample, label=int(table[sample.label]))

    def caption(self, sample: Sample, classes: Sequence[str]) -> str:
        return "" if sample.label is None else classes[int(sample.label)]

    def describe(self, prediction: ClassPrediction, classes: Sequence[str]) -> dict[str, Any]:
        """{"id", "label", "score", "scores": {class: probability}, falling}."""
        scores = prediction.scores
        best = int(scores.argmax())
        return {
            "id": prediction.id, "label": classes[best], "score": float(scores[best]),
            "scores": falling(scores, classes),
        }  # fmt: skip

    def phrase(self, prediction: ClassPrediction, classes: Sequence[str]) -> str:
        best = list(falling(prediction.scores, classes).items())[:NAMED]
        return ", ".join(f"{name} {value:.2f}" for name, value in best)


@register
class SeveralLabels(_Labels):
    """Any number of classes per picture."""

    name: ClassVar[str] = "multilabel"
    hub_task: ClassVar[str] = "image-classification"
    holds: ClassVar[str] = "several labels per picture"
    several: ClassVar[bool] = True

    def check_labels(self, labels: NDArray[Any], count: int, info: DataInfo) -> None:
        check_several_labels(labels, count, len(info.classes), (-1, 0, 1))

    def check_sample(self, sample: Sample, label: Any, info: DataInfo) -> None:
        same = sample.label is not None and np.array_equal(np.asarray(sample.label), label)
        assert same, f"{sample.id}: its label differs from its row of labels()"

    def relabel(self, sample: Sample, table: NDArray[np.int64], classes: int) -> Sample:
        if sample.label is None:
            return sample
        row = np.asarray(sample.label)[None]
        return replace(sample, label=self.relabel_labels(row, table, classes)[0])

    def caption(self, sample: Sample, classes: Sequence[str]) -> str:
        return ", ".join(named(np.asarray(sample.label), classes) or ())

    def describe(self, prediction: ClassPrediction, classes: Sequence[str]) -> dict[str, Any]:
        """{"id", "labels": those of at least 0.5, "scores": {class: probability}, falling}."""
        scores = prediction.scores
        return {
            "id": prediction.id,
            "labels": [classes[i] for i in np.flatnonzero(scores >= 0.5).tolist()],
            "scores": falling(scores, classes),
        }

    def phrase(self, prediction: ClassPrediction, classes: Sequence[str]) -> str:
        scores = list(falling(prediction.scores, classes).items())
        some = [f"{name} {value:.2f}" for name, value in scores if value >= 0.5]
        return ", ".join(some[:MOST_NAMED]) or f"none of 0.5; {scores[0][0]} {scores[0][1]:.2f}"


@register
class NoLabels(_Labels):
    """Pictures without labels."""

    name: ClassVar[str] = "images"
    holds: ClassVar[str] = "pictures without labels"
    labelled: ClassVar[bool] = False

    def check_labels(self, labels: NDArray[Any], count: int, info: DataInfo) -> None:
        check_one_label(labels, count, len(info.classes))


def pictures_per_class(source: Source) -> NDArray[np.int64]:
    """(C,) pictures of each class."""
    labels = source.labels()
    if labels.ndim == 2:
        return (labels == 1).sum(0)
    return np.bincount(labels[labels >= 0], minlength=len(source.info.classes))


def plain_name(name: str) -> str:
    """A class's name without what people write in several ways: case, and blanks, hyphens and
    underscores between words."""
    plain = unicodedata.normalize("NFC", name).casefold().strip()
    return re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", plain)


def spelt_alike(classes: Sequence[str]) -> list[Finding]:
    """Classes whose names differ only in case, or in blanks, hyphens and underscores."""
    if all(len(name) == 1 for name in classes):  # letters to be told apart: a and A differ
        return []
    forms: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        forms[plain_name(name)].append(name)
    groups = [names for names in forms.values() if len(names) > 1]
    if not groups:
        return []
    some = first_of(" = ".join(map(repr, names)) for names in groups)
    return [Finding("alike", f"classes differ only in upper and lower case or blanks: {some}")]


def absent(splits: Mapping[str, Source]) -> list[Finding]:
    """For splits other than train: the classes without a picture there."""
    found: list[Finding] = []
    for role, source in splits.items():
        counts = pictures_per_class(source)
        without = [n for n, k in zip(source.info.classes, counts, strict=True) if not k]
        if role != "train" and 0 < len(without) < len(counts):
            what = counted(len(without), "class has", "classes have")
            found.append(Finding(
                "empty_class", f"{role}: {what} no picture: {first_of(without)}"
            ))  # fmt: skip
    return found


def named(label: Any, classes: Sequence[str]) -> Any:
    """A row of `labels()` in words: a class, a list of classes, or None without a label."""
    if isinstance(label, np.ndarray):
        return [classes[i] for i in np.flatnonzero(label == 1).tolist()] if label.ndim else None
    return classes[label] if label >= 0 else None


def falling(scores: NDArray[np.float32], classes: Sequence[str]) -> dict[str, float]:
    """Class name -> probability, the most likely first."""
    order: list[int] = np.argsort(-scores, kind="stable").tolist()
    return {classes[i]: float(scores[i]) for i in order}


def check_one_label(labels: NDArray[Any], count: int, classes: int) -> None:
    """Raises AssertionError unless labels are int64 (N,) of -1 .. C-1."""
    assert labels.dtype == np.int64, f"labels() are {labels.dtype}, not int64"
    assert labels.shape == (count,), f"labels() are {labels.shape}, not (N,)"
    low, high = int(labels.min()), int(labels.max())
    assert low >= -1 and high < classes, f"labels run from {low} to {high}, for {classes} classes"


def check_several_labels(
    labels: NDArray[Any], count: int, classes: int, allowed: tuple[int, ...]
) -> None:
    """Raises AssertionError unless labels are int8 (N, C) of the allowed values."""
    assert labels.dtype == np.int8, f"labels() are {labels.dtype}, not int8"
    assert labels.shape == (count, classes), f"labels() are {labels.shape}, not (N, C)"
    assert np.isin(labels, allowed).all(), f"a label is not one of {allowed}"
