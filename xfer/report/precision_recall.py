"""Draw precision over recall: one curve per class and their mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfer.drawing.canvas import GREY, INK, PALE, SERIES, class_labels, new_figure, save

MAX_CURVES = 6
FAINT = "#D0D0D0"


def precision_recall(
    curves: Mapping[str, NDArray[np.float64]], path: Path, title: str = "AP at IoU 0.5"
) -> None:
    """Draw the mean curve and those of the classes; for many classes the 3 best and the 3 worst.

    Args:
        curves: class name -> precision at 101 recalls, 0 to 1; without classes that don't occur.
        path: the PNG to write; title: what the numbers beside the names are.

    Raises: ValueError if there is no class.
    """
    if not curves:
        raise ValueError("no class has a curve")
    recall = np.linspace(0, 1, 101)
    mean = np.mean(list(curves.values()), axis=0)
    order = sorted(curves, key=lambda name: -float(curves[name].mean()))
    many = len(order) > MAX_CURVES
    shown = order[: MAX_CURVES // 2] + order[-(MAX_CURVES // 2) :] if many else order
    labels = dict(zip(curves, class_labels(list(curves)), strict=True))
    figure = new_figure(8, 5)
    ax = figure.subplots()
    for name in order if many else []:
        ax.plot(recall, curves[name], color=FAINT, lw=0.8, zorder=1)
    for name, colour in zip(shown, SERIES, strict=False):
        low = many and name in order[-(MAX_CURVES // 2) :]
        ax.plot(recall, curves[name], color=colour, lw=1.3, ls="--" if low else "-",
                label=f"{labels[name]}  {curves[name].mean():.3f}")  # fmt: skip
    if len(curves) > 1:
        ax.plot(recall, mean, color=INK, lw=2.5, label=f"mean of {len(curves)}  {mean.mean():.3f}")
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("recall")
    ax.set_ylabel("precision")
    ax.grid(color=PALE)
    ax.spines[["top", "right"]].set_visible(False)
    if many:
        title += f"\n3 best, 3 worst (dashed)\nof {len(curves)} classes"
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), title=title,
              alignment="left", labelcolor=INK, title_fontproperties={"size": 9})  # fmt: skip
    ax.tick_params(colors=GREY)
    save(figure, path)
