"""Tell in which column of a table it says to which split a picture belongs.

A column called split, set, subset or partition, whatever its words; any column whose words all name
a split (Training, PublicTest, val), train among them; fastai's `is_valid`, True or False. A column
of folds is not a split, since any of them may be the one to test on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from xfer.data.readers.table.cells import yes_no
from xfer.data.readers.table.columns import column_named, words_of
from xfer.data.readers.table.text import Table
from xfer.data.sources.split_names import role_of
from xfer.errors import DataError, XferError

NONE = "none"
SPLITS = (
    "split", "set", "subset", "partition", "data set", "dataset split", "data split", "split name",
)  # fmt: skip
# header -> (the split of those with a yes, of those with a no)
FLAGS = {
    "is valid": ("val", "train"), "is val": ("val", "train"), "is validation": ("val", "train"),
    "is test": ("test", "train"), "is train": ("train", "test"), "is training": ("train", "test"),
    "is training image": ("train", "test"),
}  # fmt: skip
# words for splits that only a cell has
_CELLS = {"dev": "val", "devel": "val", "publictest": "val", "privatetest": "test"}
WHOLE_TRAIN = "trainval"
_FOLDS = frozenset(("fold", "folds", "kfold", "cv"))
MOST = 10


@dataclass(frozen=True)
class Splits:
    """column | of the splits; of | the split of each row; notes: lines for people."""

    column: int
    of: list[str]
    notes: tuple[str, ...] = ()


def find_splits(table: Table, columns: Iterable[int], given: str = "") -> Splits | None:
    """The split of each row, None if no column says it.

    Args: given: the column that the user named; none: no column; "": found.

    Raises: XferError if two columns say different things; DataError for a row without a split.
    """
    if given.casefold() == NONE and given not in table.header:
        return None
    if given:
        return _splits(table, column_named(table, given, "split")[0])
    usual = [k for k in columns if _header(table, k) in SPLITS]
    flags = [k for k in columns if _header(table, k) in FLAGS and _is_flag(table, k)]
    worded = [k for k in columns if k not in usual and _all_words(table, k)]
    found = [_splits(table, k) for k in (*usual, *flags, *worded)]
    if not found:
        return None
    if any(other.of != found[0].of for other in found[1:]):
        names = [table.header[other.column] for other in found]
        raise XferError(
            f"{table.file}: which column holds the splits: {' or '.join(map(repr, names))}?",
            " or ".join(f"data.split={name}" for name in names),
        )
    return found[0]


def is_fold(header: str) -> bool:
    """Whether a column holds the folds of a cross-validation."""
    return bool(_FOLDS & set(words_of(header)))


def _header(table: Table, column: int) -> str:
    return table.header[column].casefold().replace("_", " ")


def _is_flag(table: Table, column: int) -> bool:
    return all(yes_no(cell) in (0, 1) for cell in {row[column] for row in table.rows})


def role_in_cell(cell: str) -> str | None:
    """The role of a split by a cell of a table: Training is train, dev is val."""
    plain = "".join(c for c in cell.casefold() if c.isalnum())
    return role_of(cell) or role_of(plain) or _CELLS.get(plain)


def _all_words(table: Table, column: int) -> bool:
    """Whether all cells are names of splits, of train and another one."""
    if not table.rows or role_in_cell(table.rows[0][column]) is None:
        return False
    cells = {row[column] for row in table.rows}
    if not 2 <= len(cells) <= MOST:
        return False
    roles = {role_in_cell(cell) or (cell.casefold() == WHOLE_TRAIN and "train") for cell in cells}
    return "train" in roles and len(roles) > 1 and not roles & {None, False}


def _splits(table: Table, column: int) -> Splits:
    cells = [row[column] for row in table.rows]
    flag = FLAGS.get(_header(table, column))
    if flag is not None and _is_flag(table, column):
        return Splits(column, [flag[yes_no(cell) == 0] for cell in cells])
    if (empty := cells.count("")) > 0:
        raise DataError(f"{table.file}: {empty} rows have nothing in {table.header[column]!r}")
    names = split_of_words(list(dict.fromkeys(cells)))
    # worth a line: words that few people would take for these splits
    odd = [f"{cell} is {name}" for cell, name in names.items()
           if name != cell and role_of(cell) is None]  # fmt: skip
    notes = (f"{table.file.name}: in {table.header[column]!r} {', '.join(odd)}",) if odd else ()
    return Splits(column, [names[cell] for cell in cells], notes)


def split_of_words(cells: Sequence[str]) -> dict[str, str]:
    """Cell -> split: words for the same role are one split, under the name of the first."""
    roles = {cell: role_in_cell(cell) for cell in cells}
    if "val" in roles.values() and not any(
        role == "val" and cell.casefold() != "publictest" for cell, role in roles.items()
    ) and "test" not in roles.values():  # fmt: skip
        roles = {cell: "test" if role == "val" else role for cell, role in roles.items()}
    first: dict[str, str] = {}
    for cell, role in roles.items():
        if role is not None:
            first.setdefault(role, cell if role_of(cell) == role else role)
    return {cell: first[role] if role is not None else cell for cell, role in roles.items()}
