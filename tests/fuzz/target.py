"""Targets: readers by name, each with the miniatures that it is given broken."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fuzz.case import Case


@dataclass(frozen=True)
class Target:
    """A reader: see the package's docstring."""

    name: str
    seeds: Callable[[Path], list[Case]]
    use: Callable[[Path], None]
    keep: tuple[str, ...] = ()
    mend: Callable[[Case], Case] | None = None
    warm: Callable[[], object] | None = None
    memory: float = 1.5


TARGETS: dict[str, Target] = {}


def target(
    name: str,
    seeds: Callable[[Path], list[Case]],
    *,
    keep: Sequence[str] = (),
    mend: Callable[[Case], Case] | None = None,
    warm: Callable[[], object] | None = None,
    memory: float = 1.5,
) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """Registers the decorated function as the reader of a target."""

    def register(use: Callable[[Path], None]) -> Callable[[Path], None]:
        assert name not in TARGETS, f"two targets are called {name}"
        TARGETS[name] = Target(name, seeds, use, tuple(keep), mend, warm, memory)
        return use

    return register


def used(*values: object) -> None:
    """Takes what a reader gave, lists and iterators in full."""
    for value in values:
        if isinstance(value, Iterable):
            for _ in value:
                pass


def load_targets() -> dict[str, Target]:
    """All targets, by name: those of every file in targets/."""
    from fuzz import targets

    for module in pkgutil.iter_modules(targets.__path__):
        importlib.import_module(f"fuzz.targets.{module.name}")
    return dict(sorted(TARGETS.items()))
