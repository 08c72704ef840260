"""Class tables of mask sets: class names, with their values or colours in the masks.

classes.txt       a name per line; `0 name`; `name r g b`; `r g b name`; `name:r,g,b:parts:actions`
class_dict.csv    columns name, r, g, b (CamVid), or value, name (Roboflow's _classes.csv)
classes.json      [names], {name: value or [r, g, b]}, {value: name}, [{name, color, id}, ...]
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xfer.data.images.walk import is_junk, is_picture, listing
from xfer.data.sources.written import whole_number
from xfer.errors import DataError, XferError, nearest, reader
from xfer.files import NOTE, text_of

Colour = tuple[int, int, int]

# file names that tools use, the likeliest first
NAMES = (
    "classes.txt", "class_names.txt", "label_names.txt", "classes.names", "labels.txt",
    "labelmap.txt", "names.txt", "codes.txt", "label_colors.txt", "color_classes.txt",
    "class_dict.csv", "label_class_dict.csv", "classes.csv",
    "_classes.csv", "labels.csv", "class_dict_seg.csv", "colors.csv", "classes.json",
    "labels.json", "label_map.json", "obj_class_to_machine_color.json", "meta.json",
)  # fmt: skip

_IGNORED = frozenset(
    ("void", "unlabelled", "unlabeled", "ignore", "ignored", "ignoreregion", "nolabel",
     "notlabelled", "notlabeled", "dontcare", "unannotated", "unlabel")
)  # fmt: skip

_RGB = r"[(\[]?\s*(\d{1,3})[,;\s]+(\d{1,3})[,;\s]+(\d{1,3})\s*[)\]]?"
_RGB_FIRST = re.compile(rf"^{_RGB}[,;:\s]+(\S.*)$")
_RGB_LAST = re.compile(rf"^(.*?\S)[,;:\s]+{_RGB}$")
_CVAT = re.compile(rf"^([^:]+):\s*(?:{_RGB})?\s*:[^:]*:[^:]*$")
_VALUE = re.compile(r"^(\d{1,5})(?:\s*[:,;=]\s*|\s+)(\S.*)$")


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One class of a table: its name, and its value and colour in the masks, if given."""

    name: str
    value: int | None = None
    colour: Colour | None = None


def is_ignored(name: str) -> bool:
    """Whether a class name means that its pixels have no class: void, Unlabelled, ignore."""
    return re.sub(r"[^a-z]", "", name.casefold()) in _IGNORED


def find_table(folders: Sequence[Path]) -> tuple[Path, list[ClassRow]] | None:
    """The class table in one of the folders, and its rows; None if there is none.

    Raises: DataError for a table that can't be read.
    """
    for folder in dict.fromkeys(folders):
        files = {e.name.casefold(): Path(e.path) for e in listing(folder) if not is_junk(e.name)}
        for name in NAMES:
            if name in files and files[name].is_file():
                rows = read_table(files[name])
                if rows:
                    return files[name], rows
    return None


@reader
def read_table(path: Path) -> list[ClassRow]:
    """The classes of a table, in its order; none if the file is not about classes.

    Raises: DataError naming the line that is wrong.
    """
    try:
        text = text_of(path, NOTE)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: {error}") from None
    readers: dict[str, Callable[[str, Path], list[ClassRow]]] = {".csv": _csv, ".json": _json}
    rows = readers.get(path.suffix.casefold(), _lines)(text, path)
    columns: dict[str, list[Any]] = {
        "class": [row.name for row in rows],
        "value": [row.value for row in rows if row.value is not None],
        "colour": [row.colour for row in rows if row.colour is not None],
    }
    for what, values in columns.items():
        twice = next((v for v in values if values.count(v) > 1), None)
        if twice is not None:
            raise DataError(f"{path}: the {what} {twice} occurs twice")
    coloured = sum(row.colour is not None for row in rows)
    if 0 < coloured < len(rows):
        bare = next(row.name for row in rows if row.colour is None)
        raise DataError(
            f"{path}: {bare!r} has no colour, others have one", "give each class a colour"
        )
    if any(row.colour is not None and max(row.colour) > 255 for row in rows):
        raise DataError(f"{path}: colours are three numbers from 0 to 255")
    return rows


def _lines(text: str, path: Path) -> list[ClassRow]:
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("#", "//"))]
    cvat = [_CVAT.match(line) for line in lines]
    if lines and all(cvat):
        return [ClassRow(m[1].strip(), None, _rgb(m.groups()[1:])) for m in cvat if m]
    rows: list[ClassRow] = []
    for line in lines:
        first, last = _RGB_FIRST.match(line), _RGB_LAST.match(line)
        if first:
            rows.append(ClassRow(first[4].strip(), None, _rgb(first.groups()[:3])))
        elif last:
            rows.append(ClassRow(last[1].strip(" ,;:"), None, _rgb(last.groups()[1:])))
        else:
            rows.append(ClassRow(line))
    # a number before each name is its value; before some of them it is part of the name
    valued = [_VALUE.match(row.name) for row in rows]
    if rows and all(valued):
        rows = [
            ClassRow(m[2].strip(), int(m[1]), row.colour)
            for m, row in zip(valued, rows, strict=True)
            if m
        ]
    return rows


def _rgb(numbers: Sequence[Any]) -> Colour | None:
    return None if numbers[0] is None else (int(numbers[0]), int(numbers[1]), int(numbers[2]))


_COLUMNS = {
    "name": ("name", "class", "classname", "label", "labelname", "category"),
    "value": ("value", "pixelvalue", "id", "index", "labelid", "classid", "trainid"),
    "r": ("r", "red"), "g": ("g", "green"), "b": ("b", "blue"),
    "colour": ("color", "colour", "rgb", "hex", "colorcode"),
}  # fmt: skip


def _csv(text: str, path: Path) -> list[ClassRow]:
    first = text.partition("\n")[0]
    mark = max(",;\t", key=first.count)
    cells = [[c.strip() for c in row] for row in csv.reader(io.StringIO(text), delimiter=mark)]
    cells = [row for row in cells if any(row)]
    if not cells or any(is_picture(cell) for row in cells for cell in row):
        return []  # a table of pictures is not one of classes
    head = [re.sub(r"[^a-z]", "", c.casefold()) for c in cells[0]]
    place = {
        key: head.index(next(n for n in names if n in head))
        for key, names in _COLUMNS.items()
        if any(n in head for n in names)
    }
    if "name" not in place:
        # no known header: read the lines as in a text file
        body = cells[1:] if not any(c.isdigit() for c in cells[0]) and len(cells[0]) > 1 else cells
        return _lines("\n".join(" ".join(row) for row in body), path)
    rows: list[ClassRow] = []
    for number, row in enumerate(cells[1:], 2):
        row += [""] * (len(head) - len(row))
        name = row[place["name"]]
        if not name:
            raise DataError(f"{path}, line {number}: no name")
        try:
            colour = None
            if {"r", "g", "b"} <= place.keys():
                colour = _rgb([row[place[c]] for c in "rgb"])
            elif "colour" in place:
                colour = parse_colour(row[place["colour"]])
            value = int(row[place["value"]]) if "value" in place else None
        except ValueError:
            raise DataError(f"{path}, line {number}: no numbers in {','.join(row)}") from None
        rows.append(ClassRow(name, value, colour))
    return rows


def parse_colour(written: Any) -> Colour | None:
    """Parse [r, g, b], "r,g,b" or "#rrggbb". Raises ValueError for anything else."""
    if isinstance(written, str):
        text = written.strip()
        if re.fullmatch(r"#?[0-9a-fA-F]{6}", text):
            return tuple(bytes.fromhex(text.lstrip("#")))  # pyright: ignore[reportReturnType]
        written = re.findall(r"\d+", text)
    if not isinstance(written, (list, tuple)) or len(written) < 3:
        raise ValueError(f"not a colour: {written!r}")
    return _rgb([int(v) for v in written[:3]])


def _json(text: str, path: Path) -> list[ClassRow]:
    try:
        content: Any = json.loads(text)
        if isinstance(content, dict):
            inner = next(
                (content[k] for k in ("classes", "labels", "categories") if k in content), None
            )
            if inner is None and path.name.casefold() == "meta.json":
                return []  # Supervisely's has classes; others may hold anything
            content = content if inner is None else inner
        items = content.items() if isinstance(content, dict) else content
        return [_entry(item) for item in items]
    except (ValueError, TypeError, KeyError, StopIteration) as error:
        raise DataError(
            f"{path}: no class table in it ({error})",
            'such as ["road", "car"], {"road": 0} or {"road": [128, 64, 128]}',
        ) from None


def _entry(item: Any) -> ClassRow:
    if isinstance(item, str):
        return ClassRow(item)
    if isinstance(item, dict):
        name = next(item[k] for k in ("readable", "name", "title", "label", "class") if k in item)
        colour = next((item[k] for k in ("color", "colour", "rgb") if k in item), None)
        value = next((item[k] for k in ("value", "index", "id", "label_id") if k in item), None)
        # Supervisely's ids are those of its database
        own = None if "title" in item or value is None else int(value)
        return ClassRow(str(name), own, None if colour is None else parse_colour(colour))
    key, value = item
    if isinstance(value, str) and (number := whole_number(str(key))) is not None:
        return ClassRow(value, number)
    if isinstance(value, (bool, float)):
        raise ValueError(f"not a value: {value!r}")
    if isinstance(value, int):
        return ClassRow(str(key), value)
    return ClassRow(str(key), None, parse_colour(value))


def ignored_rows(rows: Sequence[ClassRow], ignore: str) -> set[int]:
    """Indices of the rows whose pixels are ignored.

    Args:
        ignore: the user's choice: names or values, separated by commas; "none": no class; "": those
            whose names say so.

    Raises: XferError for a class that does not exist.
    """
    if not ignore:
        return {i for i, row in enumerate(rows) if is_ignored(row.name)}
    if ignore.casefold() == "none":
        return set()
    places: set[int] = set()
    for word in (part.strip() for part in ignore.split(",")):
        by_name = [i for i, row in enumerate(rows) if row.name.casefold() == word.casefold()]
        value = whole_number(word)
        by_value = [i for i, row in enumerate(rows) if value is not None and row.value == value]
        if not by_name and not by_value and word != "255":
            names = [row.name for row in rows]
            raise XferError(f"data.ignore={word}: no such class or value", nearest(word, names))
        places.update(by_name or by_value)
    return places
