"""Reports settings that have no effect, so that nobody waits for one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xfer import task as tasks
from xfer.recipe.option import When, in_words, plain
from xfer.recipe.tables import FIELDS, Recipe, flatten

if TYPE_CHECKING:
    from xfer.task import Task


def idle_settings(
    recipe: Recipe, model: Task | None = None, processes: int | None = None
) -> list[str]:
    """A line for each user setting that has no effect, according to the options' `when`.

    Args:
        recipe: the complete recipe; `recipe.given` are the user's settings. Values set by xfer's
            own recipes are never reported.
        model: the task built from it, which knows how `auto` was resolved and the kind of data.
            Without it, an option that depends on either is assumed to have an effect.
        processes: how many train together, if known.
    """
    kind = tasks.get(recipe.task)
    state = settled(recipe, model)
    if processes is not None:
        state["processes"] = processes
    lines: list[str] = []
    for key, value in state.items():
        if key not in recipe.given or not value:
            continue  # a setting that switches off (false, 0, empty) needs no report
        where = f"{key}={plain(value)} has no effect with"
        for when in conditions(kind, key, recipe.task_options):
            if isinstance(when, str):
                lines.append(f"{where} task={recipe.task}: {when}")
                break
            failing = _failing(when, state)
            if failing:
                others = ", ".join(f"{other}={plain(state[other])}" for other in failing)
                lines.append(f"{where} {others} (only with {in_words(when)})")
                break
    return lines


def conditions(
    kind: type[Task], key: str, values: Mapping[str, Any] | None = None
) -> list[When | str]:
    """The conditions under which a recipe key has an effect: its own and the task's, which may be a
    text: never, and why. Empty: always.

    Args: values: those of the task's options that are set.
    """
    result: list[When | str] = []
    option = tasks.options_of(kind, values).get(key) or FIELDS.get(key)
    if option is not None and "when" in option.metadata:
        result.append(option.metadata["when"])
    own = kind.conditions(values or {})
    if key in own:
        result.append(own[key])
    return result


def settled(recipe: Recipe, model: Task | None = None) -> dict[str, Any]:
    """Every key of the recipe with its value, including the task's defaults and the values of
    `auto` that its options decide; with a model, also the others, and "kind", that of its data."""
    task = tasks.get(recipe.task)
    options = tasks.options_of(task, recipe.task_options)
    state = {key: option.default for key, option in options.items()} | flatten(recipe)
    given = tasks.make_options(task, dict(recipe.task_options))
    decided: dict[str, Any] = given.decided() if hasattr(given, "decided") else {}
    state |= {f"task.{key}": value for key, value in decided.items()}
    if model is not None:
        chosen = model.resolved_options()
        for key, value in state.items():
            if key in options and value == "auto":
                state[key] = chosen[key.removeprefix("task.")]
        state["kind"] = model.info.kind
    return state


def _failing(when: When, state: Mapping[str, Any]) -> list[str]:
    """The keys because of which an option has no effect; empty if it has one, or if that is not
    known yet."""
    failing: list[str] = []
    for way in when if isinstance(when, tuple) else (when,):
        # skips an unknown kind, and an `auto` that is not resolved yet
        known = {key: test for key, test in way.items() if state.get(key, "auto") != "auto"}
        wrong = [key for key, test in known.items() if not test.holds(state[key])]
        if not wrong:
            return []
        failing += [key for key in wrong if key not in failing]
    return failing
