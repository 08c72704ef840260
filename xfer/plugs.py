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

A module that is trusted may hold much else than what a run needs, and the run's files choose the
name in it: `maker` calls only what says that it makes a backbone or data, or what was named itself.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.machinery
import inspect
import re
import shlex
import sys
import traceback
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

from xfer.errors import XferError, nearest
from xfer.files import exists
from xfer.registry import OURS, all_offers, elsewhere, loaded

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
_specs: ContextVar[frozenset[str]] = ContextVar("specs", default=frozenset())
_coming: ContextVar[frozenset[str]] = ContextVar("coming", default=frozenset())
_file: ContextVar[str] = ContextVar("file", default="")
# data that a command gives, or that are fetched: as specs, and without the first word as `trust`
STREAM = "webdataset:"
_COMING = re.compile(r"pipe:|[a-z][a-z0-9]+://")


def named() -> tuple[str, ...]:
    """The modules that the user has named, in this command line or in the current calls."""
    modules = {spec.partition(":")[0] for spec in _specs.get()}
    return tuple(sorted(_named.get() | {module for module in modules if not _is_scheme(module)}))


def trusted() -> tuple[str, ...]:
    """What the user has named, modules and module:name: as `trust` for a later call."""
    modules = named()
    specs = sorted(s for s in _specs.get() if s.partition(":")[0] in modules)
    return (*modules, *specs, *sorted(_coming.get()))


def _is_scheme(word: str) -> bool:
    """Whether the word begins specs that name no module: csv:PATH, timm:NAME.

    The rooms above know these words; they are imported when somebody asks, and not before.
    """
    readers = importlib.import_module(f"{OURS}.data.readers.base")
    backbones = importlib.import_module(f"{OURS}.backbones.base")
    return word in backbones.SCHEMES or word in readers.FORMATS.names()


@contextlib.contextmanager
def naming(*specs: Any, trust: str | Iterable[str] = ()) -> Iterator[None]:
    """Context in which the modules that the user named may be imported.

    Args:
        specs: what the user gave as task, backbone or data; a spec that is no plug names nothing.
        trust: names of modules, or module:name, or pipe:COMMAND, or an address
            s3://...: `--trust`.

    Raises: XferError for a text that can't be the name of a module.
    """
    asked: Any = trust  # Python's callers may pass anything
    single = isinstance(asked, str) or not isinstance(asked, Iterable)
    given_trust: list[Any] = [asked] if single else list(asked)
    coming = [one for one in given_trust if isinstance(one, str) and _COMING.match(one)]
    modules = [one for one in given_trust if one not in coming]
    for module in modules:
        text = module if isinstance(module, str) else ""
        plug = parse(text)
        if text.endswith(".py"):
            name = Path(text).stem
            raise XferError(f"trust {text!r}: a file, where a module is due", f"--trust {name}")
        if not _MODULE.fullmatch(text) and (plug is None or plug.path):
            raise XferError(f"trust {module!r}: not the name of a module", "--trust mymodule")
    # a file or folder may be called mynet:net
    parsed = [parse(spec) for spec in specs if isinstance(spec, str) and not exists(Path(spec))]
    given = {plug.spec for plug in parsed if plug is not None}
    tokens = (
        _named.set(_named.get() | {module.partition(":")[0] for module in modules}),
        _specs.set(_specs.get() | given | {module for module in modules if ":" in module}),
        _coming.set(_coming.get() | {*coming, *_coming_in(specs)}),
    )
    try:
        yield
    finally:
        _named.reset(tokens[0])
        _specs.reset(tokens[1])
        _coming.reset(tokens[2])


def _coming_in(specs: Iterable[Any]) -> set[str]:
    """What the specs have to be run or fetched: webdataset:pipe:COMMAND, webdataset:s3://..."""
    texts = [spec.removeprefix(STREAM) for spec in specs if isinstance(spec, str)]
    return {text for text in texts if _COMING.match(text)}


def check_coming(spec: str) -> None:
    """Raises XferError for data that a command gives, or that are fetched, if only a file has named
    them: nobody asked for it.

    Args: spec: of data; any other passes.
    """
    text = spec.removeprefix(STREAM)
    if not spec.startswith(STREAM) or not _COMING.match(text) or text in _coming.get():
        return
    file = _file.get()
    what = f"to run a command: {text.partition(':')[2]}" if text.startswith("pipe:") else (
        f"to fetch {text}"
    )  # fmt: skip
    raise XferError(
        f"{file} asks {what}" if file else f"asked {what}, which is not named in this call",
        f"--trust {shlex.quote(text)} allows it, in Python trust={text!r}",
    )


def allow(spec: str) -> None:
    """Allows a plug's module for the rest of the current call: for a plug that is named by code the
    user has named, as a kind of data names its task."""
    plug = parse(spec)
    if plug is not None:
        _named.set(_named.get() | {plug.module})
        _specs.set(_specs.get() | {plug.spec})


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
    allowed = {*named(), *(offer.entry.module for offer in all_offers())}
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
    file = _file.get()
    specs = tuple(dict.fromkeys(plug.spec if plug.name else plug.module for _, plug in unnamed))
    flags = " ".join(f"--trust {spec}" for spec in specs)
    missing = "".join(_where_if_missing(module) for module in modules)
    raise XferError(
        f"{file} asks for code: {code}" if file else f"{code}: not named in this call",
        f"{flags} {'allow' if len(specs) > 1 else 'allows'} it, in Python trust={specs!r}{missing}",
    )


def _where_if_missing(module: str) -> str:
    """An addition to the hint for a module that is missing; it is located, not imported."""
    top = module.partition(".")[0]
    folders = [str(Path.cwd()), *sys.path]
    if top in sys.modules or importlib.machinery.PathFinder.find_spec(top, folders):
        return ""
    return f"; {top} was not found: {where_to_put(module)}"


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
    loaded.add(plug.module)
    _check_holds(module, f"{noun} {plug.spec}", plug.name)
    value = getattr(module, plug.name)
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


def maker(plug: Plug, noun: str, makes: Callable[[Any], bool], what: str, others: str = "") -> Any:
    """The object that a plug names, after checking that it may be called.

    A file may name any function of a module that is trusted, and give it arguments. So only what
    shows its purpose is called: a class that `makes` accepts, a function that is annotated to
    return one or, without annotation, uses one by its name; besides them what the user named itself
    (--backbone mynet:net) and what an installed package offers. What can't be called is returned as
    it is.

    Args:
        makes: says whether a class is of the kind wanted; what: that kind, as code ("Backbone").

    Raises: XferError, also as `resolve`.
    """
    value = resolve(plug, noun, others)
    if not callable(value) or plug.spec in _specs.get():
        return value
    offered = any(offer.entry.value == plug.spec for offer in all_offers())
    if offered or any(isinstance(made, type) and makes(made) for made in _makes(value)):
        return value
    file = _file.get()
    asked = f"{file} asks for {noun} {plug.spec}" if file else f"{noun} {plug.spec}"
    if isinstance(value, type):
        raise XferError(f"{asked}: a class {value.__name__}, not a {what}")
    raise XferError(
        f"{asked}: a function that is not declared to return a {what}, so it is not called",
        f"write `-> {what}` in its definition, or allow it by name: --trust {plug.spec}",
    )


def _makes(value: Any) -> list[Any]:
    """The classes that a class or function may make, by its own word."""
    if isinstance(value, type):
        return [value]
    if "return" in getattr(value, "__annotations__", {}):
        try:
            made = typing.get_type_hints(value)["return"]
        except Exception:  # annotations are expressions, of names that may be gone
            return []
        return [typing.get_origin(made) or made]
    code, within = getattr(value, "__code__", None), getattr(value, "__globals__", {})
    used = [within.get(name) for name in getattr(code, "co_names", ())]
    return [u for u in used if getattr(u, "__module__", "builtins") not in sys.stdlib_module_names]


def imported(plug: Plug, noun: str, others: str = "") -> ModuleType:
    """The module of a plug. The current folder is searched for it as well, and joins Python's path
    while it is imported only if the module lies there.

    Raises: XferError for a module that is in the current folder and installed, too; and as
        `resolve`.
    """
    check_named(plug, noun)
    here = str(Path.cwd())
    in_front = [here] if _lies_here(plug, noun, here) else []
    sys.path[:0] = in_front
    try:
        module = importlib.import_module(plug.module)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{plug.module}.".startswith(f"{error.name}."):
            if plug.module.endswith(".py"):
                others = f"write {plug.module.removesuffix('.py')}:{plug.name}"
            hint = f"{others}; {where_to_put(error.name)}" if others else where_to_put(error.name)
            raise XferError(f"{noun} {plug.spec}: no module named {error.name}", hint) from None
        raise _broken(plug, noun, error) from error
    except Exception as error:  # importing a module may raise anything
        raise _broken(plug, noun, error) from error
    finally:
        if in_front:
            sys.path.remove(here)
    for spec in sorted(_specs.get()):  # --trust mynet:net may be misspelt, too
        home, _, name = spec.partition(":")
        if home == plug.module and name != plug.name:
            _check_holds(module, spec, name)
    return module


def _check_holds(module: ModuleType, what: str, name: str) -> None:
    """Raises XferError if a module has nothing of this name. Args: what: what was asked for."""
    if not hasattr(module, name):
        public = [own for own in vars(module) if not own.startswith("_")]
        raise XferError(
            f"{what}: module {module.__name__} has no {name!r}",
            nearest(name, public) if public else "it is empty",
        )


def _lies_here(plug: Plug, noun: str, here: str) -> bool:
    """Whether a module is to be imported from the current folder. Raises XferError if another one
    of that name is installed: a folder of data must not slip in its own."""
    top = plug.module.partition(".")[0]
    find = importlib.machinery.PathFinder.find_spec
    if top in sys.modules:
        file = getattr(sys.modules[top], "__file__", None) or ""
        return bool(file) and Path(file).resolve().is_relative_to(Path(here).resolve())
    local, installed = find(top, [here]), find(top, list(elsewhere()))
    if local is None or installed is None or None in (local.origin, installed.origin):
        # a folder without __init__.py is weaker than a module
        return local is not None and (local.origin is not None or installed is None)
    if Path(str(local.origin)).samefile(str(installed.origin)):
        return False
    raise XferError(
        f"{noun} {plug.spec}: module {top} is {local.origin} and {installed.origin}",
        "rename the first, or run the command in another folder",
    )


def whose(error: BaseException) -> str | None:
    """Where in a plug an error arose: "mynet.py, line 12, in forward"; None if it did in xfer.

    The last step in a plug counts: what it called may have raised for what it was given.
    """
    found: str | None = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = str(frame.f_globals.get("__name__"))
        if any(f"{module}.".startswith(f"{one}.") for one in loaded):
            code = frame.f_code
            found = f"{Path(code.co_filename).name}, line {line}, in {code.co_qualname}"
    return found


def where_to_put(module: str) -> str:
    """The hint for a module that is missing."""
    top = module.partition(".")[0]
    return f"run this in the folder of {top}.py, or with PYTHONPATH=FOLDER"


def _broken(plug: Plug, noun: str, error: Exception) -> XferError:
    text = " ".join(str(error).split())[:300]
    return XferError(
        f"{noun} {plug.spec}: module {plug.module} can't be imported: "
        f"{type(error).__name__}: {text}",
        "--debug shows the traceback",
    )
