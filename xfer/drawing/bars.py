"""One bar per class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from xfer.drawing.canvas import BLUE, GREY, ORANGE, PALE, class_labels, new_figure, save, short

MAX_BARS = 40


def per_class_bars(
    values: Mapping[str, float | None],
    counts: Mapping[str, int],
    path: Path,
    label: str,
    unit: str = "pictures",
) -> None:
    """Draw a score per class, the worst on top; for many classes the 20 worst and the 20 best.

    Args:
        values: class name -> score in 0..1, or None if there was nothing to score.
        counts: class name -> number of pictures, or of whatever `unit` is.
        path: the PNG to write.
        label: the name of the score.
    """
    known = {name: value for name, value in values.items() if value is not None}
    if not known:
        raise ValueError("no class has a score")
    order = sorted(known, key=lambda name: known[name])
    mean = sum(known.values()) / len(known)
    hidden = len(order) - MAX_BARS
    if hidden > 0:
        order = order[: MAX_BARS // 2] + order[-MAX_BARS // 2 :]
    figure = new_figure(7, 1.3 + 0.24 * len(order))
    ax = figure.subplots()
    places = range(len(order))
    ax.barh(places, [known[name] for name in order], color=BLUE, height=0.7)
    for place, name in zip(places, order, strict=True):
        text = f"{known[name]:.3f}  ({short(counts[name])})"
        ax.text(1.03, place, text, va="center", fontsize=8, color=GREY)
    labels = dict(zip(values, class_labels(list(values)), strict=True))
    ax.set_yticks(places, [labels[name] for name in order], fontsize=8)
    ax.set_ylim(len(order) - 0.5, -0.5)
    if hidden > 0:
        ax.axhline(MAX_BARS / 2 - 0.5, color=GREY, ls=":")
    ax.axvline(mean, color=ORANGE, label=f"mean {mean:.3f}")
    ax.set_xlim(0, 1.2)  # the numbers are to the right of 1
    ax.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    ax.grid(axis="x", color=PALE)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    between = f"; {hidden} classes between the worst and the best left out" if hidden > 0 else ""
    ax.set_xlabel(f"{label} ({unit}){between}")
    ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    save(figure, path)
