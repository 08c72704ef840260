"""At the thaw of optim.freeze_epochs the head goes on with its optimiser's state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_loop import CPU, TINY, Stopped, changed, die, equal, stop_at, train

from xfer.recipe.data import open_recipe_data
from xfer.train.job import Job
from xfer.train.loop import fit
from xfer.train.step import train_step

THAW = 4


def recipe(name: str, **optim: Any) -> Any:
    return changed(
        TINY, data={"limit": 64, "batch": 16}, schedule={"epochs": 2},
        optim={"name": name, "freeze_epochs": 1, "lr": 1e-3, **optim},
    )  # fmt: skip


def state_of(job: Job) -> dict[str, dict[str, Any]]:
    """What the optimiser has saved, by the parameters' names."""
    names = {id(p): n for n, p in job.task.named_parameters()}
    order = [names[id(p)] for group in job.optimizer.param_groups for p in group["params"]]
    saved = job.optimizer.state_dict()["state"]
    return {order[number]: values for number, values in saved.items()}


# adan counts steps by group
@pytest.mark.parametrize("name", ["sgd", "adamw", "lamb", "adan"])
def test_the_head_keeps_its_state_and_the_backbone_begins(name: str) -> None:
    given = recipe(name)
    job = Job(given, CPU, open_recipe_data(given))
    assert job.thaw_step == THAW
    batches = job.batches()
    for _ in range(THAW):
        job.begin_step()
        train_step(job, next(batches))
        job.step += 1
    before = {n: dict(v) for n, v in state_of(job).items()}
    counts = [g.get("step") for g in job.optimizer.param_groups]
    assert before and all(n.startswith("head.") for n in before)
    job.begin_step()
    after = state_of(job)
    assert after.keys() == before.keys()  # nothing yet of what has not trained
    for parameter, values in before.items():
        for key, value in values.items():
            now = after[parameter][key]
            assert torch.equal(now, value) if isinstance(value, torch.Tensor) else now == value
    names = [group.name for group in job.groups]
    heads = job.optimizer.param_groups[names.index("head") :]
    assert [g.get("step") for g in heads] == counts
    train_step(job, next(batches))
    assert any(n.startswith("backbone.") for n in state_of(job))
    batches.close()


def test_a_run_stopped_before_at_or_after_the_thaw_goes_on_to_equal_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = recipe("adamw", ema=0.9)
    train(tmp_path / "whole", given)
    for step in (THAW - 1, THAW, THAW + 1):
        name = f"stopped{step}"
        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr("xfer.train.throughput.Clock.save_due", lambda *_: True)
            stop_at(step, patch, die)
            train(tmp_path / name, given)
        fit(resume=tmp_path / name, verbosity=-1)
        assert equal(tmp_path / "whole", tmp_path / name)


def test_a_state_of_another_precision_is_resumed_in_fp16() -> None:
    """Its scaler's state is empty, which torch's scaler refuses."""
    given = recipe("sgd")
    job = Job(given, CPU, open_recipe_data(given))
    state = {**job.state(), "random": []}
    assert state["scaler"] == {}
    other = Job(given, CPU, open_recipe_data(given))
    other.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)  # pyright: ignore[reportPrivateImportUsage]
    other.load_state(state)
    assert other.scaler.get_scale() == 4.0
