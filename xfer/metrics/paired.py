"""Whether two models differ on the same pictures: McNemar's test, and the paired bootstrap.

Both models see the same easy and hard pictures, so that a difference shows far sooner than from the
two scores' intervals. A test compares two trained models: another seed of the same recipe is
another model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.errors import XferError
from xfer.metrics.resampled import Ratios, Resampled, draws_for, resample

FEW = 25  # disagreements, below which the chi-squared approximation is not used


@dataclass(frozen=True, slots=True)
class Paired:
    """The comparison of two models, a and b.

    difference | score of b minus score of a
    low, high  | its 95 % interval, by the paired bootstrap
    p          | how probable a difference at least as large is if the models are equally good
    test       | how p was computed
    pictures   | how many
    """

    difference: float
    low: float
    high: float
    p: float
    test: str
    pictures: int

    def document(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def compare(a: Resampled, b: Resampled, *, draws: int = 0, seed: int = 0) -> Paired | None:
    """Compares two models scored on the same pictures in the same order; None if a score is
    undefined, or for fewer than two pictures.

    Right or wrong answers are compared by McNemar's test, any other score by the paired bootstrap:
    twice the share of resamples in which the difference has the other sign or is 0.

    Args: draws: how often to resample; 0: as `draws_for` says.
    Raises: XferError for counts of different numbers of pictures.
    Source: McNemar 1947; Efron, Tibshirani 1993, ch. 8.
    """
    pictures = a.pictures
    if b.pictures != pictures:
        raise XferError(f"counts of {pictures} and of {b.pictures} pictures can't be paired")
    ones = np.ones((1, max(1, pictures)), np.int64)
    if pictures < 2:
        return None
    own = float(b.scores(ones)[0] - a.scores(ones)[0])
    draws = draws or min(draws_for(a), draws_for(b))
    values = resample(
        pictures, a.cost + b.cost, draws, seed, lambda copies: b.scores(copies) - a.scores(copies)
    )
    values = values[np.isfinite(values)]
    if not math.isfinite(own) or not len(values):
        return None
    low, high = np.quantile(values, [0.025, 0.975]).tolist()
    answers = _answers(a), _answers(b)
    if answers[0] is not None and answers[1] is not None:
        better = int((answers[1] & ~answers[0]).sum())
        p, test = mcnemar(int((answers[0] & ~answers[1]).sum()), better)
    else:
        # the models' own difference counts as one more resample: p is never 0
        sides = [int((values <= 0).sum()), int((values >= 0).sum())]
        p = min(1.0, 2 * (1 + min(sides)) / (1 + len(values)))
        test = f"paired bootstrap over pictures, {draws} draws, seed {seed}"
    return Paired(own, min(low, own), max(high, own), p, test, pictures)


def mcnemar(only_a: int, only_b: int) -> tuple[float, str]:
    """The p-value of McNemar's test, two-sided, and its name.

    Args: only_a, only_b: pictures that this model alone has right.

    Exact (binomial) below 25 of these, else chi-squared with Edwards's correction of 1.
    """
    few, n = min(only_a, only_b), only_a + only_b
    apart = f"{only_a} right in the first alone, {only_b} in the second"
    if n < FEW:
        tail = sum(math.comb(n, k) for k in range(few + 1)) / 2**n
        return min(1.0, 2 * tail), f"McNemar's test, exact binomial; {apart}"
    squared = max(0, abs(only_a - only_b) - 1) ** 2 / n
    return math.erfc(math.sqrt(squared / 2)), f"McNemar's test, chi-squared; {apart}"


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for being several (Holm 1979), in their order."""
    corrected, least = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = least
    return corrected


def _answers(counts: Resampled) -> NDArray[np.bool_] | None:
    """Right or wrong of each picture, bool (N,); None if the score is another one."""
    if not isinstance(counts, Ratios) or counts.part.shape[1] != 1:
        return None
    if not (counts.whole == 1).all() or not np.isin(counts.part, (0, 1)).all():
        return None
    return counts.part[:, 0] == 1
