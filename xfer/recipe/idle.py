"""Settings that count for nothing: said, so that nobody waits for an effect that can't come."""

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
    """A line for each setting of the user's that counts for nothing, as the options say (`when`).

    Args:
        recipe: the whole of it; `recipe.given` are the user's settings. What a recipe of xfer's
            own sets is never spoken of.
        model: the task that was built from it: it knows what `auto` came to and the kind of the
            data. Without it, an option that depends on either is taken to count.
        processes: how many train together, where that is known.
    """
    kind = tasks.get(recipe.task)
    state = settled(recipe, model)
    if processes is not None:
        state["processes"] = processes
    lines: list[str] = []
    for key, value in state.items():
        if key not in recipe.given or not value:
            continue  # what is switched off (false, 0, empty) has no effect to wait for
        where = f"{key}={plain(value)} counts for nothing with"
        for when in conditions(kind, key):
            if isinstance(when, str):
                lines.append(f"{where} task={recipe.task}: {when}")
                break
            failing = _failing(when, state)
            if failing:
                others = ", ".join(f"{other}={plain(state[other])}" for other in failing)
                lines.append(f"{where} {others} (it counts with {in_words(when)})")
                break
    return lines


def conditions(kind: type[Task], key: str) -> list[When | str]:
    """When a key of a recipe counts: its own condition and that of the task, which may be a text:
    never, and why. None: always."""
    found: list[When | str] = []
    own = tasks.options_of(kind).get(key) or FIELDS.get(key)
    if own is not None and "when" in own.metadata:
        found.append(own.metadata["when"])
    if key in kind.counts_when:
        found.append(kind.counts_when[key])
    return found


def settled(recipe: Recipe, model: Task | None = None) -> dict[str, Any]:
    """Every key of the recipe with its value, the task's defaults among them; with a model, what
    `auto` came to and "kind", the kind of its data."""
    options = tasks.options_of(tasks.get(recipe.task))
    state = {key: option.default for key, option in options.items()} | flatten(recipe)
    if model is not None:
        chosen = model.resolved_options()
        for key, value in state.items():
            if key in options and value == "auto":
                state[key] = chosen[key.removeprefix("task.")]
        state["kind"] = model.info.kind
    return state


def _failing(when: When, state: Mapping[str, Any]) -> list[str]:
    """The keys for which an option does not count; none where it does, or where that is not known
    yet."""
    failing: list[str] = []
    for way in when if isinstance(when, tuple) else (when,):
        # a kind that is not known, and an `auto` that nobody has settled
        known = {key: test for key, test in way.items() if state.get(key, "auto") != "auto"}
        wrong = [key for key, test in known.items() if not test.holds(state[key])]
        if not wrong:
            return []
        failing += [key for key in wrong if key not in failing]
    return failing
