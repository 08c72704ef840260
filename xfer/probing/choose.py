"""Chooses a probe's scaling and strength by cross-validation on the training pictures only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError
from xfer.metrics.multilabel import average_precision
from xfer.probing import classifiers
from xfer.probing.scores import best_temperature, logits, mean_loss
from xfer.probing.space import SCALINGS, Space, make_scaler, scaled, threads_for

FOLDS = 5
# at most this many pictures are used to choose: C is a prior's variance, which hardly depends on N
MANY = 5_000
# from this size on, one held-out fifth is as reliable as five folds of a small set
ONE_FOLD = 2_000
Fold = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Choice:
    """The result of cross-validation.

    scaling     | a key of `space.SCALINGS`
    value       | the classifier's C, alpha, k or shrinkage
    temperature | divisor of decision values
    score, loss | over the held-out pictures: top1 or map in 0..1, nats; None: none were held out
    folds       | number; 1: one fifth was held out once; 0: nothing to hold out
    pictures    | number used, trained on and held out
    trials      | all that were tried, including this one
    """

    scaling: str
    value: float
    temperature: float = 1.0
    score: float | None = None
    loss: float | None = None
    folds: int = 0
    pictures: int = 0
    trials: tuple[Choice, ...] = ()


def make_folds(labels: NDArray[Any], count: int, seed: int) -> list[Fold]:
    """(train, held out) indices of each fold, shuffled and stratified by class.

    Args:
        labels: int (N,), or (N, C) for several labels per picture, which are only shuffled.
        count: 2 or more.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    if labels.ndim == 1:
        order = order[np.argsort(labels[order], kind="stable")]
    of = np.empty(len(labels), np.int64)
    of[order] = np.arange(len(labels)) % count
    return [(np.flatnonzero(of != f), np.flatnonzero(of == f)) for f in range(count)]


def choosing_folds(labels: NDArray[Any], seed: int) -> list[Fold]:
    """The folds to choose by, up to 5, as many as possible; [] if there are too few pictures to
    hold any out."""
    if labels.ndim == 1:
        largest = int(np.bincount(labels).max())
    else:
        largest = len(labels)
    count = min(FOLDS, largest)
    if count < 2:
        return []
    folds = make_folds(labels, count, seed)
    return folds[:1] if len(labels) >= ONE_FOLD else folds


def _some(labels: NDArray[Any], count: int, seed: int) -> NDArray[np.int64]:
    """Indices of `count` pictures, in order, stratified by class."""
    parts = make_folds(labels, -(-len(labels) // count), seed)
    return parts[0][1]


def check_folds(labels: NDArray[Any], folds: int) -> None:
    """Raises DataError if a class, or the whole set, has fewer pictures than folds."""
    few = len(labels)
    if labels.ndim == 1:
        counts = np.bincount(labels)
        few = int(counts[counts > 0].min())
    hint = f"--cv {few}, or more pictures" if few > 1 else "more pictures"
    if len(labels) < folds:
        raise DataError(f"{len(labels)} training pictures are fewer than {folds} folds", hint)
    if few < folds:
        raise DataError(
            f"a class has {few} training picture{'s' * (few > 1)}, fewer than {folds} folds", hint
        )


def choose(
    name: str,
    features: NDArray[Any],
    labels: NDArray[Any],
    classes: int,
    *,
    cv: int = 0,
    seed: int = 0,
    scalings: Sequence[str] = tuple(SCALINGS),
    fine: bool = True,
) -> Choice:
    """The best scaling and value on held-out training pictures.

    Of all whose score is within one standard error of the best, the one with the lowest loss.
    The scaler is fitted to all training features; labels are used only in the folds. From more than
    5,000 pictures, 5,000 are drawn, stratified by class; with 2,000 or more, one fifth is held out
    once unless `cv` is given.

    Args:
        name: of the classifier; features: float (N, D); labels: int (N,) or (N, C).
        classes: C. cv: folds, 0: up to 5.
        fine: also try the values between the coarse ones.

    Raises: DataError for fewer pictures than folds.
    """
    kind = classifiers.get(name)
    if cv:
        check_folds(
            labels, cv
        )  # before the draw, which may leave fewer pictures of a rare class than folds
    if len(labels) > MANY:
        some = _some(labels, MANY, seed)
        features, labels = features[some], labels[some]
    folds = make_folds(labels, cv, seed) if cv else choosing_folds(labels, seed)
    if not folds:
        return Choice(scalings[0], kind.default)
    trials: list[Choice] = []
    for scaling in scalings:
        space = Space(scaled(make_scaler(scaling).fit(features), features))
        seen: dict[int, Choice] = {}

        def look(at: int, scaling: str = scaling, space: Space = space, seen: dict = seen) -> None:
            if 0 <= at < len(kind.values) and at not in seen:
                seen[at] = _try(name, kind.values[at], scaling, space.rows, labels, classes, folds)

        with threads_for(space.rows):
            for at in range(0, len(kind.values), kind.coarse):
                look(at)
            if fine and kind.coarse > 1:
                best = list(seen.values()).index(_best(list(seen.values()), len(labels)))
                middle = list(seen)[best]
                for at in range(middle - kind.coarse + 1, middle + kind.coarse):
                    look(at)
        trials += seen.values()
    best = _best(trials, len(labels))
    return replace(best, folds=len(folds), pictures=len(labels), trials=tuple(trials))


def _best(trials: Sequence[Choice], count: int) -> Choice:
    top = max(_score(c) for c in trials)
    near = [c for c in trials if _score(c) >= top - standard_error(top, count)]
    return min(near, key=lambda c: (math.inf if c.loss is None else c.loss, -_score(c)))


def standard_error(score: float, count: int) -> float:
    """Of a share of `count` pictures: trials whose scores differ by less are taken as equal."""
    return math.sqrt(max(score * (1 - score), 0.0) / count)


def _score(choice: Choice) -> float:
    return -1.0 if choice.score is None else choice.score


def _try(
    name: str, value: float, scaling: str, rows: NDArray[Any], labels: NDArray[Any], classes: int,
    folds: Sequence[Fold],
) -> Choice:  # fmt: skip
    """Tries one scaling and value on all folds."""
    truths: list[NDArray[Any]] = []
    parts: list[NDArray[np.float64]] = []
    for train, held in folds:
        models = classifiers.fit(name, value, rows[train], labels[train])
        parts.append(logits(models, rows[held], classes))
        truths.append(labels[held])
    scores, truth = np.concatenate(parts), np.concatenate(truths)
    decides = classifiers.get(name).decides
    temperature = best_temperature(scores, truth) if decides else 1.0
    return Choice(
        scaling, value, temperature, score_of(scores, truth), mean_loss(scores, truth, temperature)
    )


def score_of(scores: NDArray[np.float64], labels: NDArray[Any]) -> float:
    """top1 of scores (N, C) for labels (N,); mean average precision for labels (N, C)."""
    if labels.ndim == 1:
        return float((scores.argmax(1) == labels).mean())
    precisions = [
        average_precision(column[column >= 0], values[column >= 0])
        for column, values in zip(labels.T, scores.T, strict=True)
    ]
    defined = [value for value in precisions if value is not None]
    return float(np.mean(defined)) if defined else 0.0
