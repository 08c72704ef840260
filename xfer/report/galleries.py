"""The pictures of a page: the worst errors, some that are right, and what a training step sees."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from xfer.data.sources.base import read
from xfer.kinds.box_rows import SURE
from xfer.kinds.findings import counted
from xfer.metrics.example import Example, Panel
from xfer.report.facts import Facts
from xfer.report.markup import Markup, el, folded, join, number
from xfer.report.thumbnails import SIDE, Budget, Pictures, figure, img, panels, shrunk
from xfer.types import Batch

FIRST = 24  # errors that are shown at once
MOST_WRONG, MOST_RIGHT = 72, 48
PLACED_WRONG, PLACED_RIGHT = 36, 16
MOST_ROWS = 24  # pictures of a metric without examples
EVERY_CELL = 4  # pictures for each cell of a confusion matrix, as far as they fit
LISTED = 40  # names for each cell
ERRORS_SIZE, RIGHT_SIZE, TRAINING_SIZE, HEAT_SIZE = 3_200_000, 1_600_000, 1_000_000, 1_400_000
TRAINING, VIEWS = 4, 4
CELL_MASKS = 200  # pictures whose masks are counted for the cells of a matrix of pixels
Cell = tuple[int, int]


def examples_of(facts: Facts) -> list[Example]:
    """Every scored picture, as far as the metric keeps them."""
    metric = facts.live.metric
    return metric.examples() if hasattr(metric, "examples") else []


def errors(facts: Facts, examples: Sequence[Example], pictures: Pictures) -> Markup | None:
    """The pictures with errors, the worst first; without errors the least certain ones."""
    if not examples:
        return None
    kind = pictures.kind
    placed, graded = kind.placed, kind.graded
    wrong = sorted((e for e in examples if graded or not e.good), key=lambda e: -e.loss)
    budget = Budget(ERRORS_SIZE, facts.live)
    if not wrong:
        first = sorted(examples, key=lambda e: -e.loss)[: FIRST // 2]
        shown, _ = pictures.figures(first, budget)
        words = f"No errors in {counted(len(examples), 'picture')}. These were the least certain:"
        return join(el("p", words), el("div", shown, class_="grid"))
    chosen = _chosen(wrong, PLACED_WRONG if placed else MOST_WRONG)
    first = FIRST // 2 if placed else FIRST
    before, left = pictures.figures(chosen[:first], budget)
    after, more = pictures.figures(chosen[first:], budget)
    if graded:
        lead = f"{counted(len(examples), 'picture')}, the worst first."
    else:
        have = "has" if len(wrong) == 1 else "have"
        lead = (
            f"{len(wrong):,} of {counted(len(examples), 'picture')} {have} errors; the worst first."
        )
    hidden = len(wrong) - (len(chosen) - left - more)
    note = el("p", f"{hidden:,} more are not in this page; ", el("code", "predictions/"),
              " lists all.", class_="note")  # fmt: skip
    return join(
        el("p", lead), _key(first=chosen[0]), el("div", before, class_="grid"),
        folded("More of them", el("div", after, class_="grid")) if after else None,
        note if hidden > 0 and not graded else None,
    )  # fmt: skip


def right(facts: Facts, examples: Sequence[Example], pictures: Pictures) -> Markup | None:
    """Pictures that are right, evenly chosen, so that all classes are among them."""
    kind = pictures.kind
    placed = kind.placed
    good = [e for e in examples if e.good or kind.graded]
    if not good:
        return None
    budget = Budget(RIGHT_SIZE, facts.live)
    fresh = [e for e in good if e.id not in pictures.number] or good
    some = [fresh[i] for i in spread(len(fresh), 8 if placed else 12)]
    before, _ = pictures.figures(some, budget)
    most = PLACED_RIGHT if placed else MOST_RIGHT
    by_cell = _by_cell(good, [])
    others = _in_turn(list(by_cell.values())) if by_cell else good
    after, _ = pictures.figures(others[:most], budget)
    words = f"{len(some):,} of {counted(len(examples), 'picture')}, evenly chosen."
    if not kind.graded:
        words = f"{len(good):,} of {counted(len(examples), 'picture')} are right; evenly chosen:"
    return join(
        el("p", words), _key(first=some[0]), el("div", before, class_="grid"),
        folded("More of them", el("div", after, class_="grid")) if after else None,
    )  # fmt: skip


def with_rows(facts: Facts, pictures: Pictures) -> Markup | None:
    """Some pictures with what the metric says about each, where it has rows but no examples."""
    metric = facts.live.metric
    rows = metric.rows() if hasattr(metric, "rows") else []
    known = [row for row in rows if row.get("id") in pictures]
    if not known:
        return None
    chosen = [known[i] for i in spread(len(known), MOST_ROWS)]
    examples = [
        Example(str(row["id"]), tuple(f"{k} {number(v)}" for k, v in row.items() if k != "id")[:4],
                False, 0.0)
        for row in chosen
    ]  # fmt: skip
    drawn, _ = pictures.figures(examples, Budget(RIGHT_SIZE, facts.live))
    words = f"{len(chosen):,} of {counted(len(rows), 'picture')}, evenly chosen."
    return join(el("p", words), el("div", drawn, class_="grid")) if drawn else None


def _key(first: Example) -> Markup | None:
    """What the lines of boxes mean."""
    if not (first.marks or first.truth):
        return None
    kinds = (("truth", "found"), ("missed", "missed"), ("right", "right"), ("wrong", "wrong"))
    items = (el("li", el("span", class_=f"swatch box {role}"), name) for role, name in kinds)
    sure = el("li", f"predicted: scores of at least {SURE}")
    return el("ul", *items, sure, class_="legend")


def _chosen(wrong: Sequence[Example], most: int) -> list[Example]:
    """The worst errors, then some of each cell of the confusion matrix in turn."""
    worst = list(wrong[:FIRST])
    by_cell = _by_cell(wrong, worst)
    rest = _in_turn(list(by_cell.values())) if by_cell else list(wrong[FIRST:])
    return [*worst, *rest][:most]


def _by_cell(examples: Sequence[Example], without: Sequence[Example]) -> dict[Cell, list[Example]]:
    seen = {e.id for e in without}
    cells: dict[Cell, list[Example]] = {}
    for example in examples:
        if example.cells and example.id not in seen:
            off = next((c for c in example.cells if c[0] != c[1]), example.cells[0])
            cells.setdefault(off, []).append(example)
    return cells


def _in_turn(groups: Sequence[list[Example]]) -> list[Example]:
    """The first of each group, the second of each, ... up to EVERY_CELL, then the others."""
    ordered: list[Example] = []
    for place in range(max((len(g) for g in groups), default=0)):
        ordered += [group[place] for group in groups if place < len(group)]
    return ordered


def spread(count: int, most: int) -> list[int]:
    """Positions spread evenly over a list."""
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))


def cells(
    examples: Sequence[Example], pictures: Pictures | None, classes: Collection[int] | None = None
) -> dict[str, list[list[Any]]]:
    """The pictures of each cell of the confusion matrix: "row-column" -> [[number in the page or
    0, name], ...]; of a matrix of pixels those with most pixels in the cell.

    Args: classes: rows and columns of the matrix that are shown; None: all.
    """
    numbers = pictures.number if pictures is not None else {}
    found: dict[Cell, list[tuple[float, str]]] = {}
    masked = [e for e in examples if e.masks is not None]
    for example in examples:
        for cell in dict.fromkeys(example.cells):
            if classes is not None and not (cell[0] in classes and cell[1] in classes):
                continue
            found.setdefault(cell, []).append((-example.loss, example.id))
    shown = [e for e in masked if e.id in numbers][:CELL_MASKS]
    for example in shown:
        assert example.masks is not None
        truth, predicted = (mask.astype(np.int64) for mask in example.masks.unpack())
        known = truth < 255
        pairs, pixels = np.unique(truth[known] * 256 + predicted[known], return_counts=True)
        for pair, count in zip(pairs.tolist(), pixels.tolist(), strict=True):
            found.setdefault((pair // 256, pair % 256), []).append((-count, example.id))
    listed: dict[str, list[list[Any]]] = {}
    for (row, column), names in found.items():
        names.sort(key=lambda item: (item[1] not in numbers, item[0]))
        most = 6 if shown or (pictures is not None and pictures.kind.placed) else LISTED
        listed[f"{row}-{column}"] = [[numbers.get(name, 0), name] for _, name in names[:most]]
    return listed


def as_script(key: str, value: Mapping[str, Any]) -> Markup:
    """A value for the page's script, which no text in it can end."""
    content = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    for sign in "<>&":
        content = content.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(f'<script type="application/json" id="{key}">{content}</script>')


def training(facts: Facts) -> Markup | None:
    """Training pictures as they are, and as the net is shown them: drawn, cut and altered anew."""
    live = facts.live
    if live.train is None or live.task is None or not len(live.train) or live.late:
        return None
    task, kind, source = live.task, live.task.kind, live.train
    budget = Budget(TRAINING_SIZE, live)
    transform = task.transform(True)
    classes = task.info.classes
    rows: list[Markup] = []
    for place in spread(len(source), TRAINING):
        if budget.spent:
            break
        sample = read(source, place, task.short_side, None)
        shown: list[Panel] = []
        for view in range(VIEWS):
            draw = np.random.default_rng([place, view])
            batch: Batch = task.collate([transform(sample, draw)])
            if "draws" in batch.targets:  # the device cuts the crops, see DeviceCrops
                return el("p", "Crops are cut on the device in this run: no sheet.", class_="note")
            shown.append(kind.batch_panels(batch, classes)[0])
        if all(np.array_equal(one.image, shown[0].image) for one in shown):
            del shown[1:]  # nothing is altered: one view is all
        views = [
            el(
                "div",
                panels([one], f"{sample.id}, view {i + 1}", f"t{place}v{i}"),
                class_="view-box",
            )
            for i, one in enumerate(shown)
        ]
        caption = kind.caption(sample, classes) if sample.label is not None else ""
        whole = img(shrunk(kind.tinted(sample, classes), SIDE), f"{sample.id}, as it is")
        first = figure(sample.id, [caption], el("div", el("div", whole, class_="panel"),
                                                class_="panels"))  # fmt: skip
        rows.append(budget.take(el("div", first, *views, class_="altered")))
    policy = f"data.augment={facts.recipe.get('data.augment')}"
    words = "On the left training pictures as they are, beside them as the net is shown them: "
    later = " Mixing of pictures (task.mixup, task.cutmix) comes after this."
    mixes = any(facts.recipe.get(f"task.{key}") for key in ("mixup", "cutmix"))
    return join(
        el("p", words, el("code", policy), ", drawn anew each time.", later if mixes else None,
           class_="note"), *rows,
    )  # fmt: skip
