"""Accuracy: equal to scikit-learn, exact, and the same in any order and over any processes."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    log_loss,
    top_k_accuracy_score,
)

from xfer.errors import DataError, DivergedError, XferError
from xfer.metrics.accuracy import Accuracy
from xfer.types import Batch, ClassPrediction

CLASSES = ("ant", "bee", "crane", "crane", "dog", "eel", "fly")


def softmax(logits: np.ndarray) -> np.ndarray:
    power = np.exp(logits - logits.max(1, keepdims=True))
    return (power / power.sum(1, keepdims=True)).astype(np.float32)


def problem(
    seed: int, n: int = 101, ties: bool = False
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(CLASSES), n)
    logits = rng.normal(size=(n, len(CLASSES))) + np.eye(len(CLASSES))[labels]
    scores = softmax(np.round(logits) if ties else logits)
    return scores, labels, [f"p{i}" for i in range(n)]


def counted(scores: np.ndarray, labels: np.ndarray, ids: list[str], batch: int = 32) -> Accuracy:
    metric = Accuracy(CLASSES)
    for i in range(0, len(labels), batch):
        metric.add(scores[i : i + batch], labels[i : i + batch], ids[i : i + batch])
    return metric


@pytest.mark.parametrize("ties", [False, True])
def test_equals_scikit_learn_with_a_ragged_last_batch(ties: bool) -> None:
    scores, labels, ids = problem(0, ties=ties)
    metric = counted(scores, labels, ids)
    found = metric.compute()
    every = np.arange(len(CLASSES))
    # scikit-learn lets the higher index win a tie: with the columns mirrored that is our rule
    mirrored, mirrored_labels = scores[:, ::-1], every[-1] - labels
    for key, k in (("top1", 1), ("top5", 5)):
        expected = top_k_accuracy_score(mirrored_labels, mirrored, k=k, labels=every)
        assert found[key] == pytest.approx(expected, abs=1e-12)
    assert found["loss"] == pytest.approx(log_loss(labels, scores, labels=every), rel=1e-6)
    assert found["mean_class_acc"] == pytest.approx(
        balanced_accuracy_score(labels, scores.argmax(1)), abs=1e-12
    )
    assert (metric.confusion == confusion_matrix(labels, scores.argmax(1), labels=every)).all()
    assert metric.confusion.dtype == np.int64
    if ties:
        assert (np.sort(scores, 1)[:, -1] == np.sort(scores, 1)[:, -2]).any()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 60), parts=st.integers(1, 4))
def test_order_and_number_of_processes_change_nothing(seed: int, n: int, parts: int) -> None:
    scores, labels, ids = problem(seed, n, ties=bool(seed % 2))
    whole = counted(scores, labels, ids)
    order = np.random.default_rng(seed).permutation(n)
    states = []
    for part in np.array_split(order, parts):
        one = counted(scores[part], labels[part], [ids[i] for i in part], batch=7)
        states.append(pickle.loads(pickle.dumps(one.state())))
    gathered = Accuracy(CLASSES)
    gathered.load_states(states)
    assert gathered.compute() == whole.compute()
    assert (gathered.confusion == whole.confusion).all()
    assert gathered.rows() == whole.rows()
    assert [e.id for e in gathered.examples()] == ids


def test_merge_adds() -> None:
    scores, labels, ids = problem(1)
    first = counted(scores[:40], labels[:40], ids[:40])
    first.merge(counted(scores[40:], labels[40:], ids[40:]))
    assert first.compute() == counted(scores, labels, ids).compute()
    with pytest.raises(XferError, match="different classes"):
        first.merge(Accuracy(("a", "b")))


def test_unlabelled_pictures_are_left_out() -> None:
    scores, labels, ids = problem(2)
    some = labels.copy()
    some[::3] = -1
    known = some >= 0
    assert (
        counted(scores, some, ids).compute()
        == (
            counted(scores[known], labels[known], [i for i, k in zip(ids, known, strict=True) if k])
        ).compute()
    )
    with pytest.raises(DataError, match="no labelled pictures"):
        counted(scores, np.full_like(labels, -1), ids).compute()


def test_a_net_that_says_nothing_is_right_on_class_0_only() -> None:
    labels = np.arange(7)
    found = counted(np.full((7, 7), 1 / 7, np.float32), labels, list("abcdefg")).compute()
    assert found["top1"] == 1 / 7
    assert found["top5"] == 5 / 7
    assert found["per_class"]["ant"] == {"acc": 1.0, "n": 1}
    assert found["per_class"]["bee"] == {"acc": 0.0, "n": 1}


def test_classes_that_share_a_name_or_have_no_picture_are_kept_apart() -> None:
    scores, _, ids = problem(3, 4)
    found = counted(scores, np.array([2, 2, 3, 0]), ids).compute()
    assert list(found["per_class"]) == [
        "ant", "bee", "crane [2]", "crane [3]", "dog", "eel", "fly",
    ]  # fmt: skip
    assert found["per_class"]["crane [2]"]["n"] == 2
    assert found["per_class"]["bee"] == {"acc": None, "n": 0}
    assert "NaN" not in json.dumps(found)


def test_two_classes_count_as_top5_both() -> None:
    metric = Accuracy(("no", "yes"))
    metric.add(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([1, 1]), ["a", "b"])
    found = metric.compute()
    assert (found["top1"], found["top5"]) == (0.5, 1.0)
    assert "2 highest" in metric.protocol()["top5"]


def test_a_probability_of_zero_costs_a_finite_loss() -> None:
    metric = Accuracy(("no", "yes"))
    metric.add(np.array([[1.0, 0.0]]), np.array([1]), ["a"])
    assert metric.compute()["loss"] == pytest.approx(87.3, abs=0.1)


def test_takes_the_predictions_and_batches_of_a_task() -> None:
    scores, labels, ids = problem(4, 6)
    metric = Accuracy(CLASSES)
    batch = Batch(torch.zeros(6, 3, 1, 1), tuple(ids), {"label": torch.from_numpy(labels)})
    metric.update([ClassPrediction(i, s) for i, s in zip(ids, scores, strict=True)], batch)
    assert metric.compute() == counted(scores, labels, ids).compute()
    row = metric.rows()[0]
    best = int(scores[0].argmax())
    assert row["predicted"] == CLASSES[best]
    assert row["score"] == pytest.approx(float(scores[0, best]), abs=1e-6)
    assert row["correct"] == int(best == labels[0])
    with pytest.raises(DataError, match="no labels"):
        metric.update([], Batch(torch.zeros(1, 3, 1, 1), ("a",)))


def test_the_worst_example_is_the_one_with_the_least_likely_truth() -> None:
    metric = Accuracy(("no", "yes"))
    metric.add(
        np.array([[0.6, 0.4], [0.99, 0.01], [0.1, 0.9]]), np.array([1, 1, 1]), ["p10", "p9", "p2"]
    )
    examples = metric.examples()
    assert [e.id for e in examples] == ["p2", "p9", "p10"]
    worst = max(examples, key=lambda e: e.loss)
    assert (worst.id, worst.good, worst.lines) == ("p9", False, ("no 0.99", "is yes 0.01"))


def test_says_what_does_not_fit() -> None:
    metric = Accuracy(("no", "yes"))
    with pytest.raises(DivergedError, match="scores of b"):
        metric.add(np.array([[0.5, 0.5], [np.nan, 1]]), np.array([0, 0]), ["a", "b"])
    with pytest.raises(XferError, match="2 classes"):
        metric.add(np.ones((2, 3)), np.array([0, 0]), ["a", "b"])
    with pytest.raises(XferError, match=r"-1\.\.1, got 0\.\.2"):
        metric.add(np.ones((2, 2)), np.array([0, 2]), ["a", "b"])
