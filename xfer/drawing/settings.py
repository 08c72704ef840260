"""Draw the scores of settings that were tried several times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xfer.drawing.canvas import BLUE, GREY, ORANGE, PALE, legible, new_figure, save

MAX_ROWS = 40


def settings_picture(
    rows: Sequence[tuple[str, Sequence[float]]], path: Path, *, score: str
) -> None:
    """Draw one line per setting: a dot per run, the mean, and one standard deviation on each side.

    Args:
        rows: (name, scores of its runs); the best of more than MAX_ROWS are drawn.
        path: the PNG to write.
        score: what the scores are, for the axis.
    """
    if len(rows) > MAX_ROWS:
        kept = sorted(range(len(rows)), key=lambda k: -float(np.mean(rows[k][1])))[:MAX_ROWS]
        rows = [rows[k] for k in sorted(kept)]
    figure = new_figure(7, 1.1 + 0.32 * len(rows))
    ax = figure.subplots()
    means = [float(np.mean(scores)) for _, scores in rows]
    best = max(range(len(rows)), key=means.__getitem__)
    for place, (_, scores) in enumerate(rows):
        colour = ORANGE if place == best else BLUE
        spread = float(np.std(scores, ddof=1)) if len(scores) > 1 else 0.0
        ax.plot(scores, [place] * len(scores), "o", color=GREY, alpha=0.6, ms=4)
        ax.errorbar(means[place], place, xerr=spread, fmt="D", color=colour, ms=6, capsize=3)
    ax.set_yticks(range(len(rows)), [legible(name, 44) for name, _ in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel(f"{score}: runs, mean, standard deviation")
    ax.grid(axis="x", color=PALE)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    save(figure, path)
