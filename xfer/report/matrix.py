"""The confusion matrix of a page, whose cells show their pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.drawing.canvas import short
from xfer.report.facts import Facts
from xfer.report.galleries import as_script
from xfer.report.markup import Markup, el, join, number, table

MAX_CLASSES = 32
MAX_PAIRS = 12
NOTHING = "no object"


def matrix_of(facts: Facts) -> NDArray[np.int64] | None:
    """How often the row's class was predicted as the column's, int64 (C, C), or of boxes
    (C + 1, C + 1), see DetectionAP.box_confusion; None without one."""
    metric = facts.live.metric
    if hasattr(metric, "confusion"):
        return metric.confusion
    return metric.box_confusion if hasattr(metric, "box_confusion") else None


def pairs(matrix: NDArray[np.int64], most: int = MAX_PAIRS) -> list[tuple[int, int, int, float]]:
    """The commonest confusions: (true class, predicted, count, share of the true class)."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    rows, columns = np.unravel_index(order, wrong.shape)
    totals = np.maximum(matrix.sum(1), 1)
    return [
        (int(r), int(c), int(wrong[r, c]), float(wrong[r, c] / totals[r]))
        for r, c in zip(rows, columns, strict=True)
        if wrong[r, c] > 0
    ]


def confusion(facts: Facts, cells: Mapping[str, Any]) -> Markup | None:
    """The matrix as a table of buttons, the commonest confusions, and a place for the pictures."""
    matrix = matrix_of(facts)
    if matrix is None or len(matrix) < 2 or not matrix.any():
        return None
    names = list(facts.classes or facts.live.metric.classes)
    names += [NOTHING] * (len(matrix) - len(names))
    unit = getattr(facts.live.metric, "unit", "pictures")
    shown = most_confused(matrix)
    rows = [
        [names[r], names[c], count, (_percent(share), share)]
        for r, c, count, share in pairs(matrix)
    ]
    listed = table(
        [("true class", ""), ("predicted as", ""), (unit, "n"), ("share of the class", "n")],
        rows, caption="Commonest confusions", sorts=True,
    )  # fmt: skip
    words = "Rows are the true classes, columns what was predicted; colours are shares of the row. "
    if NOTHING in names:
        words += f"Boxes of at least 0.5; {NOTHING}: detected where no box is, or not detected. "
    if cells:
        words += "A click on a cell shows its pictures; arrow keys move between cells."
    if len(shown) < len(names):
        words += f" The {len(shown)} of {len(names)} classes with most errors."
    place = el(
        "div", id="cell", class_="cell-pictures", tabindex="-1", role="region", aria_live="polite",
        aria_label="Pictures of the chosen cell", hidden=True,
    )  # fmt: skip
    return join(
        el("p", words, class_="note"), _grid(matrix, names, shown, cells, unit), place,
        listed if rows else None, as_script("cells", cells),
    )  # fmt: skip


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "< 0.1%"


def most_confused(matrix: NDArray[np.int64]) -> list[int]:
    """The classes that are shown: all, or of many those with most errors."""
    count = len(matrix)
    if count <= MAX_CLASSES:
        return list(range(count))
    wrong = matrix.sum(0) + matrix.sum(1) - 2 * matrix.diagonal()
    return sorted(np.argsort(-wrong, kind="stable")[:MAX_CLASSES].tolist())


def _grid(
    matrix: NDArray[np.int64], names: Sequence[str], shown: Sequence[int],
    cells: Mapping[str, Any], unit: str,
) -> Markup:  # fmt: skip
    totals = np.maximum(matrix.sum(1), 1)
    turned = len(shown) > 6 or max(len(names[c]) for c in shown) > 10
    heads = (
        el("th", el("span", names[c]), scope="col", class_="turned" if turned else None)
        for c in shown
    )
    lines: list[Markup] = []
    first = True
    for r in shown:
        line = [el("th", names[r], scope="row")]
        for c in shown:
            count, share = int(matrix[r, c]), float(matrix[r, c] / totals[r])
            look = "hit" if r == c else "miss"
            key = f"{r}-{c}"
            said = (f"{names[r]}, right" if r == c else f"{names[r]} taken for {names[c]}") + (
                f": {number(count)} {unit}, {share:.1%}"
            )
            # the text of a strong colour is white in light and dark
            text = " strong" if share > 0.55 else ""
            if count and key in cells:
                inside: Any = el("button", short(count), type="button", data_cell=key, title=said,
                                 aria_label=said, tabindex="0" if first else "-1")  # fmt: skip
                first = False
            else:
                inside = short(count)
            line.append(el("td", inside, style=f"--v:{share:.3f}" if count else None,
                           class_=f"{look}{text}" if count else "none"))  # fmt: skip
        lines.append(el("tr", *line))
    corner = el("th", el("span", "true ↓ predicted →"), class_="corner")
    body = el(
        "table", el("caption", "Confusion matrix"), el("thead", el("tr", corner, *heads)),
        el("tbody", *lines), class_="matrix",
    )  # fmt: skip
    return el("div", body, class_="scroll", tabindex="0", role="region",
              aria_label="Confusion matrix")  # fmt: skip
