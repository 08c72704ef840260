"""model.json: everything but the weights that is needed to rebuild a run's model anywhere.

It is only text: a module that it names is imported only if the user trusts it, see `xfer.plugs`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xfer import kinds, plugs
from xfer import task as tasks
from xfer.backbones.build import make_backbone
from xfer.errors import DataError, whole
from xfer.files import Types, check_fields, check_schema
from xfer.nn.low_rank import replace_linear
from xfer.recipe.tables import DataTable, Recipe
from xfer.runs.folder import Run
from xfer.task import Task
from xfer.types import LARGEST_SIDE, DataInfo

NAME = "model.json"
SCHEMA = 1
AGAIN = "the run must be trained again"
# key -> its type: of models trained by the loop, of probes, and of what some of them have
_OF_TASK: Types = {
    "task": str, "backbone": str, "backbone_options": dict, "task_options": dict, "kind": str,
    "classes": list, "size": int,
}  # fmt: skip
_OF_PROBE: Types = {
    "task": str, "backbone": str, "weights": str, "kind": str, "classes": list, "layer": str,
    "temperature": (int, float), "features": dict,
}  # fmt: skip
_KNOWN: Types = {
    "category_ids": list, "things": list, "tta": str, "svd": dict, "kind_from": str,
    "preprocess": dict, "temperature": (int, float),
}  # fmt: skip
_PREPROCESS: Types = {
    "mean": list, "std": list, "channels": str, "scale": (int, float), "size": int, "resize": int,
}  # fmt: skip


def about_model(
    task: Task, recipe: Recipe, category_ids: Mapping[str, int | str]
) -> dict[str, Any]:
    """The content of model.json for a task.

    Args: category_ids: class name -> its id in the COCO file trained on; {} without such a file.
    """
    own, classes = task.preprocess, task.info.classes
    named = bool(category_ids) and set(classes) <= set(category_ids)
    home = type(task.kind).__module__
    return {
        "schema": SCHEMA,
        "task": recipe.task,
        "backbone": recipe.backbone,
        "backbone_options": dict(recipe.backbone_options),
        "task_options": task.resolved_options(),
        "kind": task.info.kind,
        # the user's own kind: the module that registers it
        **({} if home.startswith("xfer.") else {"kind_from": home}),
        "classes": list(classes),
        **({"things": list(task.info.things)} if task.info.things else {}),
        **({"category_ids": [category_ids[c] for c in classes]} if named else {}),
        "size": own.size,
        "tta": recipe.eval.tta,
        "preprocess": {
            "mean": own.mean, "std": own.std, "channels": own.channels,
            "scale": own.scale, "size": own.size, "resize": own.resize,
        },
    }  # fmt: skip


def write_model(run: Run, about: Mapping[str, Any]) -> None:
    """Writes model.json, atomically."""
    run.write_json(NAME, about)


def read_model(run: Run) -> dict[str, Any]:
    """The content of a run's model.json.

    Raises: XferError if it is absent, DataError if it is not what a run writes.
    """
    about = run.read_json(NAME)
    check_model(run.path / NAME, about)
    return about


def check_model(file: Path | str, about: Mapping[str, Any]) -> None:
    """Raises DataError for a description of a model that is not what `about_model` makes."""
    if not isinstance(about.get("task"), str):
        raise DataError(f"{file}: not the model of a run", AGAIN)
    check_schema(file, about.get("schema"), SCHEMA)
    check_fields(file, about, _OF_PROBE if about["task"] == "probe" else _OF_TASK, _KNOWN)
    if about.get("size", 0) > LARGEST_SIDE:
        most = f"at most {LARGEST_SIDE}"
        raise DataError(f"{file}: size {about['size']} px, where {most} are read", AGAIN)
    if not all(isinstance(name, str) for name in about["classes"]):
        raise DataError(f"{file}: damaged (a class without a name)", AGAIN)
    if "preprocess" in about:
        check_fields(f"{file}: preprocess", about["preprocess"], _PREPROCESS)
    if not 0 < about.get("temperature", 1.0) < math.inf:
        raise DataError(f"{file}: temperature is {about['temperature']!r}, not above 0", AGAIN)
    for key in ("backbone_options", "task_options"):
        for name, value in dict(about.get(key, {})).items():
            if not _plain(value):
                raise DataError(f"{file}: {key}: {name} is {value!r}, not a plain value")


def _plain(value: Any) -> bool:
    """Whether a value is what a recipe may hold as an option: no tables, nothing within lists."""
    items = value if isinstance(value, list) else [value]
    return all(isinstance(item, str | int | float | bool | None) for item in items)


def rebuild(file: Path | str, about: Mapping[str, Any]) -> Task:
    """The task that model.json describes, on its backbone, with random weights.

    Args: file: where the description stands, for messages.

    Raises: XferError for a module that is missing or not trusted, and for unknown names.
    """
    with whole(file), plugs.reading(file):
        kind = tasks.get(about["task"])
        backbone = make_backbone(about["backbone"], weights="none", **about["backbone_options"])
        classes = tuple(about["classes"])
        if about["kind"] not in kinds.KINDS.names() and "kind_from" in about:
            plugs.imported(plugs.Plug(str(about["kind_from"]), about["kind"]), "kind of data")
        task = kind(
            backbone,
            DataInfo("", about["kind"], classes, things=_things(file, about, classes)),
            tasks.make_options(kind, about["task_options"]),
            DataTable(size=about["size"]),
        )
        replace_linear(task, about.get("svd", {}))
        return task


def _things(
    file: Path | str, about: Mapping[str, Any], classes: tuple[str, ...]
) -> tuple[str, ...]:
    """The classes that are things. Raises DataError for one that is no class."""
    things = tuple(about.get("things", ()))
    unknown = [name for name in things if name not in classes]
    if unknown:
        raise DataError(f"{file}: damaged (the thing {unknown[0]!r:.60} is no class)", AGAIN)
    return things
