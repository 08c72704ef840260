"""Scores of fitted probes: decision values, and probabilities from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.dummy import DummyClassifier
from sklearn.neighbors import KNeighborsClassifier

# larger than any decision value; a class without training pictures gets its negative
_FAR = 1e6


def logits(models: Sequence[Any], rows: NDArray[Any], count: int) -> NDArray[np.float64]:
    """Scores before softmax, or before a sigmoid per class: (N, C).

    Args:
        models: from `classifiers.fit`: one, or C of them for several labels per picture.
        rows: float (N, D), scaled; count: C.

    Log-probabilities if the model has probabilities, else its decision values. One extra vote,
    shared by all classes, is added to neighbours' votes, so that no class is impossible.
    """
    if len(models) == 1 and count > 1:
        return _of_one(models[0], rows, count)
    columns: list[NDArray[np.float64]] = []
    for model in models:
        pair = _of_one(model, rows, 2)
        columns.append(pair[:, 1] - pair[:, 0])
    return np.stack(columns, 1)


def _of_one(model: Any, rows: NDArray[Any], count: int) -> NDArray[np.float64]:
    scores = np.full((len(rows), count), -_FAR)
    classes = np.asarray(model.classes_, np.int64)
    if isinstance(model, DummyClassifier):
        scores[:, classes] = 0.0
        return scores
    if isinstance(model, KNeighborsClassifier):
        near: Any = model.n_neighbors
        votes = np.zeros((len(rows), count))
        votes[:, classes] = np.asarray(model.predict_proba(rows)) * near
        return np.log((votes + 1 / count) / (near + 1))
    values = np.asarray(model.decision_function(rows), np.float64)
    if values.ndim == 1:
        values = np.stack([-values / 2, values / 2], 1)
    scores[:, classes] = values
    return scores


def probabilities(
    scores: NDArray[np.float64], temperature: float, several: bool
) -> NDArray[np.float32]:
    """Scores (N, C) as probabilities: softmax, or a sigmoid per class, of score / temperature."""
    cooled = scores / temperature
    return np.asarray(expit(cooled) if several else softmax(cooled, 1), np.float32)


def mean_loss(scores: NDArray[np.float64], labels: NDArray[Any], temperature: float) -> float:
    """Mean -log p of the truth, nats; with several labels per picture, over the known entries.

    Args:
        scores: (N, C) before softmax; labels: int (N,) or (N, C).
    """
    cooled = scores / temperature
    if labels.ndim == 1:
        chosen = np.take_along_axis(log_softmax(cooled, 1), labels[:, None].astype(np.int64), 1)
        return float(-chosen.mean())
    judged = labels >= 0
    signed = np.where(labels == 1, cooled, -cooled)
    return float(-log_expit(signed)[judged].mean())


def best_temperature(scores: NDArray[np.float64], labels: NDArray[Any]) -> float:
    """The temperature with the lowest held-out loss (Guo et al. 2017, sec. 4.2).

    One picture per class counts as having any label (as in Platt 1999, sec. 2.2): a few correct
    pictures don't make a model certain.
    """
    count = scores.shape[1]
    share = count / (len(labels) + count) if labels.ndim == 1 else 1 / (len(labels) + 2)

    def cost(log_t: float) -> float:
        temperature = float(np.exp(log_t))
        if labels.ndim == 1:
            blind = float(-log_softmax(scores / temperature, 1).mean())
        else:
            blind = float(-log_expit(-np.abs(scores) / temperature)[labels >= 0].mean())
        return (1 - share) * mean_loss(scores, labels, temperature) + share * blind

    result: Any = minimize_scalar(
        cost,
        bounds=(-10.0, 10.0), method="bounded",
    )  # fmt: skip
    return float(np.exp(result.x))
