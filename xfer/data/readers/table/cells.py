"""What the cells of a label column hold: one label, several, yes or no, numbers.

Several labels in a cell are separated by bars, semicolons, commas or blanks, or written as a list,
['a', 'b'] as pandas has it or ["a", "b"] as JSON. A separator separates only where the cells show
it: half of the parts stand alone too, or with others. "tench, Tinca tinca" is one label.
"""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence

SEPARATORS = {"|": "bars", ";": "semicolons", ",": "commas", " ": "blanks"}
LISTED = "written as lists"
REPEATED = 3
_YES_NO = {"true": 1, "false": 0, "": -1}
_ONE_DIGIT = re.compile(r"([+-]?)0*([01])(?:\.0*)?")
NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_COMMA_NUMBER = re.compile(r"[+-]?\d+,\d+")
_WHOLE = re.compile(r"([+-]?\d+)\.0*")
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
_BRACKETS = {"[": "]", "(": ")", "{": "}"}


def yes_no(cell: str) -> int | None:
    """1 for yes, 0 for no, -1 for unknown (-1 or an empty cell), None for anything else."""
    known = _YES_NO.get(cell.casefold())
    if known is not None:
        return known
    digit = _ONE_DIGIT.fullmatch(cell)
    if digit is None or len(digit[0].lstrip("+-").partition(".")[0]) > 1:  # 01 is a name
        return None
    return -int(digit[2]) if digit[1] == "-" else int(digit[2])


def plain_numbers(cells: Sequence[str]) -> list[str]:
    """The cells of a column of whole numbers, 1.0 as 1; those of any other column as they are.

    001 and 1 stay two names.
    """
    whole = {cell: _WHOLE.fullmatch(cell) for cell in set(cells)}
    if not any(whole.values()) or not all(
        match or not cell or re.fullmatch(r"[+-]?\d+", cell) for cell, match in whole.items()
    ):
        return list(cells)
    short = {cell: cell if match is None else _unsigned(match[1]) for cell, match in whole.items()}
    return [short[cell] for cell in cells]


def _unsigned(number: str) -> str:
    """A whole number as people write it: -0 and +0 are 0."""
    return "0" if not number.strip("+-0") else number.removeprefix("+")


def are_fractions(cells: Iterable[str]) -> bool:
    """Whether cells hold measured values: all are numbers, and not all of them are whole. Some
    countries write 1,5."""
    distinct = set(cells) - {""}
    numbers = [float(c.replace(",", ".")) for c in distinct
               if len(c) < 40 and (NUMBER.fullmatch(c) or _COMMA_NUMBER.fullmatch(c))]  # fmt: skip
    return 0 < len(distinct) == len(numbers) and any(n % 1 for n in numbers)


def parse_list(cell: str) -> list[str] | None:
    """The labels of a cell that is written as a list: ['a', 'b'], ["a", "b"], ('a',), ['a' 'b'] of
    numpy, [a, b]; None if it is not written so."""
    if len(cell) < 2 or _BRACKETS.get(cell[0]) != cell[-1]:
        return None
    inner = cell[1:-1].strip()
    quoted = _QUOTED.findall(inner)
    apart = len(quoted) > 1 and not _QUOTED.sub("", inner).strip()  # as numpy writes them
    for read in (json.loads, *(() if apart else (ast.literal_eval,))):
        try:
            value = read(cell)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(value, (list, tuple, set)):
            flat = all(isinstance(v, (str, int, float)) for v in value)
            return _texts(map(str, value)) if flat else None
        if value == {}:
            return []
    if apart:
        return _texts(one or other for one, other in quoted)
    if quoted or set("[](){}:") & set(inner):
        return None
    return _texts(inner.split("," if "," in inner else None))


def _texts(values: Iterable[str]) -> list[str]:
    return [text for value in values if (text := value.strip())]


def all_lists(cells: Iterable[str]) -> bool:
    """Whether the cells of a column are lists, those that are not empty."""
    distinct = set(cells) - {""}
    return bool(distinct) and all(parse_list(cell) is not None for cell in distinct)


def split_cells(cells: Sequence[str], mark: str) -> list[list[str]]:
    """The labels of each cell. Args: mark: a separator, or LISTED."""
    if mark == LISTED:
        return [parse_list(cell) or [] for cell in cells]
    return [_texts(cell.split(mark)) for cell in cells]


def separator(cells: Sequence[str], plural: bool, singular: bool) -> str | None:
    """What separates the labels of a column's cells; None if each cell holds one label.

    Args: plural, singular: whether the column is called labels, or label.

    Raises: ValueError with the cell that may be one label or several.
    """
    if all_lists(cells):
        return LISTED
    count = Counter(cells)
    phrases = False
    for mark in ("|", ";", ","):
        verdict = _separates(count, mark, plural, singular)
        if verdict:
            return mark
        phrases = phrases or verdict is False
    return None if phrases else _by_blanks(count, plural, singular)


def _separates(count: Counter[str], mark: str, plural: bool, singular: bool) -> bool | None:
    """Whether a mark separates labels; None if no cell has it. Raises ValueError if both may be."""
    multi = [cell for cell in count if mark in cell]
    if not multi:
        return None
    if mark == "," and not plural and all(map(_COMMA_NUMBER.fullmatch, multi)):
        raise ValueError(multi[0])  # 1,5 may be a number as some countries write it
    shown = _shown(count, mark)
    if shown >= 0.5:
        return True
    whole = sum(count[cell] for cell in multi) > len(multi)  # cells recur as they are
    if plural:
        if mark != "," or not whole:
            return True
    elif singular:
        return not whole and mark != ","
    elif mark != "," and not whole:  # bars and semicolons are hardly ever part of a name
        return True
    elif mark == "," and whole and not shown:
        return False
    raise ValueError(multi[0])


def _shown(count: Iterable[str], mark: str) -> float:
    """The share of the parts of cells with a mark that stand in other cells too."""
    cells = {cell: set(_texts(cell.split(mark))) for cell in count}
    often = Counter(part for parts in cells.values() for part in parts)
    parts = {part for cell, own in cells.items() if mark in cell for part in own}
    return sum(often[part] > 1 for part in parts) / max(1, len(parts))


def _by_blanks(count: Counter[str], plural: bool, singular: bool) -> str | None:
    """Blanks separate labels if the column's name is a plural, or if there are fewer words than
    cells and the number of words varies, as with labels but not with names. A plural proves nothing
    if the same few cells are repeated many times, as class names are."""
    words = [cell.split() for cell in count]
    multi = next((cell for cell, own in zip(count, words, strict=True) if len(own) > 1), None)
    if multi is None:  # with nothing in some cells, a plural is taken at its word
        return " " if plural and "" in count else None
    few = len({word for own in words for word in own}) < len(count)
    if plural:
        if few or count.total() < REPEATED * len(count) or _shown(count, " ") >= 0.5:
            return " "
    elif not few:
        return None
    elif len({len(own) for own in words}) > 1:
        return " "
    if singular:
        return None
    raise ValueError(multi)
