"""Data specs: NAME, PATH, FORMAT:PATH or package.module:Class[:PATH], made into a Reading."""

from __future__ import annotations

import contextlib
import inspect
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xfer import kinds as kinds_of_data
from xfer import plugs
from xfer.data.catalog import KNOWN, data_folder
from xfer.data.images.unread import unread_pictures
from xfer.data.images.walk import check_files, has_picture, is_junk, listing, readable
from xfer.data.readers.base import EMBEDDED, FORMATS, Format, Reading, ReadOptions, choose_kind
from xfer.data.readers.other_tools import EXPORT, other_tool
from xfer.data.readers.table.found import SHEETS
from xfer.data.readers.unlisted import note_lists
from xfer.data.sources.base import Bundle, path_of
from xfer.data.sources.from_python import SCHEME, as_source, python_name
from xfer.data.sources.split_names import WHOLE
from xfer.errors import DataError, XferError, listed, nearest, whole
from xfer.files import NotAFile, at_home, exists, is_dir, no_file
from xfer.registry import OURS

# archives, which are not read in place; a .tar is
ARCHIVES = (".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
# how the line ends about a spec that names nothing
NOT_THERE = "no such file, folder or data set"


@dataclass(frozen=True)
class Opened:
    """An opened spec: its name for the user, the format it was read as, and what was read.

    kinds   | the kinds it can be read as; empty: there is no choice
    spec    | what was opened; options: how it was read, with `kind` chosen from `kinds`
    """

    name: str
    format: str
    reading: Reading
    kinds: tuple[str, ...] = ()
    spec: Any = None
    options: ReadOptions | None = None


def open_spec(spec: Any, options: ReadOptions | None = None, kinds: Sequence[str] = ()) -> Opened:
    """Read what a spec names.

    Args:
        spec: NAME, PATH, FORMAT:PATH, package.module:Class, package.module:Class:PATH, or data in
            memory, see `xfer.data.sources.from_python`. The Class is a reader, see `Format`, which
            needs the PATH; or it makes a Source, called as Class(), Class(PATH) or, if it has
            `splits`, once per split with `split=`. Or what this function returned: read again only
            if the options make a difference.
        options: split names that the user gave, and whether to leave out what can't be used.
        kinds: the kinds to read the data as: data that can be read in several ways are read as the
            first of their own kinds that is among these; it is not an error if none is.

    Raises: DataError for data that are missing or can't be used, XferError for an unknown format or
        class and for a path that can be read in several ways.
    """
    options = options or ReadOptions()
    if options.also:
        raise XferError(f"data.also={options.also}: only a task with several heads reads it")
    if isinstance(spec, Opened):  # read before: read again only if the result would differ
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
        _refuse_columns("the data were passed in Python", options)
        return _object(spec, own or ("data" if isinstance(spec, Mapping) else python_name(spec)))
    path = at_home(spec)
    if spec and exists(path):
        return _path(spec, path, options, kinds)
    if spec in EMBEDDED.names():
        known = EMBEDDED.get(spec)()
        _refuse_images(spec, options)
        _refuse_columns(f"{spec} is built in", options, getattr(known, "takes", ()))
        kind = choose_kind(known.kinds, kinds) or ""
        if options.ignore:
            raise XferError(f"data.ignore={options.ignore}: {spec} has nothing to ignore")
        reading = known.load(replace(options, kind=kind))
        return Opened(spec, spec, reading, tuple(known.kinds))
    head, colon, rest = spec.partition(":")
    if colon and head == SCHEME:
        raise XferError(
            f"{spec}: these data were passed in Python",
            "pass them again from Python (data=...), or give other data: --data SPEC",
        )
    if colon and rest and len(head) > 1:
        if "." in head or head not in FORMATS.names():
            return _class(spec, options, kinds)
        place = at_home(rest)
        if not exists(place):
            raise missing(place)
        if what := no_file(place):
            raise NotAFile(rest, what)
        form = FORMATS.get(head)()
        return Opened(rest, head, _read(head, form, place, options, kinds), tuple(form.kinds))
    return _path(spec, _known(spec, path), options, kinds)


def _read(
    name: str, form: Format, path: Path, options: ReadOptions, kinds: Sequence[str]
) -> Reading:
    if not getattr(form, "takes_images", False):
        _refuse_images(f"the format {name}", options)
    _refuse_columns(f"{path} is read as {name}", options, getattr(form, "takes", ()))
    kind = choose_kind(form.kinds, kinds) or ""
    if options.ignore and not (kind and kinds_of_data.get(kind).ignores):
        raise XferError(f"data.ignore={options.ignore}: {path} is read as {name}, without masks")
    with _door(form, path):
        try:
            reading = form.load(path, replace(options, kind=kind))
        finally:
            check_files(path)  # what a format passed over may be what is missing
        _note_unread(path, reading)
        if path.is_dir():
            note_lists(path, reading)
        _check_names(path, reading)
    return reading


def _check_names(path: Path, reading: Reading) -> None:
    """Raises DataError for the name of a class that can't be written to a file."""
    names = {name for part in reading.parts.values() for name in part.info.classes}
    for name in sorted(names):
        if readable(name) != name:
            raise DataError(f"{path}: the name of a class is not text: {name!a:.60}")


def _door(form: Any, path: Path) -> AbstractContextManager[None]:
    """Context for a format at work: whatever data make it raise is an error that names them. What a
    format of another package raises is its own matter, see `plugs.whose`."""
    ours = type(form).__module__.partition(".")[0] == OURS
    return whole(path) if ours else contextlib.nullcontext()


def _note_unread(path: Path, reading: Reading) -> None:
    """Count the pictures of kinds that are not read: below the folder, or next to those that a file
    names."""
    if path.is_dir():
        top, folders = path, [path]
    else:
        files = [path_of(part, i) for part in reading.parts.values() if len(part) for i in (0, -1)]
        folders = list(dict.fromkeys(file.parent for file in files if file is not None))
        top = path.parent
        if path.parent in folders:  # who knows what else is there
            folders = [path.parent]
    unread = unread_pictures(folders)
    names = [readable(os.path.relpath(file, top)) for file in unread]
    reading.leave(
        "picture of a kind that is not read", "pictures of kinds that are not read", names
    )


def _refuse_images(what: str, options: ReadOptions) -> None:
    if options.images:
        raise XferError(f"data.images={options.images}: {what} finds its own pictures")


def _refuse_columns(what: str, options: ReadOptions, takes: Sequence[str] = ()) -> None:
    """Raises XferError for a column that the user names, in data that have no such thing."""
    for name in options.given:
        if name not in takes:
            able = [n for n in FORMATS.names() if name in getattr(FORMATS.get(n)(), "takes", ())]
            raise XferError(
                f"data.{name}={getattr(options, name)}: {what}, which does not use it",
                f"formats that do: {', '.join(able)}; choose with FORMAT:PATH",
            )


def kind_at_sight(spec: str) -> str | None:
    """The kind that a spec's data are read as by default, if the names of its files are enough to
    tell, else None. Raises the errors of `open_spec`, for what it looks at."""
    path = at_home(spec)
    head, colon, rest = spec.partition(":")
    if spec and exists(path):
        form = _recognised(spec, path, ReadOptions(), ())[1]
    elif spec in EMBEDDED.names():
        return EMBEDDED.get(spec)().kinds[0]
    elif colon and rest and head in FORMATS.names():
        form = FORMATS.get(head)()
    elif not colon:
        form = _recognised(spec, _known(spec, path), ReadOptions(), ())[1]
    else:
        return None
    return form.kinds[0] if getattr(form, "fixed_kind", False) else None


def _path(spec: str, path: Path, options: ReadOptions, kinds: Sequence[str]) -> Opened:
    name, form, text = _recognised(spec, path, options, kinds)
    reading = _read(name, form, path, options, kinds)
    reading.notes.insert(0, f"{spec}: read as {name} ({text})")
    classes = {c for part in reading.parts.values() for c in part.info.classes}
    alone = not reading.labelled or (name == "folder" and len(classes) == 1)
    if alone and (other := other_tool(path)) is not None:
        raise _of_another_tool(spec, *other)
    return Opened(spec, name, reading, tuple(form.kinds))


def _recognised(
    spec: str, path: Path, options: ReadOptions, kinds: Sequence[str]
) -> tuple[str, Format, str]:
    """Ask every format whether it recognises the path: returns the name of the one that does (if
    several do, of one that gives a wanted kind), the format, and what it found in words."""
    if what := no_file(path):
        raise NotAFile(spec, what)
    seen = {name: FORMATS.get(name)() for name in FORMATS.names()}
    findings: dict[str, str] = {}
    for name, form in seen.items():
        with _door(form, path):
            if (text := form.recognise(path)) is not None:
                findings[name] = text
        check_files(path)
    fitting = {n: text for n, text in findings.items() if choose_kind(seen[n].kinds, kinds)}
    findings = fitting or findings
    strong = {
        n: text for n, text in findings.items() if not getattr(seen[n], "low_priority", False)
    }
    weak = {n: text for n, text in findings.items() if n not in strong and _placed(seen[n])}
    findings = strong or findings
    if len(findings) > 1:
        findings.pop("images", None)  # used only if nothing else finds labels
    if options.given:  # whoever names a column means data that have it
        able = {
            n: text for n, text in findings.items()
            if set(options.given) <= set(getattr(seen[n], "takes", ()))
        }  # fmt: skip
        findings = able or findings
    # a file of boxes names its pictures: the folders around them are not classes
    placed = {n: text for n, text in findings.items() if _placed(seen[n])}
    if "folder" in findings:
        findings = placed or {**findings, **weak}
    if len(findings) > 1:
        readings = "; ".join(f"{name} ({text})" for name, text in findings.items())
        choices = " or ".join(f"{name}:{spec}" for name in findings)
        raise XferError(f"{spec} can be read in several ways: {readings}", f"choose: {choices}")
    if not findings and options.named and path.is_dir():
        findings = {"folder": "folders named by the user"}
    if not findings:
        raise _nothing_in(spec, path)
    name, text = next(iter(findings.items()))
    return name, seen[name], text


def _placed(form: Format) -> bool:
    """Whether a format's default labels are in pixels of the pictures."""
    return kinds_of_data.get(form.kinds[0]).placed


def _nothing_in(spec: str, path: Path) -> XferError:
    if path.is_dir() and not any(path.iterdir()):
        return DataError(
            f"{spec}: the folder is empty", "one folder of pictures per class, or a csv"
        )
    if (other := other_tool(path)) is not None:
        return _of_another_tool(spec, *other)
    for name in FORMATS.names() if path.is_dir() else ():
        form = FORMATS.get(name)()
        explain = getattr(form, "explain", None)
        with _door(form, path):
            error = None if explain is None else explain(path)
        if error is not None:
            return error
    if path.is_dir():
        from xfer.data.readers.folder import where_pictures_are

        if (error := where_pictures_are(path)) is not None:
            return error
    if path.suffix.casefold() in ARCHIVES:
        return DataError(f"{spec}: is an archive", "unpack it, and give the folder")
    if path.suffix.casefold() in SHEETS:
        return DataError(f"{spec}: a spreadsheet, which is not read", "save it as csv")
    what = "not in a known data format"
    if path.is_dir():
        what = "not recognised as a data set"
        if not has_picture(path):
            what += f": no pictures in it{_contents(path)}"
    formats = ", ".join(FORMATS.names())
    return DataError(f"{spec}: {what}", f"FORMAT:PATH says how to read it; formats: {formats}")


def _contents(folder: Path) -> str:
    """What a folder without pictures holds, in words."""
    endings = Counter(Path(e.name).suffix or "other" for e in listing(folder)
                      if e.is_file() and not is_junk(e.name))  # fmt: skip
    some = [f"{n} {ending}" for ending, n in sorted(endings.items())]
    return f", but other files ({listed(some, 5)})" if some else ""


def _of_another_tool(spec: str, file: Path, what: str) -> DataError:
    hint = f"{EXPORT}; images:{spec} reads the pictures without labels"
    return DataError(f"{spec}: {file} is {what}, which is not read", hint)


def _known(spec: str, path: Path) -> Path:
    """The folder of a set given by its name. Raises DataError if there is none."""
    bare = spec and Path(spec).name == spec
    if bare:
        place = data_folder(spec)
        if exists(place):
            return place
        if spec in KNOWN:
            known = KNOWN[spec]
            get = f"`xfer data get {spec}` does it" if known.archives else f"from {known.source}"
            raise DataError(f"{spec} is not at {place}", f"put {known.tree} there; {get}")
    raise missing(path, [*EMBEDDED.names(), *KNOWN] if bare else [])


def missing(path: Path, names: list[str] | None = None) -> DataError:
    """The error for a path that does not exist, with the nearest existing name."""
    place = path
    while not is_dir(place.parent) and place.parent != place:
        place = place.parent  # the first folder on the path that does not exist
    folder = place.parent
    near = [p.name for p in folder.iterdir()] if os.access(folder, os.R_OK) else []
    choices = [*(names or []), *near]
    hint = nearest(place.name, choices) if choices else None
    if hint is not None and not hint.startswith("did you mean"):
        hint = f"no {place.name!r} in {folder.absolute()}"
    return DataError(f"{path}: {NOT_THERE}", hint)


def _class(spec: str, options: ReadOptions, kinds: Sequence[str]) -> Opened:
    """Open a user's own reader or source, by its dotted name."""
    plug = plugs.parse(spec)
    forms = f"formats: {', '.join(FORMATS.names())}; or package.module:Class"
    if plug is None:
        raise XferError(f"data {spec!r}: unknown format {spec.partition(':')[0]!r}", forms)
    make = plugs.maker(plug, "data", _holds_pictures, "Source", forms)
    if hasattr(make, "load") and hasattr(make, "recognise"):
        if not plug.path:
            raise XferError(f"data {spec}: a reader needs a path", f"--data {spec}:PATH")
        path = at_home(plug.path)
        if not exists(path):
            raise missing(path)
        form = _call(spec, make) if isinstance(make, type) else make
        reading = _read(plug.spec, form, path, options, kinds)
        return Opened(plug.path, plug.spec, reading, tuple(form.kinds))
    _refuse_images(spec, options)
    _refuse_columns(f"{spec} makes its own pictures", options)
    args = (plug.path,) if plug.path else ()
    splits = getattr(make, "splits", None)
    name = Path(plug.path).name if plug.path else plug.name
    if splits is not None and callable(make):
        return _object({split: _call(spec, make, *args, split=split) for split in splits}, name)
    if plug.path and not callable(make):
        raise XferError(f"data {spec}: {plug.spec} takes no path", f"--data {plug.spec}")
    return _object(_call(spec, make, *args) if callable(make) else make, name)


def _holds_pictures(made: type) -> bool:
    """Whether a class is a reader or what a reader returns, or holds pictures: a Source, a Dataset
    of PyTorch, a sequence, a table of splits."""
    reads = hasattr(made, "load") and hasattr(made, "recognise")
    return reads or issubclass(made, Bundle) or hasattr(made, "__getitem__")


def _call(spec: str, make: Any, *args: Any, **named: Any) -> Any:
    """Call a user's own class. Raises XferError for arguments that it does not take."""
    try:
        inspect.signature(make).bind(*args, **named)
    except TypeError as error:
        call = ", ".join([*map(repr, args), *(f"{k}={v!r}" for k, v in named.items())])
        plain = f"{spec.partition(':')[2].partition(':')[0]}({call})"
        raise XferError(f"data {spec}: {plain}: {error}") from None
    except ValueError:  # the signature is not known, e.g. of some builtins
        pass
    return make(*args, **named)


def _object(data: Any, name: str) -> Opened:
    """Data in memory, perhaps by split: see `xfer.data.sources.from_python`."""
    if isinstance(data, Bundle):
        reading = Reading(dict(data.splits), list(data.notes), list(data.skipped))
        return Opened(data.name, data.format, reading)
    if isinstance(data, Mapping) and data:
        parts = {str(split): as_source(part, name) for split, part in data.items()}
        return Opened(name, "source", Reading(parts))
    source = as_source(data, name)
    return Opened(name, "source", Reading({source.info.split or WHOLE: source}))
