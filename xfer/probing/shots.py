"""Scores of a probe trained on a few pictures per class: repeated draws, with an interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from xfer.errors import DataError, XferError
from xfer.probing.choose import choose
from xfer.probing.fit import fit_probe

REPEATS = 10
CONFIDENCE = 0.95


def shot_curve(
    name: str,
    features: NDArray[Any],
    labels: NDArray[Any],
    others: NDArray[Any],
    truth: NDArray[Any],
    shots: Sequence[int],
    *,
    scaling: str,
    classes: int,
    repeats: int = REPEATS,
    seed: int = 0,
    tick: Callable[[str], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Probes on k training pictures per class, drawn `repeats` times.

    Within a repeat the draws grow: 4 pictures include the 2 drawn before. Strength is chosen in
    each draw by cross-validation on the drawn pictures only; with one picture per class, where
    none can be held out, it is the classifier's default.

    Args:
        name: of the classifier; features: float (N, D) to draw from, labels: int (N,).
        others, truth: float (M, D), int (M,): the rows to score on.
        shots: pictures per class, each at least 1.
        scaling: a key of `space.SCALINGS`; classes: C.
        tick: called with a line as each is done.

    Returns: one row per k: {"shots", "top1", "low", "high", "std", "repeats", "values"}; low
        and high are Student's interval of the mean over the draws, confidence 0.95, within 0..1.
    Raises: DataError if a class has fewer than k pictures.
    """
    check_shots(labels, shots)
    present = np.unique(labels)
    orders: list[list[NDArray[np.int64]]] = []
    for repeat in range(repeats):
        rng = np.random.default_rng((seed, repeat))
        orders.append([rng.permutation(np.flatnonzero(labels == c)) for c in present])
    rows: list[dict[str, Any]] = []
    for count in sorted(set(shots)):
        values: list[float] = []
        for repeat, order in enumerate(orders):
            drawn = np.sort(np.concatenate([places[:count] for places in order]))
            choice = choose(
                name, features[drawn], labels[drawn], classes, seed=seed + repeat,
                scalings=(scaling,), fine=False,
            )  # fmt: skip
            probe, _ = fit_probe(name, features[drawn], labels[drawn], classes, choice=choice)
            values.append(float((probe.scores(others).argmax(1) == truth).mean()))
        rows.append({"shots": count, **_summary(values)})
        row = rows[-1]
        tick(f"{count} per class: top1 {row['top1']:.4f} ({row['low']:.4f}..{row['high']:.4f})")
    return rows


def check_shots(labels: NDArray[Any], shots: Sequence[int]) -> None:
    """Raises XferError for shots below 1, DataError for more than the smallest class has."""
    if labels.ndim > 1:
        raise XferError("--shots needs one label per picture", "leave out --shots")
    if min(shots) < 1:
        raise XferError(f"--shots {min(shots)}: at least one picture per class")
    counts = np.bincount(labels)
    few = int(counts[counts > 0].min())
    if max(shots) > few:
        raise DataError(
            f"--shots {max(shots)}: a class has {few} training picture{'s' * (few != 1)}",
            f"--shots up to {few}",
        )


def _summary(values: list[float]) -> dict[str, Any]:
    mean, count = float(np.mean(values)), len(values)
    std = float(np.std(values, ddof=1)) if count > 1 else 0.0
    reach = 0.0
    if count > 1:
        reach = float(student.ppf((1 + CONFIDENCE) / 2, count - 1)) * std / math.sqrt(count)
    return {
        "top1": mean,
        "low": max(0.0, mean - reach),
        "high": min(1.0, mean + reach),
        "std": std,
        "repeats": count,
        "values": values,
    }
