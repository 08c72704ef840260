"""Cutting a validation split, and taking the first N of a seeded shuffle."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def stratified(
    labels: NDArray[Any], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cuts positions in two, every class in proportion.

    Args:
        labels: int (N,) class indices, or (N, C) multi-label (cut at random, unstratified).
        share: of each class that goes to the second part, at least one picture where the class
            has two or more; a class with one picture stays in the first part.
        seed: the same seed cuts the same way.

    Returns: two sorted, disjoint int64 arrays that cover 0..N-1.
    """
    rng = np.random.default_rng(seed)
    count = len(labels)
    if labels.ndim > 1:
        order = rng.permutation(count)
        size = min(count - 1, max(1, round(share * count))) if count > 1 else 0
        return np.sort(order[size:]), np.sort(order[:size])
    second: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    for value in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == value))
        size = min(len(members) - 1, max(1, round(share * len(members))))
        second.append(members[:size])
    held_out = np.sort(np.concatenate(second))
    return np.setdiff1d(np.arange(count), held_out), held_out


def first_of_shuffle(count: int, limit: int, seed: int) -> NDArray[np.int64]:
    """Positions of the first `limit` of a seeded shuffle, sorted."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:limit])
