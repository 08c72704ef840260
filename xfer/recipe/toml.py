"""Recipes as TOML: found by name, read, written.

A recipe's name is its path under recipes/ without the extension: classify/default. An installed
package adds those in the package that its entry point in xfer.recipes names. A file is read the
same way. `extends` names a parent, whose values come first.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from xfer import registry
from xfer.errors import DataError, XferError, nearest, reader, whole
from xfer.files import MB, text_of, write_text
from xfer.recipe.option import explain
from xfer.recipe.tables import (
    FIELDS,
    TABLES,
    Recipe,
    differences,
    flatten,
    meaning,
    override,
)

# keys that every recipe.toml of a run has had, see `dump`
_IN_EVERY_DUMP = {"data.source", "data.val", "data.limit", "optim.name", "eval.every", "run.seed"}
# tables of other tools' files
_TABLE_WORDS = {
    **dict.fromkeys(("model", "net", "network"), "did you mean [backbone], or backbone = NAME?"),
    **dict.fromkeys(("optimizer", "optimiser", "solver"), "did you mean [optim]?"),
    **dict.fromkeys(("dataset", "dataloader", "datasets", "input"), "did you mean [data]?"),
    **dict.fromkeys(("scheduler", "lr_schedule"), "did you mean [schedule]?"),
    **dict.fromkeys(("train", "training", "trainer"), "did you mean [schedule] or [optim]?"),
    **dict.fromkeys(("test", "val", "evaluation"), "did you mean [eval]?"),
}
# the most characters of a recipe, and a key of a hundred parts: a.b.c. ...
_LONGEST = 1 << 20
_DOTS = re.compile(r"""(?<![\w-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){100}""")


def recipe_names(glob: str = "*") -> list[str]:
    """The sorted names of all recipes, xfer's and those of installed packages, that match a shell
    pattern."""
    return sorted(name for name in _entries() if fnmatch.fnmatchcase(name, glob))


def recipe_origin(name: str) -> str:
    """Where a recipe comes from: "xfer", or the package that offers it. Raises XferError for a name
    that several offer."""
    origins = [origin for origin, _ in _entries()[name]]
    if len(origins) > 1:
        raise XferError(
            f"recipe {name!r} comes from {' and from '.join(origins)}",
            f"pip uninstall {origins[-1]}, or rename its file",
        )
    return origins[0]


def _entries() -> dict[str, list[tuple[str, Traversable]]]:
    """Recipe name -> (where it comes from, its file); several if names collide."""
    folders = [(registry.OURS, resources.files("xfer.recipes"))]
    for offered in registry.offers("xfer.recipes").values():
        folders += [(offer.package, _folder(offer)) for offer in offered]
    entries: dict[str, list[tuple[str, Traversable]]] = {}
    for origin, folder in folders:
        for name, file in _walk(folder):
            entries.setdefault(name, []).append((origin, file))
    return entries


def _folder(offer: registry.Offer) -> Traversable:
    module = offer.load("recipes")
    try:
        return resources.files(module)
    except (TypeError, AttributeError):
        raise XferError(
            f"recipes of package {offer.package}: {offer.entry.value} is not a package with .toml "
            "files"
        ) from None


def _walk(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".toml"):
            yield prefix + entry.name.removesuffix(".toml"), entry


def recipe_text(name_or_file: str) -> str:
    """The TOML of a recipe, with its comments.

    Raises: XferError for an unknown name, naming the nearest; DataError for an unreadable file.
    """
    entries = _entries().get(name_or_file)
    if entries is not None:
        recipe_origin(name_or_file)  # raises if there are several
        return entries[0][1].read_text(encoding="utf-8")
    path = Path(name_or_file)
    with whole(path, "not a name of a file"):
        if path.suffix != ".toml" and not path.is_file():
            raise XferError(f"unknown recipe {name_or_file!r}", _near_recipe(name_or_file))
        try:
            return text_of(path, MB)
        except FileNotFoundError as error:
            hint = "`xfer recipes ls` lists the names"
            raise DataError(f"{path}: {error.strerror}", hint) from None


def _near_recipe(name: str) -> str:
    folder, slash, _ = name.rpartition("/")
    siblings = recipe_names(f"{folder}/*")
    if slash and not siblings:
        return f"there are no recipes in {folder}/; `xfer recipes ls` lists all"
    return nearest(name, siblings or recipe_names())


_MOST_PARENTS = 50


@reader
def load_recipe(name_or_file: str) -> Recipe:
    """The recipe of that name or in that file, on top of its parents' values.

    Raises: XferError for unknown names and keys and for values that break the rules, naming the
        file; DataError for a file that is missing or not TOML.
    """
    return _load(name_or_file, ())


def _load(source: str, below: tuple[str, ...]) -> Recipe:
    if "\0" in source:
        raise DataError(f"{below[-1] if below else 'recipe'}: {source!r:.60} is no name of a file")
    if source in below or Path(source).resolve() in [Path(b).resolve() for b in below]:
        raise XferError(f"{below[0]}: extends goes in a circle: {' -> '.join([*below, source])}")
    if len(below) >= _MOST_PARENTS:
        raise XferError(f"{below[0]}: extends goes through more than {_MOST_PARENTS} recipes")
    text = recipe_text(source)
    try:
        values = _with_split_seed(_keys(text))
        parent = values.pop("extends", None)
        name = values.pop("name", source)
        for key, value in (("extends", parent), ("name", name)):
            if value is not None and not isinstance(value, str):
                raise XferError(f"{key} must be text, got {value!r}")
    except XferError as error:
        raise type(error)(f"{source}: {error.message}", error.hint) from None
    base = Recipe()
    if parent is not None:
        base = _load(_beside(source, parent), (*below, source))
    try:
        recipe = replace(override(base, values), name=name)
    except XferError as error:
        raise XferError(f"{source}: {error.message}", error.hint) from None
    if source in recipe_names():
        return recipe
    # a user's file: what it changes counts as set by the user, what it repeats does not
    changed = values.keys() & differences(base, recipe).keys()
    return replace(recipe, given=base.given | changed)


def _beside(source: str, parent: str) -> str:
    """A parent given as a file is relative to the folder of the file that names it."""
    if parent.endswith(".toml") and source not in recipe_names():
        return str(Path(source).parent / parent)
    return parent


def _keys(text: str) -> dict[str, Any]:
    """TOML as dotted keys: {"task": "classify", "optim.lr": 1e-3}."""
    if len(text) > _LONGEST or _DOTS.search(text):
        # tomllib takes a time that grows with the square of a key's parts
        raise DataError("not a recipe: it is too long, or has a key of more than 100 parts")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        tables = [t for t in ("task", "backbone") if re.search(rf"(?m)^\[{t}\]", text)]
        hint = f'with a table [{tables[0]}], put the name inside: name = "..."' if tables else None
        raise DataError(f"not valid TOML: {error}", hint) from None
    except RecursionError:
        raise DataError("not valid TOML: nested too deeply") from None
    except ValueError:
        raise DataError("not valid TOML: a number of too many digits") from None
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if not isinstance(value, dict):
            flat[key] = value
            continue
        if key not in (*TABLES, "task", "backbone"):
            hint = _TABLE_WORDS.get(key.lower()) or nearest(key, [*TABLES, "task", "backbone"])
            raise XferError(f"unknown table [{key}]", hint)
        for name, item in value.items():
            inner = item if isinstance(item, dict) and key == "task" else {"": item}
            for part, own in inner.items():
                full = f"{key}.{name}.{part}" if part else f"{key}.{name}"
                if isinstance(own, dict):
                    raise XferError(f"{full} must be a value, not a table")
                flat[full] = own
    return flat


def _with_split_seed(values: dict[str, Any]) -> dict[str, Any]:
    """A run's recipe.toml from before `data.split_seed`, when run.seed drew the val split as well,
    with the seed that gives the same split again. Such a file holds every key of its time."""
    old = "data.split_seed" not in values and values.keys() >= _IN_EVERY_DUMP
    return {**values, "data.split_seed": values["run.seed"]} if old else values


def header(text: str) -> str:
    """The lab note at the top of a recipe: the comment lines before its first key."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line)
    return "\n".join(lines)


def dump(recipe: Recipe, explained: bool = False) -> str:
    """The recipe as TOML with every key, each with its meaning if `explained` is set.

    Loading it gives an equal recipe.
    """
    notes = meanings(recipe) if explained else {}
    lines = [f"name = {_toml(recipe.name)}"] if recipe.name else []
    lines.append(f"weights = {_toml(recipe.weights)}")
    last = ""
    for key, value in flatten(recipe).items():
        table, name = key.rsplit(".", 1) if "." in key else (key, "")
        if table == "weights":
            continue
        if table != last:
            lines += ["", f"[{table}]"]
            last = table
        note = f"  # {notes[key]}" if key in notes else ""
        lines.append(f"{_toml_key(name or 'name')} = {_toml(value)}{note}")
    return "\n".join(lines) + "\n"


def dump_keys(values: Mapping[str, Any]) -> str:
    """Dotted keys as TOML, those without a table first."""
    tables: dict[str, list[str]] = {}
    for key, value in values.items():
        table, _, name = key.partition(".")
        if not name and table in ("task", "backbone"):
            name = "name"
        place = table if name else ""
        tables.setdefault(place, []).append(f"{_toml_key(name or key)} = {_toml(value)}")
    order = sorted(tables, key=bool)
    return "".join(
        (f"\n[{table}]\n" if table else "") + "\n".join(tables[table]) + "\n" for table in order
    )


def meanings(recipe: Recipe) -> dict[str, str]:
    """The help text of every key of the tables, and of the recipe's task if it is known."""
    from xfer import task as tasks  # here, because it imports torch

    texts = {key: meaning(key) for key in FIELDS}
    with contextlib.suppress(XferError):
        options = tasks.options_of(tasks.get(recipe.task), recipe.task_options)
        texts |= {key: explain(option) for key, option in options.items()}
    return texts


def _toml_key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's escapes are valid in TOML, which also wants DEL escaped
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return repr(value)


def copy(name: str, file: Path) -> None:
    """Copies a recipe with its comments to a user's file, to be edited there.

    Raises: XferError for an unknown recipe, or if the file exists.
    """
    text = recipe_text(name)
    if file.exists():
        raise XferError(f"{file} exists", "choose another name, or remove it first")
    try:
        write_text(file, text)
    except OSError as error:
        raise XferError(f"{file} can't be written: {error.strerror}") from None


def parse_assignments(assignments: list[str]) -> dict[str, Any]:
    """["optim.lr=1e-3", "data.crop_area=[0.2,1]"] as {key: value}, values read as TOML or text.

    Raises: XferError for a text that is not key=value.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        key = key.strip()
        if not equals or not re.fullmatch(r"(task\.)?[\w-]+(\.[\w-]+)?", key):
            hint = f"did you mean --data {assignment}?" if not equals else "example: optim.lr=1e-3"
            raise XferError(f"{assignment!r} is not key=value", hint)
        if key == "data":
            raise XferError(f"{assignment}: data are given by a flag", f"--data {text.strip()}")
        values[key] = _value(key, text.strip())
    return values


def _value(key: str, text: str) -> Any:
    takes_text = key in ("task", "backbone", "weights", "task.name", "backbone.name") or (
        key in FIELDS and FIELDS[key].type == "str"
    )
    try:
        document = tomllib.loads(f"v = {text}")
    except tomllib.TOMLDecodeError:
        document = {}
    value = document.get("v", text) if len(document) == 1 else text
    if takes_text:
        return value if isinstance(value, str) else text
    if text in ("True", "False"):
        return text == "True"
    if isinstance(value, str) and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text):
        return float(text)  # TOML does not accept ".5" and "1." as numbers
    return value if isinstance(value, (str, int, float, bool, list)) else text
