"""Probes: fewer dimensions give the same models, and strength is chosen on train alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC, LinearSVC

from xfer.errors import DataError, XferError
from xfer.probing import classifiers
from xfer.probing.choose import Choice, choose, make_folds
from xfer.probing.fit import fit_probe
from xfer.probing.scores import best_temperature, mean_loss, probabilities
from xfer.probing.space import SCALINGS, Space, make_scaler


def blobs(per_class: int, width: int, classes: int = 3, seed: int = 0, apart: float = 1.0) -> Any:
    """Wide features of so many classes, labels: (N, D), (N,)."""
    centres = np.random.default_rng(99).normal(size=(classes, width)) * apart
    labels = np.repeat(np.arange(classes), per_class)
    noise = np.random.default_rng(seed).normal(size=(len(labels), width)) * 3
    return (centres[labels] + noise + 1).astype(np.float32), labels


@pytest.mark.parametrize("scaling", SCALINGS)
def test_a_space_keeps_every_inner_product(scaling: str) -> None:
    features, _ = blobs(8, 500)
    scaled = make_scaler(scaling).fit_transform(features)
    space = Space(scaled)
    assert space.rows.shape[1] <= 24
    np.testing.assert_allclose(
        space.rows @ space.rows.T,
        scaled.astype(float) @ scaled.T.astype(float),
        rtol=1e-5,
        atol=1e-5,
    )
    narrow = Space(scaled[:, :10])
    assert narrow.rows.shape == (24, 10)
    assert narrow.lift(np.ones((1, 10))).tolist() == [[1.0] * 10]


def test_features_that_are_all_zero_make_a_space() -> None:
    space = Space(np.zeros((4, 9), np.float32))
    assert not space.rows.any() and not space.lift(np.ones((1, space.rows.shape[1]))).any()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    ("name", "value", "plain"),
    [
        ("logreg", 0.1, LogisticRegression(C=0.1, max_iter=5000, tol=1e-8)),
        ("linear-svm", 0.01, LinearSVC(C=0.01, max_iter=50000, tol=1e-8, random_state=0)),
        ("ridge", 10.0, RidgeClassifier(alpha=10.0)),
        ("knn", 5, KNeighborsClassifier(5, weights="distance")),
        ("rbf-svm", 1.0, SVC(C=1.0, decision_function_shape="ovr")),
    ],
)
def test_a_probe_is_the_plain_fit_on_all_features(
    name: str, value: float, plain: Any, classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, labels = blobs(12, 400, classes)
    others, _ = blobs(30, 400, classes, seed=5)
    if name == "logreg":  # both to the end: how near they stop is another question
        exact = classifiers.CLASSIFIERS[name]
        tight = {"make": lambda c: LogisticRegression(C=c, max_iter=5000, tol=1e-8)}
        monkeypatch.setitem(classifiers.CLASSIFIERS, name, replace(exact, **tight))
    probe, _ = fit_probe(name, features, labels, classes, choice=Choice("standard", value))
    scaler = make_scaler("standard").fit(features)
    scaled = scaler.transform(features)
    if name == "rbf-svm":
        plain.gamma = 1 / scaled.var(0, dtype=np.float64).sum()
    plain.fit(scaled, labels)
    mine, moved = probe.pipeline, scaler.transform(others)
    assert mine.n_features_in_ == 400
    np.testing.assert_array_equal(mine.predict(others), plain.predict(moved))
    how = "predict_proba" if name == "knn" else "decision_function"
    np.testing.assert_allclose(
        getattr(mine, how)(others), getattr(plain, how)(moved), rtol=2e-3, atol=1e-3
    )


def test_an_lda_in_the_span_is_that_of_all_features_at_the_same_absolute_shrinkage() -> None:
    """The share is of the mean variance in r dimensions here, in D there."""
    features, labels = blobs(15, 60, 3)
    scaled = make_scaler("standard").fit_transform(features)
    probe, _ = fit_probe("lda", features, labels, 3, choice=Choice("standard", 0.4))
    rank, width = Space(scaled).rows.shape[1], 60
    ratio = 0.4 / 0.6 * width / rank
    plain = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=ratio / (1 + ratio))
    others, _ = blobs(30, 60, 3, seed=4)
    moved = make_scaler("standard").fit(features).transform(others)
    agree = probe.pipeline.predict(others) == plain.fit(scaled, labels).predict(moved)
    assert agree.mean() > 0.98


@pytest.mark.parametrize("name", classifiers.CLASSIFIERS)
def test_every_kind_learns_and_gives_probabilities(name: str) -> None:
    features, labels = blobs(20, 200)
    others, truth = blobs(20, 200, seed=1)
    probe, choice = fit_probe(name, features, labels, 3)
    found = probe.probabilities(others)
    assert found.shape == (60, 3) and found.dtype == np.float32
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    assert (found.argmax(1) == truth).mean() > 0.9
    assert choice.score is not None and choice.score > 0.9 and choice.folds == 5
    assert choice.value in classifiers.get(name).values
    loss = mean_loss(np.log(np.maximum(found, 1e-30)).astype(float), truth, 1.0)
    assert loss < 0.9 * np.log(3)


def test_labels_that_are_noise_are_regularised_away() -> None:
    features, labels = blobs(40, 100, 2, apart=0.0)
    probe, choice = fit_probe("logreg", features, labels, 2)
    assert choice.value < 1.0 or choice.scaling == "l2"
    assert choice.score is not None and choice.score < 0.7
    assert np.abs(probe.probabilities(features) - 0.5).max() < 0.45


def test_folds_hold_each_picture_out_once_and_spread_the_classes() -> None:
    labels = np.repeat([0, 1, 2], [50, 10, 1])
    folds = make_folds(labels, 5, 3)
    assert sorted(np.concatenate([held for _, held in folds]).tolist()) == list(range(61))
    for train, held in folds:
        assert not set(train) & set(held)
        assert (labels[held] == 0).sum() == 10 and (labels[held] == 1).sum() == 2
    again = make_folds(labels, 5, 3)
    assert all((a[1] == b[1]).all() for a, b in zip(folds, again, strict=True))
    other = make_folds(labels, 5, 4)
    assert any((a[1] != b[1]).any() for a, b in zip(folds, other, strict=True))


def test_more_folds_than_pictures_are_refused() -> None:
    features, labels = blobs(4, 50)
    with pytest.raises(DataError, match="4 training pictures, fewer than 5 folds"):
        choose("logreg", features, labels, 3, cv=5)
    with pytest.raises(DataError, match="12 training pictures are fewer than 20 folds") as few:
        choose("logreg", features, labels, 3, cv=20)
    assert few.value.hint == "--cv 4, or more pictures"
    with pytest.raises(DataError, match="3 training pictures are fewer than 5 folds") as one:
        choose("logreg", features[[0, 4, 8]], labels[[0, 4, 8]], 3, cv=5)
    assert one.value.hint == "more pictures"  # --cv 3 would be refused as well
    assert choose("ridge", features, labels, 3).folds == 4
    one_each = choose("ridge", features[[0, 4, 8]], labels[[0, 4, 8]], 3)
    assert one_each.folds == 0 and one_each.score is None and one_each.value == 1.0


def test_folds_are_counted_before_some_of_many_pictures_are_drawn() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [4000, 2995, 5])
    features = rng.normal(size=(len(labels), 3)).astype(np.float32) + labels[:, None]
    # five of the third class are enough for five folds; of the 5,000 drawn, fewer are of it
    chosen = choose("ridge", features, labels, 3, cv=5, scalings=("l2",), fine=False)
    assert chosen.folds == 5 and chosen.pictures < 7000


def test_a_mistyped_kind_is_answered_with_all_there_are() -> None:
    with pytest.raises(XferError, match="choose from logreg, linear-svm, ridge"):
        classifiers.get("logrek")


@pytest.mark.parametrize("name", ["logreg", "linear-svm", "knn", "rbf-svm"])
def test_several_labels_a_picture_are_learnt_one_against_the_rest(name: str) -> None:
    features, labels = blobs(25, 120)
    several = np.stack([labels == 0, labels != 1, labels == 5, labels >= 0], 1).astype(np.int8)
    several[::7, 0] = -1
    probe, choice = fit_probe(name, features, several, 4)
    others, truth = blobs(25, 120, seed=2)
    found = probe.probabilities(others)
    assert found.shape == (75, 4)
    assert ((found[:, 0] > 0.5) == (truth == 0)).mean() > 0.9
    assert ((found[:, 1] > 0.5) == (truth != 1)).mean() > 0.85
    assert found[:, 2].max() < 1e-3 and found[:, 3].min() > 0.999
    assert choice.score is not None and choice.score > 0.9


def test_a_class_without_a_training_picture_is_never_named() -> None:
    features, labels = blobs(10, 40, 2)
    probe, _ = fit_probe("logreg", features, labels * 2, 3)
    assert probe.probabilities(features)[:, 1].max() == 0


def test_the_temperature_undoes_an_exaggeration() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=(4000, 3)) * 2
    edges = probabilities(true, 1.0, False).cumsum(1)
    labels = (rng.random((4000, 1)) > edges[:, :2]).sum(1)
    assert best_temperature(true * 5, labels) == pytest.approx(5, rel=0.15)


def test_many_pictures_choose_by_some_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xfer.probing.choose.MANY", 100)
    monkeypatch.setattr("xfer.probing.choose.ONE_FOLD", 50)
    features, labels = blobs(120, 20)
    seen: list[int] = []
    real = classifiers.fit

    def counted(name: str, value: float, rows: Any, labels: Any) -> Any:
        seen.append(len(rows))
        assert np.bincount(labels).min() >= 20
        return real(name, value, rows, labels)

    monkeypatch.setattr(classifiers, "fit", counted)
    probe, choice = fit_probe("ridge", features, labels, 3)
    assert choice.folds == 1 and choice.pictures == 90
    assert set(seen[:-1]) == {72} and seen[-1] == 360
    assert choice.score is not None and choice.score > 0.7
    assert probe.pipeline.n_features_in_ == 20
    assert choose("ridge", features, labels, 3, cv=4).folds == 4
