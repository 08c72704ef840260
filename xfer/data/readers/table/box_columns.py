"""Tell a table of boxes from one of labels: by the names of its columns, or by their numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from xfer.data.readers.table.cells import NUMBER, parse_list
from xfer.data.readers.table.columns import words_of
from xfer.data.readers.table.text import Table

# the four columns of a box, without signs between words
_FOURS = (
    ("xmin", "ymin", "xmax", "ymax"), ("x1", "y1", "x2", "y2"), ("x0", "y0", "x1", "y1"),
    ("xtl", "ytl", "xbr", "ybr"), ("left", "top", "right", "bottom"), ("x", "y", "w", "h"),
    ("x", "y", "width", "height"), ("xmin", "ymin", "width", "height"),
    ("left", "top", "width", "height"), ("cx", "cy", "w", "h"), ("xc", "yc", "w", "h"),
    ("xcenter", "ycenter", "width", "height"), ("xcentre", "ycentre", "width", "height"),
    ("bx", "by", "bw", "bh"),
)  # fmt: skip
_WORDS = frozenset(("bbox", "bboxes", "box", "boxes", "objects", "rect"))
_PROBED = 200


def box_columns(table: Table) -> tuple[int, ...]:
    """The columns that hold boxes: four of numbers, or one with whole boxes in its cells; none if
    the table is not one of boxes."""
    plain = [_plain(head) for head in table.header]
    probe = table.rows[:_PROBED]
    for four in _FOURS:
        if set(four) <= set(plain):
            columns = tuple(plain.index(name) for name in four)
            if _numbers([row[k] for row in probe for k in columns]):
                return columns
    for k, head in enumerate(table.header):
        cells = [row[k] for row in probe if row[k]]
        if _WORDS & set(words_of(head)) and cells and all(map(_is_boxes, cells)):
            return (k,)
    if table.header[0] == "column 1":  # no header: path, x1, y1, x2, y2, class
        for k in range(len(table.header) - 3):
            columns = (k, k + 1, k + 2, k + 3)
            if _corners([[row[c] for c in columns] for row in probe]):
                return columns
    return ()


def _plain(head: str) -> str:
    """A header without signs, and without the word box before it."""
    text = "".join(c for c in head.casefold() if c.isalnum())
    return re.sub("^b?box", "", text) or text


def _numbers(cells: Sequence[str]) -> bool:
    """Whether cells are numbers or nothing, and not all of them nothing."""
    return any(cells) and all(not c or NUMBER.fullmatch(c) for c in cells)


def _is_boxes(cell: str) -> bool:
    """Whether a cell holds four numbers or more, or a record with boxes."""
    if cell.startswith("{") and "bbox" in cell:
        return True
    numbers = parse_list(cell) or cell.replace(",", " ").split()
    flat = [NUMBER.fullmatch(n) for n in numbers]
    if all(flat):
        return len(flat) >= 4
    return cell.startswith("[[") and len(re.findall(NUMBER, cell)) >= 4


def _corners(rows: Sequence[Sequence[str]]) -> bool:
    """Whether four columns are left, top, right and bottom in all rows, or nothing."""
    full = [row for row in rows if any(row)]
    if not full or not _numbers([cell for row in full for cell in row]):
        return False
    return all(all(row) and float(row[0]) < float(row[2]) and float(row[1]) < float(row[3])
               for row in full)  # fmt: skip
