"""Tables as plain text: equal decimals in a column, no line wider than the terminal."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xfer.errors import printable

GAP = "  "
_NUMBER = re.compile(r"[-+]?[\d,]+(\.\d+)?(e[-+]\d+)?|")  # or nothing
NARROWEST = 16  # a text is folded to no less than this many characters


@dataclass(frozen=True, slots=True)
class Laid:
    """A table as lines, and the names of the columns that there was no room for."""

    lines: list[str]
    left_out: list[str]


def lay_out(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str] = (),
    width: int | None = None,
    keep: Collection[str] = (),
) -> Laid:
    """Rows as a table with a heading.

    Args:
        columns: names of the columns, the most important first; by default all keys.
        width: columns of the terminal; None: as wide as it takes, nothing is folded or left out.
        keep: columns that are neither folded nor left out; by default the first. If they alone are
            too wide, a long text of the first has a line of its own.
    """
    names = list(columns or dict.fromkeys(key for row in rows for key in row))
    cells = {name: column([row.get(name) for row in rows]) for name in names}
    right = {name: all(_is_number(row.get(name)) for row in rows) for name in names}
    right |= {name: True for name in names if all(_NUMBER.fullmatch(c) for c in cells[name])}
    kept = [name for name in names if name in (keep or names[:1])]
    shown, widths = list(names), _widths(names, cells)
    while width is not None and sum(widths.values()) + len(GAP) * (len(shown) - 1) > width:
        folds = [n for n in shown if n not in kept and not right[n]]
        narrowed = _narrowed(widths, folds, width - len(GAP) * (len(shown) - 1))
        if narrowed is not None:
            widths = narrowed
            break
        loose = [name for name in shown if name not in kept]
        if not loose:
            rest = sum(widths[name] + len(GAP) for name in shown[1:])
            widths[shown[0]] = max(_length(shown[0]), min(widths[shown[0]], width - rest))
            break
        shown.remove(loose[-1])
        widths = _widths(shown, cells)
    lines = [_line([printable(n) for n in shown], widths, shown, right)]
    lines.append(GAP.join("─" * widths[name] for name in shown))
    for number in range(len(rows)):
        row = [cells[name][number] for name in shown]
        if shown[0] in kept and _length(row[0]) > widths[shown[0]]:
            lines.append(row[0])
            row[0] = ""
        parts = [_folded(text, widths[name]) for text, name in zip(row, shown, strict=True)]
        for level in range(max(len(part) for part in parts)):
            texts = [part[level] if level < len(part) else "" for part in parts]
            lines.append(_line(texts, widths, shown, right))
    return Laid(lines, [name for name in names if name not in shown])


def column(values: Sequence[Any]) -> list[str]:
    """The cells of a column, its numbers with the same number of decimals."""
    numbers = [v for v in values if isinstance(v, float) and math.isfinite(v)]
    places = decimals(numbers)
    texts: list[str] = []
    for value in values:
        if isinstance(value, float):
            texts.append(number(value, places))
        elif _is_number(value) and value is not None and numbers and places:
            texts.append(plain_text(value) + " " * (places + 1))  # the point below the point
        else:
            texts.append(printable(plain_text(value)))
    return texts


def as_typed(values: Sequence[Any]) -> list[str]:
    """The cells of settings, each with its own digits: 1e-05 beside 0.1."""
    return [printable(plain_text(value)) for value in values]


def decimals(numbers: Sequence[float]) -> int:
    """How many decimals numbers of one kind are written with; -1: as powers of ten."""
    sizes = [abs(n) for n in numbers if math.isfinite(n) and n]
    most = max(sizes, default=0.0)
    if sizes and most < 0.001:
        return -1
    if any(n < 1 for n in sizes):
        return 4
    return next((places for places in (3, 2, 1) if most < 10 ** (4 - places)), 0) if sizes else 4


def number(value: float, places: int) -> str:
    """A number with this many decimals, with a comma between thousands from 10,000 on."""
    if places < 0:
        return f"{value:.2e}"
    return f"{value:,.{places}f}" if abs(value) >= 10_000 else f"{value:.{places}f}"


def plain_text(value: Any) -> str:
    """A single value: floats with four digits, lists without brackets."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain_text(item) for item in value)
    return str(value)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def _length(text: str) -> int:
    from rich.cells import cell_len  # letters of some scripts take two columns

    return len(text) if text.isascii() else cell_len(text)


def _widths(names: Sequence[str], cells: Mapping[str, Sequence[str]]) -> dict[str, int]:
    return {
        name: max(_length(printable(name)), *(_length(c) for c in cells[name]), 0)
        for name in names
    }  # fmt: skip


def _narrowed(widths: Mapping[str, int], folds: Sequence[str], room: int) -> dict[str, int] | None:
    """Widths that fit, the widest texts folded; None if they would be too narrow."""
    new = dict(widths)
    while sum(new.values()) > room:
        wide = max(folds, key=lambda name: new[name], default=None)
        if wide is None or new[wide] <= max(NARROWEST, _length(wide)):
            return None
        new[wide] -= 1
    return new


def _folded(text: str, width: int) -> list[str]:
    if _length(text) <= width:
        return [text]
    return textwrap.wrap(text, width, break_on_hyphens=False) if text.isascii() else _chopped(
        text, width
    )  # fmt: skip


def _chopped(text: str, width: int) -> list[str]:
    from rich.cells import chop_cells

    return chop_cells(text, width)


def _line(
    texts: Sequence[str], widths: Mapping[str, int], names: Sequence[str], right: Mapping[str, bool]
) -> str:
    parts: list[str] = []
    for text, name in zip(texts, names, strict=True):
        space = " " * (widths[name] - _length(text))
        parts.append(space + text if right[name] else text + space)
    return GAP.join(parts).rstrip()
