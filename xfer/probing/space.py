"""Training features scaled, and in no more dimensions than there are pictures.

The solution of an L2-regularised linear model lies in the span of its training rows, so a model
on N pictures of D > N numbers is found among N numbers a picture and lifted back: the same model,
D / N times as fast. Distances are kept as well, so kernels and neighbours see no difference.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from sklearn.preprocessing import Normalizer, StandardScaler
from threadpoolctl import threadpool_limits

# how features are scaled before a linear model, kernel or neighbour sees them
SCALINGS = {
    "l2": "each picture's features divided by their length",
    "standard": "each feature to mean 0 and variance 1 over the training pictures",
}
# directions with less than this share of the largest squared singular value are rounding
_NOTHING = 1e-13
_COLUMNS = 8192
# matrices with fewer numbers are multiplied by one thread: two lose more by waiting for each other
_SMALL = 4_000_000


def make_scaler(name: str) -> Any:
    """An unfitted scikit-learn transformer of that name in `SCALINGS`."""
    return {"l2": Normalizer, "standard": StandardScaler}[name]()


class Space:
    """Rows (N, D) in the fewest dimensions that hold them.

    Args:
        features: float (N, D), scaled.

    rows | (N, r), the same inner products; `features` itself where D <= N
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
        kept = values > max(values[-1], 0.0) * _NOTHING
        if not kept.any():  # all features are 0
            self.rows = self._back = np.zeros((len(features), 1))
            return
        root = np.sqrt(values[kept])
        self.rows = vectors[:, kept] * root
        self._back = vectors[:, kept] / root

    def lift(self, coefficients: NDArray[Any]) -> NDArray[np.float64]:
        """Coefficients (C, r) of a linear model on `rows` as those (C, D) on `features`."""
        if self._back is None:
            return np.asarray(coefficients, np.float64)
        return np.asarray((coefficients @ self._back.T) @ self.features, np.float64)


def threads_for(rows: NDArray[Any]) -> contextlib.AbstractContextManager[Any]:
    """Within it small problems run on one thread: a search over 244 pictures takes 2 s, not 20."""
    return threadpool_limits(1) if rows.size < _SMALL else contextlib.nullcontext()
