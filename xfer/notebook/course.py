"""The course of a run in a notebook: curves and a table of its evaluations, from its log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xfer.report.charts import Line, Point, line_chart
from xfer.report.markup import Markup, el, number

MAX_ROWS = 12
MAX_POINTS = 150
MAX_SCORES = 4
SMOOTH_FROM = 60
Event = dict[str, Any]


def curves(train: Sequence[Event], evals: Sequence[Event], primary: str) -> Markup | None:
    """The losses and the score on val over the epochs; None if there is nothing to draw."""
    own = [(at(e), float(e["loss"])) for e in train if _is_number(e.get("loss"))]
    lines = [Line("train", _fewer(_smooth(own) if len(own) >= SMOOTH_FROM else own), "s1")]
    lines.append(Line("val", _points(evals, "loss"), "s2"))
    score = Line(primary, _points(evals, primary), "s3")
    charts = [
        line_chart([line for line in lines if line.points], "Loss", "epoch"),
        line_chart([score] if score.points else [], f"{primary} on val", "epoch"),
    ]
    return el("div", *charts, class_="charts") if any(charts) else None


def epochs(
    train: Sequence[Event], evals: Sequence[Event], primary: str, best: int | None
) -> Markup | None:
    """A row per evaluation: the training loss since the last one, and the scores.

    Args: best: the step whose weights are kept; its row is bold.
    """
    if not evals:
        return None
    names = scores(evals, primary)
    rows: list[Markup] = []
    start = -1
    cut = len(evals) - MAX_ROWS
    for place, event in enumerate(evals):
        step, metrics = event.get("step", 0), event.get("metrics") or {}
        losses = [float(e["loss"]) for e in train
                  if start < e.get("step", 0) <= step and _is_number(e.get("loss"))]  # fmt: skip
        start = step
        kept = step == best
        if place < cut and not kept:
            continue
        mean = sum(losses) / len(losses) if losses else None
        cells = [f"{at(event):.4g}", step, mean, *(metrics.get(name) for name in names),
                 "kept" if kept else ""]  # fmt: skip
        shown = (el("td", value if isinstance(value, str) else number(value),
                    class_="n" if place_ < len(cells) - 1 else None)
                 for place_, value in enumerate(cells))  # fmt: skip
        rows.append(el("tr", *shown, class_="best" if kept else None))
    heads = ["epoch", "step", "train loss", *(f"val {name}" for name in names), ""]
    first = el("tr", *(el("th", name, class_="n", scope="col") for name in heads))
    left_out = len(evals) - len(rows)
    caption = f"The first {left_out} evaluations are left out" if left_out else None
    if left_out and any(e.get("step") == best for e in evals[: max(0, cut)]):
        caption = f"{left_out} earlier evaluations are left out"
    body = el("table", el("caption", caption) if caption else None, el("thead", first),
              el("tbody", *rows))  # fmt: skip
    return el("div", body, class_="scroll")


def at(event: Event) -> float:
    """Where an event is on the x axis, in epochs; in steps if its log has no epochs."""
    return float(event.get("epoch") or event.get("step") or 0)


def scores(evals: Sequence[Event], primary: str) -> list[str]:
    """The numbers of an evaluation that its table shows: the loss, the main score, others that
    have changed."""
    values: dict[str, set[float]] = {}
    for event in evals:
        for name, value in (event.get("metrics") or {}).items():
            if _is_number(value):
                values.setdefault(name, set()).add(value)
    others = [n for n in values if n not in ("loss", primary) and values[n] not in ({0.0}, {1.0})]
    first = [name for name in ("loss", primary) if name in values]
    return [*first, *others][:MAX_SCORES]


def _points(evals: Sequence[Event], name: str) -> list[Point]:
    found = ((at(e), (e.get("metrics") or {}).get(name)) for e in evals)
    return [(x, float(value)) for x, value in found if isinstance(value, (int, float))]


def _fewer(points: Sequence[Point]) -> list[Point]:
    """At most MAX_POINTS of them, and the last."""
    step = -(-len(points) // MAX_POINTS) or 1
    return [*points[:-1:step], *points[-1:]]


def _smooth(points: Sequence[Point]) -> list[Point]:
    """A centred running mean over a twentieth of the points."""
    width = max(1, len(points) // 40)
    sums = [0.0]
    for _, value in points:
        sums.append(sums[-1] + value)
    ends = [(max(0, i - width), min(len(points), i + width + 1)) for i in range(len(points))]
    return [(x, (sums[b] - sums[a]) / (b - a))
            for (x, _), (a, b) in zip(points, ends, strict=True)]  # fmt: skip


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
