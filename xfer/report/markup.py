"""HTML made of elements. What is not markup already is escaped, so no name in a file can be one."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable
from typing import Any

from xfer.errors import printable

_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff]")  # in HTML, and in UTF-8
EMPTY = ("br", "col", "hr", "img", "input", "link", "meta", "path", "line", "rect", "circle",
         "polyline", "polygon", "use", "image")  # fmt: skip


class Markup(str):
    """Text that is HTML."""

    __slots__ = ()


def text(value: Any) -> Markup:
    """A value as HTML text: escaped, and without characters that a reader could not see."""
    if isinstance(value, Markup):
        return value
    return Markup(html.escape(_FORBIDDEN.sub("\ufffd", printable(str(value))), quote=True))


def join(*parts: Any) -> Markup:
    """Parts in a row: markup as it is, other values as text; None is left out."""
    return Markup("".join(text(part) for part in parts if part is not None))


def el(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """An element: el("p", "a < b", class_="note") is <p class="note">a &lt; b</p>.

    Args:
        children: as in `join`.
        attributes: without a final underscore, others as hyphens; True has no value, None and
            False are left out.
    """
    inside = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{text(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in EMPTY:
        return Markup(f"<{name}{inside}>" if name not in _SVG else f"<{name}{inside}/>")
    return Markup(f"<{name}{inside}>{join(*children)}</{name}>")


_SVG = ("path", "line", "rect", "circle", "polyline", "polygon", "use", "image")


def each(name: str, values: Iterable[Any], **attributes: Any) -> Markup:
    """An element for each value."""
    return join(*(el(name, value, **attributes) for value in values))


def number(value: Any, digits: int = 4) -> str:
    """A number for people: fractions with four digits after the point, thousands with commas, very
    small and large ones with a power of ten; what is no number as it is, None as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        if value and not 5e-5 <= abs(value) < 1e5:
            return f"{value:.3g}"
        return f"{value:.{digits}f}" if abs(value) < 100 else f"{value:,.1f}"
    if isinstance(value, (list, tuple)):
        return ", ".join(number(one) for one in value)
    return str(value)


def table(
    columns: Iterable[tuple[str, str]],
    rows: Iterable[Iterable[Any]],
    *,
    caption: str = "",
    sorts: bool = False,
    class_: str = "",
) -> Markup:
    """A table whose first column names its rows.

    Args:
        columns: (heading, "n" for numbers or "").
        rows: a cell per column: values, markup, or (what is shown, number to sort by).
        sorts: whether its headings sort it.
    """
    kinds = list(columns)
    head = join(
        *(
            el("th", el("button", name, type="button") if sorts else name, scope="col",
               class_=kind or None, aria_sort="none" if sorts else None)
            for name, kind in kinds
        )
    )  # fmt: skip
    lines: list[Markup] = []
    for row in rows:
        cells: list[Markup] = []
        for place, (value, (_, kind)) in enumerate(zip(row, kinds, strict=True)):
            shown, by = value if isinstance(value, tuple) else (value, None)
            if by is None and sorts and isinstance(shown, (int, float)):
                by = shown
            content = shown if isinstance(shown, str) else number(shown)
            sort = {} if by is None else {"data_by": by}
            if place == 0:
                cells.append(el("th", content, scope="row", **sort))
            else:
                cells.append(el("td", content, class_=kind or None, **sort))
        lines.append(el("tr", *cells))
    look = " ".join(filter(None, ("sorts" if sorts else "", class_)))
    body = el("table", el("caption", caption) if caption else None, el("thead", el("tr", head)),
              el("tbody", *lines), class_=look or None)  # fmt: skip
    return el("div", body, class_="scroll", tabindex="0", role="region",
              aria_label=caption or "table")  # fmt: skip


def folded(summary: Any, *body: Any, open: bool = False) -> Markup:
    """A part that opens on a click."""
    return el("details", el("summary", summary), *body, open=open)
