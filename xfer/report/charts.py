"""Charts as inline SVG, coloured by the page's style sheet, so that they follow light and dark."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xfer.report.markup import Markup, el, join, number

WIDTH, HEIGHT = 420, 230
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 36
MAX_POINTS = 400
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """points: (x, y) by rising x; those that are not finite are gaps. look: a class of the style
    sheet: s1 ... s6, pale, dashed. named: whether it is in the legend."""

    name: str
    points: Sequence[Point]
    look: str = "s1"
    named: bool = True


def line_chart(
    lines: Sequence[Line],
    title: str,
    x_label: str,
    *,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    marker: tuple[float, str] | None = None,
    note: str = "",
) -> Markup:
    """A figure with lines over a common x, a legend, and the values under the pointer.

    Args:
        y_range: default: what the lines need, with room.
        marker: (x, text) of a vertical line.
        note: what the picture shows, for people who don't see it.
    """
    thin = [Line(one.name, _thinned(one.points), one.look, one.named) for one in lines]
    points = [p for line in thin for p in line.points if math.isfinite(p[0] + p[1])]
    if not points:
        return Markup("")
    x_low, x_high = x_range or (min(p[0] for p in points), max(p[0] for p in points))
    y_low, y_high = y_range or _room([p[1] for p in points])
    if x_high <= x_low:
        x_low, x_high = x_low - 0.5, x_high + 0.5
    frame = _Frame(x_low, x_high, y_low, y_high)
    parts = [*_grid(frame, x_label)]
    if marker is not None:
        x = frame.x(marker[0])
        parts.append(el("line", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM, class_="marker"))
        end = x > WIDTH * 0.6
        parts.append(el("text", marker[1], x=round(x + (-4 if end else 4), 1), y=TOP + 9,
                        class_="tick", text_anchor="end" if end else "start"))  # fmt: skip
    for line in thin:
        parts.append(_path(frame, line))
    keyed = [line for line in thin if line.named]
    data = {
        "frame": [LEFT, WIDTH - RIGHT, x_low, x_high], "x": x_label,
        "lines": [
            {"name": line.name, "look": line.look,
             "points": [[_short(x), _short(y)] for x, y in line.points if math.isfinite(y)]}
            for line in keyed
        ],
    }  # fmt: skip
    drawing = el("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img",
                 aria_label=f"{title}. {note}" if note else title, class_="chart",
                 data_chart=json.dumps(data, separators=(",", ":")))  # fmt: skip
    return el("figure", el("figcaption", el("strong", title), _legend(keyed)), drawing,
              class_="chart-box")  # fmt: skip


def reliability(bins: Sequence[Mapping[str, float]], title: str) -> Markup:
    """A reliability diagram: how often the net was right, over how sure it was.

    Args: bins: {"low", "high", "confidence", "accuracy", "n"}: edges, means and pictures.
    """
    frame = _Frame(0, 1, 0, 1)
    parts = [*_grid(frame, "how sure it was (score)")]
    total = max((one["n"] for one in bins), default=1) or 1
    for one in bins:
        if not one["n"]:
            continue
        left, right = frame.x(one["low"]) + 1, frame.x(one["high"]) - 1
        top, base = frame.y(one["accuracy"]), frame.y(0)
        words = (f"score {one['low']:.2f} to {one['high']:.2f}: {one['n']:,.0f} pictures, "
                 f"mean score {one['confidence']:.3f}, right {one['accuracy']:.3f}")  # fmt: skip
        strength = 0.35 + 0.65 * one["n"] / total
        bar = {"x": left, "width": round(right - left, 1), "class_": "bar",
               "style": f"fill-opacity:{strength:.2f}"}  # fmt: skip
        parts.append(join(
            Markup("<g>"), el("title", words),
            el("rect", y=top, height=round(base - top, 1), **bar),
            el("circle", cx=frame.x(one["confidence"]), cy=top, r=3, class_="dot"), Markup("</g>"),
        ))  # fmt: skip
    parts.append(el("line", x1=frame.x(0), y1=frame.y(0), x2=frame.x(1), y2=frame.y(1),
                    class_="marker"))  # fmt: skip
    note = "Bars below the diagonal are scores that promise too much."
    drawing = el("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", class_="chart",
                 aria_label=f"{title}. {note}")  # fmt: skip
    return el("figure", el("figcaption", el("strong", title)), drawing, class_="chart-box")


def interval_bar(low: float, value: float, high: float) -> Markup:
    """A score on a scale from 0 to 1, with the interval that it is known to lie in."""
    wide, middle = 300, 10

    def x(fraction: float) -> float:
        return round(4 + (wide - 8) * min(1.0, max(0.0, fraction)), 1)

    return el(
        "svg",
        el("line", x1=x(0), x2=x(1), y1=middle, y2=middle, class_="axis"),
        *(el("line", x1=x(t), x2=x(t), y1=middle - 4, y2=middle + 4, class_="axis")
          for t in (0, 0.5, 1)),
        el("line", x1=x(low), x2=x(high), y1=middle, y2=middle, class_="range"),
        el("circle", cx=x(value), cy=middle, r=5, class_="dot"),
        viewBox=f"0 0 {wide} 20", role="img", class_="interval",
        aria_label=f"{value:.4f} on a scale from 0 to 1; interval {low:.4f} to {high:.4f}",
    )  # fmt: skip


def share_bar(value: float, of: float = 1.0) -> Markup:
    """A small bar for a table's cell; its number stands beside it."""
    share = 0.0 if not of else min(1.0, max(0.0, value / of))
    return el("span", el("span", style=f"width:{100 * share:.1f}%"), class_="meter",
              aria_hidden="true")  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Frame:
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        share = (value - self.x_low) / (self.x_high - self.x_low)
        return round(LEFT + (WIDTH - LEFT - RIGHT) * share, 1)

    def y(self, value: float) -> float:
        share = (value - self.y_low) / (self.y_high - self.y_low)
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share, 1)


def _grid(frame: _Frame, x_label: str) -> list[Markup]:
    parts: list[Markup] = []
    for value in ticks(frame.y_low, frame.y_high, 5):
        y = frame.y(value)
        parts.append(el("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        parts.append(el("text", _tick(value), x=LEFT - 6, y=y + 3.5, class_="tick",
                        text_anchor="end"))  # fmt: skip
    for value in ticks(frame.x_low, frame.x_high, 7):
        parts.append(el("text", _tick(value), x=frame.x(value), y=HEIGHT - BOTTOM + 15,
                        class_="tick", text_anchor="middle"))  # fmt: skip
    parts.append(el("line", x1=LEFT, x2=WIDTH - RIGHT, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM,
                    class_="axis"))  # fmt: skip
    parts.append(el("text", x_label, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 4, class_="tick",
                    text_anchor="middle"))  # fmt: skip
    return parts


def _path(frame: _Frame, line: Line) -> Markup:
    words: list[str] = []
    pen = "M"
    for x, y in line.points:
        if not math.isfinite(x + y):
            pen = "M"
            continue
        inside = min(frame.y_high, max(frame.y_low, y))
        words.append(f"{pen}{frame.x(x):g} {frame.y(inside):g}")
        pen = "L"
    path = el("path", d="".join(words), class_=f"line {line.look}")
    if len(line.points) > 30 or "pale" in line.look:
        return path
    dots = (el("circle", cx=frame.x(x), cy=frame.y(min(frame.y_high, max(frame.y_low, y))), r=2.5,
               class_=f"point {line.look}")
            for x, y in line.points if math.isfinite(x + y))  # fmt: skip
    return join(path, *dots)


def _legend(lines: Sequence[Line]) -> Markup | None:
    if len(lines) < 2:
        return None
    swatch = el("span", class_="swatch")
    items = (
        el("li", Markup(swatch.replace('"swatch"', f'"swatch {line.look}"')), line.name)
        for line in lines
    )
    return el("ul", *items, class_="legend")


def ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers from low to high, about `count` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / count
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * m for m in (1, 2, 5, 10) if size * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _tick(value: float) -> str:
    if value and abs(value) < 1e-3:
        return f"{value:.2g}".replace("e-0", "e-")
    return number(int(value)) if value == int(value) else f"{value:.4g}"


def _room(values: Sequence[float]) -> tuple[float, float]:
    """A range for values: from 0 if they come near it, and not past 1 if they are fractions."""
    low, high = min(values), max(values)
    gap = (high - low) or abs(high) or 1.0
    bottom = 0.0 if 0 <= low < 0.35 * high else low - 0.08 * gap
    top = high + 0.08 * gap
    if low >= 0 and high <= 1:
        bottom, top = max(0.0, bottom), min(1.0, top)
    return (bottom, top) if top > bottom else (bottom - 0.5, top + 0.5)


def _thinned(points: Sequence[Point]) -> list[Point]:
    """At most MAX_POINTS of the points, the last among them."""
    step = max(1, math.ceil(len(points) / MAX_POINTS))
    return [*points[::step], *points[-1:]] if (len(points) - 1) % step else list(points[::step])


def _short(value: float) -> float:
    return float(f"{value:.5g}")
