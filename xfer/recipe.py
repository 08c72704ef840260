"""A recipe: which backbone, task and data, and how to train. Dataclasses first, then TOML.

Layers, the last wins: the defaults here < the recipe (its parent first) < a file < flags <
`key=value`. The flattened result is stored in the run folder and reruns it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


def _f(default: Any, help: str, **rules: Any) -> Any:
    """A field with its help text and the rules its value must keep: min, max, above, choices."""
    return field(default=default, metadata={"help": help, **rules})


@dataclass(frozen=True, slots=True)
class DataTable:
    """[data]: which pictures, and how they reach the net."""

    source: str = _f("", "data spec: NAME, PATH or FORMAT:PATH")
    train: str = _f("", "name of the training split (empty: found)")
    val: str = _f("", "name of the validation split; none: keep the last weights")
    test: str = _f("", "name of the test split, looked at once at the end; none: don't")
    limit: int = _f(0, "first N of a seeded shuffle of each split; 0: all", min=0)
    skip_bad: bool = _f(False, "leave out pictures that can't be decoded instead of stopping")
    batch: int = _f(32, "global batch, over all processes", min=1)
    workers: int = _f(-1, "loader threads; -1: one a core, 0: in line", min=-1)
    size: int = _f(0, "input side in pixels; 0: what the weights were trained with", min=0)
    augment: str = _f(
        "standard", "augmentation policy", choices=("none", "light", "standard", "strong")
    )
    flip: bool = _f(True, "mirror half of the training pictures")
    crop_area: tuple[float, float] = _f(
        (0.35, 1.0), "share of the picture that a training crop covers", above=0, max=1
    )
    balance: bool = _f(False, "draw every class equally often")
    cache_mb: int = _f(1024, "decoded pictures kept in memory, MB; 0: none", min=0)


@dataclass(frozen=True, slots=True)
class OptimTable:
    """[optim]: which weights move, and how."""

    name: str = _f("adamw", "sgd, adamw, or any optimiser that timm has")
    lr: float = _f(1e-4, "peak learning rate of the backbone", above=0)
    head_scale: float = _f(10.0, "rate of the new head, times lr", above=0)
    momentum: float = _f(0.9, "momentum of SGD", min=0, max=1)
    weight_decay: float = _f(0.05, "weight decay; biases and norms are left out", min=0)
    decay_all: bool = _f(False, "decay biases and norms as well")
    layer_decay: float = _f(1.0, "rate of each stage, times the one above it", above=0, max=1)
    freeze: str = _f("", "freeze the backbone up to and including this stage; all: the whole")
    freeze_epochs: float = _f(0, "train the head alone for this long first, epochs", min=0)
    clip: float = _f(0.0, "clip the gradient's norm; 0: don't", min=0)
    accumulate: int = _f(1, "split each batch into this many passes", min=1)
    ema: float = _f(0.0, "decay of the moving average of the weights; 0: none", min=0, max=1)


@dataclass(frozen=True, slots=True)
class ScheduleTable:
    """[schedule]: how long, and the learning rate over time."""

    epochs: float = _f(20, "passes over the training pictures", above=0)
    steps: int = _f(0, "optimiser steps instead of epochs; 0: epochs count", min=0)
    name: str = _f(
        "cosine", "shape", choices=("cosine", "linear", "onecycle", "step", "plateau", "constant")
    )
    warmup: float = _f(0.0, "linear warm-up, epochs", min=0)
    milestones: tuple[float, ...] = _f((), "step: shares of the run after which the rate drops")
    gamma: float = _f(0.1, "step and plateau: the rate is multiplied by this", above=0, max=1)
    patience: int = _f(3, "plateau: evaluations without a gain before the rate drops", min=1)
    final: float = _f(0.0, "cosine, linear: the last rate, as a share of the peak", min=0, max=1)
    stop_after: int = _f(0, "stop after so many evaluations without a gain; 0: never", min=0)


@dataclass(frozen=True, slots=True)
class EvalTable:
    """[eval]: when and how the model is scored."""

    every: float = _f(1, "epochs between two evaluations", above=0)
    tta: str = _f("none", "views averaged at test", choices=("none", "flip", "10crop"))
    batch: int = _f(0, "batch of evaluation; 0: twice data.batch", min=0)


@dataclass(frozen=True, slots=True)
class RunTable:
    """[run]: the machine, and what is kept."""

    seed: int = _f(0, "seeds weights, order and augmentation", min=0)
    device: str = _f("auto", "auto, cpu, cuda, cuda:N, mps")
    precision: str = _f("auto", "arithmetic", choices=("auto", "fp32", "bf16", "fp16"))
    chance_steps: int = _f(1000, "warn when the loss is still at chance after so many", min=1000)
    save_minutes: float = _f(10, "save last/ at least this often, minutes", above=0)
    plots: bool = _f(True, "draw plots/ at the end")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides a run. `task` and `backbone` may have options of their own:

    `task_options` is the rest of the [task] table, checked against the task's Options;
    `backbone_options` the rest of [backbone], checked by the backbone.
    """

    name: str = ""
    task: str = "classify"
    backbone: str = "alexnet"
    weights: str = "imagenet"
    task_options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    backbone_options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    data: DataTable = field(default_factory=DataTable)
    optim: OptimTable = field(default_factory=OptimTable)
    schedule: ScheduleTable = field(default_factory=ScheduleTable)
    eval: EvalTable = field(default_factory=EvalTable)
    run: RunTable = field(default_factory=RunTable)
