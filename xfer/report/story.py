"""The first screen of a page: the score, how well it is known, what is wrong, what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xfer.kinds.findings import counted
from xfer.metrics.example import Example
from xfer.report.charts import interval_bar
from xfer.report.course import at, is_number, losses_of, x_label
from xfer.report.facts import Facts
from xfer.report.made_of import time_split
from xfer.report.markup import Markup, el, join, number
from xfer.report.matrix import matrix_of, pairs
from xfer.report.measured import ERRORS, WORDS, main_key

SURE = 0.9
MAX_WRONG, MAX_NEXT = 5, 4
# a val loss this much above its lowest is said to have risen; points of evaluations needed
RISEN, ENOUGH = 1.1, 4
WAITS = 0.25


@dataclass(frozen=True, slots=True)
class Remark:
    """wrong: what was seen; next_: what helps, with a command or without; weight: sorts them."""

    wrong: Any
    next_: Any = None
    weight: float = 0.0


def first_screen(facts: Facts, examples: Sequence[Example], links: Mapping[str, str]) -> Markup:
    """Args: links: names of sections -> their anchors, for those that the page has."""
    remarks = sorted(remarks_on(facts, examples, links), key=lambda r: -r.weight)
    wrong = [el("li", r.wrong) for r in remarks[:MAX_WRONG]]
    steps = [el("li", r.next_) for r in remarks if r.next_ is not None][: MAX_NEXT - 1]
    steps += [el("li", step) for step in _always(facts)]
    recipe = facts.recipe
    kicker = " · ".join(
        str(v) for v in (facts.result.get("task") or recipe["task"], recipe["backbone"],
                         short_path(str(recipe["data.source"]))) if v
    )  # fmt: skip
    return el(
        "header",
        el("p", kicker, class_="kicker"),
        el("h1", facts.name),
        el("div", _score(facts), _about(facts), class_="hero"),
        el("div",
           el("section", el("h2", "What is wrong", id="wrong"),
              el("ul", *wrong) if wrong else el("p", "Nothing that a machine would notice."),
              aria_labelledby="wrong"),
           el("section", el("h2", "What to do next", id="next"), el("ul", *steps),
              aria_labelledby="next"),
           class_="story"),
    )  # fmt: skip


def _always(facts: Facts) -> list[Markup]:
    """What helps after any run."""
    if not facts.finished:
        return []
    steps = [join("Predict other pictures: ", code(f"xfer predict {run_of(facts)} PICTURES"))]
    seed = facts.recipe.get("run.seed")
    if is_number(seed) and facts.scored and facts.recipe["task"] != "probe":
        again = (
            f"xfer finetune --recipe {shlex.quote(f'{facts.path}/recipe.toml')} --seed {seed + 1}"
        )
        steps.append(join(
            "See how much of it is luck: ", code(again), ", then ",
            code(f"xfer report {run_of(facts)} THE_OTHER"),
        ))  # fmt: skip
    return steps


def code(words: str) -> Markup:
    return el("code", words)


def run_of(facts: Facts) -> str:
    return shlex.quote(str(facts.path))


def short_path(text: str) -> str:
    """The last two parts of a path."""
    parts = [part for part in text.split("/") if part]
    return text if len(parts) < 3 else "/".join(parts[-2:])


def _score(facts: Facts) -> Markup:
    """The main score, as large as it matters."""
    name = facts.primary
    for split, scores in facts.scored:
        value = scores.get(name)
        if not is_number(value):
            continue
        pictures = dict(facts.counts()).get(split)
        on = f"on {split}" + (f", {counted(pictures, 'picture')}" if pictures else "")
        known = facts.interval(split)
        parts: list[Any] = [
            el("p", el("span", f"{value:.3f}", class_="big"), " ",
               el("span", name, class_="metric"), class_="score"),
        ]  # fmt: skip
        if known is not None:
            low, high = float(known["low"]), float(known["high"])
            parts += [
                interval_bar(low, float(value), high),
                el("p", f"interval {low:.3f} to {high:.3f}, {known.get('method', '')}; {on}"),
            ]
        else:
            parts.append(el("p", on))
        others = [
            f"{other} {number(scores[other])}" for other in scores
            if other != name and is_number(scores[other]) and scores[other] != 1
        ][:3]  # fmt: skip
        test = [f"{name} on {s} {number(v[name])}" for s, v in facts.scored
                if s != split and is_number(v.get(name))]  # fmt: skip
        parts.append(el("p", "; ".join([*test, *others]), class_="note"))
        meaning = facts.protocol(name)
        parts.append(el("p", f"{name}: {meaning}", class_="note") if meaning else None)
        if not facts.finished:
            parts.append(el("p", "Not finished: the score of the best weights so far.",
                            class_="note"))  # fmt: skip
        return el("div", *parts, class_="scored")
    return el("div", el("p", el("span", "no score", class_="big"), class_="score"),
              el("p", _why_not(facts)), class_="scored")  # fmt: skip


def _why_not(facts: Facts) -> str:
    if not facts.finished and not facts.of_events("eval"):
        return "The run was stopped before anything was scored."
    if facts.recipe.get("data.val") == "none" and "metrics" not in facts.result:
        return ("It was trained on everything (--val none): how good it is can only be said on "
                "other pictures.")  # fmt: skip
    return "Nothing was scored."


def _about(facts: Facts) -> Markup:
    recipe, result = facts.recipe, facts.result
    counts = ", ".join(f"{role} {count:,}" for role, count in facts.counts())
    steps = result.get("steps") or max((e.get("step", 0) for e in facts.events), default=0)
    cost = [f"{steps:,} steps" if steps else "", _time(result.get("seconds")),
            str(facts.env.get("device") or "")]  # fmt: skip
    classes = counted(len(facts.classes), "class", "classes") if facts.classes else ""
    weights = str(recipe["weights"])
    rows = [
        ("data", ", ".join(filter(None, (short_path(str(recipe["data.source"])), classes)))),
        ("pictures", counts),
        ("net", f"{recipe['backbone']}, weights {short_path(weights)}"),
        ("recipe", facts.recipe_name or facts.base),
        ("cost", ", ".join(filter(None, cost))),
        ("seed", recipe.get("run.seed")),
        ("kept", f"step {result['best_step']:,}, the best on val"
         if result.get("best_step") and "metrics" in result else ""),
    ]  # fmt: skip
    known = [(name, value) for name, value in rows if value not in ("", None)]
    return el("dl", *(join(el("dt", k), el("dd", v)) for k, v in known), class_="about")


def _time(seconds: Any) -> str:
    if not is_number(seconds):
        return ""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def remarks_on(
    facts: Facts, examples: Sequence[Example], links: Mapping[str, str]
) -> list[Remark]:  # fmt: skip
    """What is worth saying about a run."""
    found: list[Remark] = []
    if not facts.finished:
        found.append(Remark(
            f"The run is not finished: {_progress(facts)}.",
            join("Go on: ", code(f"xfer finetune --resume {run_of(facts)}")), 100,
        ))  # fmt: skip
    if facts.finished and not facts.scored and facts.recipe["task"] != "probe":
        found.append(Remark(
            "Nothing is known about how good it is.",
            join("Score it: ", code(f"xfer eval {run_of(facts)} --data OTHER_PICTURES")), 90,
        ))  # fmt: skip
    found += _confusions(facts, links) + _classes(facts, links) + _kinds_of_error(facts, links)
    found += _labels(facts, examples, links) + _courses(facts, links) + _certainty(facts)
    found += _warnings(facts, links) + _waiting(facts, links)
    return found


def _link(links: Mapping[str, str], name: str, words: str) -> Markup | str:
    return el("a", words, href=f"#{links[name]}") if name in links else words


def _progress(facts: Facts) -> str:
    step = max((e.get("step", 0) for e in facts.events), default=0)
    if not step:
        return "nothing was logged"
    last = next((e for e in reversed(facts.events) if e.get("epoch")), None)
    epoch = f" (epoch {last['epoch']:.1f} of {facts.recipe['schedule.epochs']:g})" if last else ""
    return f"it stopped after step {step:,}{epoch}"


def _confusions(facts: Facts, links: Mapping[str, str]) -> list[Remark]:
    matrix = matrix_of(facts)
    if matrix is None or not 2 <= len(matrix) <= len(facts.classes):
        return []
    unit = getattr(facts.live.metric, "unit", "pictures")
    found: list[Remark] = []
    names = facts.classes
    for weight, (r, c, count, share) in zip((60, 41, 40), pairs(matrix, 2), strict=False):
        words = f"{share:.0%} of {names[r]} taken for {names[c]}" + (
            f" ({counted(count, 'picture')})" if unit == "pictures" else ""
        )
        found.append(Remark(_link(links, "Confusion", words), None, weight))
    return found


def _classes(facts: Facts, links: Mapping[str, str]) -> list[Remark]:
    per_class: Mapping[str, Any] = facts.scores.get("per_class") or {}
    main = main_key(per_class)
    values = (
        {n: row[main] for n, row in per_class.items() if is_number(row.get(main))} if main else {}
    )
    if len(values) < 3:
        return []
    worst = min(values, key=lambda n: values[n])
    mean = sum(values.values()) / len(values)
    if values[worst] > mean - 0.02:
        return []
    count = per_class[worst].get("positives", per_class[worst].get("n"))
    unit = "" if facts.live.metric is None else getattr(facts.live.metric, "unit", "pictures")
    words = f"Weakest class: {worst}, {WORDS[main]} {values[worst]:.3f} (mean {mean:.3f}"
    words += f"; {count:,} {unit})" if is_number(count) and unit else ")"
    few = is_number(count) and unit in ("pictures", "boxes") and count < 20
    more = "More pictures of it, in train and val, come first." if few else None
    return [Remark(_link(links, "Classes", words), more, 50)]


def _kinds_of_error(facts: Facts, links: Mapping[str, str]) -> list[Remark]:
    costs = {k: v for k, v in (facts.scores.get("errors") or {}).items() if is_number(v)}
    if not costs or max(costs.values()) < 0.01:
        return []
    kind = max(costs, key=lambda k: costs[k])
    count = (facts.scores.get("error_counts") or {}).get(kind)
    boxes = f", {counted(int(count), 'box', 'boxes')}" if is_number(count) else ""
    words = f"Costliest kind of error: {ERRORS.get(kind, kind)} (−{costs[kind]:.3f} AP50{boxes})"
    helps = {
        "miss": "Missed boxes: longer training, or a larger data.size if they are small.",
        "loc": "Badly placed boxes: a finer map (task.levels) or a larger data.size.",
        "cls": "Wrong classes: look whether the labels agree with each other, then more pictures.",
        "bkg": "Boxes on nothing: some may be objects that nobody labelled; look at them first.",
        "dupe": "Boxes found twice: a smaller task.nms.",
    }
    return [Remark(_link(links, "Kinds of error", words), helps.get(kind), 62)]


def _labels(
    facts: Facts, examples: Sequence[Example], links: Mapping[str, str]
) -> list[Remark]:  # fmt: skip
    """Errors of which the net is sure: often the label is wrong."""
    wrong = [e for e in examples if not e.good]
    if not examples or facts.kind is None or facts.kind.graded:
        return []
    if not wrong:
        return [Remark(f"No errors in {counted(len(examples), 'picture')}.", None, 70)]
    if all(mark.role == "missed" for e in examples for mark in e.marks) and wrong[0].truth:
        return [Remark(
            _link(links, "Worst errors", "No detection has a score of 0.5 or more"),
            "Train longer, or start from pretrained weights.", 64,
        )]  # fmt: skip
    sure = [e for e in wrong if len(e.cells) == 1 and not e.marks and e.loss > -_log(1 - SURE)]
    count = f"{len(wrong):,} of {counted(len(examples), 'picture')} with errors"
    found = [Remark(_link(links, "Worst errors", count), None, 55)]
    if sure:
        words = f"{counted(len(sure), 'error')} with at most {1 - SURE:.1f} for the true class"
        source = shlex.quote(str(facts.recipe["data.source"]))
        found.append(Remark(
            join(_link(links, "Worst errors", words), ": some labels may be wrong"),
            join("Look for wrong labels and copies: ", code(f"xfer data check {source}")), 45,
        ))  # fmt: skip
    return found


def _log(value: float) -> float:
    from math import log

    return log(value)


def _courses(facts: Facts, links: Mapping[str, str]) -> list[Remark]:
    evals = facts.of_events("eval")
    val, train = losses_of(evals), losses_of(facts.of_events("train"))
    label = x_label(evals)
    if len(val) >= ENOUGH and train:
        low = min(val, key=lambda point: point[1])
        if val[-1][1] > RISEN * low[1] and low[0] < val[-1][0]:
            words = (f"Overfitting: the val loss has risen from {low[1]:.3f} ({label} {low[0]:g}) "
                     f"to {val[-1][1]:.3f}")  # fmt: skip
            return [Remark(_link(links, "Curves", words),
                           join("Against overfitting: ", code("data.augment=strong"), ", ",
                                code("--freeze first:2"), ", or more pictures"), 58)]  # fmt: skip
    name = facts.primary
    points = [(at(e), e["metrics"][name]) for e in evals if is_number(e["metrics"].get(name))]
    if len(points) >= ENOUGH and points[-1][1] >= max(v for _, v in points):
        before = max(v for _, v in points[: -max(1, len(points) // 4)])
        if points[-1][1] - before > 0.01:
            words = f"Still rising: +{points[-1][1] - before:.3f} {name} in the last quarter"
            epochs = facts.recipe.get("schedule.epochs")
            longer = code(f"--epochs {2 * epochs:g}") if is_number(epochs) else "more epochs"
            return [Remark(_link(links, "Curves", words), join("Train longer: ", longer), 57)]
    return []


def _certainty(facts: Facts) -> list[Remark]:
    found: list[Remark] = []
    for split, _ in facts.scored[:1]:
        known = facts.interval(split)
        if known is not None and float(known["high"]) - float(known["low"]) > 0.08:
            half = (float(known["high"]) - float(known["low"])) / 2
            words = f"The score is known to ±{half:.2f} only: {split} is small"
            found.append(Remark(words, f"More labelled pictures in {split} make it surer.", 42))
    ece = facts.calibration.get("ece")
    if is_number(ece) and ece > 0.05:
        found.append(Remark(
            f"Scores are off as probabilities by {ece:.2f} on average (ECE)",
            join("Calibrated: ", code(f"xfer predict {run_of(facts)} PICTURES --calibrated")), 30,
        ))  # fmt: skip
    return found


def _warnings(facts: Facts, links: Mapping[str, str]) -> list[Remark]:
    notes = [str(n) for n in facts.env.get("data_notes", ())] + list(facts.live.notes)
    odd = list(dict.fromkeys(n.partition("warning: ")[2] for n in notes if "warning: " in n))
    return [Remark(_link(links, "Data", text), None, 43) for text in odd[:2]]


def _waiting(facts: Facts, links: Mapping[str, str]) -> list[Remark]:
    parts = dict(time_split(facts))
    wait, total = parts.get("waiting for data", 0.0), sum(parts.values())
    if total < 20 or wait < WAITS * total:
        return []
    words = f"{wait / total:.0%} of the time was spent waiting for pictures"
    return [
        Remark(_link(links, "Speed", words), join("Faster pictures: ", code("xfer data pack")), 20)
    ]
