"""The contract of a tracker, and the events of a run as scalars under names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class About:
    """What a tracker is told when training starts or goes on.

    folder   | of the run
    recipe   | its TOML; settings: the same by dotted key
    step     | how many steps are done; 0 for a new run
    events   | what the log holds: of a resumed run, the events up to `step`
    """

    folder: Path
    recipe: str
    settings: Mapping[str, Any]
    step: int
    events: Sequence[Mapping[str, Any]]


class Tracker:
    """Writes what happens in a run in the form of another program. Opened by the first process
    alone. `package` is what must be installed for it, which the extra `track` brings."""

    package: ClassVar[str] = ""

    def __init__(self, about: About) -> None:
        """Starts, or goes on: steps after `about.step` in an earlier log no longer count."""
        raise NotImplementedError

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        """Adds numbers by name, see `scalars_of`."""
        raise NotImplementedError

    def picture(self, name: str, pixels: NDArray[np.uint8], step: int) -> None:
        """Adds a picture, uint8 (H, W, 3)."""

    def end(self, scores: Mapping[str, float]) -> None:
        """The run is finished. Args: scores: of its best weights, by name (val/top1)."""

    def close(self) -> None:
        """Nothing more follows, now."""


_SYSTEM = ("images_per_second", "data_wait", "memory_mb")


def scalars_of(event: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of an event of log.jsonl by name; {} for one that has none.

    train | train/loss, train/loss/NAME if there are several, train/lr, train/epoch,
          | system/images_per_second, system/data_wait (share of the time), system/memory_mb
    eval  | val/METRIC
    """
    found: dict[str, Any] = {}
    if event.get("event") == "train":
        losses = event.get("losses", {})
        found = {f"train/{key}": event.get(key) for key in ("loss", "lr", "epoch")}
        if len(losses) > 1:
            found |= {f"train/loss/{name}": value for name, value in losses.items()}
        found |= {f"system/{key}": event.get(key) for key in _SYSTEM}
    elif event.get("event") == "eval":
        found = {f"val/{name}": value for name, value in event.get("metrics", {}).items()}
    return {name: float(value) for name, value in found.items() if is_number(value)}


def scores_of(result: Mapping[str, Any]) -> dict[str, float]:
    """The scores in result.json by name: val/top1, test/top1."""
    named = (("val", result.get("metrics", {})), ("test", result.get("test_metrics", {})))
    return {
        f"{split}/{name}": float(value)
        for split, metrics in named
        for name, value in metrics.items()
        if is_number(value)
    }


def is_number(value: Any) -> bool:
    """Whether a value is an int or a float."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)
