"""Plugs: code from the user's own modules, by `module:name`, and from installed packages.

module:name      | a backbone function, or a task or source class, in a module found in the current
                 | folder or on Python's path
module:name:PATH | the same, with the path it reads
entry points     | of installed packages, in the groups xfer.backbones, xfer.tasks, xfer.readers,
                 | xfer.kinds and xfer.recipes; looked up on first use, imported one by one

Importing a module runs its code, so the person who gives the command or makes the call must have
named it: `face` collects these names, `--trust` adds to them, and entry points of installed
packages count as named. What a file says (model.json, recipe.toml, features) is only text:
`resolve` refuses modules that nobody has named.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.machinery
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from xfer.errors import XferError, nearest

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

OURS = "xfer"
GROUPS = ("xfer.backbones", "xfer.tasks", "xfer.readers", "xfer.kinds", "xfer.recipes")
# keys of a recipe, and settings of a call, whose values may name a module
KEYS = ("task", "task.name", "backbone", "backbone.name", "data.source")
_WORD = r"[^\W\d]\w*"
_MODULE = re.compile(rf"{_WORD}(?:\.{_WORD})*")
_SPEC = re.compile(rf"({_WORD}(?:\.{_WORD})*):({_WORD})(?::(.+))?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Plug:
    """`module:name` or `module:name:PATH`, parsed."""

    module: str
    name: str
    path: str = ""

    @property
    def spec(self) -> str:
        return f"{self.module}:{self.name}"


def parse(spec: str, schemes: Collection[str] = ()) -> Plug | None:
    """A spec as a plug; None if it has another form, or begins with one of `schemes`."""
    match = _SPEC.fullmatch(spec)
    if match is None or match[1] in schemes:
        return None
    return Plug(match[1], match[2], match[3] or "")


def short_name(spec: str) -> str:
    """A short name for files: the class of module:Class in lower case, else the spec."""
    plug = parse(spec)
    return spec if plug is None else plug.name.lower()


P = ParamSpec("P")
R = TypeVar("R")
# a context variable: what one call allows is not allowed in another thread. Loader threads resolve
# nothing; other processes get the same command line.
_named: ContextVar[frozenset[str]] = ContextVar("named", default=frozenset())
_file: ContextVar[str] = ContextVar("file", default="")
# modules that plugs were taken from in this process, by which `whose` knows their code
_loaded: set[str] = set()


def named() -> tuple[str, ...]:
    """The modules that the user has named, in this command line or in the current calls."""
    return tuple(sorted(_named.get()))


@contextlib.contextmanager
def naming(*specs: Any, trust: str | Iterable[str] = ()) -> Iterator[None]:
    """Context in which the modules that the user named may be imported.

    Args:
        specs: what the user gave as task, backbone or data; a spec that is no plug names nothing.
        trust: module names: `--trust`.

    Raises: XferError for a text that can't be the name of a module.
    """
    modules = [trust] if isinstance(trust, str) else list(trust)
    for module in modules:
        if not _MODULE.fullmatch(module):
            raise XferError(f"trust {module!r}: not the name of a module", "--trust mymodule")
    plugs = [parse(spec) for spec in specs if isinstance(spec, str)]
    token = _named.set(_named.get() | {*modules, *(plug.module for plug in plugs if plug)})
    try:
        yield
    finally:
        _named.reset(token)


def allow(spec: str) -> None:
    """Allows a plug's module for the rest of the current call: for a plug that is named by code the
    user has named, as a kind of data names its task."""
    plug = parse(spec)
    if plug is not None:
        _named.set(_named.get() | {plug.module})


@contextlib.contextmanager
def reading(file: Path | str) -> Iterator[None]:
    """Context in which specs come from this file, so that an error can name it."""
    token = _file.set(str(file))
    try:
        yield
    finally:
        _file.reset(token)


def face(*arguments: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator for a public function: the modules in its `trust`, and those that these arguments
    name, are allowed while it runs. An argument may be a text, several, or settings by key."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind_partial(*args, **kwargs).arguments
            specs: list[Any] = []
            for name in arguments:
                value = bound.get(name)
                if isinstance(value, Mapping):
                    specs += [v for k, v in value.items() if str(k).replace("__", ".") in KEYS]
                elif isinstance(value, (list, tuple)) and name != "data":
                    specs += value
                else:  # a list given as data holds pictures
                    specs.append(value)
            with naming(*specs, trust=bound.get("trust") or ()):
                return function(*args, **kwargs)

        return call

    return decorate


def is_named(plug: Plug) -> bool:
    """Whether the module may be imported: named by the user, or by an installed package."""
    allowed = {*_named.get(), *_installed(tuple(sys.path))}
    return any(f"{plug.module}.".startswith(f"{module}.") for module in allowed)


def check_named(plug: Plug, noun: str) -> None:
    """Raises XferError for a module that only a file has named."""
    check_all_named([(noun, plug)])


def check_all_named(plugs: Sequence[tuple[str, Plug]]) -> None:
    """As `check_named`, for several: (what each should be, plug). The error names all of them."""
    unnamed = [(noun, plug) for noun, plug in plugs if not is_named(plug)]
    if not unnamed:
        return
    modules = tuple(dict.fromkeys(plug.module for _, plug in unnamed))
    code = ", ".join(f"module {plug.module} ({noun} {plug.spec})" for noun, plug in unnamed)
    file, several = _file.get(), len(modules) > 1
    flags = " ".join(f"--trust {module}" for module in modules)
    missing = "".join(_where_if_missing(module) for module in modules)
    raise XferError(
        f"{file} asks for code: {code}" if file else f"{code}: not named in this call",
        f"{flags} {'allow' if several else 'allows'} it, in Python trust={modules!r}{missing}",
    )


def _where_if_missing(module: str) -> str:
    """An addition to the hint for a module that is missing; it is located, not imported."""
    top = module.partition(".")[0]
    folders = [str(Path.cwd()), *sys.path]
    if top in sys.modules or importlib.machinery.PathFinder.find_spec(top, folders):
        return ""
    return f"; {top} was not found: {where_to_put(module)}"


@functools.lru_cache(maxsize=8)
def _installed(path: tuple[str, ...]) -> frozenset[str]:
    """The modules that entry points of installed packages name."""
    by_name = [offered for group in GROUPS for offered in _offers(group, path).values()]
    return frozenset(offer.entry.module for offered in by_name for offer in offered)


def resolve(plug: Plug, noun: str, others: str = "") -> Any:
    """The object that a plug names.

    Args:
        noun: what it should be, for messages ("backbone").
        others: what else might have been meant, for the hint if there is no such module.

    Raises: XferError for a module that nobody has named (see `naming`), that is missing or can't be
        imported; for a name that is not in it, and for a function or class that is not its own:
        only what a module defines or lists in `__all__` counts, not everything it imports.
    """
    module = imported(plug, noun, others)
    _loaded.add(plug.module)
    try:
        value = getattr(module, plug.name)
    except AttributeError:
        public = [name for name in vars(module) if not name.startswith("_")]
        hint = nearest(plug.name, public) if public else "it is empty"
        raise XferError(
            f"{noun} {plug.spec}: module {plug.module} has no {plug.name!r}", hint
        ) from None
    if not callable(value):
        return value
    home = getattr(value, "__module__", None) or type(value).__module__
    own = home.partition(".")[0] == plug.module.partition(".")[0]
    if not own and plug.name not in getattr(module, "__all__", ()):
        raise XferError(
            f"{noun} {plug.spec}: {plug.name} belongs to {home}, not to {plug.module}",
            f"define it in {plug.module}, or list it in the module's __all__",
        )
    return value


def imported(plug: Plug, noun: str, others: str = "") -> ModuleType:
    """The module of a plug, searched in the current folder first. Raises: as `resolve`."""
    check_named(plug, noun)
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        return importlib.import_module(plug.module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{plug.module}.".startswith(f"{error.name}."):
            hint = f"{others}; {where_to_put(error.name)}" if others else where_to_put(error.name)
            raise XferError(f"{noun} {plug.spec}: no module named {error.name}", hint) from None
        raise _broken(plug, noun, error) from error
    except Exception as error:  # importing a module may raise anything
        raise _broken(plug, noun, error) from error
    finally:
        sys.path.remove(here)


def whose(error: BaseException) -> str | None:
    """Where in a plug an error arose: "mynet.py, line 12, in forward"; None if it did in xfer.

    The last step in a plug counts: what it called may have raised for what it was given.
    """
    found: str | None = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__"))
        if any(f"{module}.".startswith(f"{one}.") for one in _loaded):
            code = frame.f_code
            found = f"{Path(code.co_filename).name}, line {line}, in {code.co_qualname}"
    return found


def where_to_put(module: str) -> str:
    """The hint for a module that is missing."""
    top = module.partition(".")[0]
    return f"{top} is searched in the current folder and on Python's path: PYTHONPATH=FOLDER"


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
        """The object offered. Raises XferError if it can't be imported."""
        _loaded.add(self.entry.module)
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
    return _offers(group, tuple(sys.path))


@functools.lru_cache(maxsize=64)
def _offers(group: str, path: tuple[str, ...]) -> dict[str, tuple[Offer, ...]]:
    from importlib.metadata import entry_points  # not needed by `xfer --help`

    by_name: dict[str, tuple[Offer, ...]] = {}
    for entry in entry_points(group=group):
        package = entry.dist.name if entry.dist is not None else "(unknown)"
        by_name[entry.name] = (*by_name.get(entry.name, ()), Offer(entry.name, package, entry))
    return by_name


def check_single(noun: str, name: str, ours: bool, offered: Sequence[Offer]) -> None:
    """Raises XferError if several packages offer a name, or a package and xfer itself."""
    sources = [*([OURS] if ours else []), *(f"package {offer.package}" for offer in offered)]
    if len(sources) > 1:
        raise XferError(
            f"{noun} {name!r} comes from {' and from '.join(sources)}",
            f"pip uninstall {offered[-1].package}, or rename its entry point",
        )
