"""The cut of a val split: complete, disjoint, by class, and the same for a seed."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from xfer.data.sources.split import stratified

LABELS = st.lists(st.integers(0, 5), min_size=0, max_size=120).map(
    lambda labels: np.array(labels, np.int64)
)
SHARES = st.sampled_from([0.1, 0.2, 0.5])


def named(count: int) -> list[str]:
    return [f"img {i:03d}" for i in range(count)]


@settings(max_examples=200, deadline=None)
@given(LABELS, SHARES, st.integers(0, 9))
def test_the_parts_are_disjoint_and_together_all(
    labels: np.ndarray, share: float, seed: int
) -> None:
    train, val = stratified(labels, named(len(labels)), share=share, seed=seed)
    assert sorted([*train.tolist(), *val.tolist()]) == list(range(len(labels)))
    assert train.tolist() == sorted(train) and val.tolist() == sorted(val)


@settings(max_examples=200, deadline=None)
@given(LABELS, SHARES, st.integers(0, 9))
def test_each_class_gives_its_share_at_least_one_and_never_all(
    labels: np.ndarray, share: float, seed: int
) -> None:
    _, val = stratified(labels, named(len(labels)), share=share, seed=seed)
    for value in np.unique(labels):
        n, given_up = int((labels == value).sum()), int((labels[val] == value).sum())
        if n == 1:
            assert given_up == 0
        else:
            assert 1 <= given_up < n and abs(given_up - n * share) <= 1.5


@settings(max_examples=100, deadline=None)
@given(LABELS, st.integers(0, 9), st.randoms(use_true_random=False))
def test_the_order_of_the_samples_changes_nothing(labels: np.ndarray, seed: int, random) -> None:
    ids = named(len(labels))
    _, val = stratified(labels, ids, seed=seed)
    order = list(range(len(labels)))
    random.shuffle(order)
    _, moved = stratified(labels[order], [ids[i] for i in order], seed=seed)
    assert {ids[i] for i in val} == {ids[order[i]] for i in moved}


def test_seeds_cut_differently_and_repeat_themselves() -> None:
    labels = np.arange(100) % 4
    cuts = [stratified(labels, named(100), seed=s)[1].tolist() for s in (0, 0, 1)]
    assert cuts[0] == cuts[1] != cuts[2] and len(cuts[0]) == 20


@settings(max_examples=100, deadline=None)
@given(st.integers(10, 80), st.integers(1, 6), st.integers(0, 99))
def test_several_labels_are_cut_label_by_label(count: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random((count, classes)) < rng.uniform(0.05, 0.6, classes)).astype(np.int8)
    train, val = stratified(labels, named(count), seed=seed)
    assert sorted([*train.tolist(), *val.tolist()]) == list(range(count))
    assert 1 <= len(val) < count
    rarest = np.argmin(np.where(labels.sum(0) > 1, labels.sum(0), count + 1))
    if labels[:, rarest].sum() > 1:
        assert 1 <= labels[val, rarest].sum() < labels[:, rarest].sum()


def test_labels_keep_their_frequency_in_both_parts() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((1000, 8)) < np.linspace(0.02, 0.5, 8)).astype(np.int8)
    _, val = stratified(labels, named(1000))
    assert abs(len(val) - 200) <= 20
    assert np.abs(labels[val].mean(0) - labels.mean(0)).max() < 0.04
