"""Follows a run, and passes what happens to the trackers that run.track names."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image

from xfer.errors import XferError
from xfer.recipe.tables import Recipe, flatten
from xfer.recipe.toml import dump
from xfer.runs.folder import Run
from xfer.tracking.tracker import About, Tracker, scalars_of, scores_of

TRACKERS = {"csv": "csv_file:CsvFile", "tensorboard": "tensorboard:TensorBoard"}
PICTURES = ("worst", "predictions", "confusion")


def check_trackers(track: str) -> None:
    """Raises XferError if a tracker's package is not installed. Args: track: run.track."""
    for name in _names(track):
        package = _class(name).package
        if package and importlib.util.find_spec(package) is None:
            raise XferError(
                f"run.track={name} needs {package}, which is not installed",
                "pip install 'xfer[track]'",
            )


@contextlib.contextmanager
def tracked(
    recipe: Recipe, run: Run, step: int, main: bool, warn: Callable[[str], None]
) -> Iterator[None]:
    """Context of training and its end: what goes to the run's log goes to its trackers too, and
    once the run is finished its scores and pictures do.

    Args:
        step: how many steps are done; main: whether this process is the one that writes.
        warn: called once for a tracker that fails, which gets nothing more: training goes on.
    """
    names = _names(recipe.run.track) if main else []
    if not names:
        yield
        return
    events = run.events()
    about = About(run.path, dump(recipe), flatten(recipe), step, events)
    trackers: dict[str, Tracker] = {}

    def tell(what: Callable[[Tracker], None]) -> None:
        for name, tracker in list(trackers.items()):
            try:
                what(tracker)
            except Exception as error:
                del trackers[name]
                warn(f"run.track: {name} failed, and gets nothing more: {error}")

    def follow(event: Mapping[str, Any]) -> None:
        scalars = scalars_of(event)
        if scalars:
            tell(lambda tracker: tracker.add(scalars, int(event["step"])))

    for name in names:
        try:
            trackers[name] = _class(name)(about)
        except Exception as error:
            warn(f"run.track: {name} can't be started: {error}")
    run.followers.append(follow)
    try:
        yield
        if run.finished:
            _tell_end(run, tell)
    finally:
        run.followers.remove(follow)
        tell(lambda tracker: tracker.close())


def _tell_end(run: Run, tell: Callable[[Callable[[Tracker], None]], None]) -> None:
    result = run.read_json("result.json")
    step, scores = int(result["best_step"]), scores_of(result)
    for name in PICTURES:
        file = run.path / "plots" / f"{name}.png"
        if file.is_file():
            with Image.open(file) as image:
                pixels = np.asarray(image.convert("RGB"))
            tell(lambda tracker, n=name, p=pixels: tracker.picture(n, p, step))
    tell(lambda tracker: tracker.end(scores))


def _names(track: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in track.split(",") if name.strip()))


def _class(name: str) -> type[Tracker]:
    module, _, attribute = TRACKERS[name].partition(":")
    return getattr(importlib.import_module(f"xfer.tracking.{module}"), attribute)
