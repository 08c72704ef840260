"""The course of a run on its page: losses, scores, learning rate, and the same as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, TypeGuard

from xfer.report.charts import Line, line_chart
from xfer.report.facts import Facts
from xfer.report.markup import Markup, el, folded, join, number, table

MAX_SCORES = 4
MAX_ROWS = 60
SMOOTH_FROM = 60
Event = dict[str, Any]


def course(facts: Facts) -> Markup | None:
    """The charts of a run's log; None if it has none."""
    train, evals = facts.of_events("train"), facts.of_events("eval")
    if not train and len(evals) < 2:
        return None
    best = facts.result.get("best_step")
    place = next((at(e) for e in evals if e.get("step") == best), None)
    marker = None if place is None else (place, "kept")
    label = x_label([*train, *evals])
    charts = [_losses(train, evals, label, marker), _scores(facts, evals, label, marker)]
    rates = [(at(e), float(e["lr"])) for e in train if is_number(e.get("lr"))]
    if rates:
        charts.append(line_chart([Line("learning rate", rates, "ink")], "Learning rate", label))
    explained = el(
        "p", "Train: the loss that is learnt from, on altered pictures; val: pictures that are not "
        "learnt from. A val loss that rises while the train loss falls is overfitting."
        + (" The line marks the weights that were kept." if marker else ""), class_="note",
    )  # fmt: skip
    return join(explained, el("div", *charts, class_="charts"), _numbers(facts, train, evals))


def at(event: Event) -> float:
    """Where an event is on the x axis: its epoch, or its step in logs without epochs."""
    return float(event.get("epoch") or event.get("step") or 0)


def x_label(events: Sequence[Event]) -> str:
    return "epoch" if any(e.get("epoch") for e in events) else "step"


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value of a file is a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def losses_of(events: Sequence[Event]) -> list[tuple[float, float]]:
    """(x, loss) of train events, or of eval events whose task has one."""
    values = ((at(e), e.get("loss", (e.get("metrics") or {}).get("loss"))) for e in events)
    return [(x, float(v)) for x, v in values if is_number(v) and math.isfinite(v)]


def _losses(
    train: list[Event], evals: list[Event], label: str, marker: tuple[float, str] | None
) -> Markup:
    own, val = losses_of(train), losses_of(evals)
    lines: list[Line] = []
    if len(own) >= SMOOTH_FROM:
        lines += [Line("train, each", own, "s1 pale", named=False),
                  Line("train, smoothed", smooth(own), "s1")]  # fmt: skip
    elif own:
        lines.append(Line("train", own, "s1"))
    parts = list(train[-1].get("losses") or {}) if train else []
    for number_, name in enumerate(parts[:3] if len(parts) > 1 else []):
        points = [(at(e), float(e["losses"][name])) for e in train
                  if is_number((e.get("losses") or {}).get(name))]  # fmt: skip
        points = smooth(points) if len(points) >= SMOOTH_FROM else points
        lines.append(Line(f"train: {name}", points, f"s{number_ + 3} thin"))
    if val:
        lines.append(Line("val", val, "s2"))
    ends = [f"{line.name} from {line.points[0][1]:.3g} to {line.points[-1][1]:.3g}"
            for line in lines if line.named and line.points]  # fmt: skip
    return line_chart(lines, "Loss", label, marker=marker, note="; ".join(ends))


def _scores(
    facts: Facts, evals: list[Event], label: str, marker: tuple[float, str] | None
) -> Markup:
    names = score_names(evals, facts.primary)
    lines = [
        Line(name, [(at(e), float(e["metrics"][name])) for e in evals
                    if is_number(e.get("metrics", {}).get(name))],
             f"s{i + 1}" if i else "s1 thick")
        for i, name in enumerate(names)
    ]  # fmt: skip
    if all(len(line.points) < 2 for line in lines):
        return Markup("")
    ends = [f"{line.name} ends at {line.points[-1][1]:.4f}" for line in lines if line.points]
    return line_chart(lines, "Score on val", label, marker=marker, note="; ".join(ends))


def score_names(evals: Sequence[Event], primary: str) -> list[str]:
    """The main score first, then others that tell something."""
    names = list(dict.fromkeys(
        name for e in evals for name, value in (e.get("metrics") or {}).items()
        if name != "loss" and is_number(value)
    ))  # fmt: skip
    moving = [n for n in names if n == primary or any(_tells(e["metrics"].get(n)) for e in evals)]
    moving.sort(key=lambda name: name != primary)
    return moving[:MAX_SCORES]


def _tells(value: Any) -> bool:
    return is_number(value) and 0 < value < 1


def smooth(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A centred running mean over a twentieth of the points."""
    width = max(1, len(points) // 40)
    sums = [0.0, *accumulate(y for _, y in points)]
    smoothed: list[tuple[float, float]] = []
    for i, (x, _) in enumerate(points):
        first, last = max(0, i - width), min(len(points), i + width + 1)
        smoothed.append((x, (sums[last] - sums[first]) / (last - first)))
    return smoothed


def _numbers(facts: Facts, train: list[Event], evals: list[Event]) -> Markup | None:
    """The evaluations as a table, each with the training loss before it."""
    rows: list[list[Any]] = []
    names = score_names(evals, facts.primary)
    has_loss = any(is_number((e.get("metrics") or {}).get("loss")) for e in evals)
    start = -1
    for event in evals:
        metrics: dict[str, Any] = event.get("metrics") or {}
        step = event.get("step", 0)
        before = [e["loss"] for e in train
                  if start < e.get("step", 0) <= step and is_number(e.get("loss"))]  # fmt: skip
        start = step
        row = [number(round(at(event), 2)) if event.get("epoch") else step,
               sum(before) / len(before) if before else None]  # fmt: skip
        rows.append([*row, *([metrics.get("loss")] if has_loss else []),
                     *(metrics.get(n) for n in names)])  # fmt: skip
    if not rows:
        return None
    cut = len(rows) - MAX_ROWS
    columns = [(x_label(evals), "n"), ("train loss", "n"),
               *([("val loss", "n")] if has_loss else []), *((n, "n") for n in names)]  # fmt: skip
    left_out = el("p", f"The first {cut} evaluations are left out.", class_="note")
    return folded(
        "The same as numbers", left_out if cut > 0 else None,
        table(columns, rows[-MAX_ROWS:], caption="Evaluations"),
    )  # fmt: skip
