"""Draw what nets score over what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xfer.drawing.canvas import BLUE, INK, PALE, legible, new_figure, save


def cost_picture(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw a dot per net: the score of a probe over milliseconds per picture, as large as its
    weights.

    Args: rows: {"backbone", "val", "ms_per_picture", "mb"}; path: the PNG to write.
    """
    figure = new_figure(6.4, 4.2)
    ax = figure.subplots()
    for row in rows:
        x, y = row["ms_per_picture"], row["val"]
        ax.scatter(x, y, s=20 + 4 * row["mb"], color=BLUE, alpha=0.5)
        ax.annotate(f"{legible(row['backbone'], 30)}, {row['mb']:.0f} MB", (x, y), (6, 6),
                    textcoords="offset points", fontsize=8, color=INK)  # fmt: skip
    ax.set_xscale("log")
    ax.margins(x=0.25, y=0.2)
    ax.set_xlabel("ms per picture on this machine, without a GPU, 8 at a time")
    ax.set_ylabel("top1 on val, a classifier on frozen features")
    ax.grid(color=PALE)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    save(figure, path)
