"""Tables that are not written as a table: JSON lines, and lists of `path label`.

metadata.jsonl   {"file_name": "a.png", "label": "cat"}, an object per line (Hugging Face)
train.txt        cats/a.png 0, as Caffe has it: the picture, blanks or a tab, its class; or
                 several numbers, one column per class
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xfer.data.images.walk import is_picture
from xfer.data.readers.table.text import Table, as_text
from xfer.errors import DataError

PEEKED = 1 << 14
LINES = 20


def read_json_lines(file: Path) -> Table:
    """A table with a column per key. Raises DataError for a line that is not a JSON object."""
    rows: list[dict[str, Any]] = []
    header: dict[str, None] = {}
    for number, line in enumerate(as_text(file, _bytes(file)).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
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


def read_list(file: Path) -> Table:
    """A list of `path label`, or of paths alone. Raises DataError for anything else."""
    lines = [line.strip() for line in as_text(file, _bytes(file)).splitlines()]
    rows = split_lines([line for line in lines if line])
    if rows is None:
        raise DataError(f"{file}: not a list of pictures", "a line should be: path label")
    width = len(rows[0])
    header = ["path", "label"][:width] if width < 3 else [
        "path", *(f"column {k + 1}" for k in range(1, width))
    ]  # fmt: skip
    return Table(file, header, rows)


def split_lines(lines: list[str]) -> list[list[str]] | None:
    """The lines of a list as rows of equal length, the picture first; None if it is not a list.

    A path may hold blanks: it is what comes before the last blank, if that is a picture's name in
    all lines.
    """
    if not lines:
        return None
    if all(map(is_picture, lines)):
        rows = [line.split("\t") if "\t" in line else [line] for line in lines]
    else:
        rows = [line.rsplit(None, 1) for line in lines]
        if not all(len(row) == 2 and is_picture(row[0].strip(",;")) for row in rows):
            rows = [line.split() for line in lines]
        rows = [[cell.strip(",;") for cell in row] for row in rows]
    even = len({len(row) for row in rows}) == 1
    return rows if even and all(is_picture(row[0]) for row in rows) else None


def peek(file: Path) -> list[list[str]] | None:
    """The first rows of a list of pictures; None if the file is not one. Reads its beginning."""
    try:
        with file.open("rb") as stream:
            data = stream.read(PEEKED)
        if len(data) == PEEKED:
            data = data[: data.rfind(b"\n") + 1]
        lines = [line.strip() for line in as_text(file, data).splitlines()]
    except (OSError, DataError):
        return None
    return split_lines([line for line in lines if line][:LINES])


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: {error.strerror}") from None
