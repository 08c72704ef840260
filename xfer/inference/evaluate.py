"""Scores a run again: on its own data, or on other pictures of the same classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xfer import kinds, plugs
from xfer import task as tasks
from xfer.data.sources.boxes_as_labels import presence
from xfer.device import Place, placed, usable_precision
from xfer.errors import DataError
from xfer.inference.score import score, view_protocol
from xfer.recipe.data import open_recipe_data
from xfer.runs.folder import Run
from xfer.task import Task

if TYPE_CHECKING:
    from xfer.data.loading.loader import Loader
    from xfer.data.sources.base import Bundle
    from xfer.recipe.tables import Recipe
    from xfer.types import Source


@plugs.face("data")
def evaluate(
    run: Path | str,
    *,
    data: Any = "",
    split: str = "",
    tta: str = "",
    batch: int = 0,
    device: str = "auto",
    workers: int = -1,
    data_keys: Mapping[str, Any] | None = None,
    trust: str | Sequence[str] = (),
) -> dict[str, Any]:
    """Scores a run's best weights, on its own data or on other pictures of the same classes.

    Args:
        run: the run folder; data: a spec, or data in memory as for `finetune`; the run's own by
            default.
        split: by default val, or test if there is no val; tta: one of the task's views, the run's
            own by default; batch: pictures at a time.
        data_keys: images, ignore, path, label, split, changes for `data`, as in `open_data`.
        trust: your own modules that the run may import.

    Returns: {"split", "images", "primary", "metrics", "protocol", ...}, fractions in 0..1.
    Raises: XferError for a folder that is not a run, DataError for data that don't fit.
    """
    from xfer.inference.model import load

    folder = Run.open(Path(run))
    recipe = folder.recipe()
    with placed(device, usable_precision(recipe.run.precision, device)) as place:
        model = load(folder.path, place=place)
        tta = tta or recipe.eval.tta
        with plugs.reading(folder.path / "recipe.toml"):
            bundle, role = open_split(recipe, model.task, data, split, data_keys)
        loader = eval_loader(
            recipe, model.task, bundle.splits[role], place, tta, batch=batch, workers=workers
        )
        metric = score(model.task, loader, place, tta)
        return {
            "run": str(folder.path),
            "data": bundle.name,
            "split": role,
            "images": len(bundle.splits[role]),
            "primary": metric.primary,
            "metrics": metric.compute(),
            "protocol": {**metric.protocol(), **view_protocol(model.task, tta)},
        }


def open_split(
    recipe: Recipe, task: Task, data: Any = "", split: str = "",
    data_keys: Mapping[str, Any] | None = None,
) -> tuple[Bundle, str]:  # fmt: skip
    """A run's own data or other data of the same classes, and the split to score: the given one,
    else the first of val, test and train. Raises DataError if there is no such split."""
    if not isinstance(data, str) or data:
        bundle = open_other(data, task, recipe.run.seed, data_keys)
    else:
        if recipe.task == "probe":  # a probe reads data like the task that trains on that kind
            kind = getattr(task, "data_kind", task.info.kind)
            recipe = replace(recipe, task=tasks.for_kind(kind))
        bundle = open_recipe_data(recipe)
    if bundle.kind != task.info.kind and task.info.kind in kinds.get(bundle.kind).also:
        bundle = presence(bundle)
    role = split or next((s for s in ("val", "test", "train") if s in bundle.splits), "val")
    if role not in bundle.splits:
        raise DataError(f"{bundle.name}: no {role!r} split", f"it has {', '.join(bundle.splits)}")
    return bundle, role


def eval_loader(
    recipe: Recipe,
    task: Task,
    source: Source,
    place: Place,
    tta: str,
    *,
    batch: int = 0,
    workers: int = -1,
) -> Loader:
    """Batches of a source for `task.predict`. Raises XferError for unknown views."""
    from xfer.data.loading.loader import Loader

    task.check_views(tta)
    task.prepare(source)
    views = 10 if tta == "10crop" else 1
    size = batch or recipe.eval.batch or 2 * recipe.data.batch
    return Loader(
        source, task.transform(False, tta), task.collate, batch=max(place.world, size // views),
        train=False, workers=workers, rank=place.rank, world=place.world,
        short_side=task.short_side,
    )  # fmt: skip


def open_other(data: Any, task: Task, seed: int, data_keys: Mapping[str, Any] | None = None) -> Any:
    """Other pictures for a trained model; their classes, by name, must be the model's."""
    from xfer.data.open import open_data

    # a probe trained on the classes of boxes is scored on boxes
    wanted = dict.fromkeys((*task.kinds, getattr(task, "data_kind", task.kinds[0])))
    try:
        bundle = open_data(
            data,
            seed=seed,
            classes=task.info.classes,
            cut=False,
            kind=tuple(wanted),
            **data_keys or {},
        )
    except DataError as error:
        if "skip_bad" in (error.hint or ""):  # that key is for training only
            raise DataError(error.message, "take them out of the data") from error
        raise
    if bundle.kind not in wanted:
        needed = " or ".join(kinds.words(kind) for kind in task.kinds)
        content = kinds.get(bundle.kind).holds
        raise DataError(f"{bundle.name} holds {content}; the run needs {needed}")
    return bundle
