"""What a page says about a run: everything in its folder, and what its model and data add."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xfer.errors import XferError
from xfer.files import is_file, text_of
from xfer.metrics.calibration import calibration_of
from xfer.metrics.interval import interval_of
from xfer.recipe.tables import Recipe, differences, flatten
from xfer.recipe.toml import load_recipe, recipe_names
from xfer.runs.json_files import read_events
from xfer.runs.listing import read_json, read_result, run_folder

if TYPE_CHECKING:
    from xfer.kinds.base import Kind
    from xfer.task import Task
    from xfer.types import Source


@dataclass(frozen=True)
class Live:
    """What only a loaded model and its data tell; any of it may be missing.

    metric | the metric over the pictures of `split`, in `source`
    train  | the training pictures; task: the model; kind: of the data, where there is no model
    notes  | lines about the pictures
    deadline | when pictures must be done, as of time.monotonic
    """

    split: str = ""
    metric: Any = None
    source: Source | None = None
    train: Source | None = None
    task: Task | None = None
    kind: Kind | None = None
    notes: tuple[str, ...] = ()
    deadline: float = float("inf")

    @property
    def late(self) -> bool:
        return time.monotonic() > self.deadline


@dataclass(frozen=True)
class Facts:
    """A run to be shown.

    recipe  | its keys with their values; base, changed: the recipe it came from, and where they
            | differ: key -> (base's, the run's)
    result  | result.json, {} while unfinished; env, splits: env.json and split.json, {} if absent
    events  | log.jsonl's; classes: names
    """

    path: Path
    recipe: dict[str, Any]
    recipe_name: str
    base: str
    changed: dict[str, tuple[Any, Any]]
    result: dict[str, Any]
    env: dict[str, Any]
    splits: dict[str, Any]
    events: list[dict[str, Any]]
    classes: tuple[str, ...]
    live: Live

    @classmethod
    def of(
        cls, path: Path, live: Live | None = None, result: Mapping[str, Any] | None = None
    ) -> Facts:
        """The facts in a run's folder.

        Args: live: what is known beyond it; result: the run's result where it is not written yet.
        Raises: XferError for a folder that is no run, DataError for damaged files.
        """
        path = run_folder(path)
        recipe = load_recipe(str(path / "recipe.toml"))
        known = recipe.name in recipe_names()
        base = load_recipe(recipe.name) if known else Recipe()
        log, names = path / "log.jsonl", path / "classes.txt"
        return cls(
            path, flatten(recipe), recipe.name, recipe.name if known else "xfer's defaults",
            differences(base, recipe),
            dict(result) if result is not None else read_result(path),
            read_json(path / "env.json"), read_json(path / "split.json"),
            read_events(log) if is_file(log) else [],
            tuple(text_of(names).splitlines()) if is_file(names) else (),
            live or Live(),
        )  # fmt: skip

    @property
    def finished(self) -> bool:
        return bool(self.result)

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def kind(self) -> Kind | None:
        """The kind of its data, if it is known."""
        return self.live.kind if self.live.task is None else self.live.task.kind

    @property
    def primary(self) -> str:
        """Name of the score that it is judged by; "" if there is none."""
        known = self.result.get("primary")
        if known:
            return str(known)
        return "" if self.live.metric is None else str(self.live.metric.primary)

    def of_events(self, kind: str) -> list[dict[str, Any]]:
        """The log's events of a kind: train or eval."""
        return [e for e in self.events if e.get("event") == kind]

    @property
    def scored(self) -> list[tuple[str, dict[str, Any]]]:
        """(split, scores) of what was scored; of an unfinished run those of its best weights."""
        known = [("val", "metrics"), ("test", "test_metrics")]
        found = [(s, dict(self.result[key])) for s, key in known if self.result.get(key)]
        if not found and self.live.metric is not None:
            return [(self.live.split, self.scores)]
        return found

    @property
    def scores(self) -> dict[str, Any]:
        """The scores of the pictures that are shown, {} without."""
        key = {"val": "metrics", "test": "test_metrics"}.get(self.live.split or "val", "")
        known = self.result.get(key) or self.result.get("metrics") or {}
        if known or self.live.metric is None:
            return dict(known)
        try:
            return self.live.metric.compute()
        except XferError:
            return {}

    def interval(self, split: str) -> Mapping[str, Any] | None:
        """{"low", "high", "method"} of the main score on a split, if it is known."""
        key = {"val": "interval", "test": "test_interval"}.get(split, "")
        known = self.result.get(key)
        if isinstance(known, Mapping) and {"low", "high"} <= known.keys():
            return known
        if split != self.live.split or self.live.metric is None:
            return None
        return self._own_interval

    @functools.cached_property
    def _own_interval(self) -> Mapping[str, Any] | None:
        """Of the scored pictures, for runs that did not record one."""
        try:
            found = interval_of(self.live.metric)
        except XferError:  # nothing was scored
            return None
        return None if found is None else found.document()

    @functools.cached_property
    def calibration(self) -> Mapping[str, Any]:
        """result.json's "calibration", or that of the pictures that are shown; {} without."""
        known = self.result.get("calibration")
        if isinstance(known, Mapping) or self.live.metric is None:
            return known or {}
        try:
            found = calibration_of(self.live.metric)
        except XferError:  # nothing was scored
            return {}
        return {} if found is None else found.document()

    def counts(self) -> list[tuple[str, int]]:
        """(split, pictures) of the run's data."""
        return [(role, picture_count(entry)) for role, entry in self.splits.items()
                if isinstance(entry, (list, dict))]  # fmt: skip

    def protocol(self, name: str) -> str:
        """What a score means, in words; "" if the run does not say."""
        known: Mapping[str, Any] = self.result.get("protocol") or {}
        if not known and self.live.metric is not None:
            known = self.live.metric.protocol()
        if name in known:
            return str(known[name])
        beginnings = [key for key in known if name.startswith(key)]
        return str(known[max(beginnings, key=len)]) if beginnings else ""


def picture_count(entry: Sequence[str] | Mapping[str, Any]) -> int:
    """How many pictures an entry of split.json has."""
    return int(entry.get("images", 0)) if isinstance(entry, Mapping) else len(entry)
