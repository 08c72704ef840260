"""Data specs: NAME, PATH, FORMAT:PATH or package.module:Class[:PATH], made into a Reading."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xfer import kinds as kinds_of_data
from xfer import plugs
from xfer.data.catalog import KNOWN, data_folder
from xfer.data.readers.base import EMBEDDED, FORMATS, Format, Reading, ReadOptions, choose_kind
from xfer.data.sources.base import Bundle
from xfer.data.sources.from_python import SCHEME, as_source, python_name
from xfer.data.sources.split_names import WHOLE
from xfer.errors import DataError, XferError, nearest

# what data come in that is not read in place; a .tar is
ARCHIVES = (".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")


@dataclass(frozen=True)
class Opened:
    """A spec made real: what the user called it, how it was read, and what was found.

    kinds   | what it could be read as; empty: as it is
    spec    | what was opened; options: how it was read, `kind` chosen among `kinds`
    """

    name: str
    format: str
    reading: Reading
    kinds: tuple[str, ...] = ()
    spec: Any = None
    options: ReadOptions | None = None


def open_spec(spec: Any, options: ReadOptions | None = None, kinds: Sequence[str] = ()) -> Opened:
    """Reads what a spec names.

    Args:
        spec: NAME, PATH, FORMAT:PATH, package.module:Class, package.module:Class:PATH, or data in
            memory, see `xfer.data.sources.from_python`. The Class is a reader, see `Format`, which
            needs the PATH; or it makes a Source, called as Class(), Class(PATH) or, where it has
            `splits`, with each as `split`. Or what this function has returned: read again only
            where the options would make a difference.
        options: split names that the user gave, and whether to leave out what can't be used.
        kinds: what the data are wanted as: what can be read in several ways is read as the first
            of its own kinds that is among these; it is not an error where none is.

    Raises: DataError for what is not there or can't be used, XferError for an unknown format or
        class and for a path that may be read in several ways.
    """
    options = options or ReadOptions()
    if isinstance(spec, Opened):  # read before: it is read again where that would differ
        kind = choose_kind(spec.kinds, kinds) or ""
        same = spec.options == replace(options, kind=kind)
        return spec if same else open_spec(spec.spec, options, kinds)
    opened = _open(spec, options, kinds)
    kind = choose_kind(opened.kinds, kinds) or ""
    return replace(opened, spec=spec, options=replace(options, kind=kind))


def _open(spec: Any, options: ReadOptions, kinds: Sequence[str]) -> Opened:
    if isinstance(spec, os.PathLike):
        spec = os.fspath(spec)
    if not isinstance(spec, str):
        own = getattr(getattr(spec, "info", None), "name", "")
        return _object(spec, own or ("data" if isinstance(spec, Mapping) else python_name(spec)))
    path = Path(spec).expanduser()
    if spec and path.exists():
        return _path(spec, path, options, kinds)
    if spec in EMBEDDED.names():
        known = EMBEDDED.get(spec)()
        _refuse_images(spec, options)
        kind = choose_kind(known.kinds, kinds) or ""
        if options.ignore:
            raise XferError(f"data.ignore={options.ignore}: {spec} has nothing to ignore")
        reading = known.load(replace(options, kind=kind))
        return Opened(spec, spec, reading, tuple(known.kinds))
    head, colon, rest = spec.partition(":")
    if colon and head == SCHEME:
        raise XferError(
            f"{spec}: these data were handed over in Python",
            "give them again: data=..., in Python, or other data: --data SPEC",
        )
    if colon and rest and len(head) > 1:
        if "." in head or head not in FORMATS.names():
            return _class(spec, options, kinds)
        place = Path(rest).expanduser()
        if not place.exists():
            raise missing(place)
        form = FORMATS.get(head)()
        return Opened(rest, head, _read(head, form, place, options, kinds), tuple(form.kinds))
    return _path(spec, _known(spec, path), options, kinds)


def _read(
    name: str, form: Format, path: Path, options: ReadOptions, kinds: Sequence[str]
) -> Reading:
    if not getattr(form, "takes_images", False):
        _refuse_images(f"the format {name}", options)
    kind = choose_kind(form.kinds, kinds) or ""
    if options.ignore and not (kind and kinds_of_data.get(kind).ignores):
        raise XferError(f"data.ignore={options.ignore}: {path} is read as {name}, without masks")
    return form.load(path, replace(options, kind=kind))


def _refuse_images(what: str, options: ReadOptions) -> None:
    if options.images:
        raise XferError(f"data.images={options.images}: {what} finds its pictures itself")


def kind_at_sight(spec: str) -> str | None:
    """The kind that a spec's data are read as by default, where a look at the names of its files is
    enough to tell; None where only reading tells. Raises: as `open_spec`, for what it looks at."""
    path = Path(spec).expanduser()
    head, colon, rest = spec.partition(":")
    if spec and path.exists():
        form = _recognised(spec, path, ReadOptions(), ())[1]
    elif spec in EMBEDDED.names():
        return EMBEDDED.get(spec)().kinds[0]
    elif colon and rest and head in FORMATS.names():
        form = FORMATS.get(head)()
    elif not colon:
        form = _recognised(spec, _known(spec, path), ReadOptions(), ())[1]
    else:
        return None
    return form.kinds[0] if getattr(form, "one_kind", False) else None


def _path(spec: str, path: Path, options: ReadOptions, kinds: Sequence[str]) -> Opened:
    name, form, text = _recognised(spec, path, options, kinds)
    reading = _read(name, form, path, options, kinds)
    reading.notes.insert(0, f"{spec}: read as {name} ({text})")
    return Opened(spec, name, reading, tuple(form.kinds))


def _recognised(
    spec: str, path: Path, options: ReadOptions, kinds: Sequence[str]
) -> tuple[str, Format, str]:
    """Asks every format what it sees in the path: the name of the one that sees something (of
    several, of one that gives what is wanted), the format, and what it sees in words."""
    seen = {name: FORMATS.get(name)() for name in FORMATS.names()}
    findings = {name: text for name, f in seen.items() if (text := f.recognise(path)) is not None}
    fitting = {n: text for n, text in findings.items() if choose_kind(seen[n].kinds, kinds)}
    findings = fitting or findings
    strong = {n: text for n, text in findings.items() if not getattr(seen[n], "weak", False)}
    findings = strong or findings
    # a file of boxes names its pictures: the folders around them are no classes
    placed = {n: text for n, text in findings.items() if kinds_of_data.get(seen[n].kinds[0]).placed}
    if "folder" in findings:
        findings = placed or findings
    if len(findings) > 1:
        readings = "; ".join(f"{name} ({text})" for name, text in findings.items())
        choices = " or ".join(f"{name}:{spec}" for name in findings)
        raise XferError(f"{spec} can be read in several ways: {readings}", f"say which: {choices}")
    if not findings and options.named and path.is_dir():
        findings = {"folder": "folders named by the user"}
    if not findings:
        raise _nothing_in(spec, path)
    name, text = next(iter(findings.items()))
    return name, seen[name], text


def _nothing_in(spec: str, path: Path) -> XferError:
    if path.is_dir() and not any(path.iterdir()):
        return DataError(f"{spec}: the folder is empty", "one folder of pictures a class, or a csv")
    for name in FORMATS.names() if path.is_dir() else ():
        almost = getattr(FORMATS.get(name)(), "almost", None)
        if almost is not None and (amiss := almost(path)) is not None:
            return amiss
    if path.suffix.casefold() in ARCHIVES:
        return DataError(f"{spec}: an archive", "unpack it, and give the folder")
    what = "not recognised as a data set" if path.is_dir() else "no known data format"
    formats = ", ".join(FORMATS.names())
    return DataError(f"{spec}: {what}", f"FORMAT:PATH says how to read it; formats: {formats}")


def _known(spec: str, path: Path) -> Path:
    """The folder of a set that is called by its name. Raises DataError where there is none."""
    bare = spec and Path(spec).name == spec
    if bare:
        place = data_folder(spec)
        if place.exists():
            return place
        if spec in KNOWN:
            known = KNOWN[spec]
            get = f"`xfer data get {spec}` does it" if known.archives else f"from {known.source}"
            raise DataError(f"{spec} is not at {place}", f"put {known.tree} there; {get}")
    raise missing(path, [*EMBEDDED.names(), *KNOWN] if bare else [])


def missing(path: Path, names: list[str] | None = None) -> DataError:
    """The error for a path that does not exist, with the nearest name beside it."""
    place = path
    while not place.parent.is_dir() and place.parent != place:
        place = place.parent  # the first folder on the way that is not there
    folder = place.parent
    near = [p.name for p in folder.iterdir()] if os.access(folder, os.R_OK) else []
    choices = [*(names or []), *near]
    hint = nearest(place.name, choices) if choices else None
    if hint is not None and not hint.startswith("did you mean"):
        hint = f"no {place.name!r} in {folder.absolute()}"
    return DataError(f"{path}: no such file, folder or data set", hint)


def _class(spec: str, options: ReadOptions, kinds: Sequence[str]) -> Opened:
    """A user's own reader or source, by its dotted name."""
    plug = plugs.parse(spec)
    forms = f"formats: {', '.join(FORMATS.names())}; or package.module:Class"
    if plug is None:
        raise XferError(f"data {spec!r}: {spec.partition(':')[0]!r} is no format", forms)
    make = plugs.resolve(plug, "data", forms)
    if hasattr(make, "load") and hasattr(make, "recognise"):
        if not plug.path:
            raise XferError(f"data {spec}: a reader reads a path", f"--data {spec}:PATH")
        path = Path(plug.path).expanduser()
        if not path.exists():
            raise missing(path)
        form = _made(spec, make) if isinstance(make, type) else make
        reading = _read(plug.spec, form, path, options, kinds)
        return Opened(plug.path, plug.spec, reading, tuple(form.kinds))
    _refuse_images(spec, options)
    given = (plug.path,) if plug.path else ()
    splits = getattr(make, "splits", None)
    name = Path(plug.path).name if plug.path else plug.name
    if splits is not None and callable(make):
        return _object({split: _made(spec, make, *given, split=split) for split in splits}, name)
    if plug.path and not callable(make):
        raise XferError(f"data {spec}: {plug.spec} takes no path", f"--data {plug.spec}")
    return _object(_made(spec, make, *given) if callable(make) else make, name)


def _made(spec: str, make: Any, *given: Any, **named: Any) -> Any:
    """What a user's own class makes. Raises XferError for arguments that it does not take."""
    try:
        inspect.signature(make).bind(*given, **named)
    except TypeError as error:
        call = ", ".join([*map(repr, given), *(f"{k}={v!r}" for k, v in named.items())])
        plain = f"{spec.partition(':')[2].partition(':')[0]}({call})"
        raise XferError(f"data {spec}: {plain}: {error}") from None
    except ValueError:  # no signature is known, as of some builtins
        pass
    return make(*given, **named)


def _object(found: Any, name: str) -> Opened:
    """Data that are in memory, or by split: see `xfer.data.sources.from_python`."""
    if isinstance(found, Bundle):
        reading = Reading(dict(found.splits), list(found.notes), list(found.skipped))
        return Opened(found.name, found.format, reading)
    if isinstance(found, Mapping) and found:
        parts = {str(split): as_source(part, name) for split, part in found.items()}
        return Opened(name, "source", Reading(parts))
    source = as_source(found, name)
    return Opened(name, "source", Reading({source.info.split or WHOLE: source}))
