"""A recipe: which backbone, task and data, and how to train. Dataclasses, then their rules.

Layers, the last wins: the defaults here < the recipe (its parent first) < a file < flags and
`key=value`. A layer that asks for a length or a rate also sets back what lower layers would make of
it: see REPLACES. The flattened result is stored in the run folder and reruns it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, cast

from xfer.errors import XferError, nearest


def _f(default: Any, help: str, **rules: Any) -> Any:
    """A field with its help text and the rules its value must keep: min, max, above, below,
    choices, rising (a list's numbers do not fall), number (a text that may be given as a whole
    number)."""
    return field(default=default, metadata={"help": help, **rules})


@dataclass(frozen=True, slots=True)
class DataTable:
    """[data]: which pictures, and how they reach the net."""

    source: str = _f("", "data spec: NAME, PATH or FORMAT:PATH")
    images: str = _f("", "folder of the pictures of an annotation file (empty: found)")
    ignore: str = _f(
        "", "masks: classes left out, names or values; none; empty: found by name", number=True
    )
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
    crop_on: str = _f(
        "auto", "what cuts training crops and alters colours; auto: the device where it is a GPU "
        "fed from a raw pack", choices=("auto", "host", "device"),
    )  # fmt: skip
    crop_area: tuple[float, float] = _f(
        (0.35, 1.0), "share of the picture that a training crop covers; segment has task.crop and "
        "task.scales instead", above=0, max=1, rising=True,
    )  # fmt: skip
    decode: str = _f(
        "host", "what decodes training pictures; device: a GPU that is fed from a JPEG pack and "
        "cuts the crops as well", choices=("host", "device"),
    )  # fmt: skip
    balance: bool = _f(False, "draw every class equally often")
    window: int = _f(0, "mix so many pictures at a time, as they lie on disk; 0: all", min=0)
    cache_mb: int = _f(1024, "decoded pictures kept in memory, MB; 0: none", min=0)


@dataclass(frozen=True, slots=True)
class OptimTable:
    """[optim]: which weights move, and how."""

    name: str = _f("adamw", "sgd, adamw, or any optimiser that timm has")
    lr: float = _f(1e-4, "peak learning rate of the backbone", above=0)
    lr_batch: int = _f(
        0, "the batch that lr is meant for: it grows in proportion; 0: lr as it is", min=0
    )
    head_scale: float = _f(10.0, "rate of the new head, times lr", above=0)
    momentum: float = _f(0.9, "momentum of SGD", min=0, below=1)
    weight_decay: float = _f(0.05, "weight decay; biases and norms are left out", min=0)
    decay_all: bool = _f(False, "decay biases and norms as well")
    bias_scale: float = _f(
        1.0, "rate of biases and norms, times that of their weights; Caffe's nets have 2", above=0
    )
    layer_decay: float = _f(1.0, "rate of each stage, times the one above it", above=0, max=1)
    freeze: str = _f(
        "", "freeze the backbone up to and including this stage (`xfer models show` lists them); "
        "first: its first stage, first:2: its first two, whatever their names; all: the whole",
    )  # fmt: skip
    freeze_epochs: float = _f(
        0.0, "train the head alone for this long first, epochs; at most half of the run", min=0
    )
    clip: float = _f(0.0, "clip the gradient's norm; 0: don't", min=0)
    accumulate: int = _f(1, "split each batch into this many passes", min=1)
    ema: float = _f(
        0.0, "decay of the moving average of the weights; step n keeps (1 + n) / (10 + n) at most, "
        "so that a short run forgets its start as well; 0: none", min=0, below=1,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ScheduleTable:
    """[schedule]: how long, and the learning rate over time."""

    epochs: float = _f(20.0, "passes over the training pictures", above=0)
    steps: int = _f(0, "optimiser steps instead of epochs; 0: epochs count", min=0)
    min_steps: int = _f(
        0, "at least so many steps, however few pictures; set back to 0 by --epochs, and by a file "
        "with a length of its own", min=0,
    )  # fmt: skip
    name: str = _f(
        "cosine", "shape", choices=("cosine", "linear", "onecycle", "step", "plateau", "constant")
    )
    warmup: float = _f(
        0.0, "linear warm-up, epochs, at most half of the run; onecycle has its own", min=0
    )
    milestones: tuple[float, ...] = _f(
        (), "step: shares of the run after which the rate drops, 0..1", above=0, max=1
    )
    gamma: float = _f(0.1, "step and plateau: the rate is multiplied by this", above=0, max=1)
    patience: int = _f(3, "plateau: evaluations without a gain before the rate drops", min=1)
    final: float = _f(0.0, "cosine, linear: the last rate, as a share of the peak", min=0, max=1)
    stop_after: int = _f(0, "stop after so many evaluations without a gain; 0: never", min=0)


VIEWS = ("none", "flip", "10crop", "multiscale")  # of all tasks; each says which it offers


@dataclass(frozen=True, slots=True)
class EvalTable:
    """[eval]: when and how the model is scored."""

    every: float = _f(1.0, "epochs between two evaluations; the last step is one", above=0)
    tta: str = _f("none", "views averaged at test", choices=VIEWS)
    while_training: str = _f("", "views while training; empty: as tta", choices=("", *VIEWS))
    batch: int = _f(0, "batch of evaluation; 0: twice data.batch", min=0)


@dataclass(frozen=True, slots=True)
class RunTable:
    """[run]: the machine, and what is kept."""

    seed: int = _f(0, "seeds weights, order and augmentation", min=0, max=2**63 - 1)
    device: str = _f("auto", "auto, cpu, cuda, cuda:N, mps")
    precision: str = _f("auto", "arithmetic", choices=("auto", "fp32", "bf16", "fp16"))
    sync_bn: bool = _f(False, "batch norms see the pictures of all processes; on GPUs alone")
    compile: bool = _f(False, "torch.compile the backbone; may pay on GPUs, does not on CPUs")
    chance_steps: int = _f(1000, "warn when the loss is still at chance after so many", min=1000)
    save_minutes: float = _f(10.0, "save last/ at least this often, minutes", above=0)
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


TABLES: dict[str, type[Any]] = {
    "data": DataTable, "optim": OptimTable, "schedule": ScheduleTable,
    "eval": EvalTable, "run": RunTable,
}  # fmt: skip

FIELDS: dict[str, Field[Any]] = {
    f"{table}.{f.name}": f for table, kind in TABLES.items() for f in fields(kind)
}

# a flag of the command line, or an argument of xfer.finetune -> the key that it sets
FLAGS = {
    "backbone": "backbone", "weights": "weights", "epochs": "schedule.epochs",
    "batch": "data.batch", "lr": "optim.lr", "weight_decay": "optim.weight_decay",
    "optimizer": "optim.name", "schedule": "schedule.name", "warmup": "schedule.warmup",
    "freeze": "optim.freeze", "freeze_epochs": "optim.freeze_epochs",
    "layer_decay": "optim.layer_decay", "train": "data.train", "val": "data.val",
    "test": "data.test", "limit": "data.limit", "workers": "data.workers", "tta": "eval.tta",
    "seed": "run.seed", "device": "run.device", "precision": "run.precision",
}  # fmt: skip


# What a layer asks for -> inherited keys that would stretch, replace or scale it: unless the layer
# gives them as well, they go back to their defaults
REPLACES = {
    "schedule.epochs": ("schedule.steps", "schedule.min_steps"),
    "schedule.steps": ("schedule.min_steps",),
    "optim.lr": ("optim.lr_batch",),
}


def meaning(key: str) -> str:
    """The help text of a key of the tables, with the values to choose from."""
    rules = FIELDS[key].metadata
    choices = f": {', '.join(rules['choices'])}" if "choices" in rules else ""
    return f"{rules['help']}{choices}"


_WORDS = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}


def checked(where: str, value: Any, field: Field[Any]) -> Any:
    """A value as the field has it: whole numbers become floats, lists become tuples.

    Args:
        where: the key, as messages name it.
        field: its annotation is str, int, float, bool or a tuple of one of these, its metadata
            the rules: min, max, above, below, choices, rising.

    Raises: XferError that names the key, the rule and the value.
    """
    annotation = field.type if isinstance(field.type, str) else _annotation(field.type)
    found = re.fullmatch(r"tuple\[(.+)\]", annotation)
    if found is None:
        return _scalar(where, value, annotation, field.metadata)
    kinds = [part.strip() for part in found[1].split(",")]
    count = None if kinds[-1] == "..." else len(kinds)
    if not isinstance(value, (list, tuple)):
        raise XferError(f"{where} must be a list, got {value!r}", f"{where}=[a, b]")
    items = tuple(cast("Iterable[Any]", value))
    if count is not None and len(items) != count:
        raise XferError(f"{where} must hold {count} values, got {len(items)}: {list(items)}")
    result = tuple(_scalar(where, item, kinds[0], field.metadata) for item in items)
    if field.metadata.get("rising") and list(result) != sorted(result):
        raise XferError(f"{where} must not fall, got {list(result)}")
    return result


def _annotation(kind: Any) -> str:
    return kind.__name__ if type(kind) is type else str(kind)


def _scalar(where: str, value: Any, kind: str, rules: Mapping[str, Any]) -> Any:
    if kind == "float" and type(value) is int:
        value = float(value)
    if rules.get("number") and type(value) is int:
        value = str(value)
    if type(value).__name__ != kind:
        hint = f'quote it: {where}="{value}"' if kind == "str" else None
        raise XferError(f"{where} must be {_WORDS[kind]}, got {value!r}", hint)
    if kind == "float" and not math.isfinite(value):
        raise XferError(f"{where} must be a finite number, got {value}")
    if "above" in rules and not value > rules["above"]:
        raise XferError(f"{where} must be above {rules['above']}, got {value:g}")
    if "below" in rules and not value < rules["below"]:
        raise XferError(f"{where} must be below {rules['below']}, got {value:g}")
    if "min" in rules and not value >= rules["min"]:
        raise XferError(f"{where} must be at least {rules['min']:g}, got {value:g}")
    if "max" in rules and not value <= rules["max"]:
        raise XferError(f"{where} must be at most {rules['max']:g}, got {value:g}")
    if "choices" in rules and value not in rules["choices"]:
        choices = ", ".join(rules["choices"])
        raise XferError(f"{where} must be one of {choices}; got {value!r}")
    return value


def override(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe under one more layer: {"optim.lr": 1e-3, "task.head": "avg", "backbone": "zfnet"}.

    A file over its parent, or flags and `key=value` over a file. What the values replace in the
    recipe (REPLACES) goes back to its default: two epochs that were asked for are two epochs.
    Another backbone (or task) starts without the options of the one that it replaces. Options of
    the task and of the backbone are checked by `xfer.recipe.toml.check`.
    Raises: XferError for an unknown key, naming the nearest, or a value against the rules.
    """
    named: dict[str, str] = {}
    own: dict[str, dict[str, Any]] = {"task": {}, "backbone": {}}
    tables: dict[str, dict[str, Any]] = {}
    replaced = (REPLACES[key] for key in REPLACES if values.get(key))  # steps = 0 asks for nothing
    defaults = {key: FIELDS[key].default for keys in replaced for key in keys}
    for key, value in {**defaults, **values}.items():
        table, _, name = key.partition(".")
        if key in ("task", "backbone", "weights") or (table in own and name == "name"):
            named[table] = _scalar(key, value, "str", {})
        elif table in own and name:
            own[table][name] = _option(key, value)
        elif key in FIELDS:
            tables.setdefault(table, {})[name] = checked(key, value, FIELDS[key])
        else:
            raise XferError(f"unknown key {key}", _meant(key))
    for table, options in own.items():
        same = named.get(table, getattr(recipe, table)) == getattr(recipe, table)
        before: Mapping[str, Any] = getattr(recipe, f"{table}_options") if same else {}
        own[table] = {**before, **options}
    changed = {table: replace(getattr(recipe, table), **new) for table, new in tables.items()}
    return replace(
        recipe, **named, **changed, task_options=own["task"], backbone_options=own["backbone"]
    )


def _option(key: str, value: Any) -> Any:
    """An option's value, whose type only its owner knows: plain, or a list of plain ones."""
    if isinstance(value, (list, tuple)):
        return tuple(_option(key, item) for item in cast("Iterable[Any]", value))
    if not isinstance(value, (str, int, float, bool)):
        raise XferError(f"{key} must be text, a number, true, false or a list, got {value!r}")
    return value


def _meant(key: str) -> str:
    """A hint for an unknown key: the same word in another table, or the nearest key."""
    table, _, name = key.partition(".")
    if key in TABLES:
        return f"{key} is a table: {', '.join(k for k in FIELDS if k.startswith(key + '.'))}"
    word = name or table
    twins = [k for k in FIELDS if k.endswith(f".{word}")]
    if word in FLAGS and not name:
        twins = [FLAGS[word]]
    if twins:
        return f"did you mean {' or '.join(twins)}?"
    if table in TABLES:
        return nearest(name, [f.name for f in fields(TABLES[table])])
    if name:
        return nearest(key, FIELDS)
    return nearest(word, [*FLAGS, *TABLES, "task"])


def flatten(recipe: Recipe) -> dict[str, Any]:
    """Every key of the recipe but its name, dotted, with its value."""
    flat: dict[str, Any] = {"task": recipe.task}
    flat.update({f"task.{k}": v for k, v in recipe.task_options.items()})
    flat["backbone"] = recipe.backbone
    flat.update({f"backbone.{k}": v for k, v in recipe.backbone_options.items()})
    flat["weights"] = recipe.weights
    for key in FIELDS:
        table, _, name = key.partition(".")
        flat[key] = getattr(getattr(recipe, table), name)
    return flat


def differences(old: Recipe, new: Recipe) -> dict[str, tuple[Any, Any]]:
    """The keys in which two recipes differ, with both values; None where one lacks the key."""
    before, after = flatten(old), flatten(new)
    keys = [*before, *(k for k in after if k not in before)]
    return {k: (before.get(k), after.get(k)) for k in keys if before.get(k) != after.get(k)}
