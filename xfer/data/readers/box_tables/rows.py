"""The rows of a table of boxes: in which form its boxes are, which column holds their classes."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xfer.data.readers.base import Reading, ReadOptions
from xfer.data.readers.box_tables.cells import box_of_cells, boxes_of_cell
from xfer.data.readers.table.box_columns import box_columns
from xfer.data.readers.table.columns import column_named, is_index, words_of
from xfer.data.readers.table.splits import NONE, find_splits
from xfer.data.readers.table.text import Table
from xfer.data.sources.box_rules import leave_out
from xfer.data.sources.written import flag, picture_size
from xfer.errors import XferError, listed

ONE_CLASS = "object"
CLASSES = ("class", "label", "labelname", "labels", "classname", "category", "categoryname",
           "name", "classid", "labelid", "categoryid", "classes", "categories")  # fmt: skip
SIZES = (("height", "width"), ("imageheight", "imagewidth"), ("imgheight", "imgwidth"),
         ("imgh", "imgw"), ("h", "w"))  # fmt: skip
CROWDS = ("isgroupof", "iscrowd")
# columns that say something else about a box or its picture
OTHERS = frozenset(
    ("confidence", "score", "isoccluded", "istruncated", "isdepiction", "isinside",
     "area", "id", "boxid", "fold", "depth", "pose", "truncated", "occluded", "url", "index")
)  # fmt: skip
SIDES = frozenset(("w", "h", "width", "height", "bw", "bh"))
ENOUGH = 6


@dataclass(frozen=True)
class Rows:
    """The boxes of a table.

    cells   | M names of pictures, distinct, in the table's order
    picture | int64 (R,), index of each box's name
    written | float64 (R, 4), as in the table
    form    | see `box_forms`
    shares  | they are declared as shares
    labels  | R texts
    crowd, difficult | bool (R,)
    sizes   | int64 (M, 2), height and width; (0, 0): not given
    split   | of each name, or ""
    """

    cells: list[str]
    picture: NDArray[np.int64]
    written: NDArray[np.float64]
    form: str
    shares: bool
    labels: list[str]
    crowd: NDArray[np.bool_]
    difficult: NDArray[np.bool_]
    sizes: NDArray[np.int64]
    split: list[str]


def plain(header: str) -> str:
    """A header in small letters, without signs."""
    return "".join(c for c in header.casefold() if c.isalnum())


def size_columns(table: Table, boxes: Sequence[int]) -> tuple[int, ...]:
    """The columns of the pictures' height and width."""
    heads = {plain(h): k for k, h in enumerate(table.header) if k not in boxes}
    return next((tuple(heads[n] for n in pair) for pair in SIZES if set(pair) <= heads.keys()), ())


def read_rows(table: Table, column: int, options: ReadOptions, reading: Reading) -> Rows:
    file, boxes = table.file, box_columns(table)
    size = size_columns(table, boxes)
    rest = [k for k in range(len(table.header)) if k not in (column, *boxes, *size)]
    splits = find_splits(table, rest, options.split)
    rest = [k for k in rest if splits is None or k != splits.column]
    flags = {plain(table.header[k]): k for k in rest}
    crowd = next((flags[n] for n in CROWDS if n in flags), None)
    difficult = flags.get("difficult")
    label = _label_column(table, column, boxes, [k for k in rest if k not in (crowd, difficult)],
                          options)  # fmt: skip
    places: dict[str, int] = {}
    split: list[str] = []
    picture: list[int] = []
    written: list[list[float]] = []
    labels: list[str] = []
    origin: list[int] = []
    bad: list[tuple[str, str]] = []
    for k, row in enumerate(table.rows):
        i = places.setdefault(row[column], len(places))
        if i == len(split):
            split.append("" if splits is None else splits.of[k])
        read_boxes = _boxes(row, boxes)
        if read_boxes is None or not np.isfinite([n for box in read_boxes[0] for n in box]).all():
            bad.append((f"row {k + 1}", f"its box is {', '.join(row[c] for c in boxes)[:60]!r}"))
            continue
        found, own = read_boxes
        text = row[label] if label is not None else ONE_CLASS
        if found and own is None and not text:
            bad.append((f"row {k + 1}", f"a box without a class in {table.header[label or 0]!r}"))
            continue
        picture += [i] * len(found)
        origin += [k] * len(found)
        written += found
        labels += own if own is not None else [text] * len(found)
    leave_out(str(file), "rows can't be used", bad, options.skip_bad, reading.skipped)
    values = np.array(written, np.float64).reshape(-1, 4)
    given = label is not None and len(boxes) == 1 and bool(labels) and label in boxes
    how = "" if label is None or given else f", classes by {table.header[label]!r}"
    reading.notes.append(f"{file.name}: pictures by column {table.header[column]!r}{how}")
    if label is None and set(labels) == {ONE_CLASS}:
        reading.notes.append(f"{file.name}: no column of classes: all boxes are {ONE_CLASS!r}; "
                             "data.label=COLUMN names one")  # fmt: skip
    taken = {label, crowd, difficult}
    unused = [table.header[k] for k in rest if k not in taken]
    reading.leave("column", "columns", [head for head in unused if not is_index(head)])
    sizes = np.zeros((len(places), 2), np.int64)
    for row in table.rows if size else ():
        known = picture_size(*(row[k] for k in size))
        if any(known):
            sizes[places[row[column]]] = known
    return Rows(
        list(places), np.array(picture, np.int64), values, _form(table, boxes, values, sizes),
        "labelname" in flags and len(values) > 0 and values.min() >= 0 and values.max() <= 1,
        labels, _flags(table, crowd, origin), _flags(table, difficult, origin), sizes, split,
    )  # fmt: skip


def _boxes(
    row: Sequence[str], columns: Sequence[int]
) -> tuple[list[list[float]], list[str] | None] | None:
    """The boxes of a row, and their classes if their cell gives them."""
    if len(columns) == 1:
        return boxes_of_cell(row[columns[0]])
    found = box_of_cells([row[k] for k in columns])
    return None if found is None else (found, None)


def _flags(table: Table, column: int | None, origin: Sequence[int]) -> NDArray[np.bool_]:
    """bool (R,): the flags of boxes, by the rows that they come from."""
    if column is None:
        return np.zeros(len(origin), bool)
    return np.array([bool(flag(table.rows[k][column])) for k in origin], bool)


def _label_column(
    table: Table, column: int, boxes: Sequence[int], rest: Sequence[int], options: ReadOptions
) -> int | None:
    """The column of the classes; None if there is none. Raises XferError if that is not clear."""
    if options.label:
        if options.label.casefold() == NONE and options.label not in table.header:
            return None
        return column_named(table, options.label, "label")[0]
    if table.header[0] == "column 1" and len(boxes) == 4:  # no header: path, box, class
        after = [k for k in rest if k > max(boxes)]
        return after[0] if after else None
    heads = {plain(table.header[k]): k for k in reversed(rest)}
    usual = [heads[name] for name in CLASSES if name in heads]
    if usual:
        return usual[0]
    open_ = [k for k in rest if plain(table.header[k]) not in OTHERS
             and not is_index(table.header[k]) and not _is_id(table, k)]  # fmt: skip
    if not open_ or (len(boxes) == 1 and any("categor" in row[boxes[0]] for row in table.rows[:9])):
        return None
    names = [table.header[k] for k in open_]
    flags = " or ".join(shlex.quote(f"data.label={name}") for name in names[:4])
    raise XferError(
        f"{table.file}: a table of boxes; which column is their class: {listed(names, 6)}?",
        f"{flags}; data.label=none: one class, {ONE_CLASS}",
    )


def _is_id(table: Table, column: int) -> bool:
    """Whether a column says which picture or box it is, like the one that names the pictures."""
    return bool({"id", "image", "file", "path", "url"} & set(words_of(table.header[column])))


def _form(
    table: Table, columns: Sequence[int], written: NDArray[np.float64], sizes: NDArray[np.int64]
) -> str:
    """The form of a table's boxes. Raises XferError if a single column may hold two forms."""
    heads = [plain(table.header[k]) for k in columns]
    if len(columns) == 4:
        if table.header[0] == "column 1" or not any(heads[3].endswith(side) for side in SIDES):
            return "xyxy"
        centred = heads[0].lstrip("box").startswith(("c", "xc")) or "cent" in heads[0]
        return "cxcywh" if centred else "xywh"
    for form in ("cxcywh", "xyxy", "xywh"):
        if form in heads[0]:
            return form
    if not len(written):
        return "xywh"
    ordered = float((written[:, 2:] > written[:, :2]).all(1).mean())
    if ordered < 0.98:
        return "xywh"
    if len(written) >= ENOUGH:
        return "xyxy"
    name = table.header[columns[0]]
    raise XferError(
        f"{table.file}: the boxes in {name!r} may be x, y, width, height or x1, y1, x2, y2",
        f"call the column {name}_xywh or {name}_xyxy",
    )
