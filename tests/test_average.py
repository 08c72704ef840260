"""The average of weights: its warm-up, what it leaves alone, and short runs of the recipes."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xfer.device import Place
from xfer.recipe.data import open_recipe_data
from xfer.recipe.tables import override
from xfer.recipe.toml import load_recipe
from xfer.task import Task
from xfer.train.ema import MovingAverage
from xfer.train.job import Job
from xfer.train.step import train_step
from xfer.types import Batch


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.two = nn.Linear(4, 2)


def shake(net: Net) -> None:
    """Stands for a step: everything that trains takes other values."""
    for parameter in net.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter)
    if net.norm.training:
        nn.init.normal_(net.norm.running_mean)  # pyright: ignore[reportArgumentType]
        net.norm.num_batches_tracked += 1  # pyright: ignore[reportOperatorIssue]


def values(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def test_early_steps_are_forgotten_and_late_ones_averaged_by_the_decay() -> None:
    torch.manual_seed(0)
    net = Net()
    average = MovingAverage(net, 0.9)
    expected: dict[str, Tensor] = {}
    for count in range(120):
        shake(net)
        average.update(net)
        now = values(net)
        keep = 0.0 if count == 0 else min(0.9, (1 + count) / (10 + count))
        for name, value in now.items():
            whole = not value.is_floating_point()
            moved = value if whole or count == 0 else keep * expected[name] + (1 - keep) * value
            expected[name] = moved
    assert average.kept() == 0.9
    found = values(average.module)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6)
    assert found["norm.num_batches_tracked"] == 120


@pytest.mark.parametrize("decay", [0.98, 0.998, 0.9998])
@pytest.mark.parametrize("steps", [12, 56, 500])
def test_no_run_keeps_more_than_a_thousandth_of_its_start(decay: float, steps: int) -> None:
    average = MovingAverage(nn.Linear(1, 1), decay)
    start = 1.0
    for count in range(1, steps):  # the first update is a copy
        average.n_averaged.fill_(count)
        start *= average.kept()
    assert start < 1e-3


def test_what_is_frozen_stays_equal_and_moves_once_it_thaws() -> None:
    torch.manual_seed(0)
    net = Net()
    average = MovingAverage(net, 0.98)
    net.one.requires_grad_(False)
    net.norm.requires_grad_(False).eval()
    before = values(net)
    for _ in range(20):
        shake(net)
        average.update(net)
    found = values(average.module)
    still = [name for name in found if not name.startswith("two.")]
    assert all(torch.equal(found[name], before[name]) for name in still)
    assert not torch.equal(found["two.weight"], net.two.weight)
    net.requires_grad_(True).train()
    average.forget()
    keep = average.kept()
    shake(net)
    average.update(net)
    for name in ("one.weight", "norm.running_mean"):
        moved = keep * before[name] + (1 - keep) * net.state_dict()[name]
        torch.testing.assert_close(values(average.module)[name], moved, rtol=1e-5, atol=1e-6)


def test_a_saved_average_goes_on_to_equal_bits() -> None:
    torch.manual_seed(0)
    net = Net()
    average = MovingAverage(net, 0.98)
    for _ in range(7):
        shake(net)
        average.update(net)
    again = MovingAverage(copy.deepcopy(net), 0.98)
    again.load_state_dict(copy.deepcopy(average.state_dict()))
    for _ in range(7):
        shake(net)
        average.update(net)
        again.update(net)
    one, two = values(average.module), values(again.module)
    assert all(torch.equal(one[name], two[name]) for name in one)


SMALL: dict[str, dict[str, Any]] = {
    "classify": {"task.head": "avg", "data.size": 64},
    "detect": {
        "task.head_width": 128, "task.rpn_width": 64, "task.pool_size": 4,
        "task.levels": ["layer2", "layer4"], "data.size": 96, "data.limit": 60, "optim.freeze": "",
        "optim.name": "adamw",
    },
    "segment": {"data.size": 96, "data.limit": 60},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("task", SMALL)
def test_a_tenth_of_a_default_recipe_is_worth_as_much_with_the_average(task: str) -> None:
    """The average never touches training, so one run has both: its weights, and their average.

    From random weights, and so at a higher rate. Each is worth what its loss on pictures that
    training has not seen fell by.
    """
    recipe = load_recipe(f"{task}/default")
    planned = recipe.schedule
    recipe = override(recipe, {
        "backbone": "timm:test_resnet", "weights": "none", "data.source": "digits",
        "data.flip": False, "data.workers": 0, "optim.lr": 1e-3, "optim.head_scale": 1,
        "run.precision": "fp32",
        **SMALL[task],
    })  # fmt: skip
    job = Job(recipe, Place(torch.device("cpu")), open_recipe_data(recipe))
    steps = round(max(planned.min_steps, planned.epochs * job.epoch_steps) / 10)
    recipe = override(recipe, {"schedule.steps": min(150, steps)})
    job = Job(recipe, Place(torch.device("cpu")), open_recipe_data(recipe))
    seen = list(job.loader("val", training=True).batches(0))[:12]
    start = loss(job.task, seen)
    batches = job.batches()
    while not job.finished():
        job.begin_step()
        train_step(job, next(batches))
        job.step += 1
    batches.close()
    assert job.ema is not None
    plain, averaged = loss(job.task, seen), loss(job.final_task(), seen)
    assert plain < 0.9 * start, "nothing was learnt that an average could lose"
    assert start - averaged > 0.95 * (start - plain), (start, plain, averaged)


def loss(task: Task, batches: list[Batch]) -> float:
    """The mean loss as the task is used, without dropout; the same draws for every call."""
    was, _ = task.training, task.eval()
    torch.manual_seed(1)
    with torch.no_grad():
        total = sum(float(sum(task(batch).values())) for batch in batches)
    task.train(was)
    return total / len(batches)
