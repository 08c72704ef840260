"""Chooses the recipe of a command, and completes it with the user's settings."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from xfer import plugs, registry
from xfer.errors import DataError, XferError
from xfer.recipe import words
from xfer.recipe.tables import FLAGS, READING, Recipe, override
from xfer.recipe.toml import load_recipe, recipe_names

_BARE_NAME = re.compile(r"([A-Za-z0-9][\w-]*)(:.*)?")


def check(recipe: Recipe, where: str = "") -> Recipe:
    """The recipe with its task's canonical name, after checking task and backbone options.

    Args: where: the file that the recipe is from, for messages.

    Raises: XferError naming the nearest task, backbone or option, or a module that only the recipe
        names.
    """
    import torch

    from xfer import task as tasks
    from xfer.backbones.base import SCHEMES, backbones
    from xfer.backbones.build import make_backbone, plug_maker
    from xfer.recipe.code import check_code

    check_code(recipe, where, data=True)
    _check_values(recipe)
    recipe = replace(recipe, task=tasks.canonical(recipe.task))
    tasks.make_options(tasks.get(recipe.task), dict(recipe.task_options))
    if backbones.origin(recipe.backbone) == registry.OURS and ":" not in recipe.backbone:
        with torch.device("meta"):  # nothing is allocated
            make_backbone(recipe.backbone, weights="none", **dict(recipe.backbone_options))
    elif plugs.parse(recipe.backbone, SCHEMES) is not None:
        plug_maker(recipe.backbone)
    return recipe


def _check_values(recipe: Recipe) -> None:
    """Raises XferError for a value that another tool takes, such as weights = "DEFAULT"."""
    for key, value in (("weights", recipe.weights), ("optim.freeze", recipe.optim.freeze)):
        right = words.right_value(key, value)
        if right not in (None, value) and not (key == "weights" and Path(value).exists()):
            raise XferError(f"{key}={value}: not known here", words.value_hint(key, value))


def find_recipe(
    task: str, data: str, recipe: str = "", settings: Mapping[str, Any] | None = None
) -> tuple[Recipe, str, str]:
    """The recipe for a task and data: the given one, else task/NAME, else task/default.

    A setting of the task's option `recipe_by` (task.detector=fcos) chooses task/NAME-fcos or
    task/fcos before these, where there is one: so other defaults go with it.

    Args:
        task: its canonical name, or "" with `recipe`.
        data: the data spec; only a bare NAME or NAME:PATH selects a recipe, never a folder.
        recipe: a name or a file.
        settings: the user's, by key.

    Returns: the recipe, its name, and a line that says why it was chosen.
    """
    if recipe:
        return load_recipe(recipe), recipe, f"recipe {recipe}, as requested"
    known = recipe_names(f"{task}/*")
    named = _BARE_NAME.fullmatch(data)
    bare = named[1] if named and not (named[2] is None and Path(data).exists()) else ""
    key, value = _chooser(task, settings or {})
    for word, purpose in (
        (value and bare and f"{bare}-{value}", f"{bare} and {key}={value}"),
        (value, f"{key}={value}"),
        (bare, bare),
    ):
        name = f"{task}/{word}"
        if word and name in known:
            return load_recipe(name), name, f"recipe {name}, made for {purpose}"
    name = f"{task}/default"
    if name not in known:
        return _own_defaults(task)
    return load_recipe(name), name, f"recipe {name}: there is none specific to {data}"


def _chooser(task: str, settings: Mapping[str, Any]) -> tuple[str, str]:
    """The key of the task's option `recipe_by` and its value in the settings; empty: not given."""
    from xfer import task as tasks

    key = f"task.{tasks.get(task).recipe_by}"
    value = settings.get(key)
    return key, value if isinstance(value, str) else ""


def _own_defaults(task: str) -> tuple[Recipe, str, str]:
    """As `find_recipe`, for a task without a recipe T/default: its own `recipe` values over the
    general defaults."""
    from xfer import task as tasks

    own = dict(tasks.get(task).recipe)
    try:
        recipe = override(Recipe(task=task), own)
    except XferError as error:
        raise XferError(f"task {task}: its `recipe`: {error.message}", error.hint) from None
    values = ", ".join(f"{key}={value}" for key, value in own.items())
    reason = f"recipe: there is no {task}/default; the defaults, with {task}'s own {values}"
    return recipe, "", reason if own else reason.partition(", with")[0]


def infer_task(
    data: str, settings: Mapping[str, Any], in_memory: Any = None
) -> tuple[str, str, Any]:
    """The task that trains on the kind of these data, a line that says so, and the data as they
    were opened for it; None if the kind was clear without opening them.

    Args: in_memory: the data, if they are in memory.
    """
    from xfer import kinds
    from xfer import task as tasks
    from xfer.data.open import NONE, open_data
    from xfer.data.readers.base import ReadOptions
    from xfer.data.spec import kind_at_sight, open_spec
    from xfer.data.streams.shards import is_stream

    if in_memory is None and is_stream(data):
        return "classify", f"task classify: {data} is a stream of labelled pictures", None
    opened = in_memory
    keys = ("train", "val", "test", "skip_bad", "changes", *READING)
    values = {key: settings[f"data.{key}"] for key in keys if f"data.{key}" in settings}
    at_sight = in_memory is None and not any(values.get(key) for key in READING)
    kind, notes = kind_at_sight(data) if at_sight else None, ()
    if kind is None:
        splits = [values.get(role, "") for role in ("train", "val", "test")]
        options = ReadOptions(
            tuple(name for name in splits if name and name != NONE), values.get("skip_bad", False),
            **{key: values[key] for key in READING if key in values},
        )  # fmt: skip
        opened = open_spec(data if in_memory is None else in_memory, options)
        bundle = open_data(opened, check=False, find=False, **{"val": "none", **values})
        kind, notes = bundle.kind, bundle.notes
    try:
        task = tasks.for_kind(kind)
    except DataError as error:  # perhaps there is a table that could not be read, or a flag helps
        helps = ("not read", "data.label=")
        hint = next((note for note in notes if any(text in note for text in helps)), error.hint)
        raise DataError(f"{data}: {error.message}", hint) from None
    return task, f"task {task}: {data} holds {kinds.get(kind).holds}", opened


def build_recipe(
    data: Any = "",
    task: str = "",
    recipe: str = "",
    settings: Mapping[str, Any] | None = None,
    say: Callable[[str], None] | None = None,
) -> Recipe:
    """The complete, checked recipe for a command or a call; see `prepare`."""
    return prepare(data, task, recipe, settings, say)[0]


def prepare(
    data: Any = "",
    task: str = "",
    recipe: str = "",
    settings: Mapping[str, Any] | None = None,
    say: Callable[[str], None] | None = None,
) -> tuple[Recipe, Any]:
    """The complete, checked recipe for a command or a call, and the data for `fit`.

    Args:
        data: a data spec, or data in memory; empty: the recipe's own.
        task: a task's name or alias; empty: the recipe's, else inferred from the data.
        recipe: a name or a file; empty: chosen by `find_recipe`.
        settings: flags by name (epochs), or keys (optim.ema, optim__ema); None: not given.
        say: called with lines that tell what was found and chosen.

    Returns: the recipe; and the data if they are in memory, or were opened to infer the task (an
        `Opened`, which is read again only if the recipe requires it), else None.
    Raises: XferError for unknown names and keys, and for values that break the rules.
    """
    say = say or (lambda line: None)
    values = {_key(k): v for k, v in (settings or {}).items() if v is not None}
    task = values.pop("task", "") or task  # keys come after flags
    opened = None
    if isinstance(data, os.PathLike):
        data = os.fspath(data)
    if not isinstance(data, str):
        from xfer.data.sources.from_python import python_name

        opened, data = data, python_name(data)
    if values.get("data.source"):
        opened, data = None, values["data.source"]
    values.pop("data.source", None)
    if task:
        from xfer.task import canonical

        task = canonical(task)
    if not recipe and not data:
        raise XferError("no data given", "--data NAME, PATH or FORMAT:PATH")
    if not recipe and not task:
        task, reason, opened = infer_task(data, values, opened)
        say(reason)
    base, name, reason = find_recipe(task, data, recipe, values)
    if not recipe and (name in ("", f"{task}/default") or "=" in reason):
        say(reason)
    user_keys = base.given | values.keys()
    if data:
        values["data.source"] = data
    full = replace(check(override(base, values), recipe), given=user_keys)
    if task and task != full.task:
        raise XferError(f"recipe {name} is for {full.task}, not for {task}", "leave out --task")
    if not full.data.source:
        raise XferError("no data given", "--data NAME, PATH or FORMAT:PATH")
    return full, opened


def _key(name: str) -> str:
    """A setting's key in the recipe: epochs -> schedule.epochs, optim__ema -> optim.ema."""
    return {"task.name": "task"}.get(name, FLAGS.get(name, name.replace("__", ".")))
