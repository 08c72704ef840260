"""Confidence intervals of scores: how far a score may be off because the pictures are few.

They hold for other pictures of the same kind, scored by the same model: what another seed of the
training would change is not in them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from xfer.metrics.resampled import Ranked, Ratios, Resampled, draws_for, resample

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """The ends of a confidence interval, in the unit of the score, and how it was computed."""

    low: float
    high: float
    method: str

    def document(self) -> dict[str, Any]:
        """As result.json has it: {"low", "high", "method"}."""
        return {"low": self.low, "high": self.high, "method": self.method}


def wilson(correct: int, n: int, level: float = LEVEL) -> Interval | None:
    """The interval of a share of right answers; None for n = 0.

    Args:
        correct: right answers, 0..n.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference";
        without continuity correction, as recommended by Brown, Cai, DasGupta 2001.
    """
    if not n:
        return None
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share, extra = correct / n, z * z / n
    centre = share + extra / 2
    spread = z * math.sqrt(share * (1 - share) / n + extra / (4 * n))
    low, high = (centre - spread) / (1 + extra), (centre + spread) / (1 + extra)
    # exact at the ends, where the square root leaves rounding errors
    return Interval(
        low if correct else 0.0, high if correct < n else 1.0,
        f"Wilson score interval, {level:.0%}".replace("%", " %"),
    )  # fmt: skip


def bootstrap(
    counts: Resampled | None, *, draws: int = 0, seed: int = 0, level: float = LEVEL
) -> Interval | None:
    """The interval of a score by resampling whole pictures; None if fewer than two pictures or
    resamples have one.

    The bias-corrected percentile method. Classes that a resample has no picture of are left out of
    its mean, as they are of the score.

    Args:
        counts: None: the score has no counts per picture.
        draws: how often to resample; 0: as `draws_for` says.

    Source: Efron 1987, "Better bootstrap confidence intervals", sec. 2 (BC, without acceleration).
    """
    if counts is None or counts.pictures < 2:
        return None
    draws = draws or draws_for(counts)
    own = float(counts.scores(np.ones((1, counts.pictures), np.int64))[0])
    values = resample(counts.pictures, counts.cost, draws, seed, counts.scores)
    values = values[np.isfinite(values)]
    if not math.isfinite(own) or len(values) < 2:
        return None
    normal = NormalDist()
    # equal values count by half; at the very ends there is nothing to correct by
    below = (float((values < own).mean()) + float((values <= own).mean())) / 2
    shift = normal.inv_cdf(min(max(below, 0.5 / len(values)), 1 - 0.5 / len(values)))
    tail = normal.inv_cdf(0.5 + level / 2)
    shares = [normal.cdf(2 * shift - tail), normal.cdf(2 * shift + tail)]
    low, high = np.quantile(values, shares).tolist()
    words = f"bootstrap over pictures, bias-corrected, {draws} draws, seed {seed}"
    # the score itself is always inside: far at an end, the correction may pass it
    return Interval(min(low, own), max(high, own), f"{words}, {level:.0%}".replace("%", " %"))


def interval_of(metric: Any) -> Interval | None:
    """The interval of a metric's primary score: its own `interval()` if it has one, else that of
    the mean over its rows if they have a column of that name with this mean; else None."""
    own = getattr(metric, "interval", None)
    if callable(own):
        found = own()
        return found if isinstance(found, Interval) else None
    counts = counts_of(metric)
    return None if counts is None else bootstrap(counts[1])


def counts_of(metric: Any) -> tuple[list[str], Ratios | Ranked] | None:
    """The ids of a metric's pictures and the counts of its primary score, in the same order, by
    its own `picture_ids` and `per_picture()` or from its rows; None if it has none."""
    own = getattr(metric, "per_picture", None)
    if callable(own):
        counts = own()
        good = isinstance(counts, Ratios | Ranked)
        return (list(metric.picture_ids), counts) if good else None
    rows = metric.rows()
    values = [row.get(metric.primary) for row in rows]
    if not values or not all(v is None or isinstance(v, (int, float)) for v in values):
        return None
    counts = Ratios.of_values(np.array([math.nan if v is None else v for v in values], np.float64))
    mean = float(counts.scores(np.ones((1, len(values)), np.int64))[0])
    whole = metric.compute().get(metric.primary)
    if not isinstance(whole, float) or not abs(mean - whole) < 1e-5:  # it is not their mean
        return None
    return [str(row["id"]) for row in rows], counts
