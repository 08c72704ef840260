"""Tables that are not written as a table: JSON lines, and lists of `path label`.

metadata.jsonl   {"file_name": "a.png", "label": "cat"}, an object per line (Hugging Face)
train.txt        cats/a.png 0, as Caffe has it: the picture, blanks, a tab or a comma, its class; or
                 several numbers, one column per class. A line with the columns' names may stand
                 before these, and how many there are before that (CelebA)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xfer.data.images.walk import is_picture
from xfer.data.readers.table.bare_lists import read_bare
from xfer.data.readers.table.text import Table, as_text
from xfer.errors import DataError, reader
from xfer.files import bytes_of, head_of

PEEKED = 1 << 14
LINES = 20
_MARKS = ("\t", ",", ";")


@reader
def read_json_lines(file: Path) -> Table:
    """A table with a column per key. Raises DataError for a line that is not a JSON object."""
    rows: list[dict[str, Any]] = []
    header: dict[str, None] = {}
    for number, line in enumerate(as_text(file, _bytes(file)).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise DataError(f"{file}, line {number}: not JSON") from None
        if not isinstance(row, dict):
            raise DataError(f"{file}, line {number}: not a JSON object") from None
        rows.append(row)
        header.update(dict.fromkeys(row))
    return Table(file, list(header), [[_cell(row.get(key)) for key in header] for row in rows])


def _cell(value: Any) -> str:
    """A value of a JSON object as a cell of a csv would have it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    return json.dumps(value, ensure_ascii=False)


@reader
def read_list(file: Path) -> Table:
    """A list of `path label`, or of paths alone. Raises DataError for anything else."""
    lines = [line.strip() for line in as_text(file, _bytes(file)).splitlines()]
    lines = [line for line in lines if line]
    rows = split_lines(lines)
    if rows is None and (table := read_bare(file)) is not None:
        return table
    if rows is None:
        raise DataError(f"{file}: not a list of pictures", "a line should be: path label")
    width = len(rows[0])
    if names := _names(lines[: len(lines) - len(rows)], width):
        return Table(file, names, rows)
    header = ["path", "label"][:width] if width < 3 else [
        "path", *(f"column {k + 1}" for k in range(1, width))
    ]  # fmt: skip
    return Table(file, header, rows)


def split_lines(lines: list[str]) -> list[list[str]] | None:
    """The lines of a list as rows of equal length, the picture first, without a line of names; None
    if it is not a list.

    A path may hold blanks: it is what comes before the last blank, if that is a picture's name in
    all lines.
    """
    if not lines:
        return None
    rows = _rows(lines)
    for k in (1, 2) if rows is None else ():
        rest = _rows(lines[k:])
        if rest is not None and _names(lines[:k], len(rest[0])):
            return rest
    return rows


def _names(lines: list[str], width: int) -> list[str]:
    """The columns' names in the lines before the first row: as many as a row has cells, or without
    one for the pictures; none if the lines are something else."""
    if not lines or not all(line.isdigit() for line in lines[:-1]):
        return []
    mark = next((mark for mark in _MARKS if mark in lines[-1]), None)
    names = [name.strip() for name in lines[-1].split(mark)]
    if len(names) == width - 1 > 0 and len(lines) == 2:
        names = ["path", *names]
    usual = len(names) == width > 1 and all(names) and not any(n.isdigit() for n in names)
    return names if usual else []


def _rows(lines: list[str]) -> list[list[str]] | None:
    for mark in _MARKS:
        if all(mark in line for line in lines):
            rows = [[cell.strip() for cell in line.split(mark)] for line in lines]
            if _is_list(rows) and any(row[-1] for row in rows):
                return rows
    if all(map(is_picture, lines)):
        rows = [line.split("\t") if "\t" in line else [line] for line in lines]
    else:
        rows = [line.rsplit(None, 1) for line in lines]
        if not all(len(row) == 2 and is_picture(row[0].strip(",;")) for row in rows):
            rows = [line.split() for line in lines]
        rows = [[cell.strip(",;") for cell in row] for row in rows]
    return rows if _is_list(rows) else None


def _is_list(rows: list[list[str]]) -> bool:
    return len({len(row) for row in rows}) == 1 and all(is_picture(row[0]) for row in rows)


def peek(file: Path) -> list[list[str]] | None:
    """The first rows of a list of pictures; None if the file is not one. Reads its beginning."""
    try:
        data = head_of(file, PEEKED)
        if len(data) == PEEKED:
            data = data[: data.rfind(b"\n") + 1]
        lines = [line.strip() for line in as_text(file, data).splitlines()]
    except (OSError, DataError):
        return None
    return split_lines([line for line in lines if line][:LINES])


def _bytes(file: Path) -> bytes:
    try:
        return bytes_of(file)
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from None
