"""Names to things: a decorator registers, a lookup imports the modules of a package once."""

from __future__ import annotations

import fnmatch
import importlib
import pkgutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from xfer.errors import XferError, nearest

T = TypeVar("T")


def imported(module: str, name: str) -> Any:
    """What a user's own module calls `name`; the present folder is looked into as well.

    Raises: ImportError, AttributeError or ValueError where there is none.
    """
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return getattr(importlib.import_module(module), name)
    finally:
        sys.path.remove(here)


class Registry(Generic[T]):
    """Things of one noun, registered by decorator in the modules of one package, at any depth.

    Args:
        noun: what the things are called in messages ("backbone").
        package: dotted name of the package whose modules register them; imported on first use.
    """

    def __init__(self, noun: str, package: str) -> None:
        self.noun = noun
        self.package = package
        self._things: dict[str, T] = {}
        self._loaded = False

    def register(self, *names: str) -> Callable[[T], T]:
        """Decorator: makes a thing known under one or several names."""

        def add(thing: T) -> T:
            for name in names:
                if name in self._things and self._things[name] is not thing:
                    raise XferError(f"{self.noun} {name!r} is registered twice")
                self._things[name] = thing
            return thing

        return add

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self.package)
        for module in pkgutil.walk_packages(package.__path__, f"{self.package}."):
            importlib.import_module(module.name)

    def get(self, name: str) -> T:
        """The thing of that name. Raises XferError naming the nearest ones."""
        self._load()
        if name not in self._things:
            raise XferError(f"unknown {self.noun} {name!r}", nearest(name, self._things))
        return self._things[name]

    def names(self, glob: str = "*") -> list[str]:
        """All names that match a shell pattern, sorted."""
        self._load()
        return sorted(n for n in self._things if fnmatch.fnmatchcase(n, glob))
