"""Which weights train, at what rate, and how the rate changes over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from xfer.errors import XferError, nearest
from xfer.recipe.tables import OptimTable, ScheduleTable
from xfer.task import Stage, Task


@dataclass(frozen=True, slots=True)
class Group:
    """One row of the table of what trains: a stage's weights, or its biases and norms.

    name         | the stage, with " (bias, norm)" for parameters that are not decayed
    scale        | its learning rate, as a multiple of optim.lr
    weight_decay | its weight decay
    parameters   | the parameters themselves
    """

    name: str
    scale: float
    weight_decay: float
    parameters: tuple[nn.Parameter, ...]

    @property
    def count(self) -> int:
        return sum(p.numel() for p in self.parameters)


def frozen_stages(stages: Sequence[Stage], freeze: str) -> list[Stage]:
    """The trunk stages that `freeze` names, shallow to deep.

    Args:
        freeze: the name of a stage: up to and including that one; "first": the stem, whatever its
            name; "first:3": the three shallowest stages; "all": every stage; "": none.

    Raises XferError naming the valid stages.
    """
    trunk = [s for s in stages if s.role == "trunk"]
    names = [s.name for s in trunk]
    if not freeze:
        return []
    if freeze == "all":
        return trunk
    if freeze in names:
        return trunk[: names.index(freeze) + 1]
    word, colon, number = freeze.partition(":")
    if word == "first" and (not colon or number.isdecimal()):
        count = int(number) if colon else 1
        if not 1 <= count <= len(trunk):
            raise XferError(
                f"optim.freeze={freeze}: the net has {len(trunk)} stages, {', '.join(names)}",
                f"first:1 to first:{len(trunk)}, or all",
            )
        return trunk[:count]
    if freeze.isdecimal():
        raise XferError(f"optim.freeze: no stage {freeze!r}", f"a count of stages: first:{freeze}")
    words = [*names, "first", "all"]
    raise XferError(f"optim.freeze: no stage {freeze!r}", nearest(freeze, words, 40))


def _is_plain(parameter: nn.Parameter, name: str) -> bool:
    """Whether this is a weight of a linear layer or convolution: others are not decayed."""
    return parameter.ndim > 1 and not name.endswith("bias")


def parameter_groups(task: Task, table: OptimTable) -> list[Group]:
    """Everything that trains, stage by stage, shallow to deep, with its rate and decay.

    The head's rate is `head_scale`; the trunk's is 1 at its last stage and is multiplied by
    `layer_decay` for each stage below (Howard and Ruder 2018, sec. 3.2); biases and norms have that
    rate times `bias_scale`. Frozen parameters are left out.
    """
    groups: list[Group] = []
    stages = task.stages()
    trunk = [s for s in stages if s.role == "trunk"]
    depth = {stage.name: len(trunk) - 1 - i for i, stage in enumerate(trunk)}
    for stage in stages:
        scale = table.head_scale if stage.role == "head" else table.layer_decay ** depth[stage.name]
        named = [(n, p) for n, p in stage.module.named_parameters() if p.requires_grad]
        together = table.decay_all and table.bias_scale == 1
        plain = tuple(p for n, p in named if together or _is_plain(p, n))
        rest = tuple(p for n, p in named if not (together or _is_plain(p, n)))
        if plain:
            groups.append(Group(stage.name, scale, table.weight_decay, plain))
        if rest:
            decay = table.weight_decay if table.decay_all else 0.0
            name = f"{stage.name} (bias, norm)"
            groups.append(Group(name, scale * table.bias_scale, decay, rest))
    if not groups:
        raise XferError("nothing is left to train", "freeze less")
    return groups


def build_optimizer(groups: Sequence[Group], table: OptimTable) -> torch.optim.Optimizer:
    """SGD and AdamW are torch's, fused; any other name is looked up in timm.

    Raises XferError for an unknown name.
    """
    rows: list[dict[str, Any]] = [
        {
            "params": list(g.parameters),
            "lr": table.lr * g.scale,
            "weight_decay": g.weight_decay,
            "scale": g.scale,
        }
        for g in groups
    ]
    fused = all(p.device.type in ("cpu", "cuda") for g in groups for p in g.parameters)
    if table.name in ("sgd", "nesterov"):
        return torch.optim.SGD(
            rows,
            lr=table.lr,
            momentum=table.momentum,
            nesterov=table.name == "nesterov",
            fused=fused,
        )
    if table.name == "adamw":
        return torch.optim.AdamW(rows, lr=table.lr, fused=fused)
    from timm import optim as timm_optim

    known = [str(name) for name in timm_optim.list_optimizers()]  # pyright: ignore[reportPrivateImportUsage]
    if table.name not in known:
        raise XferError(f"unknown optimiser {table.name!r}", nearest(table.name, known))
    return timm_optim.create_optimizer_v2(  # pyright: ignore[reportPrivateImportUsage]
        rows, opt=table.name, lr=table.lr, momentum=table.momentum, weight_decay=0.0
    )


def carry_state(before: torch.optim.Optimizer, after: torch.optim.Optimizer) -> None:
    """Gives `after` what `before` has learnt of the parameters that both train: moments, momentum,
    counts of steps. What only one of them trains is left out, or begins anew.

    It goes by the optimisers' own state dicts, so it holds for any optimiser.
    """
    old, new = before.state_dict(), after.state_dict()
    places = {id(p): n for n, p in enumerate(_all_parameters(before))}
    parameters = _all_parameters(after)
    for number, parameter in enumerate(parameters):
        if places.get(id(parameter)) in old["state"]:
            new["state"][number] = old["state"][places[id(parameter)]]
    # some optimisers count steps by group
    for group in new["param_groups"]:
        numbers = [places.get(id(parameters[n])) for n in group["params"]]
        same = next((row for row in old["param_groups"] if row["params"] == numbers), {})
        group.update({key: value for key, value in same.items() if key != "params"})
    after.load_state_dict(new)


def _all_parameters(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """Its parameters, in the order by which its state dict numbers them."""
    return [p for group in optimizer.param_groups for p in group["params"]]


OPENING = 0.5  # largest part of a run that the warm-up, or training the head alone, may take


def opening_steps(epochs: float, steps_per_epoch: float, steps: int) -> int:
    """Length in steps of an opening phase that a recipe gives in epochs.

    At most OPENING of the run: in a run shorter than the recipe was made for, the rate still
    reaches its peak and falls again, and the backbone still trains.

    Args: epochs: as in the recipe; steps_per_epoch; steps: of the whole run.
    """
    return min(round(epochs * steps_per_epoch), int(OPENING * steps))


class Schedule:
    """The learning rate over time, as a share of the peak.

    Args:
        table: the recipe's [schedule].
        steps: optimiser steps of the whole run.
        steps_per_epoch: for the warm-up, which is given in epochs and takes at most OPENING of
            the run.

    Only `plateau` uses the state: how often the rate dropped, and evaluations without improvement.
    """

    def __init__(self, table: ScheduleTable, steps: int, steps_per_epoch: float) -> None:
        self.table = table
        self.steps = max(1, steps)
        self.warmup = opening_steps(table.warmup, steps_per_epoch, self.steps)
        self.drops = 0
        self.best = -math.inf
        self.stale = 0
        if table.name == "step" and not table.milestones:
            raise XferError(
                "schedule.name=step needs schedule.milestones",
                "fractions of the run, such as schedule.milestones=[0.33,0.67]",
            )

    def factor(self, step: int) -> float:
        """The learning rate of step number `step` (from 0), as a share of the peak."""
        table = self.table
        if table.name == "onecycle":
            return self._onecycle(step)
        if step < self.warmup:
            return (step + 1) / (self.warmup + 1)
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        if table.name == "cosine":
            return table.final + (1 - table.final) * (1 + math.cos(math.pi * done)) / 2
        if table.name == "linear":
            return table.final + (1 - table.final) * (1 - done)
        if table.name == "step":
            return table.gamma ** sum(step >= m * self.steps for m in table.milestones)
        if table.name == "plateau":
            return table.gamma**self.drops
        return 1.0

    def _onecycle(self, step: int) -> float:
        """Smith and Topin 2017, with torch's shape: cosine up over 30 %, from 1/25; cosine down."""
        rise = max(1.0, 0.3 * self.steps - 1)
        low, end = 1 / 25, 1 / 25e4
        if step <= rise:
            return low + (1 - low) * (1 - math.cos(math.pi * step / rise)) / 2
        done = min(1.0, (step - rise) / max(1.0, self.steps - 1 - rise))
        return end + (1 - end) * (1 + math.cos(math.pi * done)) / 2

    def update(self, score: float) -> None:
        """Takes the primary metric of an evaluation into account."""
        if score > self.best:
            self.best, self.stale = score, 0
            return
        self.stale += 1
        if self.table.name == "plateau" and self.stale >= self.table.patience:
            self.drops, self.stale = self.drops + 1, 0

    def state(self) -> dict[str, Any]:
        return {"drops": self.drops, "best": self.best, "stale": self.stale}

    def load_state(self, state: dict[str, Any]) -> None:
        self.drops, self.best, self.stale = state["drops"], state["best"], state["stale"]


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets every group's learning rate: `lr` times the group's scale."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["scale"]
