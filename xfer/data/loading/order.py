"""Which pictures an epoch shows, in which order, and which process shows them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xfer.errors import XferError


def shuffled(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Every index once, int64 (count,); depends only on the seed and the epoch."""
    return np.random.default_rng((seed, epoch)).permutation(count)


def windowed(stored: NDArray[np.int64], window: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Every index once, int64 (N,), so that pictures stored together are read together.

    Blocks of an eighth of a window are taken in random order, and mixed within each window: for
    packs that are larger than memory, on disks that seek slowly.

    Args: stored: the indices in disk order; window: how many pictures are mixed at a time.
    """
    rng = np.random.default_rng((seed, epoch))
    blocks = np.array_split(stored, -(-len(stored) // max(1, window // 8)) or 1)
    order = np.concatenate([blocks[k] for k in rng.permutation(len(blocks))])
    for start in range(0, len(order), window):
        rng.shuffle(order[start : start + window])
    return order


def balanced(labels: NDArray, seed: int, epoch: int) -> NDArray[np.int64]:
    """As many indices as there are labels, with every class equally often (to within one).

    All pictures of a class are shown before one is repeated.
    Raises XferError for labels (N, C).
    """
    if labels.ndim != 1:
        raise XferError("data.balance needs one label per picture", "data.balance=false")
    rng = np.random.default_rng((seed, epoch))
    values = rng.permutation(np.unique(labels))
    drawn: list[NDArray[np.int64]] = []
    for k, value in enumerate(values):
        members = np.flatnonzero(labels == value)
        want = len(labels) // len(values) + (k < len(labels) % len(values))
        rounds = [rng.permutation(members) for _ in range(-(-want // len(members)))]
        drawn.append(np.concatenate([*rounds, members[:0]])[:want])
    return rng.permutation(np.concatenate(drawn))


def repeats(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """How often each entry has come before, int64 (N,): 0 for the first time."""
    by_index = np.argsort(order, kind="stable")
    values = order[by_index]
    places = np.arange(len(order))
    first = np.maximum.accumulate(np.where(np.diff(values, prepend=-1) != 0, places, 0))
    counts = np.empty(len(order), np.int64)
    counts[by_index] = places - first
    return counts


def batch_count(count: int, batch: int, train: bool, world: int = 1) -> int:
    """Batches per epoch, the same on every process.

    In training the last partial batch is dropped, but a set smaller than a batch is one partial
    batch, and there is none if there are fewer pictures than processes. In evaluation all are kept.
    """
    if train:
        return max(1, count // batch) if count >= world else 0
    return -(-count // batch)
