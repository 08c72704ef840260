"""A fitted probe: scaler and classifiers on the net's features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import Pipeline, make_pipeline

from xfer.errors import DataError
from xfer.probing import classifiers
from xfer.probing.choose import Choice, choose
from xfer.probing.scores import logits, probabilities
from xfer.probing.space import Space, make_scaler, scaled, threads_for


@dataclass(frozen=True)
class Probe:
    """A classifier on features.

    pipeline    | scikit-learn's: the scaler, then the classifier; for several labels per picture, a
                | MultiOutputClassifier
    classes     | C
    several     | several labels per picture
    temperature | divisor of decision values
    """

    pipeline: Pipeline
    classes: int
    several: bool
    temperature: float

    @property
    def models(self) -> list[Any]:
        last: Any = self.pipeline[-1]
        return list(last.estimators_) if self.several else [last]

    @property
    def width(self) -> int:
        """D, the numbers per picture that it was fitted to."""
        return int(self.pipeline[0].n_features_in_)

    def scores(self, features: NDArray[Any]) -> NDArray[np.float64]:
        """Features float (N, D) -> scores before softmax or sigmoid, float64 (N, C)."""
        if features.shape[1] != self.width:
            raise DataError(
                f"the probe was fitted to {self.width} numbers per picture, not "
                f"{features.shape[1]}", "fit it again with `xfer probe`"
            )  # fmt: skip
        rows = scaled(self.pipeline[0], features.astype(np.float32))
        return logits(self.models, rows, self.classes)

    def probabilities(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """Features float (N, D) -> probabilities float32 (N, C)."""
        return probabilities(self.scores(features), self.temperature, self.several)


def fit_probe(
    name: str,
    features: NDArray[Any],
    labels: NDArray[Any],
    classes: int,
    *,
    choice: Choice | None = None,
    cv: int = 0,
    seed: int = 0,
) -> tuple[Probe, Choice]:
    """Chooses scaling and strength, unless `choice` has them, then fits on all pictures.

    Linear models are solved in the span of the training rows and lifted back: the same
    coefficients as a fit on all D numbers, up to rounding (for LDA, with shrinkage in the span).

    Args:
        name: of `classifiers.CLASSIFIERS`; features: float (N, D).
        labels: int (N,) class indices, or (N, C) of 1, 0 and -1 (unknown).
        classes: C.

    Raises: DataError for fewer pictures than folds.
    """
    features = np.asarray(features, np.float32)
    if choice is None:
        choice = choose(name, features, labels, classes, cv=cv, seed=seed)
    scaler = make_scaler(choice.scaling).fit(features)
    rows = scaled(scaler, features)
    space = Space(rows)
    with threads_for(space.rows):
        models = classifiers.fit(name, choice.value, space.rows, labels)
    several = labels.ndim == 2
    for column, model in enumerate(models):
        judged = np.flatnonzero(labels[:, column] >= 0) if several else np.arange(len(labels))
        _lift(model, space, rows[judged])
    last = _side_by_side(models) if several else models[0]
    return Probe(make_pipeline(scaler, last), classes, several, choice.temperature), choice


def _lift(model: Any, space: Space, scaled: NDArray[Any]) -> None:
    """Converts a model fitted to `space.rows` to one for the scaled features."""
    width = scaled.shape[1]
    if isinstance(model, DummyClassifier) or space.rows.shape[1] == width:
        return
    if hasattr(model, "coef_") and not hasattr(model, "support_"):
        model.coef_ = space.lift(model.coef_)
        for name in ("means_", "covariance_"):  # attributes of an LDA that refer to `space.rows`
            if hasattr(model, name):
                delattr(model, name)
    elif hasattr(model, "support_"):
        gamma = model.gamma
        model.support_vectors_ = np.ascontiguousarray(scaled[model.support_], np.float64)
        model.shape_fit_ = (len(scaled), width)
        model._gamma = gamma
    else:
        model.fit(scaled, model.classes_[model._y])
    model.n_features_in_ = width


def _side_by_side(models: list[Any]) -> MultiOutputClassifier:
    """Combines one model per class into one model."""
    joined = MultiOutputClassifier(models[0])
    joined.estimators_ = models
    joined.classes_ = [model.classes_ for model in models]
    joined.n_features_in_ = models[0].n_features_in_
    return joined
