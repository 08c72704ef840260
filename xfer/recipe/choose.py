"""Which recipe a command means, and the whole of it with what the user set."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from xfer import plugs
from xfer.errors import DataError, XferError
from xfer.recipe.tables import FLAGS, Recipe, override
from xfer.recipe.toml import load_recipe, recipe_names

_BARE_NAME = re.compile(r"([A-Za-z0-9][\w-]*)(:.*)?")


def check(recipe: Recipe, where: str = "") -> Recipe:
    """The recipe, its task by its own name, its task's and backbone's options found valid.

    Args: where: the file that the recipe is from, for messages.

    Raises: XferError naming the nearest task, backbone or option, or a module of the user's own
        that nobody but the recipe names.
    """
    import torch

    from xfer import task as tasks
    from xfer.backbones.base import SCHEMES, backbones
    from xfer.backbones.build import make_backbone, plug_maker
    from xfer.recipe.code import check_code

    check_code(recipe, where)
    recipe = replace(recipe, task=tasks.canonical(recipe.task))
    tasks.make_options(tasks.get(recipe.task), dict(recipe.task_options))
    if backbones.origin(recipe.backbone) == plugs.OURS and ":" not in recipe.backbone:
        with torch.device("meta"):  # nothing is allocated
            make_backbone(recipe.backbone, weights="none", **dict(recipe.backbone_options))
    elif plugs.parse(recipe.backbone, SCHEMES) is not None:
        plug_maker(recipe.backbone)
    return recipe


def find_recipe(task: str, data: str, recipe: str = "") -> tuple[Recipe, str, str]:
    """The recipe for a task and data: the one asked for, else task/NAME, else task/default.

    Args:
        task: by its own name, or "" with `recipe`.
        data: the data spec; only a bare NAME or NAME:PATH picks a recipe, a folder's never does.
        recipe: a name or a file.

    Returns: the recipe, its name, and a line that says why this one.
    """
    if recipe:
        return load_recipe(recipe), recipe, f"recipe {recipe}, as asked for"
    known = recipe_names(f"{task}/*")
    named = _BARE_NAME.fullmatch(data)
    if named and not (named[2] is None and Path(data).exists()):
        name = f"{task}/{named[1]}"
        if name in known:
            return load_recipe(name), name, f"recipe {name}, made for {named[1]}"
    name = f"{task}/default"
    if name not in known:
        return _own_defaults(task)
    return load_recipe(name), name, f"recipe {name}: there is none for {data} alone"


def _own_defaults(task: str) -> tuple[Recipe, str, str]:
    """As `find_recipe`, for a task that has no recipe T/default: the values that it states itself,
    over the defaults of all recipes."""
    from xfer import task as tasks

    own = dict(tasks.get(task).recipe)
    try:
        recipe = override(Recipe(task=task), own)
    except XferError as error:
        raise XferError(f"task {task}: its `recipe`: {error.message}", error.hint) from None
    values = ", ".join(f"{key}={value}" for key, value in own.items())
    reason = f"recipe: there is no {task}/default; the defaults, with {task}'s own {values}"
    return recipe, "", reason if own else reason.partition(", with")[0]


def infer_task(data: str, settings: Mapping[str, Any], given: Any = None) -> tuple[str, str, Any]:
    """The task that learns from what the data hold, a line that says so, and the data as they were
    read for it; None where a look at them was enough.

    Args: given: the data where they are in memory.
    """
    from xfer import kinds
    from xfer import task as tasks
    from xfer.data.open import NONE, open_data
    from xfer.data.readers.base import ReadOptions
    from xfer.data.spec import kind_at_sight, open_spec

    kind, notes = kind_at_sight(data) if given is None else None, ()
    if kind is None:
        about = ("train", "val", "test", "images", "ignore", "skip_bad")
        told = {key: settings[f"data.{key}"] for key in about if f"data.{key}" in settings}
        splits = [told.get(role, "") for role in ("train", "val", "test")]
        options = ReadOptions(
            tuple(name for name in splits if name and name != NONE), told.get("skip_bad", False),
            images=told.get("images", ""), ignore=told.get("ignore", ""),
        )  # fmt: skip
        given = open_spec(data if given is None else given, options)
        bundle = open_data(given, check=False, **{"val": "none", **told})
        kind, notes = bundle.kind, bundle.notes
    try:
        task = tasks.for_kind(kind)
    except DataError as error:  # perhaps there is a table that could not be read
        beside = next((note for note in notes if "not read" in note), error.hint)
        raise DataError(f"{data}: {error.message}", beside) from None
    return task, f"task {task}: {data} holds {kinds.get(kind).holds}", given


def build_recipe(
    data: Any = "",
    task: str = "",
    recipe: str = "",
    settings: Mapping[str, Any] | None = None,
    say: Callable[[str], None] | None = None,
) -> Recipe:
    """The recipe that a command or a call asks for, whole and checked; see `prepare`."""
    return prepare(data, task, recipe, settings, say)[0]


def prepare(
    data: Any = "",
    task: str = "",
    recipe: str = "",
    settings: Mapping[str, Any] | None = None,
    say: Callable[[str], None] | None = None,
) -> tuple[Recipe, Any]:
    """The recipe that a command or a call asks for, whole and checked, and the data for `fit`.

    Args:
        data: a data spec, or data in memory; the recipe's own where empty.
        task: a task's name or alias; empty: the recipe's, else found by looking at the data.
        recipe: a name or a file; empty: chosen by `find_recipe`.
        settings: flags by name (epochs), or keys (optim.ema, optim__ema); None: not given.
        say: is given the lines that tell what was found and chosen.

    Returns: the recipe; and the data where they are in memory, or were read to find the task (an
        `Opened`, which is read again only where the recipe says so), else None.
    Raises: XferError for unknown names and keys and for values against the rules.
    """
    say = say or (lambda line: None)
    values = {_key(k): v for k, v in (settings or {}).items() if v is not None}
    task = values.pop("task", "") or task  # keys come after flags
    given = None
    if isinstance(data, os.PathLike):
        data = os.fspath(data)
    if not isinstance(data, str):
        from xfer.data.sources.from_python import python_name

        given, data = data, python_name(data)
    if values.get("data.source"):
        given, data = None, values["data.source"]
    values.pop("data.source", None)
    if task:
        from xfer.task import canonical

        task = canonical(task)
    if not recipe and not data:
        raise XferError("no data given", "--data NAME, PATH or FORMAT:PATH")
    if not recipe and not task:
        task, reason, given = infer_task(data, values, given)
        say(reason)
    found, name, reason = find_recipe(task, data, recipe)
    if not recipe and name in ("", f"{task}/default"):
        say(reason)
    own = found.given | values.keys()
    if data:
        values["data.source"] = data
    built = replace(check(override(found, values), recipe), given=own)
    if task and task != built.task:
        raise XferError(f"recipe {name} is for {built.task}, not for {task}", "leave out --task")
    if not built.data.source:
        raise XferError("no data given", "--data NAME, PATH or FORMAT:PATH")
    return built, given


def _key(name: str) -> str:
    """A setting's key in the recipe: epochs -> schedule.epochs, optim__ema -> optim.ema."""
    return {"task.name": "task"}.get(name, FLAGS.get(name, name.replace("__", ".")))
