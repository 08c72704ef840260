"""Draw the curves of a probe: score over pictures per class, and over the regularisation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from xfer.drawing.canvas import BLUE, GREY, INK, ORANGE, PALE, SERIES, new_figure, save


def shot_picture(
    rows: Sequence[dict[str, Any]], path: Path, *, score: str, full: tuple[int, float] | None
) -> None:
    """Draw the score over pictures per class, one dot per draw, with the interval of the mean.

    Args:
        rows: {"shots", score, "low", "high", "values"}, from `shot_curve`.
        path: the PNG to write.
        score: name of the score.
        full: (pictures per class, score) of the probe on all of train, drawn as a line.
    """
    figure = new_figure(6.4, 4.2)
    ax = figure.subplots()
    shots = [row["shots"] for row in rows]
    for row in rows:
        draws = len(row["values"])
        ax.plot([row["shots"]] * draws, row["values"], ".", color=GREY, alpha=0.5, ms=4)
    ax.fill_between(
        shots, [r["low"] for r in rows], [r["high"] for r in rows], color=BLUE, alpha=0.2, lw=0,
        label="95 % interval of the mean",
    )  # fmt: skip
    ax.plot(shots, [r[score] for r in rows], color=BLUE, marker="o", label="mean of the draws")
    for row in rows:
        ax.annotate(f"{row[score]:.3f}", (row["shots"], row[score]), (0, 7),
                    textcoords="offset points", ha="center", fontsize=8, color=INK)  # fmt: skip
    if full is not None:
        ax.axhline(full[1], color=ORANGE, ls="--", label=f"all of train: {full[1]:.3f}")
    ax.set_xscale("log", base=2)
    ax.set_xticks(shots, [str(s) for s in shots])
    ax.minorticks_off()
    ax.set_xlabel("training pictures per class")
    _finish(ax, score)
    save(figure, path)


def choice_picture(
    trials: Sequence[tuple[str, float, float, float]],
    chosen: tuple[str, float],
    path: Path,
    *,
    symbol: str,
    score: str,
    error: float = 0.0,
) -> None:
    """Draw score and loss on held-out data, over the regularisation strengths that were tried.

    The chosen one has the lowest loss of those whose score is in the shaded band.

    Args:
        trials: (scaling, value, score, loss), values above 0.
        chosen: scaling and value.
        path: the PNG to write; symbol: name of the value; score: name of the score.
        error: standard error of the best score, the height of the band below it.
    """
    figure = new_figure(6.4, 5.4)
    above, below = figure.subplots(2, 1, sharex=True)
    for scaling, colour in zip(dict.fromkeys(t[0] for t in trials), SERIES, strict=False):
        own = sorted(t[1:] for t in trials if t[0] == scaling)
        values = [t[0] for t in own]
        above.plot(
            values, [t[1] for t in own], color=colour, marker=".", label=f"scaling {scaling}"
        )
        below.plot(values, [t[2] for t in own], color=colour, marker=".")
    best = next(t for t in trials if t[:2] == chosen)
    if error > 0:
        top = max(t[2] for t in trials)
        above.axhspan(top - error, top, color=GREY, alpha=0.22, lw=0, zorder=0,
                      label="one standard error from the best")  # fmt: skip
        near = [t for t in trials if t[2] >= top - error]
        below.plot([t[1] for t in near], [t[3] for t in near], ls="", marker="o", ms=10,
                   color=GREY, alpha=0.35, mew=0, label="in the band above")  # fmt: skip
    for ax, height in ((above, best[2]), (below, best[3])):
        words = f"chosen: {chosen[0]}, {symbol} = {chosen[1]:.3g}" if ax is above else None
        ax.plot(best[1], height, "o", ms=10, mfc="none", mec=INK, mew=1.5, label=words)
    below.set_xscale("log")
    below.set_xlabel(symbol)
    _finish(above, f"{score}, held out")
    _finish(below, "loss, held out", legend=error > 0)
    figure.align_ylabels([above, below])
    save(figure, path)


def _finish(ax: Axes, label: str, legend: bool = True) -> None:
    ax.set_ylabel(label)
    ax.grid(color=PALE)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
    if legend:
        ax.legend(frameon=False, fontsize=8)
