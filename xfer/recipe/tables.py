"""A recipe: which backbone, task and data, and how to train. Dataclasses, then their rules.

Layers, the last wins: the defaults here < the recipe (its parent first) < a file < flags and
`key=value`. A layer that sets a length or a rate also resets inherited keys that would change it:
see REPLACES. The flattened result is stored in the run folder and reruns it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, cast

from xfer.errors import XferError, nearest
from xfer.recipe import words
from xfer.recipe.option import (
    above,
    check_value,
    checked,
    explain,
    has_one_of,
    none_of,
    one_of,
    option,
    unset,
)
from xfer.types import LARGEST_SIDE

AUGMENTED = {"data.augment": none_of("none")}


@dataclass(frozen=True, slots=True)
class DataTable:
    """[data]: which pictures, and how they reach the net."""

    source: str = option("", "data spec: NAME, PATH or FORMAT:PATH")
    images: str = option("", "folder with the pictures of an annotation file; empty: detected")
    ignore: str = option(
        "", "mask classes to leave out, names or values; none; empty: detected by name",
        number=True, when={"kind": one_of("segment")},
    )  # fmt: skip
    path: str = option("", "column of a table that names the pictures; empty: detected")
    label: str = option(
        "", "column of the labels, several as A,B,C; from_name: the class is in the file's name; "
        "empty: detected", number=True,
    )  # fmt: skip
    split: str = option("", "column that says to which split a picture belongs; empty: detected")
    also: str = option(
        "", "further specs, A,B, with what else is known of the same pictures, for a task with "
        "several heads: a csv of labels, a folder of masks",
    )  # fmt: skip
    changes: str = option("", "csv of pictures to leave out and labels to change, from data check")
    train: str = option("", "name of the training split; empty: detected")
    val: str = option("", "name of the validation split; none: keep the last weights")
    test: str = option("", "name of the test split, scored once at the end; none: no test")
    split_seed: int = option(
        0, "seed of the val split that is cut from train, and of limit; the same for every "
        "run.seed, so that runs are scored on the same pictures", min=0, max=2**63 - 1,
    )  # fmt: skip
    limit: int = option(0, "first N of a seeded shuffle of each split; 0: all", min=0)
    skip_bad: bool = option(False, "leave out pictures that can't be decoded instead of stopping")
    verify: bool = option(
        True, "compare the checksums of packs and kept indexes when they are read"
    )
    batch: int = option(32, "global batch, over all processes", min=1)
    workers: int = option(-1, "loader threads; -1: one per core, 0: none", min=-1)
    size: int = option(
        0, "input side in pixels; 0: what the weights were trained with", min=0, max=LARGEST_SIDE
    )
    augment: str = option(
        "standard", "augmentation policy", choices=("none", "light", "standard", "strong")
    )
    flip: bool = option(True, "mirror half of the training pictures", when=AUGMENTED)
    crop_on: str = option(
        "auto", "where training crops are cut and colours altered; auto: on the device if it is a "
        "GPU fed from a raw pack", choices=("auto", "host", "device"),
    )  # fmt: skip
    crop_area: tuple[float, float] = option(
        (0.35, 1.0), "share of the picture that a training crop covers", above=0, max=1,
        rising=True, when=AUGMENTED,
    )  # fmt: skip
    decode: str = option(
        "host", "where training pictures are decoded; device: on a GPU fed from a JPEG pack, which "
        "then also cuts the crops", choices=("host", "device"),
    )  # fmt: skip
    balance: bool = option(False, "draw every class equally often")
    window: int = option(
        0, "shuffle within windows of N pictures in disk order; 0: shuffle everything", min=0
    )
    classes: str = option(
        "", "names of a stream's classes, by number from 0: ant,bee; empty: counted at the start"
    )
    stream_size: int = option(0, "pictures in an epoch of a stream; 0: counted at the start", min=0)
    cache_mb: int = option(1024, "decoded pictures kept in memory, MB; 0: none", min=0)


# keys of [data] that say how files are read, under the same names in `open_data`
READING = ("images", "ignore", "path", "label", "split", "also", "verify")

# parts of the names of optimisers that have a momentum
MOMENTUM = ("sgd", "nesterov", "momentum", "lars", "larc", "rmsprop", "muon", "madgrad", "kron",
            "adafactorbv")  # fmt: skip


@dataclass(frozen=True, slots=True)
class OptimTable:
    """[optim]: which weights train, and how."""

    name: str = option("adamw", "sgd, adamw, or any optimiser that timm has")
    lr: float = option(1e-4, "peak learning rate of the backbone", above=0)
    lr_batch: int = option(
        0, "batch that lr is meant for: lr scales in proportion; 0: lr as it is", min=0
    )
    head_scale: float = option(10.0, "learning rate of the new head, as a multiple of lr", above=0)
    momentum: float = option(
        0.9, "momentum of the optimiser", min=0, below=1,
        when={"optim.name": has_one_of(*MOMENTUM, text="sgd, nesterov or another that has one")},
    )  # fmt: skip
    weight_decay: float = option(0.05, "weight decay; not applied to biases and norms", min=0)
    decay_all: bool = option(
        False, "decay biases and norms as well", when={"optim.weight_decay": above(0)}
    )
    bias_scale: float = option(
        1.0, "learning rate of biases and norms, as a multiple of the weights'; Caffe uses 2",
        above=0,
    )  # fmt: skip
    layer_decay: float = option(
        1.0, "learning rate of each stage, as a multiple of the next deeper one's", above=0, max=1,
        when={"optim.freeze": none_of("all")},
    )  # fmt: skip
    freeze: str = option(
        "", "freeze the backbone up to and including this stage (`xfer models show` lists them); "
        "first: its first stage, first:2: its first two, whatever their names; all: all of it",
    )  # fmt: skip
    freeze_epochs: float = option(
        0.0, "epochs of training only the head at first; at most half of the run", min=0,
        when={"optim.freeze": none_of("all")},
    )  # fmt: skip
    clip: float = option(0.0, "largest gradient norm; 0: no clipping", min=0)
    accumulate: int = option(1, "split each batch into this many passes", min=1)
    ema: float = option(
        0.0, "decay of the moving average of the weights; at most (1 + n) / (10 + n) at step n, "
        "so that short runs forget their start too; 0: none", min=0, below=1,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ScheduleTable:
    """[schedule]: how long, and the learning rate over time."""

    epochs: float = option(
        20.0, "passes over the training pictures", above=0, when={"schedule.steps": unset()}
    )
    steps: int = option(0, "optimiser steps instead of epochs; 0: use epochs", min=0)
    min_steps: int = option(
        0, "minimum number of steps, for small sets; reset to 0 by --epochs, and by a file that "
        "sets its own length", min=0, when={"schedule.steps": unset()},
    )  # fmt: skip
    name: str = option(
        "cosine", "shape", choices=("cosine", "linear", "onecycle", "step", "plateau", "constant")
    )
    warmup: float = option(
        0.0, "epochs of linear warm-up; at most half of the run", min=0,
        when={"schedule.name": none_of("onecycle")},
    )  # fmt: skip
    milestones: tuple[float, ...] = option(
        (), "fractions of the run after which the rate drops, 0..1", above=0, max=1,
        when={"schedule.name": one_of("step")},
    )  # fmt: skip
    gamma: float = option(
        0.1, "factor by which the rate drops", above=0, max=1,
        when={"schedule.name": one_of("step", "plateau")},
    )  # fmt: skip
    patience: int = option(
        3, "evaluations without improvement before the rate drops", min=1,
        when={"schedule.name": one_of("plateau")},
    )  # fmt: skip
    final: float = option(
        0.0, "final rate, as a fraction of the peak", min=0, max=1,
        when={"schedule.name": one_of("cosine", "linear")},
    )  # fmt: skip
    stop_after: int = option(
        0, "stop after this many evaluations without improvement; 0: never", min=0
    )


VIEWS = ("none", "flip", "10crop", "multiscale")  # of all tasks; each says which it offers


@dataclass(frozen=True, slots=True)
class EvalTable:
    """[eval]: when and how the model is scored."""

    every: float = option(
        1.0, "epochs between evaluations; the last step is always evaluated", above=0,
        when={"data.val": none_of("none")},
    )  # fmt: skip
    tta: str = option("none", "views averaged at test", choices=VIEWS)
    while_training: str = option(
        "", "views averaged during training; empty: as tta", choices=("", *VIEWS),
        when={"data.val": none_of("none")},
    )  # fmt: skip
    batch: int = option(0, "evaluation batch; 0: twice data.batch", min=0)


@dataclass(frozen=True, slots=True)
class RunTable:
    """[run]: the machine, and what is kept."""

    seed: int = option(0, "seed of weights, order and augmentation", min=0, max=2**63 - 1)
    device: str = option("auto", "auto, cpu, cuda, cuda:N, mps")
    precision: str = option("auto", "arithmetic", choices=("auto", "fp32", "bf16", "fp16"))
    sync_bn: bool = option(
        False, "synchronise batch norms over all processes; GPUs only",
        when={"processes": above(1)},
    )  # fmt: skip
    compile: bool = option(
        False, "torch.compile the backbone; may be faster on GPUs, is not on CPUs"
    )
    deterministic: bool = option(
        False, "equal bits each time on the same GPU, at some cost; on a CPU runs are equal anyway"
    )
    chance_steps: int = option(
        1000, "warn if the loss is still at chance after this many steps", min=1000
    )
    save_minutes: float = option(10.0, "save last/ at least this often, minutes", above=0)
    track: str = option(
        "", "also log to metrics.csv or to TensorBoard's files in tensorboard/, both: "
        "csv,tensorboard", choices=("", "csv", "tensorboard"), commas=True,
    )  # fmt: skip
    plots: bool = option(True, "draw plots/ at the end")
    report: bool = option(True, "write report.html at the end, one page that shows the run")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that determines a run. `task` and `backbone` may have their own options:

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
    # keys that the user set, by flag, by key=value or in their own file
    given: frozenset[str] = field(default=frozenset(), compare=False)


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
    "skip_bad": "data.skip_bad", "verify": "data.verify",
    "seed": "run.seed", "device": "run.device", "precision": "run.precision",
}  # fmt: skip


# key that a layer sets -> inherited keys that would stretch, replace or scale it: unless the layer
# sets them as well, they go back to their defaults
REPLACES = {
    "schedule.epochs": ("schedule.steps", "schedule.min_steps"),
    "schedule.steps": ("schedule.min_steps",),
    "optim.lr": ("optim.lr_batch",),
}


def meaning(key: str) -> str:
    """The help text of a key of the tables, with its choices and when it has an effect."""
    return explain(FIELDS[key])


# what makes a backbone besides its options; only the weights are the recipe's to choose
_NOT_OPTIONS = ("backbone.weights", "backbone.classifier", "backbone.report")


def override(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with one more layer: {"optim.lr": 1e-3, "task.head": "avg", "backbone": "zfnet"}.

    A file over its parent, or flags and `key=value` over a file. Keys that the values replace
    (REPLACES) go back to their defaults: if a user asks for two epochs, it is two epochs. Another
    backbone (or task) starts without the options of the one it replaces. `xfer.recipe.choose.check`
    checks the options of the task and of the backbone.
    Raises: XferError for an unknown key, naming the nearest, or a value that breaks the rules.
    """
    named: dict[str, str] = {}
    own: dict[str, dict[str, Any]] = {"task": {}, "backbone": {}}
    tables: dict[str, dict[str, Any]] = {}
    replaced = (REPLACES[key] for key in REPLACES if values.get(key))  # steps = 0 asks for nothing
    defaults = {key: FIELDS[key].default for keys in replaced for key in keys}
    for key, value in {**defaults, **values}.items():
        table, _, name = key.partition(".")
        if key in ("task", "backbone", "weights") or (table in own and name == "name"):
            named[table] = check_value(key, value, "str", {})
        elif key in _NOT_OPTIONS:
            raise XferError(f"unknown key {key}", _meant(key))
        elif table in own and name:
            own[table][name] = _option(key, value)
        elif key in FIELDS:
            tables.setdefault(table, {})[name] = checked(key, value, FIELDS[key])
        else:
            raise XferError(f"unknown key {key}", _meant(key))
    for table, options in own.items():
        same = named.get(table, getattr(recipe, table)) == getattr(recipe, table)
        before: Mapping[str, Any] = getattr(recipe, f"{table}_options") if same else {}
        if table == "task" and "heads" in options:
            before = _of_heads(before, options["heads"])
        own[table] = {**before, **options}
    changed = {table: replace(getattr(recipe, table), **new) for table, new in tables.items()}
    return replace(
        recipe, **named, **changed, task_options=own["task"], backbone_options=own["backbone"]
    )


def _of_heads(options: Mapping[str, Any], heads: Any) -> dict[str, Any]:
    """The options without the tables of heads that are not among these: other heads start without
    the options of those that they replace, as another task does."""
    named = heads.strip("[]").split(",") if isinstance(heads, str) else heads
    names = {words.TASKS.get(name := str(one).strip(), name) for one in named}
    return {k: v for k, v in options.items() if "." not in k or k.partition(".")[0] in names}


def _option(key: str, value: Any) -> Any:
    """An option's value, whose type only its owner knows: a plain value or a list of them."""
    if isinstance(value, (list, tuple)):
        return tuple(_option(key, item) for item in cast("Iterable[Any]", value))
    if not isinstance(value, (str, int, float, bool)):
        raise XferError(f"{key} must be text, a number, true, false or a list, got {value!r}")
    return value


def _meant(key: str) -> str:
    """A hint for an unknown key: the same word in another table, or the nearest key."""
    table, _, name = key.partition(".")
    if key == "data":
        return "did you mean data.source, or --data SPEC on the command line?"
    if key in TABLES:
        return f"{key} is a table: {', '.join(k for k in FIELDS if k.startswith(key + '.'))}"
    word = name or table
    twins = [k for k in FIELDS if k.endswith(f".{word}")]
    if word in FLAGS and not name:
        twins = [FLAGS[word]]
    if twins:
        return f"did you mean {' or '.join(twins)}?"
    hint = words.key_hint(word, FIELDS)
    if hint:
        return hint
    if table in TABLES:
        return nearest(name, [f.name for f in fields(TABLES[table])])
    if name:
        return nearest(key, FIELDS)
    return nearest(word, [*FLAGS, *TABLES, "task"])


def flatten(recipe: Recipe) -> dict[str, Any]:
    """Every dotted key of the recipe except its name, with its value."""
    flat: dict[str, Any] = {"task": recipe.task}
    # a head's own table, task.classify.dropout, comes after the task's own options
    heads = sorted(recipe.task_options, key=lambda name: name.rpartition(".")[0])
    flat.update({f"task.{k}": recipe.task_options[k] for k in heads})
    flat["backbone"] = recipe.backbone
    flat.update({f"backbone.{k}": v for k, v in recipe.backbone_options.items()})
    flat["weights"] = recipe.weights
    for key in FIELDS:
        table, _, name = key.partition(".")
        flat[key] = getattr(getattr(recipe, table), name)
    return flat


def differences(old: Recipe, new: Recipe) -> dict[str, tuple[Any, Any]]:
    """The keys in which two recipes differ, with both values; None if a recipe lacks the key."""
    before, after = flatten(old), flatten(new)
    keys = [*before, *(k for k in after if k not in before)]
    return {k: (before.get(k), after.get(k)) for k in keys if before.get(k) != after.get(k)}
