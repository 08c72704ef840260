"""Counts per picture, from which a score is computed again if pictures count more or less often.

What intervals (`interval`) and comparisons of two models (`paired`) resample: whole pictures, since
the boxes or pixels of one picture are no independent observations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError

Curve = Literal["coco", "11pt", "area", "steps"]
_RECALLS = {"coco": np.linspace(0, 1, 101), "11pt": np.linspace(0, 1, 11)}


class Resampled(Protocol):
    """A score as a function of how often each of its N pictures counts.

    pictures | N
    cost     | numbers that one row of `scores` goes through, about 10 ns each
    """

    @property
    def pictures(self) -> int: ...
    @property
    def cost(self) -> int: ...
    def scores(self, copies: NDArray[np.int64]) -> NDArray[np.float64]:
        """The score for each row of `copies`, int64 (D, N): float64 (D,); NaN if undefined."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as plain arrays, for a file; `read` makes it again."""
        ...


@dataclass(frozen=True, slots=True)
class Ratios:
    """A mean over classes of ratios of sums over pictures, such as mean IoU.

    part, whole | (N, C), numbers of each picture and class; a class's value is
                | sum(part) / sum(whole)
    counts      | (N, C): classes with a sum above 0 are in the mean
    """

    part: NDArray[Any]
    whole: NDArray[Any]
    counts: NDArray[Any]

    @classmethod
    def of_values(cls, values: NDArray[Any]) -> Self:
        """The mean of one value per picture, float (N,); NaN: the picture has none."""
        known = np.isfinite(values)
        column = known.astype(np.float64)[:, None]
        return cls(np.where(known, values, 0.0)[:, None], column, column)

    @property
    def pictures(self) -> int:
        return len(self.part)

    @property
    def cost(self) -> int:
        return self.part.size // 4 + self.pictures  # a product of matrices is fast

    def scores(self, copies: NDArray[np.int64]) -> NDArray[np.float64]:
        weights = copies.astype(np.float64)
        part, whole, counts = (
            weights @ np.asarray(table, np.float64)
            for table in (self.part, self.whole, self.counts)
        )
        there = (counts > 0) & (whole > 0)
        values = np.divide(part, whole, out=np.zeros_like(part), where=there)
        return _mean(values.sum(1), there.sum(1))

    def take(self, pictures: NDArray[np.int64]) -> Ratios:
        """The same of these pictures."""
        return Ratios(self.part[pictures], self.whole[pictures], self.counts[pictures])

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"part": self.part, "whole": self.whole, "counts": self.counts}


@dataclass(frozen=True, slots=True)
class Ranked:
    """A mean over classes of average precision, of boxes or of labels.

    pictures | N
    curve    | coco: mean of the best precision at 101 recalls; 11pt: at 11; area: area under it;
             | steps: sum of precision over the gains in recall, equal scores together
    image    | int (K,): picture of each ranked item; items are ordered by class, then falling score
    group    | int (K,): its class; score | float (K,)
    right    | bool (T, K): whether it is right at each threshold, which are averaged
    counted  | bool (T, K): whether it counts at all
    true_image, true_group | int (M,): picture and class of what is to be found
    """

    pictures: int
    curve: Curve
    image: NDArray[Any]
    group: NDArray[Any]
    score: NDArray[Any]
    right: NDArray[np.bool_]
    counted: NDArray[np.bool_]
    true_image: NDArray[Any]
    true_group: NDArray[Any]

    @property
    def cost(self) -> int:
        # what is wrong is only counted, once for all thresholds
        return int(self.right.sum()) * 3 + len(self.image) + self.pictures

    def scores(self, copies: NDArray[np.int64]) -> NDArray[np.float64]:
        total, number = np.zeros(len(copies)), np.zeros(len(copies), np.int64)
        weights = copies.astype(np.int32)
        order = np.argsort(self.true_group, kind="stable")
        true_image, true_group = self.true_image[order], self.true_group[order]
        for group in np.unique(true_group).tolist():
            a, b = np.searchsorted(true_group, [group, group + 1])
            positives = weights[:, true_image[a:b]].sum(1, dtype=np.int64)
            a, b = np.searchsorted(self.group, [group, group + 1])
            there = positives > 0
            total += np.where(there, self._of_class(weights, int(a), int(b), positives), 0.0)
            number += there
        return _mean(total, number)

    def _of_class(
        self, weights: NDArray[np.int32], a: int, b: int, positives: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Average precision of the class that has the items a to b: (D,)."""
        own = weights[:, self.image[a:b]]
        all_ranked = own.cumsum(1, dtype=np.int32)
        sums = np.zeros(len(weights))
        known = np.maximum(positives, 1)[:, None]
        for right, counted in zip(self.right[:, a:b], self.counted[:, a:b], strict=True):
            if not right.any():
                continue
            ranked = all_ranked if counted.all() else (own * counted).cumsum(1, dtype=np.int32)
            if self.curve == "steps":
                ends = np.append(np.flatnonzero(np.diff(self.score[a:b])), b - a - 1)
                hits = (own * right).cumsum(1, dtype=np.int32)[:, ends]
                precision = hits / np.maximum(ranked[:, ends], 1)
                sums += (np.diff(hits, prepend=0) * precision).sum(1) / known[:, 0]
                continue
            # between two right items precision falls and recall stays
            hits = own[:, right].cumsum(1, dtype=np.int32)
            precision = hits / np.maximum(ranked[:, right], 1)
            best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            if self.curve == "area":
                sums += (np.diff(hits, prepend=0) * best).sum(1) / known[:, 0]
                continue
            recalls = _RECALLS[self.curve]
            reached = np.searchsorted(recalls, hits / known, "right")
            sums += (np.diff(reached, prepend=0) * best).sum(1) / len(recalls)
        return sums / len(self.right)

    def take(self, pictures: NDArray[np.int64]) -> Ranked:
        """The same of these pictures."""
        place = np.full(self.pictures, -1)
        place[pictures] = np.arange(len(pictures))
        kept, true = place[self.image] >= 0, place[self.true_image] >= 0
        return Ranked(
            len(pictures), self.curve, place[self.image[kept]], self.group[kept], self.score[kept],
            self.right[:, kept], self.counted[:, kept], place[self.true_image[true]],
            self.true_group[true],
        )  # fmt: skip

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "pictures": np.array(self.pictures), "curve": np.array(self.curve),
            "image": self.image.astype(np.int32), "group": self.group.astype(np.int32),
            "score": self.score, "thresholds": np.array(len(self.right)),
            "right": np.packbits(self.right), "counted": np.packbits(self.counted),
            "true_image": self.true_image.astype(np.int32),
            "true_group": self.true_group.astype(np.int32),
        }  # fmt: skip


def read(arrays: Mapping[str, NDArray[Any]]) -> Ratios | Ranked:
    """What `arrays` has written. Raises DataError for arrays that don't belong together."""
    if "part" in arrays:
        tables = [arrays[name] for name in ("part", "whole", "counts")]
        good = all(t.ndim == 2 and t.shape == tables[0].shape for t in tables)
        if not good or any(t.dtype.kind not in "iuf" for t in tables):
            raise DataError("counts of pictures that don't belong together")
        return Ratios(*tables)
    curve: Any = str(arrays["curve"])
    pictures, thresholds = int(arrays["pictures"]), int(arrays["thresholds"])
    items, names = len(arrays["image"]), ("image", "group", "score", "true_image", "true_group")
    image, group, score, true_image, true_group = (arrays[name] for name in names)
    bits = [np.unpackbits(arrays[name]) for name in ("right", "counted")]
    if (
        curve not in ("coco", "11pt", "area", "steps")
        or not 1 <= thresholds <= 100
        or any(b.size // 8 != -(-thresholds * items // 8) for b in bits)
        or any(len(c) != items for c in (group, score))
        or len(true_image) != len(true_group)
        or any(len(c) and not 0 <= c.min() <= c.max() < pictures for c in (image, true_image))
    ):
        raise DataError("ranked items that don't belong together")
    right, counted = (b[: thresholds * items].reshape(thresholds, items).astype(bool) for b in bits)
    return Ranked(pictures, curve, image, group, score, right, counted, true_image, true_group)


def draws_for(counts: Resampled) -> int:
    """How many times to resample: 1000, less where one takes long, at least 200.

    Depends on the counts alone, so that the same scores always get the same interval.
    """
    return max(200, min(1000, _BUDGET // max(1, counts.cost)))


_BUDGET = 60_000_000
_AT_ONCE = 4_000_000  # numbers held at a time


def resample(
    pictures: int,
    cost: int,
    draws: int,
    seed: int,
    scores: Callable[[NDArray[np.int64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """Draws N of N pictures with replacement, `draws` times, and scores each: (draws, ...).

    Args: cost: see `Resampled`; scores: copies int64 (D, N) -> (D, ...).
    """
    rng = np.random.default_rng(seed)
    parts: list[NDArray[np.float64]] = []
    size = max(1, min(draws, _AT_ONCE // max(1, cost, pictures)))
    for start in range(0, draws, size):
        rows = min(size, draws - start)
        chosen = rng.integers(0, pictures, (rows, pictures))
        chosen += pictures * np.arange(rows)[:, None]
        copies = np.bincount(chosen.ravel(), minlength=rows * pictures)
        parts.append(scores(copies.reshape(rows, pictures)))
    return np.concatenate(parts)


def _mean(total: NDArray[np.float64], number: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(total, number, out=np.full(len(total), math.nan), where=number > 0)
