"""The commands that train, called from Python."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xfer import plugs
from xfer.errors import XferError, nearest
from xfer.exit_codes import is_main
from xfer.notebook.kernel import in_notebook
from xfer.recipe import words
from xfer.recipe.choose import prepare
from xfer.recipe.tables import FIELDS, FLAGS, TABLES
from xfer.train.loop import fit
from xfer.train.progress import Progress
from xfer.train.summary import Summary

# an argument of `finetune` -> the key that it sets
_KEYS = {**FLAGS, "size": "data.size"}


@plugs.face("data", "task", "backbone", "settings")
def finetune(
    data: Any = "",
    task: str = "",
    *,
    backbone: str = "",
    weights: str | os.PathLike[str] = "",
    epochs: float | None = None,
    batch: int | None = None,
    lr: float | None = None,
    freeze: str | None = None,
    seed: int | None = None,
    size: int | None = None,
    val: str | None = None,
    limit: int | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    resume: str | os.PathLike[str] | None = None,
    recipe: str = "",
    optimizer: str | None = None,
    weight_decay: float | None = None,
    schedule: str | None = None,
    warmup: float | None = None,
    freeze_epochs: float | None = None,
    layer_decay: float | None = None,
    train: str | None = None,
    test: str | None = None,
    tta: str | None = None,
    skip_bad: bool | None = None,
    verify: bool | None = None,
    device: str | None = None,
    precision: str | None = None,
    workers: int | None = None,
    verbosity: int = 0,
    trust: str | Sequence[str] = (),
    **settings: Any,
) -> Summary:
    """Fine-tunes a pretrained backbone: `xfer finetune` from Python.

    What is not given is the recipe's; `xfer recipes show classify/default` lists it.

    Args:
        data: a spec: NAME, PATH or FORMAT:PATH; the recipe's own by default. Or data in memory:
            [(picture, label), ...], (images, labels), a torchvision-style data set, a Source, or a
            dict of these by split.
        task: classify, ...; inferred from the data by default.
        backbone: alexnet, resnet50, timm:NAME, torchvision:NAME, ...: `xfer models ls`.
        weights: imagenet, none (random), a file, or run:DIR.
        epochs: passes over the training pictures; batch: pictures per step, over all processes.
        lr: peak learning rate of the backbone; the head's is optim__head_scale times that.
        freeze: all, or the last stage that is not trained; first:2: the first two; "": train all.
        seed: of weights, order and augmentation; size: side of the input, pixels.
        val: name of the validation split, or none; limit: the first N of each split, shuffled.
        out: the run folder; by default runs/<task>-<backbone>-<data>-<n>.
        overwrite: replace the run in `out`; resume: a run folder to continue. With `resume`, only
            verbosity and trust may be given, and `data` if the run's data were in memory: pass the
            same data.
        recipe: a recipe's name or file.
        optimizer: adamw, sgd, ...; weight_decay: its decay; schedule: cosine, step, ...
        warmup: epochs of rising rate at first; freeze_epochs: epochs of training only the head.
        layer_decay: rate of each stage, as a multiple of the next deeper one's.
        train, test: names of these splits; tta: views averaged when scoring: none, flip, 10crop.
        skip_bad: leave out pictures that can't be decoded; verify: compare checksums of packs.
        device: auto, cpu, cuda; precision: auto, fp32, bf16, fp16; workers: loader threads.
        verbosity: -1 warnings only, 0 progress, 1 also rates by stage and matched weights.
        trust: your own modules that the recipe or the run may import; modules named in data, task
            or backbone here need no trust.
        settings: any other key of a recipe, with two underscores for its dot: optim__ema=0.98.

    Returns: the run: `.result`, `.path`, `.predict(images)`, `.history`, `.errors()`, `.report()`,
        `.export()`.
    Raises: XferError for unknown names and values that break the rules, DataError for data or
        weights that can't be used, DivergedError, and Interrupted after a signal (state saved).
    """
    given = _given(locals()) | settings
    data = "" if data is None else data
    in_memory = not isinstance(data, (str, os.PathLike))
    if resume is not None:
        if (data and not in_memory) or task or out or recipe or overwrite or given:
            raise XferError("resume uses the run's own recipe", "xfer.finetune(resume=RUN)")
        return fit(resume=Path(resume), data=data if in_memory else None, verbosity=verbosity)
    return _train(data, task, recipe, out, overwrite, verbosity, given)


@plugs.face("data", "backbone", "settings")
def pretrain(
    name: str,
    data: Any = "",
    *,
    backbone: str = "",
    epochs: float | None = None,
    batch: int | None = None,
    lr: float | None = None,
    seed: int | None = None,
    size: int | None = None,
    val: str | None = None,
    limit: int | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    weights: str | os.PathLike[str] = "",
    optimizer: str | None = None,
    weight_decay: float | None = None,
    schedule: str | None = None,
    warmup: float | None = None,
    freeze: str | None = None,
    freeze_epochs: float | None = None,
    layer_decay: float | None = None,
    train: str | None = None,
    test: str | None = None,
    tta: str | None = None,
    skip_bad: bool | None = None,
    verify: bool | None = None,
    device: str | None = None,
    precision: str | None = None,
    workers: int | None = None,
    verbosity: int = 0,
    trust: str | Sequence[str] = (),
    **settings: Any,
) -> Summary:
    """Trains a net from random weights: `xfer pretrain NAME` from Python.

    Args:
        name: of the recipe pretrain/NAME: imagenet, imagenet-2012, ...
        data and the others: as in `finetune`.

    Returns, Raises: as `finetune`.
    """
    given = _given(locals()) | settings
    return _train(data, "", f"pretrain/{name}", out, overwrite, verbosity, given)


@plugs.face("data", "task", "backbone", "settings")
def sweep(
    data: Any = "",
    grid: Mapping[str, Sequence[Any]] | None = None,
    task: str = "",
    *,
    seeds: int = 3,
    budget: float | None = None,
    method: str = "grid",
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    recipe: str = "",
    verbosity: int = 0,
    trust: str | Sequence[str] = (),
    **settings: Any,
) -> dict[str, Any]:
    """Compares settings, each trained with several seeds on the same pictures: `xfer sweep` from
    Python. The test split is never looked at.

    A sweep that was stopped goes on when it is called again: finished runs are kept.

    Args:
        data, task, recipe, trust: as in `finetune`; verbosity: -1: prints nothing but warnings.
        grid: {"optim.lr": [1e-4, 3e-4]}: a recipe's keys with the values to compare; of several
            keys every combination.
        seeds: runs of each setting, from `seed` on.
        budget: minutes; the rest is left to a later call.
        method: grid: all settings at full length; halving: short runs of all, then twice as long
            ones of the better half, and so on.
        out: the folder of the runs, sweep.json, best.toml and settings.png; by default
            runs/sweep-<task>-<backbone>-<data>-<digest>.
        overwrite: do finished runs again.
        settings: what all runs share: every argument of `finetune` that sets a recipe's key, and
            any key with two underscores for its dot.

    Returns: sweep.json's content: "settings": [{each key of the grid, "mean", "deviation", "n",
        "scores", "minus_best": the difference with its interval and whether it is beyond chance,
        ...}], "runs", "best", "verdict", "next": the line to type, ...
    Raises: as `finetune`; DivergedError if every setting diverged.
    """
    from xfer.trials.budget import Budget
    from xfer.trials.sweep import run_sweep

    clock = Budget(budget)
    _check_settings(settings)
    keyed = {_KEYS.get(name, name): value for name, value in settings.items()}
    show = Progress(verbosity)
    base, opened = prepare("" if data is None else data, task, recipe, keyed)
    return run_sweep(
        base, grid or {}, opened=opened, seeds=seeds, budget=clock, method=method,
        out=Path(out) if out else None, overwrite=overwrite, say=show.remark,
    )  # fmt: skip


def _given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among the arguments of `finetune` or `pretrain` that the caller gave, by the
    names that `prepare` takes."""
    defaults = {p.name: p.default for p in inspect.signature(finetune).parameters.values()}
    given = {name: arguments[name] for name in _KEYS if arguments[name] is not defaults[name]}
    if isinstance(given.get("weights"), os.PathLike):
        given["weights"] = os.fspath(given["weights"])
    return {name if name in FLAGS else _KEYS[name]: value for name, value in given.items()}


def _train(
    data: Any, task: str, recipe: str, out: Any, overwrite: bool, verbosity: int,
    settings: dict[str, Any],
) -> Summary:  # fmt: skip
    _check_settings(settings)
    full_recipe, opened = prepare(data, task, recipe, settings)
    folder = Path(out) if out else None
    run = fit(full_recipe, folder, data=opened, overwrite=overwrite, verbosity=verbosity)
    if is_main() and not (in_notebook() and verbosity >= 0):  # there its display says so
        show = Progress(verbosity)
        for line in (run.line(), *run.closing()):
            show.say(line)
    return run


def _check_settings(settings: dict[str, Any]) -> None:
    """Raises XferError for a word or a value of another tool: model=, weights=None, freeze=True."""
    for name, value in settings.items():
        key = FLAGS.get(name, name.replace("__", "."))
        if not isinstance(value, str) and words.right_value(key, value) is not None:
            raise XferError(f"{name}={value!r} is not clear", words.value_hint(key, value, name))
        if name not in FLAGS and key not in FIELDS and "." not in key and key not in TABLES:
            known = [*_KEYS, "data", "task", "out", "recipe", "overwrite", "resume"]
            hint = words.argument_hint(name, _KEYS, known) or nearest(name, known, len(known))
            raise XferError(f"finetune has no argument {name!r}", hint)
