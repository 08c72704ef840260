"""Runs side by side: their scores, whether these are of the same pictures, and seeds as a mean."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xfer.errors import XferError, listed
from xfer.kinds.findings import counted
from xfer.notebook.results import RunsCompared
from xfer.recipe.tables import flatten
from xfer.recipe.toml import load_recipe
from xfer.runs.listing import read_json, read_result, run_folder
from xfer.runs.pairs import Side, difference_line, paired_groups, paired_tests
from xfer.runs.pictures import Numbers, read_pictures

SEEDS = ("run.seed", "data.split_seed")
SPEED = ("steps", "best_step", "seconds", "images_per_second", "data_wait", "peak_memory_mb")
SCORES = {"val": "metrics", "test": "test_metrics"}  # split -> its key in result.json


@dataclass(frozen=True)
class One:
    """A run to compare: its folder, its recipe by dotted keys, its result and its splits."""

    path: Path
    recipe: dict[str, Any]
    result: dict[str, Any]
    splits: dict[str, Any]
    marks: Numbers
    truths: Numbers

    @classmethod
    def of(cls, run: Path | str) -> One:
        path = run_folder(run)
        splits = read_json(path / "split.json")
        return cls(
            path, flatten(load_recipe(str(path / "recipe.toml"))), read_result(path), splits,
            *read_pictures(path, splits),
        )  # fmt: skip

    def scored_on(self, split: str) -> Any:
        """split.json's entry; None if the scores are not of these pictures, or it is unknown."""
        elsewhere = self.result.get("data") != self.recipe["data.source"]
        return None if "compressed" in self.result and elsewhere else self.splits.get(split)


def compare_runs(runs: Sequence[Path | str]) -> dict[str, Any]:
    """Runs side by side.

    Returns: {"runs": [...], "val": {metric: [one value per run]}, "test": the same,
        "speed": the same, "recipe": {key that differs: [one value per run]}}; None if a run lacks
        the number. "pictures": {"val": {"images": [one per run], "same": whether all were scored
        on the same, "shared": how many are in all}, "test": the same}, None for what can't be told.
        "groups": runs that differ in nothing but their seed, [{"runs", "seeds", "n", "val":
        {metric: {"mean", "std"}}, "test": the same}]; std is that of a sample, None for one run.
        "paired": {"val": tests of the first run against each other one, see `paired_tests`}.
        "paired_groups": {"val": tests of every group against every other, if one has several
        seeds, see `paired_groups`; "first" and "second" number the groups}.
        "notes": lines about the pictures.
    Raises: XferError for fewer than two runs, or a folder that is not a run.
    """
    if len(runs) < 2:
        raise XferError("comparing needs two runs or more", "xfer runs compare RUN RUN...")
    ones = [One.of(run) for run in runs]
    keys = dict.fromkeys(key for one in ones for key in one.recipe)
    rows = {key: [one.recipe.get(key) for one in ones] for key in keys}
    pictures: dict[str, Any] = {}
    paired: dict[str, Any] = {}
    groups = _grouped(ones)
    paired_by_group: dict[str, Any] = {}
    notes: list[str] = []
    for split, key in SCORES.items():
        scored = [one for one in ones if key in one.result]
        if len(scored) > 1:
            pictures[split], lines = _pictures(split, scored, ones)
            notes += lines
            comparable = _comparable(split, scored)
            paired[split] = [] if comparable is None else paired_tests(split, *comparable)
            if comparable is not None and len(scored) == sum(map(len, groups)):
                paired_by_group[split] = _paired_groups(split, groups, *comparable)
    compared = {
        "runs": [str(one.path) for one in ones],
        **{
            s: _side_by_side([one.result.get(key, {}) for one in ones]) for s, key in SCORES.items()
        },
        "speed": _side_by_side(
            [{k: one.result[k] for k in SPEED if k in one.result} for one in ones]
        ),
        "recipe": {k: row for k, row in rows.items() if any(value != row[0] for value in row)},
        "pictures": pictures,
        "paired": paired,
        "groups": [_about(group) for group in groups],
        "paired_groups": paired_by_group,
        "notes": notes,
    }
    return RunsCompared(compared)


def _side_by_side(tables: list[dict[str, Any]]) -> dict[str, list[Any]]:
    numbers = [_numbers(table) for table in tables]
    names = dict.fromkeys(name for table in numbers for name in table)
    return {name: [table.get(name) for table in numbers] for name in names}


def _numbers(table: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a table; integers beyond those that a float can hold are left out."""
    numbers = {k: v for k, v in table.items() if isinstance(v, (int, float))}
    return {k: v for k, v in numbers.items() if isinstance(v, float) or abs(v) < 1 << 63}


def _pictures(
    split: str, scored: Sequence[One], ones: Sequence[One]
) -> tuple[dict[str, Any], list[str]]:
    """Whether runs were scored on the same pictures of a split, and lines if they were not."""
    entries = [one.scored_on(split) for one in scored]
    counts = [len(e) if isinstance(e, list) else (e or {}).get("images") for e in entries]
    of = dict(zip((one.path for one in scored), counts, strict=True))
    about: dict[str, Any] = {"images": [of.get(one.path) for one in ones]}
    unknown = [str(one.path) for one, e in zip(scored, entries, strict=True) if e is None]
    if unknown:
        line = f"which pictures {listed(unknown)} was scored on is not known"
        return {**about, "same": None, "shared": None}, [f"{split}: {line}"]
    if not all(isinstance(entry, list) for entry in entries):  # too many to be listed
        same = all(entry == entries[0] for entry in entries)
        shared = counts[0] if same else None
        labels = 0
    else:
        known = _known_by(split, scored)
        if known is None:
            line = "whether the runs were scored on the same pictures can't be told"
            return {**about, "same": None, "shared": None}, [f"{split}: {line}"]
        sets = [set(keys.values()) for keys in known]
        common = set.intersection(*sets)
        shared, labels = len(common), len(_relabelled(split, scored, common))
        same = all(len(one) == shared for one in sets)
    lines: list[str] = []
    if not same:
        how = "" if shared is None else f"; {shared:,} {'is' if shared == 1 else 'are'} in all"
        each = ", ".join(f"{path} {count:,}" for path, count in of.items())
        lines = [f"warning: {split}: the runs were scored on different pictures: {each}{how}"]
    if labels:
        lines.append(
            f"warning: {split}: {counted(labels, 'picture has', 'pictures have')} other labels in "
            "one run than in another"
        )
    return {**about, "same": same, "shared": shared}, lines


def _known_by(split: str, scored: Sequence[One]) -> list[dict[str, Any]] | None:
    """Each run's pictures: id -> what they are known by in all runs, their bytes if all runs
    recorded them, else their ids; None if these are of different data."""
    ids = [one.splits[split] for one in scored]
    numbers = [one.marks.get(split) for one in scored]
    if all(array is not None and len(np.unique(array)) == len(array) and array.all()
           for array in numbers):  # fmt: skip
        known = zip(ids, numbers, strict=True)
        return [
            dict(zip(i, array.tolist(), strict=True)) for i, array in known if array is not None
        ]
    if len({one.recipe["data.source"] for one in scored}) > 1:
        return None
    return [dict(zip(each, each, strict=True)) for each in ids]


def _relabelled(split: str, scored: Sequence[One], common: set[Any]) -> set[Any]:
    """Those of the common pictures that have other labels in one run than in another."""
    known: dict[Any, set[int]] = {picture: set() for picture in common}
    for one in scored:
        if split not in one.truths:
            return set()
        for keys in (one.marks[split].tolist(), one.splits[split]):
            for picture, truth in zip(keys, one.truths[split].tolist(), strict=True):
                if picture in known and truth:
                    known[picture].add(truth)
    return {picture for picture, truths in known.items() if len(truths) > 1}


def _comparable(split: str, scored: Sequence[One]) -> tuple[list[Side], set[Any]] | None:
    """The runs as sides of tests, and the pictures with other labels in some, as far as they were
    scored on the same pictures; None where that is not known."""
    entries = [one.scored_on(split) for one in scored]
    if any(entry is None for entry in entries):
        return None
    known: list[Any] | None = [None] * len(scored)
    odd = set[Any]()
    if all(isinstance(entry, list) for entry in entries):
        known = _known_by(split, scored)
        if known is not None:
            odd = _relabelled(split, scored, set.intersection(*(set(k.values()) for k in known)))
    elif any(entry != entries[0] for entry in entries):
        return None
    if known is None:
        return None
    return [
        Side(one.path, str(one.result.get("primary")), keys)
        for one, keys in zip(scored, known, strict=True)
    ], odd


def _grouped(ones: Sequence[One]) -> list[list[One]]:
    """Finished runs by everything in their recipe but the seeds."""
    groups: dict[str, list[One]] = {}
    for one in ones:
        if one.result:
            rest = {key: value for key, value in one.recipe.items() if key not in SEEDS}
            groups.setdefault(json.dumps(rest, sort_keys=True, default=str), []).append(one)
    return list(groups.values())


def _paired_groups(
    split: str, groups: Sequence[Sequence[One]], sides: Sequence[Side], odd: set[Any]
) -> list[dict[str, Any]]:
    """Tests of the groups against each other; none if each is a single run, which `paired` tests
    already, or one that is given twice."""
    if len(groups) < 2 or all(len(group) < 2 for group in groups):
        return []
    of = {side.run: side for side in sides}
    seeds = [[one.recipe["run.seed"] for one in group] for group in groups]
    tests = paired_groups(split, [[of[one.path] for one in group] for group in groups], seeds, odd)
    names = [str(group[0].path) for group in groups]
    figure = sides[0].figure
    return [
        {**test.document(), "figure": figure,
         "line": difference_line(split, figure, (names[test.first], names[test.second]), test)}
        for test in tests
    ]  # fmt: skip


def _about(group: Sequence[One]) -> dict[str, Any]:
    """A group's runs and seeds, with the mean and deviation of each score."""
    return {
        "runs": [str(one.path) for one in group],
        "seeds": [one.recipe["run.seed"] for one in group],
        "n": len(group),
        **{split: _spread([one.result.get(key, {}) for one in group])
           for split, key in SCORES.items()},
    }  # fmt: skip


def _spread(tables: list[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Mean and standard deviation of each number that all of these have."""
    numbers = [_numbers(table) for table in tables]
    names = [name for name in numbers[0] if all(name in table for table in numbers)]
    values = {name: [table[name] for table in numbers] for name in names}
    return {
        name: {
            "mean": sum(each) / len(each),
            "std": _deviation(each),
        }
        for name, each in values.items()
    }


def _deviation(each: Sequence[float]) -> float | None:
    """Standard deviation of a sample; None for one number, NaN where one is not finite."""
    with np.errstate(invalid="ignore"):
        return float(np.std(each, ddof=1)) if len(each) > 1 else None
