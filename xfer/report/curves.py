"""Draw the course of a run: losses, scores and the learning rate over the steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from xfer.drawing.canvas import BLUE, INK, ORANGE, PALE, SERIES, legible, new_figure, save

MAX_SCORES = 4
SMOOTH_FROM = 60


def curves(events: Sequence[dict[str, Any]], path: Path, primary: str = "") -> None:
    """Draw log.jsonl: one panel for the losses, one for the scores on val, one for the rate.

    Args:
        events: the log's events; "train" and "eval" ones are drawn.
        path: the PNG to write.
        primary: name of the score by which the best step is chosen; it is drawn first.

    Raises: ValueError if there is neither a train nor an eval event.
    """
    train = [e for e in events if e["event"] == "train"]
    evals = [e for e in events if e["event"] == "eval"]
    if not train and not evals:
        raise ValueError("no train or eval events to draw")
    names = _score_names(evals, primary)
    panels = 2 + bool(names)
    figure = new_figure(8, 1 + 2.4 * panels)
    axes: list[Axes] = list(np.atleast_1d(figure.subplots(panels, 1, sharex=True)))
    _losses(axes[0], train, evals)
    if names:
        _scores(axes[1], evals, names, primary)
    steps = [e["step"] for e in train]
    axes[-1].plot(steps, [e["lr"] for e in train], color=INK, marker=_dot(steps))
    axes[-1].set_ylabel("learning rate")
    axes[-1].set_ylim(bottom=0)
    axes[-1].ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    axes[-1].set_xlabel("step")
    axes[-1].set_xlim(0, 1.02 * max(1, max(e["step"] for e in [*train, *evals])))
    axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    for ax in axes:
        ax.grid(color=PALE)
        ax.spines[["top", "right"]].set_visible(False)
        if ax.get_legend_handles_labels()[0]:
            ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    per_epoch = _steps_per_epoch(train + evals)
    if per_epoch:

        def epochs(step: Any) -> Any:
            return step / per_epoch

        def steps_of(epoch: Any) -> Any:
            return epoch * per_epoch

        top = axes[0].secondary_xaxis("top", functions=(epochs, steps_of))
        top.set_xlabel("epoch")
    figure.align_ylabels(axes)
    save(figure, path)


def _losses(ax: Axes, train: list[dict[str, Any]], evals: list[dict[str, Any]]) -> None:
    steps = [e["step"] for e in train]
    if train:
        total = np.array([e["loss"] for e in train], float)
        long = len(total) >= SMOOTH_FROM
        ax.plot(
            steps, total, color=BLUE, alpha=0.3 if long else 1, marker=_dot(steps),
            label=None if long else "train",
        )  # fmt: skip
        if long:
            ax.plot(steps, _smooth(total), color=BLUE, label="train, smoothed")
        parts = list(train[-1].get("losses", {}))
        for name, colour in zip(parts if len(parts) > 1 else [], SERIES[2:], strict=False):
            values = np.array([e["losses"].get(name, np.nan) for e in train], float)
            ax.plot(steps, _smooth(values) if long else values, color=colour, lw=1,
                    label=legible(name))  # fmt: skip
    val = [(e["step"], e["metrics"]["loss"]) for e in evals if "loss" in e["metrics"]]
    if val:
        ax.plot(*zip(*val, strict=True), color=ORANGE, marker=_dot(val), label="val")
    ax.set_ylabel("loss")


def _scores(ax: Axes, evals: list[dict[str, Any]], names: list[str], primary: str) -> None:
    for name, colour in zip(names, SERIES, strict=False):
        points = [(e["step"], e["metrics"][name]) for e in evals if name in e["metrics"]]
        first = name == (primary or names[0])
        step, best = max(points, key=lambda point: point[1])
        label = f"{legible(name)}\nbest {best:.4f}" if first else legible(name)
        ax.plot(*zip(*points, strict=True), color=colour, marker=_dot(points),
                lw=2 if first else 1, label=label)  # fmt: skip
        if first:
            ax.plot(step, best, marker="o", ms=9, mfc="none", mec=INK)
    ax.set_ylabel("score on val")


def _score_names(evals: list[dict[str, Any]], primary: str) -> list[str]:
    """The primary score first, then the other informative ones, not those that are always 1."""
    names = list(dict.fromkeys(name for e in evals for name in e["metrics"] if name != "loss"))
    moving = [n for n in names if any(e["metrics"].get(n, 1) < 1 for e in evals) or n == primary]
    moving.sort(key=lambda name: name != primary)
    return moving[:MAX_SCORES]


def _steps_per_epoch(events: list[dict[str, Any]]) -> float:
    known = [e["step"] / e["epoch"] for e in events if e.get("epoch")]
    return float(np.median(known)) if known else 0.0


def _smooth(values: np.ndarray) -> np.ndarray:
    """A centred running mean over a twentieth of the run; shorter at the ends."""
    width = max(1, len(values) // 40)
    windows = [values[max(0, i - width) : i + width + 1] for i in range(len(values))]
    return np.array([part[np.isfinite(part)].mean() if np.isfinite(part).any() else np.nan
                     for part in windows])  # fmt: skip


def _dot(points: Sequence[Any]) -> str:
    """Mark the points if there are few: a line through a single one would be invisible."""
    return "." if len(points) < 30 else ""
