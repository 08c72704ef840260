"""Draw the boxes of a data set: sizes, shapes and classes in one figure, and some pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from xfer.drawing.bars import MAX_BARS
from xfer.drawing.boxes import boxes_on
from xfer.drawing.canvas import BLUE, GREY, PALE, SERIES, class_labels, new_figure, save
from xfer.files import replacing
from xfer.kinds.box_stats import BoxStats
from xfer.types import BoxPrediction, Sample

BINS = 30


def draw_boxes(sample: Sample, classes: tuple[str, ...], path: Path) -> None:
    """Write a picture with its boxes and their classes. The sample must have boxes."""
    assert sample.boxes is not None
    boxes = sample.boxes.astype(np.float32)
    annotated = BoxPrediction(
        sample.id, boxes.xyxy, np.ones(len(boxes), np.float32), boxes.labels, sample.image.shape[:2]
    )
    drawn = boxes_on(sample.image, annotated, classes, scores=False)
    with replacing(path) as temporary:
        drawn.save(temporary, format="png")


def overview(splits: Mapping[str, BoxStats], classes: tuple[str, ...], path: Path) -> None:
    """Draw the boxes per class (all splits; for many classes the most frequent), their sides in
    pixels, their shapes, and their number per picture, with one line per split.

    Raises: ValueError if there are no boxes.
    """
    total = sum(np.bincount(b.labels, minlength=len(classes)) for b in splits.values())
    if not np.sum(total):
        raise ValueError("no boxes to draw")
    order = np.argsort(-np.asarray(total), kind="stable")[:MAX_BARS]
    figure = new_figure(10, max(5.0, 1.2 + 0.22 * len(order)))
    grid = figure.add_gridspec(3, 2, width_ratios=(1.2, 1))
    _classes(figure.add_subplot(grid[:, 0]), np.asarray(total), order, classes)
    sides = {name: np.sqrt(b.width * b.height) for name, b in splits.items()}
    _steps(figure.add_subplot(grid[0, 1]), sides, "side: square root of the area, pixels", 10)
    aspects = {name: b.width / b.height for name, b in splits.items()}
    axes = figure.add_subplot(grid[1, 1])
    _steps(axes, aspects, "width / height", 2)
    counts = {name: b.per_image.astype(float) for name, b in splits.items()}
    _steps(figure.add_subplot(grid[2, 1]), counts, "boxes per picture", 0)
    if len(splits) > 1:
        figure.axes[1].legend(frameon=False, fontsize=8)
    save(figure, path)


def _classes(ax: Axes, total: np.ndarray, order: np.ndarray, classes: tuple[str, ...]) -> None:
    places = np.arange(len(order))
    ax.barh(places, total[order], color=BLUE, height=0.7)
    labels = class_labels(classes)
    ax.set_yticks(places, [labels[c] for c in order.tolist()], fontsize=8)
    ax.set_ylim(len(order) - 0.5, -0.5)
    for place, n in zip(places.tolist(), total[order].tolist(), strict=True):
        ax.annotate(f" {n:,}", (n, place), va="center", fontsize=8, color=GREY)
    ax.set_xlim(0, 1.15 * max(1, int(total.max())))
    hidden = len(classes) - len(order)
    ax.set_xlabel(f"boxes per class{f' ({hidden} rarer classes left out)' if hidden else ''}")
    ax.spines[["top", "right", "left"]].set_visible(False)


def _steps(ax: Axes, values: Mapping[str, np.ndarray], label: str, base: int) -> None:
    """Draw histograms as shares of each split; `base`: of the logarithmic axis, 0: linear."""
    known = np.concatenate([v for v in values.values() if len(v)])
    low, high = float(known.min()), float(known.max())
    if base:
        bins = np.geomspace(low, max(high, low * 1.01), BINS + 1)
        ax.set_xscale("log", base=base)
        ax.xaxis.set_major_formatter("{x:g}")
    else:
        step = max(1, round((high - low) / BINS))
        bins = np.arange(low - 0.5, high + 0.5 + step, step)  # to beyond the largest
    for (name, own), colour in zip(values.items(), SERIES, strict=False):
        if len(own):
            weights = np.full(len(own), 100 / len(own))
            ax.hist(own, bins=bins.tolist(), weights=weights, histtype="step", color=colour,
                    label=name)  # fmt: skip
    ax.set_xlabel(label, fontsize=8)
    ax.set_ylabel("%", fontsize=8)
    ax.tick_params(labelsize=8)
    ax.grid(color=PALE)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
