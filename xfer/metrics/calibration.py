"""Whether a classifier's probabilities are as often right as they say, and one number to mend them.

A temperature T divides the logits: above 1 the scores are less certain. It is fitted to the val
split, so that measuring it there flatters; the calibrated error reported is cross-fitted: each
fifth of the pictures is scored with the temperature of the other four.

Source: Guo, Pleiss, Sun, Weinberger 2017, "On calibration of modern neural networks", sec. 2 and
4.2. Differs: the fit counts one more picture, which could have any label (after Platt 1999, sec.
2.2), since a few right pictures don't make a model certain.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS, FOLDS = 15, 5
MOST = 1 << 21  # scores that are fitted to: 2,000 pictures of 1000 classes
COLDEST, HOTTEST = 0.05, 20.0
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions whose confidence is in low..high: how many, their mean confidence, and the share
    of them that is right."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well probabilities are calibrated.

    ece            | expected calibration error: mean distance of confidence and accuracy over the
                   | bins, weighted by n, 0..1
    ece_calibrated | the same with temperatures fitted to other pictures; None if there are too few
    temperature    | fitted to all pictures
    bins           | of the reliability diagram, before calibration; empty ones left out
    n              | pictures, or known labels if there are several per picture
    several        | whether each label has its own probability (sigmoid)
    """

    ece: float
    ece_calibrated: float | None
    temperature: float
    bins: tuple[Bin, ...]
    n: int
    several: bool

    def document(self) -> dict[str, Any]:
        """As result.json has it."""
        of = "label's probability" if self.several else "highest probability"
        return {
            "ece": self.ece, "ece_calibrated": self.ece_calibrated,
            "temperature": self.temperature, "n": self.n,
            "bins": [asdict(one) for one in self.bins],
            "method": f"{BINS} bins of equal width of the {of}; temperature scaling (Guo 2017) "
            f"fitted to this split; ece_calibrated: {FOLDS}-fold cross-fitted",
        }  # fmt: skip


def reliability(confidence: NDArray[Any], right: NDArray[Any], bins: int = BINS) -> list[Bin]:
    """The bins of a reliability diagram, equally wide over 0..1; those without predictions are left
    out.

    Args: confidence: float (N,) in 0..1; right: (N,) of 0 and 1.
    """
    place = np.minimum((np.asarray(confidence, np.float64) * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, np.asarray(v, np.float64), bins) for v in (confidence, right)]
    return [
        Bin(b / bins, (b + 1) / bins, int(count[b]), *(float(s[b] / count[b]) for s in sums))
        for b in np.flatnonzero(count).tolist()
    ]


def expected_error(bins: Sequence[Bin]) -> float:
    """The expected calibration error of bins. Source: Guo 2017, eq. 3."""
    total = sum(one.n for one in bins)
    return math.fsum(one.n * abs(one.confidence - one.accuracy) for one in bins) / max(1, total)


def calibrated(scores: NDArray[Any], temperature: float, several: bool) -> NDArray[np.float32]:
    """Probabilities at a temperature: softmax of log p / T, or a sigmoid per class.

    Of a single view these are the logits divided by T; the mean over several views is calibrated as
    a whole.

    Args: scores: (N, C) or (C,) probabilities.
    """
    logits = _logits(np.asarray(scores), several) / temperature
    if several:
        return (1 / (1 + np.exp(-logits))).astype(np.float32)
    logits -= logits.max(-1, keepdims=True)
    powers = np.exp(logits)
    return (powers / powers.sum(-1, keepdims=True)).astype(np.float32)


def best_temperature(
    scores: NDArray[Any], truth: NDArray[Any], several: bool, start: float = 1.0
) -> float:
    """The temperature with the lowest log loss, in 0.05..20.

    The loss is convex in 1/T: its derivative is brought to 0 by Newton's steps within a bracket
    that halves where a step would leave it.

    Args:
        scores: (N, C) probabilities; truth: int (N,), or (N, C) of 1, 0 and -1 if `several`.
        start: the first guess.
    """
    logits = _logits(scores, several)
    if several:
        known = truth >= 0
        logits, labels = logits[known], (truth[known] == 1).astype(np.float64)
        blind = scores.shape[1] / (len(labels) + scores.shape[1])
        target = (1 - blind) * (labels * logits).sum() + blind * 0.5 * logits.sum()
    else:
        blind = 1 / (len(scores) + 1)
        own = np.take_along_axis(logits, truth[:, None].astype(np.int64), 1)
        target = (1 - blind) * own.sum() + blind * logits.mean(1).sum()

    def slopes(beta: float) -> tuple[float, float]:
        """First and second derivative of the loss by beta = 1 / T."""
        z = logits * beta
        if several:
            p = 1 / (1 + np.exp(-z))
            return float((p * logits).sum() - target), float((p * (1 - p) * logits**2).sum())
        z -= z.max(1, keepdims=True)
        p = np.exp(z)
        p /= p.sum(1, keepdims=True)
        mean = (p * logits).sum(1)
        return float(mean.sum() - target), float(((p * logits**2).sum(1) - mean**2).sum())

    low, high = 1 / HOTTEST, 1 / COLDEST
    beta = min(max(1 / start, low), high)
    for _ in range(60):
        first, second = slopes(beta)
        if first > 0:
            high = beta
        else:
            low = beta
        step = beta - first / second if second > 0 else math.nan
        # a bracket that has closed at its end means that the best is beyond it
        new = step if low < step < high else (low + high) / 2
        if abs(new - beta) < 1e-5 * beta:
            return 1 / new
        beta = new
    return 1 / beta


def calibrate(
    scores: NDArray[Any], truth: NDArray[Any], ids: Sequence[str], several: bool
) -> Calibration | None:
    """How well these probabilities are calibrated; None without a labelled picture.

    Args:
        scores, truth: see `best_temperature`.
        ids: N ids, which decide the fold of each picture, whatever their order.
    """
    if not len(scores) or not (truth >= 0).any():
        return None
    order = np.argsort(np.array([zlib.crc32(name.encode()) for name in ids]), kind="stable")
    scores, truth = scores[order], truth[order]
    temperature = best_temperature(scores, truth, several)
    fitted: float | None = None
    if len(scores) >= 2 * FOLDS:
        folds = np.arange(len(scores)) % FOLDS
        parts: list[NDArray[np.float32]] = []
        for fold in range(FOLDS):
            held = folds == fold
            own = best_temperature(scores[~held], truth[~held], several, temperature)
            parts.append(calibrated(scores[held], own, several))
        rows = np.concatenate([np.flatnonzero(folds == fold) for fold in range(FOLDS)])
        fitted = expected_error(_bins(np.concatenate(parts), truth[rows], several))
    bins = _bins(scores, truth, several)
    count = sum(one.n for one in bins)
    return Calibration(expected_error(bins), fitted, temperature, tuple(bins), count, several)


def calibration_of(metric: Any) -> Calibration | None:
    """The calibration of a metric that keeps probabilities of classes; None of any other.

    `metric.probabilities()` answers (ids, scores, truth, several), see `calibrate`.
    """
    kept = _kept(metric)
    if kept is None:
        return None
    ids, scores, truth, several = kept
    return calibrate(scores, truth, ids, several)


def errors_with(metric: Any, temperature: float) -> tuple[float, float] | None:
    """The expected calibration error of other pictures, before and after calibration with a
    temperature that was not fitted to them; None if the metric keeps no probabilities."""
    kept = _kept(metric)
    if kept is None:
        return None
    _, scores, truth, several = kept
    return expected_error(_bins(scores, truth, several)), error_at(
        scores, truth, several, temperature
    )


def _kept(metric: Any) -> tuple[list[str], NDArray[Any], NDArray[Any], bool] | None:
    own: Any = getattr(metric, "probabilities", None)
    return None if own is None else own()


def error_at(scores: NDArray[Any], truth: NDArray[Any], several: bool, temperature: float) -> float:
    """The expected calibration error of these pictures at a temperature fitted to others."""
    return expected_error(_bins(calibrated(scores, temperature, several), truth, several))


def most_of(classes: int) -> int:
    """Of how many pictures the probabilities are kept: 1000, and up to MOST scores in all."""
    return max(1000, MOST // max(1, classes))


def some_of(ids: Sequence[str], classes: int) -> NDArray[np.int64]:
    """Which pictures to fit to, so that no more than MOST scores are kept: those whose ids have the
    lowest checksums, whatever the order of pictures. int64 indices."""
    most = most_of(classes)
    if len(ids) <= most:
        return np.arange(len(ids))
    sums = np.array([zlib.crc32(name.encode()) for name in ids])
    return np.sort(np.argsort(sums, kind="stable")[:most])


def _bins(scores: NDArray[Any], truth: NDArray[Any], several: bool) -> list[Bin]:
    if several:
        known = truth >= 0
        return reliability(scores[known], truth[known] == 1)
    return reliability(scores.max(1), scores.argmax(1) == truth)


def _logits(scores: NDArray[Any], several: bool) -> NDArray[np.float64]:
    """What softmax or a sigmoid makes these probabilities of, up to a constant per picture."""
    p = np.clip(scores.astype(np.float64), _TINY, 1.0)
    # of a sigmoid next to 1 float32 leaves no more digits
    return np.log(p) - np.log(np.maximum(1 - p, 2.0**-25)) if several else np.log(p)
