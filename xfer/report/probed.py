"""What only a probe's page has: the score over few pictures per class, and what was chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xfer.report.charts import Line, line_chart
from xfer.report.course import is_number
from xfer.report.facts import Facts
from xfer.report.made_of import definitions
from xfer.report.markup import Markup, el, join, table


def shots(facts: Facts) -> Markup | None:
    """The score with a few training pictures per class."""
    rows: list[Mapping[str, Any]] = [
        row for row in facts.result.get("shots") or []
        if isinstance(row, Mapping) and is_number(row.get("shots"))
    ]  # fmt: skip
    name = facts.primary
    if not rows or not all(
        is_number(row.get(key)) for row in rows for key in (name, "low", "high")
    ):
        return None
    lines = [
        Line(label, [(float(row["shots"]), float(row[key])) for row in rows], look)
        for label, key, look in (("mean of the draws", name, "s1 thick"),
                                 ("95 % interval", "low", "s1 dashed thin"),
                                 ("", "high", "s1 dashed thin"))
    ]  # fmt: skip
    lines[2] = Line("upper end", lines[2].points, lines[2].look, named=False)
    chart = line_chart(lines, f"{name} over training pictures per class", "pictures per class")
    numbers = table(
        [("pictures per class", ""), (name, "n"), ("low", "n"), ("high", "n"), ("draws", "n")],
        [[str(row["shots"]), *(row.get(k) for k in (name, "low", "high", "repeats"))]
         for row in rows],
        caption="Few pictures per class",
    )  # fmt: skip
    about = facts.protocol("shots")
    return join(el("p", about, class_="note") if about else None,
                el("div", chart, numbers, class_="charts"))  # fmt: skip


def chosen(facts: Facts) -> Markup | None:
    """Classifier, layer, and the strength that cross-validation chose."""
    known: Mapping[str, Any] = facts.result.get("chosen") or {}
    if not known:
        return None
    return join(
        definitions([("classifier", facts.result.get("clf")), ("layer", facts.result.get("layer")),
                     *((key.replace("_", " "), value) for key, value in known.items())]),
        el("p", facts.protocol("chosen_by"), class_="note"),
    )  # fmt: skip
