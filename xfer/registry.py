"""Lookup by name: a decorator registers, the first lookup imports all modules of a package.

Installed packages can offer more through entry points, which are looked up on first use and
imported one by one. What lies in the current folder is not installed, see `elsewhere`.
"""

from __future__ import annotations

import fnmatch
import functools
import importlib
import os
import pkgutil
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from xfer.errors import XferError, nearest

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

OURS = "xfer"
GROUPS = ("xfer.backbones", "xfer.tasks", "xfer.readers", "xfer.kinds", "xfer.recipes")

# modules that plugs were taken from in this process, by which `plugs.whose` knows their code
loaded: set[str] = set()

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Offer:
    """An entry point of an installed package: name | package | what it points to, not loaded."""

    name: str
    package: str
    entry: EntryPoint

    def load(self, noun: str) -> Any:
        """The object offered. Raises XferError if it can't be imported."""
        loaded.add(self.entry.module)
        try:
            return self.entry.load()
        except Exception as error:  # importing a module may raise anything
            text = " ".join(str(error).split())[:300]
            raise XferError(
                f"{noun} {self.name!r} of package {self.package} ({self.entry.value}) can't be "
                f"imported: {type(error).__name__}: {text}",
                f"pip uninstall {self.package}, or fix it",
            ) from error


def offers(group: str) -> dict[str, tuple[Offer, ...]]:
    """Name -> the installed packages' offers under that name, in a group of entry points."""
    return _offers(group, elsewhere())


@functools.lru_cache(maxsize=64)
def _offers(group: str, path: tuple[str, ...]) -> dict[str, tuple[Offer, ...]]:
    by_name: dict[str, tuple[Offer, ...]] = {}
    for package, entry in _entries(path):
        if entry.group == group:
            offer = Offer(entry.name, package, entry)
            by_name[entry.name] = (*by_name.get(entry.name, ()), offer)
    return by_name


@functools.lru_cache(maxsize=8)
def _entries(path: tuple[str, ...]) -> tuple[tuple[str, EntryPoint], ...]:
    """(package, entry point) of the packages on a path; of two versions the first counts."""
    from importlib.metadata import distributions  # not needed by `xfer --help`

    found: dict[str, tuple[tuple[str, EntryPoint], ...]] = {}
    for one in distributions(path=list(path)):
        ours = [entry for entry in one.entry_points if entry.group in GROUPS]
        name = str(one.metadata["Name"] or "(unknown)") if ours else ""
        known = re.sub(r"[-_.]+", "-", name).lower()
        if ours and known not in found:
            found[known] = tuple((name, entry) for entry in ours)
    return tuple(pair for pairs in found.values() for pair in pairs)


def all_offers() -> tuple[Offer, ...]:
    """What installed packages offer, in all groups."""
    return _every(elsewhere())


@functools.lru_cache(maxsize=8)
def _every(path: tuple[str, ...]) -> tuple[Offer, ...]:
    groups = [_offers(group, path) for group in GROUPS]
    return tuple(offer for group in groups for offered in group.values() for offer in offered)


def elsewhere() -> tuple[str, ...]:
    """Python's path without the current folder, which `python -m` puts in front: what lies there
    is not installed."""
    try:
        here = str(Path.cwd())
    except OSError:  # the folder is gone
        here = ""
    return _without(tuple(sys.path), here)


@functools.lru_cache(maxsize=8)
def _without(path: tuple[str, ...], here: str) -> tuple[str, ...]:
    place = os.path.realpath(here)
    return tuple(p for p in path if Path(p).is_absolute() and os.path.realpath(p) != place)


def check_single(noun: str, name: str, ours: bool, offered: Sequence[Offer]) -> None:
    """Raises XferError if several packages offer a name, or a package and xfer itself."""
    sources = [*([OURS] if ours else []), *(f"package {offer.package}" for offer in offered)]
    if len(sources) > 1:
        raise XferError(
            f"{noun} {name!r} comes from {' and from '.join(sources)}",
            f"pip uninstall {offered[-1].package}, or rename its entry point",
        )


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
