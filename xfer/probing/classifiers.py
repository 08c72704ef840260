"""The classifiers for probes: scikit-learn's, with the values to try for each."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC, LinearSVC

from xfer.errors import XferError


@dataclass(frozen=True, slots=True)
class Classifier:
    """One kind of probe.

    make    | value -> an unfitted scikit-learn classifier
    symbol  | the value's name: C, alpha, k, shrinkage
    values  | the values to try, increasing
    coarse  | every `coarse`-th value is tried first, then those around the best
    source  | the origin of the values, or the reason for them
    linear  | its decision is coef_ @ x + intercept_, solved in the span of the training rows
    decides | its scores are decision values, converted to probabilities by one temperature;
            | otherwise it has probabilities of its own
    default | the value used if cross-validation is impossible
    """

    make: Callable[[float], Any]
    symbol: str
    values: tuple[float, ...]
    coarse: int
    source: str
    linear: bool
    decides: bool
    default: float


def _powers(base: float, first: int, last: int) -> list[float]:
    return [base**i for i in range(first, last + 1)]


CLASSIFIERS: dict[str, Classifier] = {
    "logreg": Classifier(
        lambda value: LogisticRegression(C=value, max_iter=1000),
        "C", tuple(np.logspace(-6, 5, 45).tolist()), 4,
        "45 logarithmic steps 1e-6..1e5, L-BFGS (Kornblith et al. 2019)",
        linear=True, decides=False, default=1.0,
    ),
    "linear-svm": Classifier(
        lambda value: LinearSVC(C=value, max_iter=2000, random_state=0),
        "C", tuple(sorted(_powers(2.0, -19, -4) + _powers(10.0, -7, 2))), 3,
        "2^-19..2^-4 and 10^-7..10^2, squared hinge loss (Goyal et al. 2019)",
        linear=True, decides=True, default=1.0,
    ),
    "ridge": Classifier(
        lambda value: RidgeClassifier(alpha=value, solver="cholesky"),
        "alpha", tuple(np.logspace(-4, 6, 21).tolist()), 3,
        "21 logarithmic steps 1e-4..1e6 (ours)",
        linear=True, decides=True, default=1.0,
    ),
    "knn": Classifier(
        lambda value: KNeighborsClassifier(int(value), weights="distance", algorithm="brute"),
        "k", (1, 3, 5, 10, 20, 50, 100, 200), 1,
        "1..200, votes weighted by 1 / distance (k up to 200 as Wu et al. 2018)",
        linear=False, decides=False, default=1,
    ),
    "rbf-svm": Classifier(
        lambda value: SVC(C=value, decision_function_shape="ovr"),
        "C", tuple(np.logspace(-2, 4, 13).tolist()), 2,
        "13 logarithmic steps 1e-2..1e4, gamma = 1 / total variance of the training features "
        "(ours)",
        linear=False, decides=True, default=10.0,
    ),
    "lda": Classifier(
        lambda value: LinearDiscriminantAnalysis(solver="lsqr", shrinkage=value),
        "shrinkage", (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0), 1,
        "11 shares 0.001..1 of the mean variance within the span of the training rows (ours)",
        linear=True, decides=True, default=0.5,
    ),
}  # fmt: skip


def get(name: str) -> Classifier:
    """The kind with that name. Raises XferError that lists the choices."""
    if name not in CLASSIFIERS:
        raise XferError(f"--clf {name}: unknown", f"choose from {', '.join(CLASSIFIERS)}")
    return CLASSIFIERS[name]


def fit(name: str, value: float, rows: NDArray[Any], labels: NDArray[Any]) -> list[Any]:
    """Fits one kind of probe with one value.

    Args:
        rows: float (N, r); labels: int (N,), or (N, C) with 1, 0 and -1 (unknown) per class.

    Returns: one classifier, or C of them, each one against the rest. A class whose labels are all
        equal gets a constant one.
    """
    if labels.ndim == 1:
        return [_fit_one(name, value, rows, labels)]
    judged = [column >= 0 for column in labels.T]
    return [
        _fit_one(name, value, rows[judged_column], column[judged_column])
        for column, judged_column in zip(labels.T, judged, strict=True)
    ]


def _fit_one(name: str, value: float, rows: NDArray[Any], labels: NDArray[Any]) -> Any:
    if not len(labels):
        rows, labels = np.zeros((1, rows.shape[1])), np.zeros(1, np.int64)
    if labels.min() == labels.max():
        return DummyClassifier(strategy="most_frequent").fit(rows, labels)
    if name == "knn":
        value = min(value, len(rows))
    model = CLASSIFIERS[name].make(value)
    if name == "rbf-svm":
        model.gamma = 1 / max(float(rows.var(0, dtype=np.float64).sum()), 1e-30)
    with warnings.catch_warnings():
        # the least regularised models stop at max_iter: they are scored as they are
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(rows, labels)
