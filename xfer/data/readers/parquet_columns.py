"""Tell which columns of a parquet file hold the pictures, the labels and the splits.

Pictures are struct(bytes, path), as Hugging Face has them, or plain bytes. Labels are whole numbers
or text, in a column called label, or whose name ends so, or the only one whose values repeat.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xfer.data.readers.table.columns import is_made, is_path
from xfer.data.readers.table.labels import is_label, is_measure
from xfer.data.readers.table.splits import NONE, SPLITS
from xfer.errors import DataError, XferError, listed, nearest

# of several columns of labels the one that classify means
FIRST = ("label", "labels", "fine_label")
MOST = 0.8  # classes per row
INDEX = "__index_level_0__"  # pandas' row numbers


@dataclass(frozen=True)
class Columns:
    """Names of columns, "" where there is none.

    pictures | struct(bytes, path) if `paths` or `struct`, else plain bytes
    label    | whole numbers, or text if `text`
    unused   | the others
    """

    pictures: str
    struct: bool
    paths: bool
    label: str
    text: bool
    split: str
    unused: tuple[str, ...]


def find_columns(
    file: Path, table: Any, path: str = "", label: str = "", split: str = ""
) -> Columns:
    """The columns of an opened parquet file. Args: path, label, split: those that the user named.

    Raises: DataError if there are no pictures or a named column can't be what it should; XferError
        if several columns may be meant.
    """
    fields = {field.name: field.type for field in table.schema_arrow}
    for flag, name in (("path", path), ("label", label), ("split", split)):
        if name and name not in fields and (flag, name.casefold()) != ("split", NONE):
            raise XferError(f"{file}: data.{flag}={name}: no such column", nearest(name, fields))
    pictures = path or _pictures(file, fields)
    if path and not _holds_bytes(fields[path]):
        raise DataError(f"{file}: column {path!r} holds no pictures: {fields[path]}")
    struct = _is_struct(fields[pictures])
    paths = struct and "path" in [f.name for f in fields[pictures]]
    rest = [name for name in fields if name not in (pictures, INDEX)]
    split = _split(rest, fields, split)
    rest = [name for name in rest if name != split]
    label = label or _label(file, table, [n for n in rest if _holds_labels(fields[n])])
    if label and not _holds_labels(fields[label]):
        raise DataError(
            f"{file}: column {label!r} holds {fields[label]}, not one whole number or text per "
            "picture",
            "several labels per picture are read from a csv",
        )
    text = bool(label) and not _is_number(fields[label])
    unused = tuple(name for name in rest if name != label)
    return Columns(pictures, struct, paths, label, text, split, unused)


def _is_struct(kind: Any) -> bool:
    import pyarrow as pa  # pyright: ignore[reportMissingImports]

    return pa.types.is_struct(kind) and "bytes" in [f.name for f in kind]


def _holds_bytes(kind: Any) -> bool:
    import pyarrow as pa  # pyright: ignore[reportMissingImports]

    return _is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_text(kind: Any) -> bool:
    import pyarrow as pa  # pyright: ignore[reportMissingImports]

    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _is_number(kind: Any) -> bool:
    import pyarrow as pa  # pyright: ignore[reportMissingImports]

    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _holds_labels(kind: Any) -> bool:
    import pyarrow as pa  # pyright: ignore[reportMissingImports]

    return _is_number(kind) or _is_text(kind) or pa.types.is_boolean(kind)


def _pictures(file: Path, fields: dict[str, Any]) -> str:
    structs = [name for name, kind in fields.items() if _is_struct(kind)]
    found = structs or [name for name, kind in fields.items() if _holds_bytes(kind)]
    if not found:
        raise DataError(
            f"{file}: no column of pictures (bytes, path)", f"it has {listed([*fields])}"
        )
    found = [name for name in found if not is_made(name)] or found
    found = [name for name in found if is_path(name)] or found
    if len(found) > 1:
        raise XferError(
            f"{file}: which column holds the pictures: {' or '.join(map(repr, found))}?",
            " or ".join(shlex.quote(f"data.path={name}") for name in found),
        )
    return found[0]


def _split(rest: Sequence[str], fields: dict[str, Any], given: str) -> str:
    if given:
        return "" if given.casefold() == NONE and given not in fields else given
    usual = [n for n in rest if n.casefold().replace("_", " ") in SPLITS and _is_text(fields[n])]
    return usual[0] if len(usual) == 1 else ""


def _label(file: Path, table: Any, able: Sequence[str]) -> str:
    usual = next((name for name in FIRST if name in able), "")
    if usual:
        return usual
    named = [name for name in able if is_label(name)]
    if len(named) > 1:
        raise XferError(
            f"{file}: which column is the label: {', '.join(map(repr, named))}?",
            " or ".join(shlex.quote(f"data.label={name}") for name in named),
        )
    if named:
        return named[0]
    kinds = {field.name: field.type for field in table.schema_arrow}
    alike = [
        name for name in able
        if _repeats(table, name) and not (_is_number(kinds[name]) and is_measure(name))
    ]  # fmt: skip
    return alike[0] if len(alike) == 1 else ""


def _repeats(table: Any, name: str) -> bool:
    """Whether the values at the beginning of a column repeat, as classes do, and are not all the
    same."""
    try:
        values = table.read_row_group(0, columns=[name]).column(0).to_pylist()
    except (OSError, ValueError):
        return False
    return 1 < len(set(values)) <= MOST * len(values)
