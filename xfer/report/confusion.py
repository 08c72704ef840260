"""The confusion matrix: numbers for few classes, a heat map and the worst pairs for many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from numpy.typing import NDArray

from xfer.drawing.canvas import GREY, INK, class_labels, legible, new_figure, save, short

WITH_NUMBERS = 20
WITH_NAMES = 60
MAX_CELLS = 400
PAIRS = 18


def confusion(matrix: NDArray[np.int64], classes: Sequence[str], path: Path) -> None:
    """Draw how often the row's class was predicted as the column's class, as a share of the row.

    Args:
        matrix: int (C, C) counts, rows = truth.
        classes: C names.
        path: the PNG to write.
    """
    count = len(classes)
    if count <= WITH_NUMBERS:
        _small(matrix, classes, path)
        return
    figure = new_figure(12, 7.2 if count > WITH_NAMES else 8)
    left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
    share, block = _pooled(_row_shares(matrix))
    _heat(left, share, count)
    if count <= WITH_NAMES:
        _name(left, class_labels(classes, 18), 6)
    if block > 1:
        left.set_title(f"each dot: the largest of {block} x {block} cells", color=GREY, fontsize=8)
    figure.suptitle(_title(matrix), fontsize=11)
    _list_pairs(right, matrix, classes)
    save(figure, path)


def confused_pairs(matrix: NDArray[np.int64], max_pairs: int = PAIRS) -> list[tuple[int, int, int]]:
    """(truth, predicted, times), the most frequent errors first."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:max_pairs]
    rows, columns = np.unravel_index(order, wrong.shape)
    return [
        (int(r), int(c), int(wrong[r, c]))
        for r, c in zip(rows, columns, strict=True)
        if wrong[r, c]
    ]


def _small(matrix: NDArray[np.int64], classes: Sequence[str], path: Path) -> None:
    count = len(classes)
    side = max(0.5 * count, 2.4)
    figure = new_figure(side + 3.2, side + 2.2)
    ax = figure.subplots()
    share = _row_shares(matrix)
    _heat(ax, share, count)
    _name(ax, class_labels(classes, 20), 9)
    size = 9 if count < 12 else 7
    for (row, column), times in np.ndenumerate(matrix):
        if times:
            dark = share[row, column] > 0.5
            ax.text(column, row, short(int(times)), ha="center", va="center", fontsize=size,
                    color="white" if dark else INK)  # fmt: skip
    ax.set_title(_title(matrix), fontsize=10)
    save(figure, path)


def _heat(ax: Axes, share: NDArray[np.float64], count: int) -> None:
    edge = count - 0.5
    # the square root makes rare errors visible against white
    image = ax.imshow(
        share, cmap="Blues", norm=PowerNorm(1 if count <= WITH_NUMBERS else 0.5, 0, 1),
        extent=(-0.5, edge, edge, -0.5),
    )  # fmt: skip
    ax.set_xlabel("predicted")
    ax.set_ylabel("truth")
    assert ax.figure is not None
    bar = ax.figure.colorbar(image, ax=ax, shrink=0.8)
    bar.set_label("share of the true class")


def _name(ax: Axes, labels: list[str], size: float) -> None:
    places = range(len(labels))
    ax.set_xticks(places, labels, fontsize=size, rotation=90 if len(labels) > 3 else 0)
    ax.set_yticks(places, labels, fontsize=size)


def _list_pairs(ax: Axes, matrix: NDArray[np.int64], classes: Sequence[str]) -> None:
    ax.axis("off")
    pairs = confused_pairs(matrix)
    ax.set_title("most frequent errors" if pairs else "no errors", loc="left", fontsize=10)
    seen = matrix.sum(1)
    for line, (truth, predicted, times) in enumerate(pairs):
        y = 1 - (line + 0.7) / (PAIRS + 0.5)
        ax.text(0.0, y, f"{times} of {seen[truth]}", fontsize=8, color=GREY, transform=ax.transAxes)
        names = f"{legible(classes[truth], 24)} → {legible(classes[predicted], 24)}"
        ax.text(0.2, y, names, fontsize=8, color=INK, transform=ax.transAxes)


def _title(matrix: NDArray[Any]) -> str:
    return f"{int(np.trace(matrix))} of {int(matrix.sum())} right"


def _row_shares(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    return matrix / np.maximum(matrix.sum(1, keepdims=True), 1)


def _pooled(share: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """The largest value of each block, if a cell would be smaller than a dot."""
    block = -(-len(share) // MAX_CELLS)
    if block == 1:
        return share, 1
    side = -(-len(share) // block)
    padded = np.zeros((side * block, side * block))
    padded[: len(share), : len(share)] = share
    return padded.reshape(side, block, side, block).max((1, 3)), block
