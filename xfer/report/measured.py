"""What was measured, on a run's page: all scores, classes, precision over recall, kinds of errors,
and whether the scores are as sure as they say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xfer.report.charts import Line, line_chart, reliability, share_bar
from xfer.report.facts import Facts
from xfer.report.markup import Markup, el, folded, join, number, table

SCORES = ("ap", "acc", "iou", "pq")  # the first that a class has is its main one
WORDS = {
    "ap": "AP", "acc": "right", "iou": "IoU", "ap50": "AP50", "boundary_f": "boundary F",
    "pq": "PQ", "sq": "SQ", "rq": "RQ",
    "voc_ap50_11pt": "VOC 11 points", "voc_ap50_area": "VOC area", "n": "n",
    "positives": "positive",
}  # fmt: skip
ERRORS = {
    "cls": "wrong class", "loc": "badly placed", "both": "wrong class and badly placed",
    "dupe": "found twice", "bkg": "nothing there", "miss": "missed",
}  # fmt: skip
MAX_CLASSES = 1500
MAX_CURVES = 6


def all_scores(facts: Facts) -> Markup | None:
    """Every score of every split, with its interval and what it means."""
    scored = facts.scored
    names = list(dict.fromkeys(
        name for _, scores in scored for name, value in scores.items()
        if value is None or isinstance(value, (int, float))
    ))  # fmt: skip
    if not names:
        return None
    names.sort(key=lambda name: name != facts.primary)
    rows = [
        [el("strong", name) if name == facts.primary else name,
         *(scores.get(name) for _, scores in scored), facts.protocol(name) or "–"]
        for name in names
    ]  # fmt: skip
    columns = [("score", ""), *((split, "n") for split, _ in scored), ("what it is", "")]
    intervals = [
        el("li", f"{facts.primary} on {split}: interval {known['low']:.4f} to {known['high']:.4f}, "
           f"{known.get('method', '')}")
        for split, _ in scored
        if (known := facts.interval(split)) is not None
    ]  # fmt: skip
    protocol: Mapping[str, Any] = facts.result.get("protocol") or {}
    others = [(k, v) for k, v in protocol.items() if k not in names]
    about = [join(el("dt", key), el("dd", value)) for key, value in others]
    return join(
        table(columns, rows, caption="Scores", class_="wide-last"),
        el("ul", *intervals, class_="note") if intervals else None,
        folded("How it was measured", el("dl", *about, class_="about")) if about else None,
    )


def main_key(per_class: Mapping[str, Any]) -> str:
    """The key of the classes' main score; "" if they have none."""
    keys = (key for row in per_class.values() for key in row)
    return next((key for key in keys if key in SCORES), "")


def class_table(facts: Facts) -> Markup | None:
    """Every class with its scores; a heading sorts it."""
    per_class: Mapping[str, Any] = facts.scores.get("per_class") or {}
    main = main_key(per_class)
    if not per_class:
        return None
    keys = list(dict.fromkeys(key for row in per_class.values() for key in row))
    keys.sort(key=lambda key: key != main)
    trained = _trained_counts(facts)
    unit = "n" if facts.live.metric is None else getattr(facts.live.metric, "unit", "pictures")
    heads = [("class", ""), *((_head(k, unit), "n") for k in keys)]
    if trained:
        heads.append(("trained on", "n"))
    rows: list[list[Any]] = []
    for name, row in list(per_class.items())[:MAX_CLASSES]:
        cells: list[Any] = [name]
        for key in keys:
            value = row.get(key)
            if key == main and isinstance(value, (int, float)):
                cells.append((join(share_bar(float(value)), number(float(value))), value))
            else:
                cells.append((number(value), -1 if value is None else value))
        rows.append([*cells, *([trained.get(name)] if trained else [])])
    left = len(per_class) - len(rows)
    return join(
        el("p", "A click on a heading sorts.", class_="note"),
        table(heads, rows, caption=f"Classes, {facts.live.split or 'val'}", sorts=True),
        el("p", f"{left:,} more classes are in result.json.", class_="note") if left else None,
    )


def _head(key: str, unit: str) -> str:
    if key == "n":
        return unit
    return WORDS.get(key, key.replace("_", " "))


def _trained_counts(facts: Facts) -> dict[str, int]:
    """Training pictures of each class, where labels tell them without reading pictures."""
    train = facts.live.train
    if train is None:
        return {}
    labels = train.labels()
    if labels.ndim == 2:
        if (labels < 0).any():
            return {}
        counts = (labels == 1).sum(0)
    elif labels.dtype.kind in "iu":
        counts = np.bincount(labels[labels >= 0], minlength=len(facts.classes))
    else:
        return {}
    if len(counts) != len(train.info.classes):
        return {}
    return dict(zip(train.info.classes, counts.tolist(), strict=True))


def precision_recall(facts: Facts) -> Markup | None:
    """The curves of the classes that do best and worst, and their mean."""
    metric = facts.live.metric
    curves: Mapping[str, Any] = metric.curves() if hasattr(metric, "curves") else {}
    if not curves:
        return None
    recall = np.linspace(0, 1, 101).tolist()
    order = sorted(curves, key=lambda name: -float(curves[name].mean()))
    many = len(order) > MAX_CURVES
    shown = order[: MAX_CURVES // 2] + order[-(MAX_CURVES // 2) :] if many else order

    def points(values: Any) -> list[tuple[float, float]]:
        return list(zip(recall, values.tolist(), strict=True))

    lines = [
        Line(f"{name} {curves[name].mean():.3f}", points(curves[name]),
             f"s{i % 6 + 1}{' dashed' if many and i >= MAX_CURVES // 2 else ''}")
        for i, name in enumerate(shown)
    ]  # fmt: skip
    if len(curves) > 1:
        mean = np.mean(list(curves.values()), axis=0)
        lines.append(Line(f"mean of {len(curves)}: {mean.mean():.3f}", points(mean), "ink thick"))
    about = getattr(metric, "curves_of", "boxes at IoU 0.5")
    words = f"The three best and the three worst (dashed) of {len(curves)} classes." if many else ""
    note = "; ".join(line.name for line in lines)
    chart = line_chart(lines, f"Precision over recall, {about}", "recall", x_range=(0, 1),
                       y_range=(0, 1), note=note)  # fmt: skip
    return join(el("p", words, class_="note") if words else None, el("div", chart, class_="charts"))


def error_kinds(facts: Facts) -> Markup | None:
    """What each kind of a detector's errors costs."""
    scores = facts.scores
    costs: Mapping[str, Any] = scores.get("errors") or {}
    counts: Mapping[str, Any] = scores.get("error_counts") or {}
    if not costs:
        return None
    most = max((float(v) for v in costs.values() if v is not None), default=0.0)
    rows = [
        [ERRORS.get(kind, kind),
         (join(share_bar(max(0.0, float(cost or 0)), most), number(cost)), cost or 0),
         counts.get(kind)]
        for kind, cost in sorted(costs.items(), key=lambda item: -float(item[1] or 0))
    ]  # fmt: skip
    columns = [("kind", ""), ("costs AP50", "n"), ("boxes", "n")]
    words = facts.protocol("errors") or "loss of AP50 by each kind of error"
    return join(
        el("p", f"What AP50 would gain if only this kind were corrected ({words}). "
           "The gains do not add up.", class_="note"),
        table(columns, rows, caption="Kinds of detection errors", sorts=True),
    )  # fmt: skip


def calibration(facts: Facts) -> Markup | None:
    """Whether the scores can be taken as probabilities."""
    known = facts.calibration
    bins = known.get("bins")
    if not isinstance(bins, list) or not bins:
        return None
    chart = reliability(bins, "Calibration: how often it is right, over how sure it is")
    ece, after, heat = (known.get(k) for k in ("ece", "ece_calibrated", "temperature"))
    rows = [["expected calibration error (ECE)", ece]]
    if after is not None:
        rows.append(["ECE after calibration, cross-fitted", after])
    if heat is not None:
        rows.append([f"temperature fitted on {facts.live.split or 'val'}", heat])
    words = (
        "Of pictures scored 0.9, nine in ten should be right: the bars should meet the diagonal. "
        "ECE is the mean distance between the two; a temperature above 1 makes scores less sure."
    )
    command = el("p", "Calibrated scores: ", el("code", "xfer predict RUN PICTURES --calibrated"))
    return join(
        el("p", words, class_="note"),
        el("div", chart, el("div", table([("", ""), ("value", "n")], rows, caption="Calibration"),
                            command if heat is not None else None), class_="charts"),
    )  # fmt: skip
