"""Runs recipes one after the other on shared data, within a time; what was finished is kept.

The runs are in this process: data, decoded pictures and the start are paid once, and nothing is
left behind when the process ends, however it ends. A run that is found finished is not done again,
one that was cut goes on from its last state.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xfer.data.sources.base import Bundle
from xfer.errors import DivergedError, XferError
from xfer.recipe.data import Ready, open_recipe_data, pictures_of
from xfer.recipe.paths import absolute
from xfer.recipe.tables import Recipe, differences, override
from xfer.runs.folder import Run
from xfer.train.loop import fit
from xfer.train.signals import Interrupted
from xfer.trials.budget import Budget

FINISHED, DIVERGED, CUT = "finished", "diverged", "unfinished"
# keys that may differ between a run and the recipe it is found for: they change no score
_ALIKE = ("data.workers", "data.cache_mb", "run.device", "run.plots", "run.report", "run.track",
          "run.save_minutes")  # fmt: skip


class Stopped(KeyboardInterrupt):
    """The user has stopped an experiment; the message tells how it goes on."""


@dataclass(frozen=True)
class Outcome:
    """A run of an experiment.

    path    | its folder
    state   | finished, diverged or unfinished
    score   | the primary score on val, of a finished run; result: result.json's content
    message | why it diverged
    """

    path: Path
    state: str
    score: float | None = None
    result: dict[str, Any] = field(default_factory=dict[str, Any])
    message: str = ""


class Bench:
    """What the runs of an experiment share.

    Args:
        budget: no run begins or goes on after it.
        opened: the data, if they are in memory or were opened to infer the task.
        say: called with a line per run.
    """

    def __init__(
        self, budget: Budget, opened: Any = None, say: Callable[[str], None] = lambda _: None
    ) -> None:
        self.budget, self.say = budget, say
        self._opened = opened
        self._ready: dict[tuple[Any, ...], Ready] = {}
        self._warned = False

    def data(self, recipe: Recipe) -> Bundle:
        """The recipe's data without the test split, which is never looked at; opened once.

        Raises: XferError if there is no val split to compare by, DataError for unusable data.
        """
        return self.ready(recipe).bundle

    def ready(self, recipe: Recipe) -> Ready:
        """The same, as `fit` takes it."""
        recipe = absolute(blind(recipe))
        key = pictures_of(recipe)
        if key not in self._ready:
            bundle = open_recipe_data(recipe, self._opened)
            if "val" not in bundle.splits:
                raise XferError(
                    f"{recipe.data.source}: runs are compared on val, and there is no val split",
                    "leave out --val none",
                )
            self._ready[key] = Ready(bundle)
        return self._ready[key]

    def run(self, recipe: Recipe, path: Path, data: Ready | None = None) -> Outcome:
        """Trains a recipe in a folder, as far as that has not been done already.

        Args: data: instead of the recipe's own.
        Raises: XferError if the folder holds a run of another recipe, and whatever stops `fit` but
            divergence; KeyboardInterrupt after a signal.
        """
        recipe = absolute(blind(recipe))
        old = Run(path)
        resume = None
        if old.exists:
            if different := [key for key in differences(old.recipe(), recipe) if key not in _ALIKE]:
                raise XferError(
                    f"{path} is of another experiment: {', '.join(different[:3])} differ",
                    "another --out, or --overwrite",
                )
            if old.finished:
                return _finished(path, old.read_json("result.json"))
            resume = path
        if self.budget.left <= 0:
            return Outcome(path, CUT)
        verbosity = -2 if self._warned else -1  # what is odd in the data is said once
        self._warned = True
        try:
            summary = fit(
                None if resume else recipe, None if resume else path, resume=resume,
                data=data or self.ready(recipe), until=self.budget.until, verbosity=verbosity,
            )  # fmt: skip
        except Interrupted:
            if self.budget.left > 0:
                raise
            return Outcome(path, CUT)
        except DivergedError as error:
            return Outcome(path, DIVERGED, message=error.message)
        finally:
            gc.collect()  # a net in a cycle of references would stay beside the next one
        return _finished(path, summary.result)


def blind(recipe: Recipe) -> Recipe:
    """The recipe without its test split."""
    return replace(override(recipe, {"data.test": "none"}), given=recipe.given)


def _finished(path: Path, result: dict[str, Any]) -> Outcome:
    score = (result.get("metrics") or {}).get(result.get("primary"))
    return Outcome(path, FINISHED, None if score is None else float(score), result)
