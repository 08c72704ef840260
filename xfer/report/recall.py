"""Draw how many true boxes proposals cover, against the number of proposals."""

from __future__ import annotations

from pathlib import Path

from matplotlib.ticker import FuncFormatter, NullLocator

from xfer.drawing.canvas import BLUE, GREEN, GREY, ORANGE, PALE, legible, new_figure, save
from xfer.proposals.recall import Recall


def recall_curves(recall: Recall, path: Path, title: str) -> None:
    """Draw recall at IoU 0.5 and 0.7 and the mean average best overlap.

    Args:
        recall: the measurements; path: the PNG to write; title: names the data and the method.
    """
    figure = new_figure(7.2, 4.2)
    ax = figure.subplots()
    counts = recall.counts.tolist()
    lines = (
        ("recall at IoU 0.5", recall.recall_50, BLUE),
        ("recall at IoU 0.7", recall.recall_70, ORANGE),
        ("mean average best overlap", recall.mabo, GREEN),
    )
    for name, values, colour in lines:
        label = f"{name}: {values[-1]:.3f}"
        ax.plot(counts, values, color=colour, marker=".", label=label)
    ax.set_xscale("log")
    ax.set_xticks(counts)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("first boxes of each picture")
    ax.set_ylim(0, 1.02)
    ax.grid(color=PALE)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(legible(title, 80), fontsize=10, loc="left")
    hidden = f"; {recall.left_out} difficult or crowd left out" if recall.left_out else ""
    ax.set_title(f"{recall.boxes:,} true boxes{hidden}", fontsize=8, color=GREY, loc="right")
    ax.legend(frameon=False, loc="upper left")
    save(figure, path)
