"""Split off val: seeded, by class, and independent of the order of the samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

VAL_SHARE = 0.2


def stratified(
    labels: NDArray[np.int64] | NDArray[np.int8],
    ids: Sequence[str],
    *,
    share: float = VAL_SHARE,
    seed: int = 0,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide samples into train and val.

    One label per picture: each class of two or more pictures gives its share to val, rounded, at
    least one and never all; a class of one picture stays in train. Several labels: starting from
    the rarest, each label gives its share of the pictures not yet assigned (after Sechidis et al.
    2011, On the Stratification of Multi-Label Data). Unlabelled pictures count as a class.

    Args:
        labels: int64 (N,), or int8 (N, C); ids: N unique names, which fix the order of the draw.
        share: of the samples for val, 0..1.

    Returns: two rising arrays of indices, disjoint and complete.
    """
    order = np.array(sorted(range(len(ids)), key=lambda i: ids[i]), np.int64)
    rng = np.random.default_rng((seed, 0x5EED))
    order = rng.permutation(order)
    table = labels[order]
    val = _by_class(table, share) if labels.ndim == 1 else _by_labels(table, share)
    chosen = np.zeros(len(ids), bool)
    chosen[order[val]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _count(n: int, share: float) -> int:
    """How many of n go to val: at least one, and never all."""
    return min(max(round(n * share), 1), n - 1) if n > 1 else 0


def _by_class(labels: NDArray, share: float) -> NDArray[np.int64]:
    """Indices of the val samples; the classes' counts add up to the share of the whole."""
    values, counts = np.unique(labels, return_counts=True)
    takes = np.array([_count(int(n), share) for n in counts], np.int64)
    # rounding per class may miss the total by a few: correct it where the fraction was largest
    missing = round(len(labels) * share) - int(takes.sum())
    step = 1 if missing > 0 else -1
    for k in np.argsort(-step * (counts * share - takes), kind="stable")[: abs(missing)]:
        if 1 <= takes[k] + step < counts[k]:
            takes[k] += step
    picked = [np.flatnonzero(labels == value)[:n] for value, n in zip(values, takes, strict=True)]
    return np.concatenate(picked) if picked else np.zeros(0, np.int64)


def _by_labels(labels: NDArray, share: float) -> NDArray[np.int64]:
    positive = labels == 1
    dealt = np.zeros(len(labels), bool)
    val = np.zeros(len(labels), bool)
    for column in np.argsort(positive.sum(0), kind="stable"):
        having = positive[:, column]
        want = _count(int(having.sum()), share) - int((having & val).sum())
        free = np.flatnonzero(having & ~dealt)
        val[free[: max(want, 0)]] = True
        dealt[free] = True
    rest = np.flatnonzero(~dealt)
    val[rest[: _count(len(rest), share)]] = True
    return np.flatnonzero(val)
