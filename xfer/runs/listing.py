"""Reads run folders: lists them, shows one in full.

Reads what `folder` writes, without torch, and copes with missing files: a run may be unfinished or
half deleted.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

from xfer.errors import DataError, XferError, whole
from xfer.files import is_file
from xfer.recipe.tables import Recipe, differences
from xfer.recipe.toml import load_recipe, recipe_names
from xfer.runs import json_files
from xfer.runs.json_files import read_events

DEEPEST = 4


def find_runs(folder: Path | str = "runs") -> list[Path]:
    """The run folders in a folder and below it, sorted; [] if there is no such folder."""
    top = Path(folder)
    runs: list[Path] = []
    for here, subfolders, files in os.walk(top):
        path = Path(here)
        if "recipe.toml" in files:
            runs.append(path)
        if "recipe.toml" in files or len(path.relative_to(top).parts) >= DEEPEST:
            subfolders.clear()
        subfolders.sort()
    return runs


def list_runs(folder: Path | str = "runs") -> list[dict[str, Any]]:
    """One row per run, the newest first: what was trained on what, when it was last written, its
    progress and its main score.

    Raises: DataError if there is no such folder.
    """
    if not Path(folder).is_dir():
        raise DataError(f"no folder {folder}", "`xfer runs ls DIR` lists the runs in DIR")
    return [_row(path) for path in sorted(find_runs(folder), key=_written, reverse=True)]


def _row(path: Path) -> dict[str, Any]:
    try:
        recipe, result = load_recipe(str(path / "recipe.toml")), read_result(path)
    except XferError as error:
        return {"run": str(path), "date": _date(path), "state": f"damaged: {error.message}"}
    events = read_events(path / "log.jsonl")
    row: dict[str, Any] = {
        "run": str(path),
        "date": _date(path),
        "task": recipe.task,
        "backbone": recipe.backbone,
        "data": recipe.data.source,
        "state": "finished" if result else "unfinished",
        "steps": result.get("steps", _last_step(events)),
        "metric": result.get("primary"),
        "val": result.get("metrics", {}).get(result.get("primary")),
        "interval": result.get("interval"),
        "test": result.get("test_metrics", {}).get(result.get("primary")),
        "seconds": result.get("seconds"),
    }
    return row


def _written(path: Path) -> float:
    """When a run's files were last written, seconds since 1970."""
    files = [path / name for name in ("result.json", "log.jsonl", "recipe.toml")]
    return max((file.stat().st_mtime for file in files if file.is_file()), default=0.0)


def _date(path: Path) -> str:
    """The same in local time, ISO 8601 to the second."""
    return datetime.fromtimestamp(_written(path)).isoformat(timespec="seconds")


def show_run(run: Path | str) -> dict[str, Any]:
    """Everything about one run.

    Returns: {"run", "state", "result", "last": the last train and eval events, "base": the name
        of the recipe it came from, "changed": {key: [base's, run's]}, "environment"}.
    Raises: XferError if the folder is not a run.
    """
    path = run_folder(run)
    recipe = load_recipe(str(path / "recipe.toml"))
    known = recipe.name in recipe_names()
    base = load_recipe(recipe.name) if known else Recipe()
    result, events = read_result(path), read_events(path / "log.jsonl")
    last = {name: e for e in events if (name := e.get("event")) in ("train", "eval")}
    changed = differences(base, recipe)
    return {
        "run": str(path),
        "state": "finished" if result else f"unfinished, at step {_last_step(events)}",
        "result": result,
        "last": last,
        "recipe": recipe.name,
        "base": recipe.name if known else "the defaults",
        "changed": {key: list(pair) for key, pair in changed.items()},
        "environment": read_json(path / "env.json"),
    }


def run_folder(run: Path | str) -> Path:
    """The path of a run folder. Raises XferError if it is none."""
    path = Path(run)
    if not (path / "recipe.toml").is_file():
        reason = "not a run folder (no recipe.toml)" if path.exists() else "no such folder"
        raise XferError(f"{path}: {reason}", "`xfer runs ls` lists the runs here")
    return path


def read_result(path: Path) -> dict[str, Any]:
    """A run's result.json; {} for an unfinished run."""
    return read_json(path / "result.json")


def read_json(path: Path) -> dict[str, Any]:
    """A json file's object; {} if there is no such file. Raises DataError if it is damaged."""
    with whole(path):
        return json_files.read_json(path) if is_file(path) else {}


def _last_step(events: list[dict[str, Any]]) -> int:
    return max((event.get("step", 0) for event in events), default=0)
