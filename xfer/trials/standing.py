"""How settings compare: mean and deviation over seeds, and which differences are beyond chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xfer.metrics.paired_groups import Difference
from xfer.runs.pairs import Side, paired_groups
from xfer.trials.grid import Setting
from xfer.trials.runner import FINISHED, Outcome


@dataclass(frozen=True)
class Standing:
    """What the runs of an experiment say.

    settings | those that were compared; runs: seed -> outcome of each
    best     | number of the setting with the highest mean over the most seeds; None: none finished
    seeds    | that all of `compared` have finished; compared: numbers of the settings
    differences | all pairs of `compared`, numbered as `settings`
    """

    settings: Sequence[Setting]
    runs: Sequence[Mapping[int, Outcome]]
    primary: str
    seeds: tuple[int, ...]
    compared: tuple[int, ...]
    best: int | None
    differences: tuple[Difference, ...]

    def scores(self, number: int) -> list[float]:
        """A setting's scores, of the seeds that all have where it is compared."""
        runs = self.runs[number]
        seeds = self.seeds if number in self.compared else tuple(runs)
        found = [runs[seed].score for seed in seeds if seed in runs]
        return [score for score in found if score is not None]

    def mean(self, number: int) -> float | None:
        scores = self.scores(number)
        return float(np.mean(scores)) if scores else None

    def against(self, number: int, reference: int) -> Difference | None:
        """The setting minus the reference; None if they were not compared."""
        for one in self.differences:
            if (one.first, one.second) == (reference, number):
                return one
            if (one.first, one.second) == (number, reference):
                return turned(one)
        return None

    def rows(self) -> list[dict[str, Any]]:
        """One per setting: its values, "mean", "deviation" (of a sample; None for one run), "n",
        "scores", "seeds", "minus_best" with what `Difference` has, "seconds", and "diverged" where
        runs have."""
        rows: list[dict[str, Any]] = []
        for number, setting in enumerate(self.settings):
            scores, own = self.scores(number), self.runs[number]
            apart = None
            if self.best is not None and number != self.best:
                apart = self.against(number, self.best)
            row: dict[str, Any] = {
                **setting.values,
                "mean": self.mean(number),
                "deviation": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
                "n": len(scores),
                "scores": scores,
                "seeds": [s for s, run in own.items() if run.score is not None],
                "minus_best": None if apart is None else _plain(apart),
                "seconds": round(sum(run.result.get("seconds", 0.0) for run in own.values()), 1),
            }
            diverged = sum(run.state == "diverged" for run in own.values())
            rows.append({**row, "diverged": diverged} if diverged else row)
        return rows


def turned(one: Difference) -> Difference:
    """The same difference seen from the other setting."""
    return Difference(
        one.second, one.first, -one.difference, -one.high, -one.low, one.p, one.p_holm, one.test,
        one.pictures, one.seeds,
    )  # fmt: skip


def _plain(one: Difference) -> dict[str, Any]:
    document = one.document()
    return {key: value for key, value in document.items() if key not in ("first", "second")}


def standing(
    settings: Sequence[Setting], runs: Sequence[Mapping[int, Outcome]], split: str = "val"
) -> Standing:
    """Compares settings by their finished runs, over the seeds that the most settings share.

    Args: runs: of each setting, seed -> outcome. A setting with a run that diverged is out.
    """
    good: list[dict[int, Outcome]] = []
    for own in runs:
        finished = {seed: run for seed, run in own.items() if run.score is not None}
        failed = any(run.state == "diverged" for run in own.values())
        good.append({} if failed else finished)
    most = max((len(own) for own in good), default=0)
    # with a budget that ended early, settings have different seeds: those that all have count
    able = tuple(n for n, own in enumerate(good) if own)
    shared = set.intersection(*(set(good[n]) for n in able)) if able else set[int]()
    compared = able if shared else tuple(n for n in able if len(good[n]) == most)
    if not shared and compared:
        shared = set.intersection(*(set(good[n]) for n in compared))
    seeds = tuple(sorted(shared))
    primary = next((str(r.result["primary"]) for own in good for r in own.values()), "")
    differences: list[Difference] = []
    best = None
    if seeds:
        sides = [[Side(good[n][s].path, primary, None) for s in seeds] for n in compared]
        for one in paired_groups(split, sides, [seeds] * len(compared)):
            a, b = compared[one.first], compared[one.second]
            differences.append(Difference(
                a, b, one.difference, one.low, one.high, one.p, one.p_holm, one.test, one.pictures,
                one.seeds,
            ))  # fmt: skip
        means = {n: float(np.mean([good[n][s].score or 0.0 for s in seeds])) for n in compared}
        best = max(compared, key=lambda n: means[n])
    return Standing(settings, runs, primary, seeds, compared, best, tuple(differences))


def verdict(found: Standing) -> str:
    """What an experiment says, in a sentence or two."""
    if found.best is None:
        return "no setting has a finished run to compare"
    best, mean = found.settings[found.best].name, found.mean(found.best)
    count = len(found.seeds)
    over = f"mean of {count} seeds" if count > 1 else "one seed"
    head = f"best: {best}, {found.primary} {mean:.4f} ({over})"
    others = [n for n in found.compared if n != found.best]
    if not others:
        return head
    if count < 2:
        return f"{head}; one seed each can't tell settings from luck: --seeds 3"
    near = [n for n in others if not _beyond(found, n)]
    if not near:
        return f"{head}, better than every other setting beyond chance"
    names = " and ".join(found.settings[n].name for n in near[:3])
    more = f" and {len(near) - 3} more" if len(near) > 3 else ""
    return f"{head}; within chance of it: {names}{more}"


def _beyond(found: Standing, number: int) -> bool:
    one = found.against(number, found.best if found.best is not None else number)
    return one is not None and one.beyond_chance


def finished(runs: Sequence[Mapping[int, Outcome]]) -> int:
    """How many runs are finished."""
    return sum(run.state == FINISHED for own in runs for run in own.values())
