"""Draw what each kind of a detector's errors costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from xfer.drawing.canvas import BLUE, GREY, INK, PALE, new_figure, save

LABELS = {
    "cls": "wrong class",
    "loc": "badly placed",
    "both": "wrong class and place",
    "dupe": "found twice",
    "bkg": "nothing there",
    "miss": "missed",
}


def error_bars(costs: Mapping[str, float | None], counts: Mapping[str, int], path: Path) -> None:
    """Draw one bar per kind of error: the AP50 that it costs, and the number of its boxes.

    Args:
        costs: kind -> loss of AP50, see `detection_errors`; None is drawn as 0.
        counts: kind -> boxes.
        path: the PNG to write.
    """
    figure = new_figure(7, 3)
    ax = figure.subplots()
    values = [100 * (costs[kind] or 0.0) for kind in LABELS]
    places = range(len(LABELS))
    ax.barh(places, values, color=BLUE, height=0.65)
    low, high = min(0.0, *values), max(1.0, *values)
    for place, (kind, value) in enumerate(zip(LABELS, values, strict=True)):
        boxes = "box" if counts[kind] == 1 else "boxes"
        text = f" {value:.1f}  ({counts[kind]:,} {boxes})"
        ax.text(max(value, 0), place, text, va="center", fontsize=9, color=INK)
    ax.set_yticks(places, list(LABELS.values()))
    ax.set_ylim(len(LABELS) - 0.5, -0.5)
    ax.set_xlim(1.05 * low, 1.35 * high)
    ax.set_xlabel("points of AP50 gained by correcting only this kind")
    ax.axvline(0, color=GREY, lw=0.8)
    ax.grid(axis="x", color=PALE)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    save(figure, path)
