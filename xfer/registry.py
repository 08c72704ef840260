"""Lookup by name: a decorator registers, the first lookup imports all modules of a package.

Installed packages can offer more through entry points, see `xfer.plugs`.
"""

from __future__ import annotations

import fnmatch
import importlib
import pkgutil
from collections.abc import Callable
from typing import Generic, TypeVar

from xfer.errors import XferError, nearest
from xfer.plugs import OURS, Offer, check_single, offers

T = TypeVar("T")


class Registry(Generic[T]):
    """Things of one noun, registered by decorator in the modules of one package, at any depth.

    Args:
        noun: what messages call them ("backbone").
        package: dotted name of the package whose modules register them; imported on first use.
        group: entry-point group through which installed packages offer more; "": none.
    """

    def __init__(self, noun: str, package: str, group: str = "") -> None:
        self.noun = noun
        self.package = package
        self.group = group
        self._things: dict[str, T] = {}
        self._loaded = False

    def register(self, *names: str) -> Callable[[T], T]:
        """Decorator: registers a thing under one or several names."""

        def add(thing: T) -> T:
            for name in names:
                if name in self._things and self._things[name] is not thing:
                    raise XferError(f"{self.noun} {name!r} is registered twice")
                self._things[name] = thing
            return thing

        return add

    def known(self, name: str) -> T | None:
        """What is registered under the name so far; imports nothing."""
        return self._things.get(name)

    def forget(self, name: str) -> None:
        """Unregisters a name."""
        self._things.pop(name, None)

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self.package)
        for module in pkgutil.walk_packages(package.__path__, f"{self.package}."):
            importlib.import_module(module.name)

    def _offered(self) -> dict[str, tuple[Offer, ...]]:
        return offers(self.group) if self.group else {}

    def _is_ours(self, name: str) -> bool:
        """Whether xfer itself registered the name, rather than a package's entry point."""
        home = getattr(self._things.get(name), "__module__", "")
        return home.partition(".")[0] == OURS

    def get(self, name: str) -> T:
        """The thing of that name.

        Raises: XferError for an unknown name, listing the nearest ones, and for a name that several
            packages offer.
        """
        self._load()
        offered = self._offered().get(name, ())
        check_single(self.noun, name, self._is_ours(name), offered)
        if name in self._things:
            return self._things[name]
        if offered:
            return offered[0].load(self.noun)
        raise XferError(f"unknown {self.noun} {name!r}", nearest(name, self.names()))

    def names(self, glob: str = "*") -> list[str]:
        """All names that match a shell pattern, sorted."""
        self._load()
        known = {*self._things, *self._offered()}
        return sorted(n for n in known if fnmatch.fnmatchcase(n, glob))

    def origin(self, name: str) -> str:
        """Where the thing of that name comes from: "xfer", or the package that offers it.

        Raises: XferError for a name that several packages offer.
        """
        self._load()
        offered = self._offered().get(name, ())
        check_single(self.noun, name, self._is_ours(name), offered)
        return offered[0].package if offered else OURS
