"""Whether settings differ that were trained several times: a bootstrap over pictures and seeds.

One trained model says little of its setting: another seed gives another score. Here a setting's
score is the mean over its seeds, and a difference counts as beyond chance if it would show again on
other pictures and with other seeds. All settings are tested against each other and the p-values
corrected for their number, so that the best of many may be picked out afterwards.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.errors import XferError
from xfer.metrics.paired import holm
from xfer.metrics.resampled import Resampled, resample

ALPHA = 0.05
# resamples: as many as the corrected p-values of that many pairs need, within a cost of about 2 s
_LEAST, _PER_PAIR, _COST = 2000, 100, 150_000_000


@dataclass(frozen=True, slots=True)
class Group:
    """A setting's runs: the counts of each on the same pictures in the same order, and its seed."""

    counts: Sequence[Resampled]
    seeds: Sequence[int]


@dataclass(frozen=True, slots=True)
class Difference:
    """Two settings, `first` and `second`, numbers into the groups.

    difference | mean score of the second minus that of the first
    low, high  | its 95 % interval; p: two-sided; p_holm: corrected for all pairs that were tested
    test       | how p was computed; pictures, seeds: how many each setting was scored on
    """

    first: int
    second: int
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    test: str
    pictures: int
    seeds: int

    @property
    def beyond_chance(self) -> bool:
        """Never with one seed each: that compares two trained models, not their settings."""
        return self.seeds > 1 and self.p_holm < ALPHA

    def document(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "beyond_chance": self.beyond_chance}


def compare_groups(groups: Sequence[Group], *, seed: int = 0) -> list[Difference]:
    """Every pair of settings compared on the same pictures; pairs with an undefined score, and
    sets of fewer than two pictures, are left out.

    Each resample draws N of the N pictures for all runs alike, and S - 1 of the S seeds of a
    setting, which makes up for the few seeds that there are; settings with the same seeds are drawn
    the same ones. p is twice the share of resamples in which the difference has the other sign, at
    least that of a normal distribution with the resamples' deviation.

    Args: seed: of the draws.
    Raises: XferError for counts of different numbers of pictures.
    Source: Efron, Tibshirani 1993, ch. 8; Rao, Wu 1988, "Resampling inference with complex survey
        data", sec. 2 (S - 1 draws); Holm 1979.
    """
    runs = [counts for group in groups for counts in group.counts]
    sizes = {counts.pictures for counts in runs}
    if len(sizes) > 1:
        raise XferError(f"counts of {min(sizes)} and of {max(sizes)} pictures can't be paired")
    pictures = sizes.pop() if sizes else 0
    pairs = list(itertools.combinations(range(len(groups)), 2))
    if pictures < 2 or not pairs:
        return []
    cost = sum(counts.cost for counts in runs)
    draws = max(200, min(max(_LEAST, _PER_PAIR * len(pairs)), _COST // max(1, cost)))

    def scores(copies: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.stack([counts.scores(copies) for counts in runs], 1)

    own = scores(np.ones((1, pictures), np.int64))[0]
    means, resampled = _by_group(groups, own, resample(pictures, cost, draws, seed, scores), seed)
    found: list[Difference] = []
    for a, b in pairs:
        values = resampled[b] - resampled[a]
        values = values[np.isfinite(values)]
        difference = means[b] - means[a]
        if not math.isfinite(difference) or not len(values):
            continue
        low, high = np.quantile(values, [0.025, 0.975]).tolist()
        count = min(len(groups[a].counts), len(groups[b].counts))
        how = f"{count} seeds" if count > 1 else "one seed"
        found.append(Difference(
            a, b, difference, min(low, difference), max(high, difference),
            _p_value(difference, values), 1.0,
            f"paired bootstrap over pictures and {how}, {draws} draws, seed {seed}",
            pictures, count,
        ))  # fmt: skip
    corrected = holm([one.p for one in found])
    return [
        Difference(**{**asdict(one), "p_holm": p}) for one, p in zip(found, corrected, strict=True)
    ]


def _by_group(
    groups: Sequence[Group], own: NDArray[np.float64], drawn: NDArray[np.float64], seed: int
) -> tuple[list[float], list[NDArray[np.float64]]]:
    """Each setting's mean score, and its mean in each resample: of S - 1 seeds, drawn from its S.

    Args: own: (R,), scores of all runs in the groups' order; drawn: (D, R), those of the resamples.
    """
    chosen: dict[tuple[int, ...], NDArray[np.int64]] = {}
    means: list[float] = []
    resampled: list[NDArray[np.float64]] = []
    start = 0
    for group in groups:
        count, seeds = len(group.counts), tuple(group.seeds)
        if seeds not in chosen:
            rng = np.random.default_rng((seed, len(chosen), 0x5EED5))
            chosen[seeds] = rng.integers(0, count, (len(drawn), max(1, count - 1)))
        part = slice(start, start + count)
        means.append(float(own[part].mean()))
        resampled.append(np.take_along_axis(drawn[:, part], chosen[seeds], 1).mean(1))
        start += count
    return means, resampled


def _p_value(difference: float, values: NDArray[np.float64]) -> float:
    # the own difference counts as one more resample: p is never 0
    sides = int((values <= 0).sum()), int((values >= 0).sum())
    counted = min(1.0, 2 * (1 + min(sides)) / (1 + len(values)))
    spread = float(values.std())
    normal = math.erfc(abs(difference) / spread / math.sqrt(2)) if spread > 0 else 0.0
    return max(counted, normal)
