"""Rates, decay, freezing and schedules."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from xfer.errors import XferError
from xfer.recipe.tables import OptimTable, ScheduleTable
from xfer.task import Stage, Task
from xfer.train.optim import Schedule, build_optimizer, frozen_stages, parameter_groups, set_rate


class TwoStages(Task):
    """The part of a task that parameter groups are made from."""

    one: nn.Sequential
    two: nn.Conv2d
    head: nn.Linear

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self._frozen: list[nn.Module] = []
        self.one = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.two = nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(4, 2)

    def stages(self) -> list[Stage]:
        return [
            Stage("one", self.one),
            Stage("two", self.two),
            Stage("head", self.head, "head"),
        ]

    def _unused(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("this is no whole task")

    transform = collate = forward = predict = metric = _unused


def test_a_task_that_lacks_a_part_of_the_contract_can_not_be_made() -> None:
    class Half(Task):
        kinds = ("classify",)

    half: Any = Half
    with pytest.raises(TypeError, match="collate"):
        half()


def test_every_parameter_is_in_one_group_and_biases_and_norms_are_not_decayed() -> None:
    task = TwoStages()
    groups = parameter_groups(task, OptimTable(weight_decay=0.1))
    seen = [id(p) for g in groups for p in g.parameters]
    assert sorted(seen) == sorted(id(p) for p in task.parameters())
    decayed = {id(p) for g in groups if g.weight_decay for p in g.parameters}
    assert decayed == {id(task.one[0].weight), id(task.two.weight), id(task.head.weight)}


def test_decay_all_reaches_biases_too() -> None:
    groups = parameter_groups(TwoStages(), OptimTable(weight_decay=0.1, decay_all=True))
    assert all(g.weight_decay == 0.1 for g in groups)


def test_biases_and_norms_may_learn_at_a_rate_of_their_own() -> None:
    table = OptimTable(weight_decay=0.1, bias_scale=2, head_scale=10)
    groups = {g.name: g for g in parameter_groups(TwoStages(), table)}
    assert {n: g.scale for n, g in groups.items() if n.startswith("head")} == {
        "head": 10, "head (bias, norm)": 20,
    }  # fmt: skip
    assert groups["head (bias, norm)"].weight_decay == 0
    decayed = parameter_groups(TwoStages(), OptimTable(decay_all=True, bias_scale=2))
    assert {g.weight_decay for g in decayed} == {0.05}


def test_layer_decay_lowers_the_rate_of_each_deeper_stage_but_not_the_heads() -> None:
    table = OptimTable(lr=1e-3, head_scale=10, layer_decay=0.5)
    scales = {g.name: g.scale for g in parameter_groups(TwoStages(), table)}
    assert (scales["one"], scales["two"], scales["head"]) == (0.5, 1.0, 10)


@pytest.mark.parametrize(
    ("freeze", "expected"),
    [
        ("", []), ("one", ["one"]), ("two", ["one", "two"]), ("all", ["one", "two"]),
        ("first", ["one"]), ("first:1", ["one"]), ("first:2", ["one", "two"]),
    ],
)  # fmt: skip
def test_freeze_names_the_last_frozen_stage(freeze: str, expected: list[str]) -> None:
    assert [s.name for s in frozen_stages(TwoStages().stages(), freeze)] == expected


def test_freezing_an_unknown_stage_names_the_nearest() -> None:
    with pytest.raises(XferError, match="two"):
        frozen_stages(TwoStages().stages(), "twoo")


@pytest.mark.parametrize(
    ("freeze", "words"),
    [
        ("first:3", "2 stages, one, two"),
        ("first:0", "2 stages"),
        ("2", "first:2"),
        ("first:x", "x"),
    ],
)
def test_a_count_that_names_no_stages_is_one_clear_error(freeze: str, words: str) -> None:
    with pytest.raises(XferError) as caught:
        frozen_stages(TwoStages().stages(), freeze)
    assert words in f"{caught.value} {caught.value.hint}"


def test_frozen_batch_norm_keeps_its_statistics_and_leaves_the_optimiser() -> None:
    task = TwoStages()
    task.freeze([task.one])
    task.train()
    norm = task.one[1]
    assert isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None
    before = norm.running_mean.clone()
    task.one(torch.randn(8, 3, 8, 8) + 5)
    assert torch.equal(before, norm.running_mean)
    assert not task.one.training and task.two.training
    groups = parameter_groups(task, OptimTable())
    assert not any(g.name.startswith("one") for g in groups)
    task.freeze([])
    assert all(p.requires_grad for p in task.parameters()) and task.one.training


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adamw", "lamb", "lion"])
def test_each_optimiser_moves_the_weights(name: str) -> None:
    task = TwoStages()
    table = OptimTable(name=name, lr=0.01)
    optimizer = build_optimizer(parameter_groups(task, table), table)
    set_rate(optimizer, 0.01)
    before = task.head.weight.detach().clone()
    task.head(torch.randn(4, 4)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(before, task.head.weight)


def test_an_unknown_optimiser_names_the_nearest() -> None:
    task, table = TwoStages(), OptimTable(name="adamv")
    with pytest.raises(XferError, match="adam"):
        build_optimizer(parameter_groups(task, table), table)


def test_cosine_rises_through_the_warmup_and_falls_to_its_final_share() -> None:
    schedule = Schedule(ScheduleTable(name="cosine", warmup=2, final=0.1), 100, 10)
    factors = [schedule.factor(i) for i in range(101)]
    assert factors[:20] == sorted(factors[:20]) and factors[20] == 1
    assert factors[20:] == sorted(factors[20:], reverse=True)
    assert math.isclose(factors[100], 0.1)


@pytest.mark.parametrize("name", ["cosine", "linear", "constant"])
def test_a_warm_up_longer_than_the_run_leaves_half_of_it(name: str) -> None:
    schedule = Schedule(ScheduleTable(name=name, warmup=50), 100, 10)
    factors = [schedule.factor(i) for i in range(100)]
    assert factors[:50] == sorted(factors[:50]) and factors[50] == 1
    assert (factors[99] < 0.1) == (name != "constant")


def test_onecycle_is_torchs() -> None:
    steps = 50
    schedule = Schedule(ScheduleTable(name="onecycle"), steps, 10)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=steps)
    for step in range(steps):
        assert math.isclose(schedule.factor(step), optimizer.param_groups[0]["lr"], rel_tol=1e-9)
        optimizer.step()
        if step < steps - 1:
            reference.step()


def test_step_drops_at_its_milestones() -> None:
    schedule = Schedule(ScheduleTable(name="step", milestones=(0.5, 0.75), gamma=0.1), 100, 10)
    assert [round(schedule.factor(i), 6) for i in (0, 49, 50, 75)] == [1, 1, 0.1, 0.01]


def test_step_without_milestones_is_refused() -> None:
    with pytest.raises(XferError, match="milestones"):
        Schedule(ScheduleTable(name="step"), 100, 10)


def test_plateau_drops_after_its_patience_and_remembers_over_a_resume() -> None:
    table = ScheduleTable(name="plateau", patience=2, gamma=0.5)
    schedule = Schedule(table, 100, 10)
    for score in (0.5, 0.4, 0.4):
        schedule.update(score)
    assert schedule.factor(30) == 0.5
    again = Schedule(table, 100, 10)
    again.load_state(schedule.state())
    assert again.factor(30) == 0.5 and again.state() == schedule.state()
