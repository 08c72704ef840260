"""The settings that are tried: KEY=V1,V2 of a command, every combination of several keys."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xfer.errors import XferError
from xfer.recipe.choose import check
from xfer.recipe.tables import FLAGS, READING, Recipe, override
from xfer.recipe.toml import parse_assignments

# what must be the same in all runs for them to be compared, or changes no score
_SAME = {f"data.{key}" for key in (*READING, "source", "train", "val", "test", "changes")}
_LONGEST = 100  # characters of a setting in a folder's name


@dataclass(frozen=True)
class Setting:
    """One of the settings that are compared.

    values | by the recipe's key
    recipe | the complete recipe
    """

    values: Mapping[str, Any]
    recipe: Recipe

    @property
    def name(self) -> str:
        """What sets it apart, in words: optim.lr=0.002, data.batch=16."""
        return ", ".join(f"{key}={plain(value)}" for key, value in self.values.items()) or "default"


def plain(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{','.join(plain(item) for item in value)}]"
    return "''" if value == "" else f"{value:g}" if isinstance(value, float) else str(value)


def split_lists(assignments: Sequence[str]) -> tuple[list[str], dict[str, list[Any]]]:
    """Assignments of one value each, as they are, and those of several: key -> its values.

    Commas in brackets or quotes divide nothing: data.crop_area=[0.2,1],[0.5,1] are two values.
    Raises: XferError for a text that is not key=value, or a value that is given twice.
    """
    single: list[str] = []
    grid: dict[str, list[Any]] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        texts = _at_commas(text)
        if not equals or len(texts) < 2:
            single.append(assignment)
            continue
        if "" in texts:
            raise XferError(
                f"{assignment}: an empty value", f"{key}={','.join(filter(None, texts))}"
            )
        values = [next(iter(parse_assignments([f"{key}={one}"]).values())) for one in texts]
        grid[key.strip()] = values
    return single, grid


def _at_commas(text: str) -> list[str]:
    """The parts of a text between the commas that are in no brackets or quotes."""
    parts, depth, quote = [""], 0, ""
    for char in text:
        if char == "," and not depth and not quote:
            parts.append("")
            continue
        parts[-1] += char
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        else:
            depth += (char == "[") - (char == "]")
    return [part.strip() for part in parts]


def settings_of(base: Recipe, grid: Mapping[str, Sequence[Any]]) -> list[Setting]:
    """Every combination of the values, the last key changing fastest, as complete recipes.

    Args: grid: key or flag -> its values, two or more.
    Raises: XferError for unknown keys and values, naming them, and for keys that can't be compared.
    """
    named = {FLAGS.get(key, key.replace("__", ".")): list(values) for key, values in grid.items()}
    for key, values in named.items():
        if key == "run.seed":
            raise XferError("run.seed=A,B: seeds are not settings to choose from", "--seeds N")
        if key in _SAME or key.startswith("run."):
            raise XferError(
                f"{key}: its values can't be compared: every run must see the same pictures and be "
                "scored alike", f"--set {key}=VALUE sets one for all runs",
            )  # fmt: skip
        if len({plain(value) for value in values}) < max(2, len(values)):
            given = ",".join(plain(value) for value in values)
            raise XferError(f"{key}={given}: two or more different values are needed")
    return [
        setting(base, dict(zip(named, values, strict=True)))
        for values in itertools.product(*named.values())
    ]


def setting(base: Recipe, values: Mapping[str, Any]) -> Setting:
    """The base recipe with these values, checked. Raises XferError."""
    changed = check(override(base, values))
    return Setting(dict(values), replace(changed, given=base.given | values.keys()))


def folder_name(text: str) -> str:
    """Words as the name of a folder; what is too long keeps its beginning and a digest."""
    name = re.sub(r"[^\w.=+\[\]-]+", "_", text).strip("_.") or "default"
    if len(name) <= _LONGEST and name == text.replace(", ", "_"):
        return name
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:6]
    return f"{name[:_LONGEST]}-{digest}"
