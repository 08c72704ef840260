"""Draw which layers transfer: the score of a probe on every layer of every net."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xfer.drawing.canvas import GREY, INK, PALE, SERIES, legible, new_figure, save


def layer_picture(rows: Sequence[dict[str, Any]], path: Path, *, score: str) -> None:
    """Draw one panel per net, its layers from shallow to deep, with the best of all marked.

    Args:
        rows: {"backbone", "weights", "layer", score}, net after net, layers in the net's order; a
            net with other weights is another net.
        path: the PNG to write; score: name of the score, in 0..1.
    """
    nets = list(dict.fromkeys((row["backbone"], row.get("weights", "")) for row in rows))
    panels = [
        [row for row in rows if (row["backbone"], row.get("weights", "")) == net] for net in nets
    ]
    names = net_names(nets)
    figure = new_figure(1.6 + sum(max(2.2, 0.55 * len(p)) for p in panels), 4.0)
    axes = figure.subplots(
        1, len(nets), sharey=True, squeeze=False, width_ratios=[max(4, len(p)) for p in panels]
    )[0]
    best = max(rows, key=lambda row: row[score])
    for ax, name, own, at in zip(axes, names, panels, range(len(nets)), strict=True):
        colour = SERIES[at % len(SERIES)]
        places, values = range(len(own)), [row[score] for row in own]
        ax.plot(places, values, color=colour, marker="o")
        for place, row in zip(places, own, strict=True):
            top = row is best
            ax.annotate(f"{row[score]:.3f}", (place, row[score]), (0, 8),
                        textcoords="offset points", ha="center", fontsize=8,
                        color=INK if top else GREY,
                        fontweight="bold" if top else "normal")  # fmt: skip
            if top:
                ax.plot(place, row[score], "o", ms=12, mfc="none", mec=INK)
        ax.set_xticks(places, [legible(row["layer"], 14) for row in own], rotation=45, ha="right")
        ax.set_xlim(-0.6, len(own) - 0.4)
        ax.set_title(legible(name, 40), fontsize=10)
        ax.margins(y=0.12)
        ax.grid(axis="y", color=PALE)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(score)
    save(figure, path)


def net_names(nets: Sequence[tuple[str, str]]) -> list[str]:
    """(backbone, weights) as titles: the weights are named if a backbone has several."""
    backbones = [backbone for backbone, _ in nets]
    return [
        backbone
        if backbones.count(backbone) == 1
        else f"{backbone}, {'random weights' if weights == 'none' else Path(weights).name}"
        for backbone, weights in nets
    ]
