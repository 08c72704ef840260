"""The [task] table of a task with several heads: its own keys, and a table for each head."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from types import MappingProxyType
from typing import Any

from xfer import kinds
from xfer import task as tasks
from xfer.errors import XferError
from xfer.recipe.option import When, option
from xfer.task import Task

NAME = "multi"  # of the task that has heads


@dataclass(frozen=True)
class Options:
    """The [task] table of a recipe with several heads; each head's own options, and its `weight`,
    are in the table [task.HEAD]."""

    heads: tuple[str, ...] = option(
        ("classify", "segment"), "tasks that share the backbone, two or more; each has its own "
        "options and a weight in a table of its own, [task.classify]",
    )  # fmt: skip
    primary: str = option(
        "", "the head whose own score chooses the best step; empty: the mean of the scores by "
        "which each head would",
    )  # fmt: skip


@dataclass(frozen=True)
class Weighted:
    """What [task.HEAD] holds besides the options of the head's task."""

    weight: float = option(1.0, "of the head's losses in the sum", min=0)


@dataclass(frozen=True)
class HeadOptions(Options):
    """`Options` with those of the heads, by head: own, and weights."""

    own: Mapping[str, Any] = field(default_factory=dict[str, Any])
    weights: Mapping[str, float] = field(default_factory=dict[str, float])


def heads_in(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The heads that a [task] table names, by their canonical names. Raises XferError for fewer
    than two, for an unknown task, and for one named twice."""
    given = values.get("heads", Options().heads)
    words: Sequence[str] = given.strip("[]").split(",") if isinstance(given, str) else given
    names = tuple(tasks.canonical(str(word).strip()) for word in words)
    if len(names) < 2:
        raise XferError("task.heads needs two heads or more", "task.heads=classify,segment")
    for name in names:
        if name == NAME or ":" in name or "." in name:
            raise XferError(f"task.heads: {name!r} can't be a head", "a task by its bare name")
        if names.count(name) > 1:
            raise XferError(f"task.heads names {name} twice")
    return names


def fields_of(heads: Sequence[str]) -> dict[str, Field[Any]]:
    """Every key of the [task] table with these heads: heads, primary, classify.weight, ..."""
    known = {one.name: one for one in fields(Options)}
    for head in heads:
        own = tasks.get(head).option_fields({})
        for name, one in {**{f.name: f for f in fields(Weighted)}, **own}.items():
            known[f"{head}.{name}"] = _of_head(one, head)
    return known


def options_from(values: Mapping[str, Any]) -> HeadOptions:
    """Options with these values, which have been checked against `fields_of`."""
    heads = heads_in(values)
    primary = str(values.get("primary", ""))
    if primary and tasks.ALIASES.get(primary, primary) not in heads:
        raise XferError(f"task.primary={primary}: not one of the heads", ", ".join(heads))
    own: dict[str, Any] = {}
    for head in heads:
        named = {k.partition(".")[2]: v for k, v in values.items() if k.startswith(f"{head}.")}
        named.pop("weight", None)
        own[head] = tasks.get(head).options_from(named)
    weights = {head: float(values.get(f"{head}.weight", Weighted().weight)) for head in heads}
    if not any(weights.values()):
        raise XferError("every head's weight is 0: there is nothing to learn")
    return HeadOptions(heads, tasks.ALIASES.get(primary, primary), own, weights)


def conditions(head: str) -> dict[str, When | str]:
    """A task's `counts_when`, as the head that cuts the pictures."""
    own = tasks.get(head).conditions({}).items()
    return {key: when if isinstance(when, str) else _renamed(when, head) for key, when in own}


def leads(heads: Sequence[str]) -> str:
    """The head that cuts the pictures for all: the first that says something of every pixel, since
    it learns from crops of one size; else the first that finds boxes; else the first: the truth of
    whole pictures holds for any cut of them."""

    def rank(head: str) -> int:
        own = [kinds.get(kind) for kind in tasks.get(head).kinds]
        placed = any(kind.placed for kind in own)
        return 2 if placed and not any(kind.boxes for kind in own) else int(placed)

    return max(heads, key=rank)


def check_followers(options: HeadOptions, lead: str) -> None:
    """Raises XferError for an option of a head that cuts or alters pictures, which another head
    does."""
    for head in options.heads:
        kind = tasks.get(head)
        usual = kind.option_fields({})
        for name in kind.cuts if head != lead else ():
            if getattr(options.own[head], name) != usual[name].default:
                raise XferError(
                    f"task.{head}.{name}: all heads see the pictures that {lead} cuts",
                    f"leave it out; [task.{lead}] and [data] say how",
                )


def flat(options: HeadOptions, heads: Mapping[str, Task]) -> dict[str, Any]:
    """The options of all heads as resolved, by their keys in the [task] table."""
    values: dict[str, Any] = {"heads": list(options.heads), "primary": options.primary}
    for head, task in heads.items():
        values[f"{head}.weight"] = options.weights[head]
        values |= {f"{head}.{name}": value for name, value in task.resolved_options().items()}
    return values


def _of_head(one: Field[Any], head: str) -> Field[Any]:
    """An option whose conditions name keys of its own [task] table, in the table of a head."""
    if "when" not in one.metadata:
        return one
    moved = copy.copy(one)
    when = _renamed(one.metadata["when"], head)
    moved.metadata = MappingProxyType({**one.metadata, "when": when})
    return moved


def _renamed(when: When, head: str) -> When:
    if isinstance(when, tuple):
        return tuple(_named(way, head) for way in when)
    return _named(when, head)


def _named(way: Mapping[str, Any], head: str) -> dict[str, Any]:
    start = "task."
    return {
        f"{start}{head}.{key.removeprefix(start)}" if key.startswith(start) else key: test
        for key, test in way.items() if key != "kind"
    }  # fmt: skip
