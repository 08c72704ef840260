"""Training features, scaled and reduced to no more dimensions than there are pictures.

The solution of an L2-regularised linear model lies in the span of its training rows, so a model
on N pictures of D > N numbers is solved with N numbers per picture and lifted back: the same model,
D / N times as fast. Distances are preserved, so kernels and neighbours give the same results.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from sklearn.preprocessing import Normalizer, StandardScaler
from threadpoolctl import threadpool_limits

from xfer.errors import DataError

# how features are scaled before a linear model, kernel or neighbour classifier
SCALINGS = {
    "l2": "each picture's features divided by their length",
    "standard": "each feature to mean 0 and variance 1 over the training pictures",
}
# directions below this fraction of the largest squared singular value are rounding errors
_NOTHING = 1e-13
_COLUMNS = 8192
# smaller matrices are multiplied by one thread: more threads lose time waiting for each other
_SMALL = 4_000_000


def make_scaler(name: str) -> Any:
    """The unfitted scikit-learn transformer for a key of `SCALINGS`."""
    return {"l2": Normalizer, "standard": StandardScaler}[name]()


def scaled(scaler: Any, features: NDArray[Any]) -> NDArray[Any]:
    """Features float (N, D) as a fitted scaler scales them. Raises DataError if one is too large
    for that, or the scaler's own numbers are too small."""
    with np.errstate(over="ignore", invalid="ignore"):
        rows = np.asarray(scaler.transform(features))
    if not np.isfinite(rows).all():
        raise DataError("features are too large: scaled, they are beyond the range of numbers")
    return rows


class Space:
    """Rows (N, D) in the fewest dimensions that span them.

    Args:
        features: float (N, D), scaled.

    rows | (N, r), with the same inner products; `features` itself if D <= N
    """

    def __init__(self, features: NDArray[Any]) -> None:
        self.features = features
        self._back: NDArray[np.float64] | None = None
        self.rows: NDArray[Any] = features
        if features.shape[1] <= len(features):
            return
        gram = np.zeros((len(features), len(features)))
        for start in range(0, features.shape[1], _COLUMNS):
            part = features[:, start : start + _COLUMNS].astype(np.float64)
            gram += part @ part.T
        values, vectors = eigh(gram)
        significant = values > max(values[-1], 0.0) * _NOTHING
        if not significant.any():  # all features are 0
            self.rows = self._back = np.zeros((len(features), 1))
            return
        root = np.sqrt(values[significant])
        self.rows = vectors[:, significant] * root
        self._back = vectors[:, significant] / root

    def lift(self, coefficients: NDArray[Any]) -> NDArray[np.float64]:
        """Converts a linear model's coefficients (C, r) on `rows` to (C, D) on `features`."""
        if self._back is None:
            return np.asarray(coefficients, np.float64)
        return np.asarray((coefficients @ self._back.T) @ self.features, np.float64)


def threads_for(rows: NDArray[Any]) -> contextlib.AbstractContextManager[Any]:
    """A context that runs small problems on one thread: 2 s, not 20, to search 244 pictures."""
    return threadpool_limits(1) if rows.size < _SMALL else contextlib.nullcontext()
