"""Tests of whether runs differ, on the pictures that they were all scored on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xfer.metrics.paired import compare, holm
from xfer.metrics.paired_groups import Difference, Group, compare_groups
from xfer.runs.counts import read_counts


@dataclass(frozen=True, slots=True)
class Side:
    """A run to test.

    run    | its folder
    figure | its primary score
    keys   | id -> by what the picture is known in the other run; None: by its id
    """

    run: Path
    figure: str
    keys: Mapping[str, Any] | None


def paired_tests(
    split: str, sides: Sequence[Side], left_out: Collection[Any] = ()
) -> list[dict[str, Any]]:
    """The first run against each other one.

    Args: left_out: keys of pictures that are not compared.

    Returns: one dict per other run that has counts of the same score: "runs": both, "figure",
        and what `metrics.paired.Paired` has; "p_holm": p corrected for several tests, if there are
        several; "line": all of it in words.
    """
    first, tests = sides[0], list[dict[str, Any]]()
    kept = read_counts(first.run, split, first.figure)
    if kept is None:
        return []
    ids, counts = kept
    places = {key: i for i, key in enumerate(_keys(first, ids)) if key not in left_out}
    for side in sides[1:]:
        other = read_counts(side.run, split, side.figure) if side.figure == first.figure else None
        if other is None:
            continue
        pairs = [(places[k], i) for i, k in enumerate(_keys(side, other[0])) if k in places]
        mine, theirs = np.array(pairs, np.int64).reshape(-1, 2).T
        found = compare(counts.take(mine), other[1].take(theirs))
        if found is not None:
            runs = [str(first.run), str(side.run)]
            tests.append({"runs": runs, "figure": first.figure, **found.document()})
    if len(tests) > 1:
        for test, p in zip(tests, holm([test["p"] for test in tests]), strict=True):
            test["p_holm"] = p
    for test in tests:
        test["line"] = _line(split, test)
    return tests


def paired_groups(
    split: str,
    groups: Sequence[Sequence[Side]],
    seeds: Sequence[Sequence[int]],
    left_out: Collection[Any] = (),
) -> list[Difference]:
    """Settings that were trained with several seeds against each other, see `compare_groups`, on
    the pictures that all their runs were scored on.

    Args: groups: a setting's runs; seeds: theirs; left_out: keys of pictures that are not compared.

    Returns: [] where a run has no counts of the first one's score.
    """
    sides = [side for group in groups for side in group]
    figure = sides[0].figure if sides else ""
    kept = [read_counts(side.run, split, figure) for side in sides if side.figure == figure]
    if len(kept) < len(sides) or any(one is None for one in kept):
        return []
    known = [one for one in kept if one is not None]
    keys = [_keys(side, ids) for side, (ids, _) in zip(sides, known, strict=True)]
    common = set(keys[0]).intersection(*keys[1:]) - set(left_out) if keys else set[Any]()
    order = [key for key in keys[0] if key in common] if keys else []
    counts: list[Any] = []
    for own, (_, table) in zip(keys, known, strict=True):
        places = {key: i for i, key in enumerate(own)}
        counts.append(table.take(np.array([places[key] for key in order], np.int64)))
    rest = iter(counts)
    return compare_groups([
        Group([next(rest) for _ in group], list(each))
        for group, each in zip(groups, seeds, strict=True)
    ])  # fmt: skip


def difference_line(split: str, figure: str, names: tuple[str, str], one: Difference) -> str:
    """A difference of two settings in words. Args: names: of the first and of the second."""
    p = f"p = {one.p_holm:.2g}" if one.p_holm >= 0.001 else "p < 0.001"
    verdict = "beyond chance" if one.beyond_chance else "within chance"
    if one.seeds < 2:
        verdict = "one seed each can't tell"
    return (
        f"{split} {figure}: {names[1]} minus {names[0]}: {one.difference:+.4f} (95 % "
        f"{one.low:+.4f} to {one.high:+.4f}), {p} by Holm, {verdict}: {one.pictures:,} pictures, "
        f"{one.test}"
    )


def _keys(side: Side, ids: Sequence[str]) -> list[Any]:
    return list(ids) if side.keys is None else [side.keys.get(name) for name in ids]


def _line(split: str, test: Mapping[str, Any]) -> str:
    one, two = test["runs"]
    p = f"p = {test['p']:.2g}" if test["p"] >= 0.001 else "p < 0.001"
    several = f" ({test['p_holm']:.2g} by Holm for several tests)" if "p_holm" in test else ""
    return (
        f"{split} {test['figure']}: {two} minus {one}: {test['difference']:+.4f} (95 % "
        f"{test['low']:+.4f} to {test['high']:+.4f}), {p}{several}, {test['pictures']:,} "
        f"pictures: {test['test']}"
    )
