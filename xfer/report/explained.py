"""Where the net found what it predicts, on a run's page: Grad-CAM, and occlusion as a check.

Grad-CAM costs one pass per map and is drawn for each picture. Occlusion costs a hundred or more: it
checks as many pictures as there is time for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from xfer.drawing.heat import heat_on
from xfer.errors import XferError
from xfer.explain.contract import Explains
from xfer.explain.heat_maps import Explanation, explain
from xfer.metrics.example import Example, Mark, Panel
from xfer.report.facts import Facts
from xfer.report.galleries import HEAT_SIZE, spread
from xfer.report.markup import Markup, el, join
from xfer.report.thumbnails import PLACED_SIDE, SIDE, Budget, Pictures, figure, panels, shrunk

MAX_CLASSES, MAX_WRONG, MAX_PLACED = 6, 6, 6
OCCLUSION_SECONDS = 10.0


def explanations(
    facts: Facts, examples: Sequence[Example], pictures: Pictures | None
) -> Markup | None:  # fmt: skip
    """Heat maps of pictures of each class and of the worst errors; None for a task that can't be
    explained."""
    task = facts.live.task
    if pictures is None or not isinstance(task, Explains) or not examples or facts.live.late:
        return None
    budget = Budget(HEAT_SIZE, facts.live)
    stop = min(facts.live.deadline, time.monotonic() + OCCLUSION_SECONDS)
    agreements: list[float] = []
    shown: dict[str, list[Markup]] = {"": [], "wrong": []}
    for example in _chosen(examples, pictures):
        if budget.spent:
            break
        check = time.monotonic() < stop
        image = pictures.image(example.id)
        found = None if image is None else _explained(task, image, None, check)
        if image is None or found is None:
            continue
        if found.agreement is not None:
            agreements.append(found.agreement)
        views = _views(task, example, image, found, pictures.kind.placed)
        words = f"{example.id}: {'; '.join(example.lines)}"
        drawn = panels(views, words, f"h{sum(map(len, shown.values()))}")
        good = None if pictures.graded else example.good
        key = "" if example.good or pictures.graded else "wrong"
        shown[key].append(budget.take(figure(example.id, example.lines, drawn, good)))
    if not any(shown.values()):
        return None
    words = (
        "Grad-CAM: how much each place speaks for the class that is named, light where most. A net "
        "that looks at the ground instead of the thing has learnt the ground."
    )
    if agreements:
        mean = sum(agreements) / len(agreements)
        words += (
            f" As a check, places were hidden one after the other (occlusion): both maps agree by "
            f"r = {mean:.2f} on average ({len(agreements)} pictures)."
        )
    titles = {"": "Of each class" if not pictures.kind.placed else "", "wrong": "Worst errors"}
    parts: list[Markup] = []
    for key, figures in shown.items():
        if figures:
            parts += [el("h3", titles[key])] if titles[key] else []
            parts.append(el("div", *figures, class_="grid wide"))
    return join(el("p", words, class_="note"), *parts)


def _explained(task: Any, image: Any, label: int | None, check: bool) -> Explanation | None:
    """The explanation of a picture; None where nothing of the class is found in it."""
    try:
        return explain(task, image, label, check=check)
    except XferError:
        return None


def _chosen(examples: Sequence[Example], pictures: Pictures) -> list[Example]:
    """Of each class the surest right picture, and the worst errors; for labels in pixels the worst
    picture and some others."""
    worst = sorted((e for e in examples if not e.good), key=lambda e: -e.loss)
    if pictures.kind.placed:
        others = [e for e in examples if e.good] or list(examples)
        return [*[others[i] for i in spread(len(others), MAX_PLACED - 2)], *worst[:2]]
    best: dict[Any, Example] = {}
    for example in sorted((e for e in examples if e.good), key=lambda e: e.loss):
        best.setdefault(example.cells or example.lines, example)
    ordered = sorted(best.values(), key=lambda e: e.cells)
    return [*(ordered[i] for i in spread(len(ordered), MAX_CLASSES)), *worst[:MAX_WRONG]]


def _views(
    task: Any, example: Example, image: Any, found: Explanation, placed: bool
) -> list[Panel]:  # fmt: skip
    """The picture, its map, and of an error the map of the true class."""
    side = PLACED_SIDE if placed else SIDE
    box = found.target.box
    marks = () if box is None else (Mark(box, "right", found.label),)
    drawn = heat_on(image, found.heat)
    if box is None:
        drawn = shrunk(drawn, side)
    views = [Panel("picture", shrunk(image, side)), Panel(f"for {found.label}", drawn, marks)]
    if len(example.cells) == 1 and not example.good:
        true = _explained(task, image, example.cells[0][0], False)
        if true is not None:
            views.append(Panel(f"for {true.label} (true)", shrunk(heat_on(image, true.heat), side)))
    return views
