"""Opens the data that a recipe names, for its task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xfer import kinds
from xfer import task as tasks
from xfer.data.open import check_scored, open_data
from xfer.data.sources.base import Bundle
from xfer.data.sources.kept import Kept
from xfer.data.streams.shards import is_stream
from xfer.errors import DataError, XferError
from xfer.recipe.tables import READING, Recipe

# the keys of [data] by which its pictures are found
_FINDS = ("source", "train", "val", "test", "split_seed", "limit", "skip_bad", "changes", *READING)


@dataclass(frozen=True)
class Ready:
    """Data that were opened for one run and serve others on the same pictures as they are: nothing
    is read or checked again, and decoded pictures stay in memory.

    bundle | what `open_recipe_data` returned
    """

    bundle: Bundle


def pictures_of(recipe: Recipe) -> tuple[Any, ...]:
    """What decides which pictures, labels and splits a recipe's runs see: equal for recipes that
    may share a `Ready`."""
    return (recipe.task, _wanted(recipe), *(getattr(recipe.data, key) for key in _FINDS))


def open_recipe_data(
    recipe: Recipe, opened: Any = None, *, kept: Kept | None = None, **options: Any
) -> Bundle:
    """The recipe's data, opened and checked.

    Args:
        opened: the data themselves, passed in Python or opened earlier; a `Ready` is taken as it
            is.
        kept: open only this split of an earlier run, as far as it is still there.
        options: of `open_data`, in place of the recipe's: with `kept`, the run's `classes`.

    Raises: DataError for whatever would stop the run.
    """
    if isinstance(opened, Ready):
        return opened.bundle
    data = recipe.data
    if not data.source:
        raise XferError("no data given", "--data NAME, PATH or FORMAT:PATH")
    wanted = _wanted(recipe)
    values = {
        "train": data.train, "val": data.val, "test": data.test, "seed": data.split_seed,
        "limit": 0 if kept else data.limit, "skip_bad": data.skip_bad, "thorough": data.skip_bad,
        "kind": wanted, "kept": kept, "changes": data.changes,
        **{key: getattr(data, key) for key in READING}, **options,
    }  # fmt: skip
    if kept is None:
        values |= {"stream_size": data.stream_size, "stream_classes": data.classes}
    if is_stream(data.source) and "classify" not in wanted:
        raise XferError(f"{data.source}: a stream holds one label per picture", "--task classify")
    bundle = open_data(data.source if opened is None else opened, **values)
    check_kind(data.source, bundle, recipe.task, wanted)
    if kept is None and "train" not in bundle.splits:
        raise DataError(f"{data.source}: no training split", "name it with --train NAME")
    check_scored(bundle)
    return bundle


def _wanted(recipe: Recipe) -> tuple[str, ...]:
    """The kinds of data that the recipe's task trains on."""
    task, values = tasks.get(recipe.task), recipe.task_options
    known = task.option_fields(values)  # a probe's recipe says more than its task knows
    return task.kinds_for(tasks.make_options(task, {k: values[k] for k in values if k in known}))


def check_kind(source: str, bundle: Bundle, task: str, kinds_wanted: Sequence[str] = ()) -> None:
    """Raises DataError if opened data are of another kind than a task trains on.

    Args: kinds_wanted: the kinds, if they depend on the task's options.
    """
    wanted = tuple(kinds_wanted) or tasks.get(task).kinds
    if bundle.kind in wanted:
        return
    actual = kinds.get(bundle.kind)
    has_hint = not actual.labelled and wanted[0] in kinds.KINDS.names()
    needed = " or ".join(kinds.words(kind) for kind in wanted)
    raise DataError(
        f"{source} holds {actual.holds}; {task} trains on {needed}",
        (kinds.get(wanted[0]).needs or None) if has_hint else None,
    )
