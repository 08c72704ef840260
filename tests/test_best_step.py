"""Which evaluation is the best: the highest score, and of equal ones the lowest loss."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from xfer.device import Place
from xfer.recipe.data import open_recipe_data
from xfer.recipe.tables import DataTable, OptimTable, Recipe, RunTable, ScheduleTable
from xfer.train import loop
from xfer.train.job import Job
from xfer.train.loop import fit

RECIPE = Recipe(
    name="test", backbone="tiny_nets:tiny", weights="none", task_options={"head": "flat"},
    data=DataTable(source="digits", batch=8, augment="none", limit=32, workers=0),
    optim=OptimTable(lr=1e-2, head_scale=1.0), schedule=ScheduleTable(epochs=6),
    run=RunTable(precision="fp32", plots=False, report=False),
)  # fmt: skip


class Scripted:
    """A metric of fixed numbers."""

    primary = "top1"

    def __init__(self, numbers: dict[str, float]) -> None:
        self.numbers = numbers

    def compute(self) -> dict[str, float]:
        return self.numbers

    def protocol(self) -> dict[str, str]:
        return {}

    def rows(self) -> list[dict[str, Any]]:
        return []


def best_of(
    numbers: list[dict[str, float]], out: Path, monkeypatch: pytest.MonkeyPatch, **schedule: Any
) -> dict[str, Any]:
    """The result of a run whose evaluations give these numbers; an epoch has four steps."""
    left = [Scripted(one) for one in numbers]
    monkeypatch.setattr(loop, "score", lambda *_, **__: left.pop(0))
    recipe = replace(RECIPE, schedule=replace(RECIPE.schedule, epochs=len(numbers), **schedule))
    return fit(recipe, out, verbosity=-1).result


@pytest.mark.parametrize(
    ("numbers", "best"),
    [
        ([(0.5, 0.9), (0.75, 0.8), (0.75, 0.6), (0.75, 0.7)], 3),  # a tie: the lower loss
        ([(0.75, 0.6), (0.75, 0.6), (0.5, 0.1)], 1),  # nothing is better: the first
        ([(0.75, 0.1), (0.8, 0.9), (0.75, 0.05)], 2),  # the score comes first
        ([(0.75, 0.5), (0.75, math.nan), (0.75, 0.4)], 3),
    ],
)
def test_of_equal_scores_the_lower_loss_wins(
    numbers: list[tuple[float, float]], best: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    told = [{"top1": top1, "loss": loss} for top1, loss in numbers]
    result = best_of(told, tmp_path / "r", monkeypatch)
    assert result["best_step"] == 4 * best
    assert result["metrics"] == told[best - 1]
    with safe_open(tmp_path / "r" / "best.safetensors", "pt") as file:
        assert file.metadata()["step"] == str(4 * best)


def test_without_a_loss_on_val_that_of_training_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([3.0, 1.0, 2.0, 1.5])
    monkeypatch.setattr(Job, "train_loss", lambda _: next(losses))
    result = best_of([{"top1": 0.5}] * 4, tmp_path / "r", monkeypatch)
    assert result["best_step"] == 8


def test_a_lower_loss_alone_does_not_put_off_an_early_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    falling = [{"top1": 0.5, "loss": 1.0 - n / 10} for n in range(6)]
    result = best_of(falling, tmp_path / "r", monkeypatch, stop_after=2)
    assert (result["steps"], result["best_step"]) == (12, 12)


def test_the_training_loss_is_the_mean_since_the_last_evaluation() -> None:
    job = Job(RECIPE, Place(torch.device("cpu"), "fp32"), open_recipe_data(RECIPE))

    def step(value: float) -> None:
        job.add_losses({"a": torch.tensor(value), "b": torch.tensor(1.0)})

    assert math.isinf(job.train_loss())
    step(1.0)
    step(2.0)
    assert job.take_losses() == {"a": 1.5, "b": 1.0}  # logged in between
    step(6.0)
    assert job.train_loss() == pytest.approx(4.0)
    step(8.0)
    again = Job(RECIPE, job.place, job.bundle)
    again.load_state({**json_safe(job.state()), "random": []})
    for one in (job, again):
        one.take_losses()
        one.step += 1
        assert one.train_loss() == pytest.approx(9.0)


def json_safe(state: dict[str, Any]) -> dict[str, Any]:
    """A state as if it had been written and read again."""
    for name in ("best", "since_evaluation"):
        state[name] = json.loads(json.dumps(state[name]))
    return state


def test_the_state_of_an_older_run_has_no_loss_to_compare_with() -> None:
    job = Job(RECIPE, Place(torch.device("cpu"), "fp32"), open_recipe_data(RECIPE))
    job.best, job.step = {"score": 0.5, "step": 4}, 8
    assert not job.is_best(0.5, 0.1)
    assert job.is_best(0.75, 0.1) and job.best["since"] == 8
