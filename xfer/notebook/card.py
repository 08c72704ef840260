"""The frame of what an object shows in a notebook.

Notebooks differ in how they tell light from dark, and their own styles may say anything about
tables. So text has the notebook's own colour, lines and grounds are shades of grey, and the colours
of curves are legible on white and on black.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from xfer.report.markup import Markup, el, join, number, table

MAX_ROWS = 30
_STYLE = re.sub(r"\s*\n\s*", "", """
.xfer{color:inherit;font:13px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;
font-variant-numeric:tabular-nums;max-width:60rem;border:1px solid rgba(128,128,128,.35);
border-radius:6px;padding:.7rem .9rem .8rem;margin:.2rem 0;
--s1:#2f88cf;--s2:#cc7a1e;--s3:#1a9a76;--s4:#b866a0;--s5:#4f9fd0;--s6:#d0602a}
.xfer *{box-sizing:border-box}
.xfer .head{font-size:14px;font-weight:650;overflow-wrap:anywhere}
.xfer .soft,.xfer caption{opacity:.72}.xfer p{margin:.25rem 0 0;overflow-wrap:anywhere}
.xfer .big{font-size:26px;font-weight:650;line-height:1.2;letter-spacing:-.02em}
.xfer .big span{font-size:14px;font-weight:400;letter-spacing:0;opacity:.8;margin-left:.4em}
.xfer .warn{border-left:3px solid var(--s2);padding-left:.5rem;margin-top:.4rem}
.xfer .bad{color:var(--s6)}.xfer .good{color:var(--s3)}
.xfer code{font:12px ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;
background:rgba(128,128,128,.16);color:inherit;padding:.1em .35em;border-radius:4px;
overflow-wrap:anywhere}
.xfer pre{white-space:pre-wrap;margin:.3rem 0;font-size:12px;color:inherit;background:none}
.xfer .bar{height:6px;border-radius:3px;background:rgba(128,128,128,.28);margin:.5rem 0 .2rem;
overflow:hidden}
.xfer .bar span{display:block;height:100%;background:var(--s1)}
.xfer .charts{display:flex;flex-wrap:wrap;gap:.4rem 1.2rem;margin-top:.5rem}
.xfer figure{margin:0;padding:0;min-width:0}
.xfer .chart-box{flex:1 1 17rem;max-width:27rem}
.xfer .chart-box figcaption{display:flex;flex-wrap:wrap;gap:0 1rem;font-size:12px}
.xfer svg.chart{width:100%;height:auto;display:block;overflow:visible}
.xfer svg .grid{stroke:currentColor;stroke-opacity:.14}.xfer svg .axis{stroke:currentColor;
stroke-opacity:.5}.xfer svg .tick{fill:currentColor;fill-opacity:.75;font-size:12px}
.xfer svg .line{fill:none;stroke-width:1.9;stroke-linejoin:round}.xfer svg .pale{stroke-opacity:.3}
.xfer svg .thin{stroke-width:1.2}.xfer svg .marker{stroke:currentColor;stroke-opacity:.5;
stroke-dasharray:2 3}
""" + "".join(
    f".xfer .s{n}{{stroke:var(--s{n});fill:var(--s{n});--c:var(--s{n})}}" for n in range(1, 7)
) + """
.xfer path.line{fill:none}.xfer circle.point{stroke:none}
.xfer .legend{list-style:none;display:flex;flex-wrap:wrap;gap:0 .8rem;margin:0;padding:0}
.xfer .swatch.colour{width:.8em;height:.8em;border:1px solid rgba(128,128,128,.5)}
.xfer .legend li{margin:0}.xfer .swatch{display:inline-block;width:1em;height:.2em;
background:var(--c);vertical-align:middle;margin-right:.35em}
.xfer .scroll{overflow-x:auto;margin-top:.5rem}
.xfer table{border-collapse:collapse;border:0;margin:0;font-size:12.5px;color:inherit;
table-layout:auto}
.xfer caption{text-align:left;padding:0 0 .2rem;font-size:12px;color:inherit}
.xfer tr,.xfer tbody tr:nth-child(odd),.xfer tbody tr:hover{background:none}
.xfer th,.xfer td{text-align:left;font-weight:400;padding:.18rem .9rem .18rem 0;border:0;
border-bottom:1px solid rgba(128,128,128,.25);color:inherit;background:none;max-width:26rem;
white-space:normal;overflow-wrap:break-word;vertical-align:top}
.xfer thead th{opacity:.72;vertical-align:bottom}
.xfer th.n,.xfer td.n{text-align:right;white-space:nowrap}
.xfer tr.best td,.xfer tr.best th{font-weight:650}
.xfer details{margin-top:.5rem}.xfer summary{cursor:pointer;opacity:.85}
.xfer .sheet{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,190px),1fr));
gap:.7rem;margin-top:.6rem}
.xfer .sheet figcaption{font-size:12px;line-height:1.35;margin-top:.2rem;overflow-wrap:anywhere}
.xfer .sheet figcaption span{display:block}
.xfer .sheet .shot{height:190px;display:flex;align-items:center;justify-content:center;
background:rgba(128,128,128,.12);border-radius:3px}
.xfer .sheet img{max-width:100%;max-height:190px;margin:0;display:block;width:auto;height:auto}
.xfer .sheet img.tiny{image-rendering:pixelated;height:190px}
.xfer .strong{font-weight:650}
""")  # fmt: skip


def card(title: Any, *parts: Any) -> str:
    """The HTML of an object. Args: title: its first line; parts: as `join` takes them."""
    style = Markup(f"<style>{_STYLE}</style>")
    return str(el("div", style, el("div", title, class_="head"), *parts, class_="xfer"))


def soft(*parts: Any) -> Markup:
    """A line that matters less."""
    return el("p", *parts, class_="soft")


def score(value: Any, name: str, interval: dict[str, Any] | None = None) -> Markup:
    """A score in large type, with its name, and the interval that it is known to lie in."""
    ends = None
    if interval:
        between = f"{number(interval['low'])} to {number(interval['high'])}"
        ends = el("span", f"{between} ({interval.get('method', 'interval')})")
    return el("p", number(value), el("span", name), ends, class_="big")


def grid(rows: Sequence[dict[str, Any]], caption: str = "", max_rows: int = MAX_ROWS) -> Markup:
    """Rows as a table, and how many more there are; numbers on the right."""
    if not rows:
        return Markup("")
    names = list(dict.fromkeys(key for row in rows for key in row))
    kinds = [(name, "n" if all(_is_number(row.get(name)) for row in rows) else "")
             for name in names]  # fmt: skip
    cells = ([row.get(name, "") for name in names] for row in rows[:max_rows])
    more = soft(f"and {len(rows) - max_rows:,} more") if len(rows) > max_rows else None
    return join(table(kinds, cells, caption=caption), more)


def facts(pairs: Iterable[tuple[str, Any]]) -> Markup:
    """Names and values, a line each."""
    rows = ([name, value] for name, value in pairs if value not in (None, ""))
    return table([("", ""), ("", "")], rows)


def folded(summary: str, *body: Any) -> Markup:
    """A part that opens on a click."""
    return el("details", el("summary", summary), *body)


def calls(what: str, *texts: str) -> Markup:
    """What can be typed."""
    parts: list[Any] = [what]
    for text in texts:
        parts += [" ", el("code", text)]
    return el("p", *parts)


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
