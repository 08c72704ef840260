"""Tell which columns of a table hold the pixels of pictures, as FER2013 and Kaggle's MNIST do."""

from __future__ import annotations

import math
from collections.abc import Sequence

from xfer.data.readers.table.text import Table

LEAST = 64  # values: 8 x 8 pixels, the digits of scikit-learn


def pixel_columns(table: Table) -> list[int]:
    """The column of the pixels' values as text, `12 0 255 ...`, or the columns of one value each;
    none if the table holds no pixels."""
    if not table.rows:
        return []
    row = table.rows[0]
    texts = [k for k, cell in enumerate(row) if is_pixels(cell)]
    if len(texts) == 1:
        return texts
    named = [k for k, head in enumerate(table.header) if head.casefold().startswith("pixel")]
    if side_of(len(named)) and all(row[k].isdecimal() for k in named):
        return named
    return []


def is_pixels(cell: str) -> bool:
    """Whether a cell holds the values of a square of pixels."""
    if cell.count(" ") < LEAST - 1:
        return False
    values = cell.split()
    return bool(side_of(len(values))) and all(v.isdecimal() for v in values)


def side_of(values: int) -> int:
    """The side in pixels of a square picture of `values` grey values; 0 if they make no square, or
    one that is too small."""
    side = math.isqrt(values)
    return side if values >= LEAST and side * side == values else 0


def without(table: Table, columns: Sequence[int]) -> Table:
    """The table without some columns."""
    gone = set(columns)
    keep = [k for k in range(len(table.header)) if k not in gone]
    rows = [[row[k] for k in keep] for row in table.rows]
    return Table(table.file, [table.header[k] for k in keep], rows)
