"""Class probabilities of each picture from a classifier that has not seen it."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

FOLDS = 5
DIMS = 256  # principal components that the classifier sees
STRENGTH = 0.06  # its C


def held_out_probabilities(
    features: NDArray[np.float32], labels: NDArray[np.int64], together: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Probabilities of logistic regressions, each fitted without a fifth of the pictures.

    Args:
        features: float32 (N, D); labels: int64 (N,), 0 .. C - 1.
        together: int64 (N,): pictures with equal numbers, such as copies, are left out together.

    Returns: float64 (N, C).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold

    found = np.zeros((len(labels), int(labels.max()) + 1))
    counts = np.unique(labels, return_counts=True)[1]
    rows = _narrowed(features)
    folds = StratifiedGroupKFold(min(FOLDS, int(counts.max())), shuffle=True, random_state=0)
    with warnings.catch_warnings():
        # a class smaller than the folds is missing from some of them, which is all right here; and
        # a fit that stops early is good enough to doubt a label
        warnings.simplefilter("ignore")
        for train, held in folds.split(rows, labels, together):
            present = np.unique(labels[train])
            if len(present) < 2:
                found[held[:, None], present] = 1.0
                continue
            model = LogisticRegression(C=STRENGTH, max_iter=100, tol=1e-3)
            model.fit(rows[train], labels[train])
            found[held[:, None], model.classes_] = model.predict_proba(rows[held])
    return found


def _narrowed(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 (N, D) -> (N, at most DIMS): signed square roots, length 1, unit variance, principal
    components; with a total variance of DIMS, so that one STRENGTH fits every net."""
    rows = np.sign(features) * np.sqrt(np.abs(features))
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows / np.where(length > 0, length, 1)
    spread = rows.std(0)
    rows = (rows - rows.mean(0))[:, spread > 0] / spread[spread > 0]
    count, width = rows.shape
    if min(count, width) > DIMS:
        if width <= count:
            rows = rows @ np.linalg.eigh(rows.T @ rows)[1][:, -DIMS:]
        else:  # the same components, from the smaller matrix
            values, vectors = np.linalg.eigh(rows @ rows.T)
            rows = vectors[:, -DIMS:] * np.sqrt(np.maximum(values[-DIMS:], 0))
    return np.ascontiguousarray(rows * np.sqrt(DIMS / max(1, width)), np.float32)
