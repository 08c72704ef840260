"""Rows of plain values as csv."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from xfer.files import write_text


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes rows of plain values as csv, the columns in the order of the first row."""
    if rows:
        write_text(path, rows_to_csv(rows))


def rows_to_csv(rows: list[dict[str, Any]]) -> str:
    """Rows of plain values as csv text."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
