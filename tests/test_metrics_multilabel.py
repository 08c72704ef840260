"""MultiLabelAP: equal to scikit-learn, in any order, with labels that nobody judged."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, log_loss

from xfer.errors import DataError, DivergedError, XferError
from xfer.metrics.multilabel import MultiLabelAP, average_precision
from xfer.types import Batch, ClassPrediction

CLASSES = ("cat", "dog", "tree", "sky")


def problem(seed: int, n: int = 83) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (n, len(CLASSES)))
    scores = 1 / (1 + np.exp(-rng.normal(size=labels.shape) - labels))
    return scores.astype(np.float32), labels, [f"p{i}" for i in range(n)]


def counted(scores: np.ndarray, labels: np.ndarray, ids: list[str]) -> MultiLabelAP:
    metric = MultiLabelAP(CLASSES)
    for i in range(0, len(ids), 30):
        metric.add(scores[i : i + 30], labels[i : i + 30], ids[i : i + 30])
    return metric


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9)), min_size=1, max_size=40).filter(
        lambda pairs: any(t for t, _ in pairs)
    )
)
def test_average_precision_is_scikit_learns_with_ties(pairs: list[tuple[int, int]]) -> None:
    truth, scores = np.array(pairs).T
    expected = average_precision_score(truth, scores / 10)
    assert average_precision(truth, scores / 10) == pytest.approx(expected, abs=1e-12)


def test_equals_scikit_learn_where_all_is_judged() -> None:
    scores, labels, ids = problem(0)
    found = counted(scores, labels, ids).compute()
    assert found["map"] == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    expected = np.mean([log_loss(labels[:, c], scores[:, c]) for c in range(len(CLASSES))])
    assert found["loss"] == pytest.approx(expected, rel=1e-6)
    assert found["without_positives"] == []


def test_labels_that_are_not_judged_are_left_out_class_by_class() -> None:
    scores, labels, ids = problem(1)
    some = labels.copy()
    some[::2, 0] = -1
    found = counted(scores, some, ids).compute()
    judged = some[:, 0] >= 0
    expected = average_precision_score(labels[judged, 0], scores[judged, 0])
    assert found["per_class"]["cat"]["ap"] == pytest.approx(expected, abs=1e-12)
    assert found["per_class"]["cat"]["n"] == judged.sum()
    assert found["per_class"]["dog"] == counted(scores, labels, ids).compute()["per_class"]["dog"]


def test_classes_without_positives_are_named_and_not_averaged() -> None:
    scores, labels, ids = problem(2)
    labels[:, 3] = 0
    found = counted(scores, labels, ids).compute()
    assert found["without_positives"] == ["sky"]
    assert found["per_class"]["sky"]["ap"] is None
    assert found["map"] == pytest.approx(average_precision_score(labels[:, :3], scores[:, :3]))
    with pytest.raises(DataError, match="no picture is positive"):
        counted(scores, labels * 0, ids).compute()


def test_order_and_processes_change_nothing() -> None:
    scores, labels, ids = problem(3)
    scores = np.round(scores, 1)
    whole = counted(scores, labels, ids)
    order = np.random.default_rng(0).permutation(len(ids))
    parts = [counted(scores[p], labels[p], [ids[i] for i in p]) for p in np.array_split(order, 3)]
    gathered = MultiLabelAP(CLASSES)
    gathered.load_states([p.state() for p in parts])
    parts[0].merge(parts[1])
    parts[0].merge(parts[2])
    assert gathered.compute() == whole.compute() == parts[0].compute()
    assert gathered.rows() == whole.rows()


def test_takes_the_predictions_and_batches_of_a_task() -> None:
    scores = np.array([[0.9, 0.6, 0.1, 0.2], [0.9, 0.2, 0.1, 0.3]], np.float32)
    labels = torch.tensor([[1.0, 0, 0, 1], [1, 0, 0, -1]])
    metric = MultiLabelAP(CLASSES)
    metric.update(
        [ClassPrediction(str(i), s) for i, s in enumerate(scores)],
        Batch(torch.zeros(2, 3, 1, 1), ("0", "1"), {"label": labels}),
    )
    bad, good = metric.examples()
    assert bad.lines == ("cat", "missed: sky", "wrong: dog")
    assert (bad.good, good.good, good.lines) == (False, True, ("cat",))
    assert bad.loss > good.loss
    row = metric.rows()[0]
    assert (row["truth"], row["predicted"], row["score:dog"]) == ("cat; sky", "cat; dog", 0.6)


def test_says_what_does_not_fit() -> None:
    metric = MultiLabelAP(("a", "b"))
    with pytest.raises(DivergedError, match="scores of y"):
        metric.add(np.array([[0.5, 0.5], [np.inf, 1]]), np.zeros((2, 2)), ["x", "y"])
    with pytest.raises(XferError, match="1, 0 or -1"):
        metric.add(np.ones((1, 2)), np.array([[2, 0]]), ["x"])
    with pytest.raises(XferError, match="2 classes"):
        metric.add(np.ones((1, 2)), np.array([1]), ["x"])


def test_precision_over_recall_is_the_highest_from_there_on() -> None:
    metric = MultiLabelAP(("a", "b", "none"))
    truth = np.array([[1, 0, 0], [0, 1, 0], [1, -1, 0], [0, 1, 0]])
    scores = np.array([[0.9, 0.5, 0], [0.8, 0.5, 0], [0.7, 0.9, 0], [0.1, 0.2, 0]])
    metric.add(scores, truth, list("pqrs"))
    curves = metric.curves()
    assert list(curves) == ["a", "b"]
    # a: right, wrong, right; at recall 0.5 precision 1, from there on 2/3
    assert curves["a"][[0, 50, 51, 100]] == pytest.approx([1, 1, 2 / 3, 2 / 3])
    # b: of two equal scores one is right, then the other one
    assert curves["b"][[0, 50, 51, 100]] == pytest.approx([2 / 3] * 4)
