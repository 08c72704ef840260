"""Plugs: what other people's modules bring, by `module:name`, and what installed packages offer.

module:name      | a backbone's function, a task's or a source's class in a module that is found in
                 | the present folder or on Python's path
module:name:PATH | the same, with what it is to read
entry points     | of installed packages, in the groups xfer.backbones, xfer.tasks, xfer.readers,
                 | xfer.kinds and xfer.recipes; looked up on first use, imported one by one
"""

from __future__ import annotations

import functools
import importlib
import re
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from xfer.errors import XferError, nearest

OURS = "xfer"
_WORD = r"[^\W\d]\w*"
_SPEC = re.compile(rf"({_WORD}(?:\.{_WORD})*):({_WORD})(?::(.+))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Plug:
    """`module:name` or `module:name:PATH`, taken apart."""

    module: str
    name: str
    path: str = ""

    @property
    def spec(self) -> str:
        return f"{self.module}:{self.name}"


def parse(spec: str, schemes: Collection[str] = ()) -> Plug | None:
    """A spec as a plug; None where it has another form, or begins with one of `schemes`."""
    match = _SPEC.fullmatch(spec)
    if match is None or match[1] in schemes:
        return None
    return Plug(match[1], match[2], match[3] or "")


def short_name(spec: str) -> str:
    """A word for the names of files: of module:Class the class, in lower case, else the spec."""
    plug = parse(spec)
    return spec if plug is None else plug.name.lower()


def resolve(plug: Plug, noun: str, others: str = "") -> Any:
    """What a plug names.

    Args:
        noun: what it is to be, for messages ("backbone").
        others: what else might have been meant, for the hint where there is no such module.

    Raises: XferError for a module that is not there or can't be imported, for a name that is not in
        it, and for a function or class that is not its own: a module speaks for what it defines or
        lists in `__all__`, not for whatever it has imported.
    """
    module = _imported(plug, noun, others)
    try:
        found = getattr(module, plug.name)
    except AttributeError:
        public = [name for name in vars(module) if not name.startswith("_")]
        hint = nearest(plug.name, public) if public else "it is empty"
        raise XferError(
            f"{noun} {plug.spec}: module {plug.module} has no {plug.name!r}", hint
        ) from None
    if not callable(found):
        return found
    home = getattr(found, "__module__", None) or type(found).__module__
    own = home.partition(".")[0] == plug.module.partition(".")[0]
    if not own and plug.name not in getattr(module, "__all__", ()):
        raise XferError(
            f"{noun} {plug.spec}: {plug.name} is of {home}, not of {plug.module}",
            f"define it in {plug.module}, or list it in the module's __all__",
        )
    return found


def _imported(plug: Plug, noun: str, others: str) -> ModuleType:
    """The module of a plug; it is looked for in the present folder first."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return importlib.import_module(plug.module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{plug.module}.".startswith(f"{error.name}."):
            hint = f"{others}; {where_to_put(error.name)}" if others else where_to_put(error.name)
            raise XferError(f"{noun} {plug.spec}: there is no module {error.name}", hint) from None
        raise _broken(plug, noun, error) from error
    except Exception as error:  # a module may raise anything when it is run
        raise _broken(plug, noun, error) from error
    finally:
        sys.path.remove(here)


def where_to_put(module: str) -> str:
    """The hint for a module that is missing."""
    top = module.partition(".")[0]
    return f"a module of yours: PYTHONPATH=FOLDER, the one that {top} is in, or go there"


def _broken(plug: Plug, noun: str, error: Exception) -> XferError:
    text = " ".join(str(error).split())[:300]
    return XferError(
        f"{noun} {plug.spec}: module {plug.module} can't be imported: "
        f"{type(error).__name__}: {text}",
        "--debug shows the traceback",
    )


@dataclass(frozen=True, slots=True)
class Offer:
    """An entry point of an installed package: name | package | what it points to, not loaded."""

    name: str
    package: str
    entry: EntryPoint

    def load(self, noun: str) -> Any:
        """What is offered. Raises XferError where it can't be imported."""
        try:
            return self.entry.load()
        except Exception as error:  # a module may raise anything when it is run
            text = " ".join(str(error).split())[:300]
            raise XferError(
                f"{noun} {self.name!r} of package {self.package} ({self.entry.value}) can't be "
                f"imported: {type(error).__name__}: {text}",
                f"pip uninstall {self.package}, or mend it",
            ) from error


def offers(group: str) -> dict[str, tuple[Offer, ...]]:
    """Name -> what installed packages offer under it, in a group of entry points."""
    return _offers(group, tuple(sys.path))


@functools.lru_cache(maxsize=64)
def _offers(group: str, path: tuple[str, ...]) -> dict[str, tuple[Offer, ...]]:
    found: dict[str, tuple[Offer, ...]] = {}
    for entry in entry_points(group=group):
        package = entry.dist.name if entry.dist is not None else "(unknown)"
        found[entry.name] = (*found.get(entry.name, ()), Offer(entry.name, package, entry))
    return found


def check_single(noun: str, name: str, ours: bool, offered: Sequence[Offer]) -> None:
    """Raises XferError where a name is offered by several packages, or by one and by xfer."""
    sources = [*([OURS] if ours else []), *(f"package {offer.package}" for offer in offered)]
    if len(sources) > 1:
        raise XferError(
            f"{noun} {name!r} comes from {' and from '.join(sources)}",
            f"pip uninstall {offered[-1].package}, or rename its entry point",
        )
