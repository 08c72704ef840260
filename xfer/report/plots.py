"""Draw all figures of a run into its plots/ folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.drawing.bars import per_class_bars
from xfer.drawing.mosaic import COLUMNS, Tile, mosaic
from xfer.metrics.example import Example, PackedMasks, PackedSegments
from xfer.objects.segments import Segments
from xfer.report.confusion import confusion
from xfer.report.curves import curves
from xfer.report.error_bars import error_bars
from xfer.report.mask_tiles import legend_tile, pair_tile
from xfer.report.precision_recall import precision_recall

MAX_TILES = 24
MAX_CLASSES = 2000


def plot_run(
    folder: Path,
    events: Sequence[dict[str, Any]],
    metric: Any,
    fetch_image: Callable[[str], NDArray[np.uint8]] | None,
    classes: Sequence[str],
) -> list[Path]:
    """Draw all figures that a run has data for.

    Args:
        folder: the run's folder; files go to its plots/.
        events: the log's events.
        metric: the metric over the pictures that were scored last, or None.
        fetch_image: sample id -> uint8 (H, W, 3); None if there are no pictures.
        classes: class names.

    Returns: the files written: curves.png; for a metric with examples() worst.png and
        predictions.png; with a confusion matrix (up to 2000 classes) confusion.png; with scores per
        class classes.png; with curves() precision_recall.png; with kinds of errors errors.png.
    """
    plots = folder / "plots"
    written: list[Path] = []

    def at(name: str) -> Path:
        written.append(plots / name)
        return written[-1]

    if any(e["event"] in ("train", "eval") for e in events):
        curves(events, at("curves.png"), metric.primary if metric is not None else "")
    if metric is None:
        return written
    if hasattr(metric, "confusion") and len(classes) <= MAX_CLASSES:
        confusion(metric.confusion, classes, at("confusion.png"))
    scores = metric.compute()
    if hasattr(metric, "curves") and metric.curves():
        title = getattr(metric, "curves_of", "AP at IoU 0.5")
        precision_recall(metric.curves(), at("precision_recall.png"), title)
    if "errors" in scores:
        error_bars(scores["errors"], scores["error_counts"], at("errors.png"))
    rows = scores.get("per_class", {})
    kinds = ("ap", "acc", "iou", "pq")
    label = next((key for row in rows.values() for key in row if key in kinds), None)
    if label is not None and len(rows) > 2:
        values = {name: row[label] for name, row in rows.items()}
        counts = {name: row.get("positives", row["n"]) for name, row in rows.items()}
        title = {"ap": "average precision", "acc": "share right", "iou": "IoU",
                 "pq": "panoptic quality"}[label]  # fmt: skip
        unit = getattr(metric, "unit", "pictures")
        per_class_bars(values, counts, at("classes.png"), title, unit)
    examples: list[Example] = metric.examples() if hasattr(metric, "examples") else []
    if examples and fetch_image is not None and _in_pixels(examples[0]) is not None:
        named = getattr(metric, "pixel_classes", ()) or classes  # several heads have several
        _mask_mosaics(examples, fetch_image, named, at, getattr(metric, "judged", ""))
    elif examples and fetch_image is not None:
        worst, title = _worst(examples)
        mosaic(_tiles(worst, fetch_image), at("worst.png"), title + _key(worst))
        some = [examples[i] for i in _spread(len(examples))]
        right = sum(e.good for e in examples)
        title = f"{len(some)} of {len(examples)} pictures, evenly chosen; {right} of all are right"
        mosaic(_tiles(some, fetch_image), at("predictions.png"), title + _key(some))
    return written


def _mask_mosaics(
    examples: list[Example],
    fetch_image: Callable[[str], NDArray[np.uint8]],
    classes: Sequence[str],
    at: Callable[[str], Path],
    judged: str = "",
) -> None:
    """Masks or segments over their pictures, truth above prediction; first the legend.

    Args: judged: what examples are good by, if it is not the quality of their pixels.
    """
    judged = judged or ("mean IoU" if examples[0].masks else "quality")
    max_examples = MAX_TILES - 1
    worst = sorted(examples, key=lambda e: -e.loss)[:max_examples]
    some = [examples[i] for i in _spread(len(examples), max_examples)]
    for name, shown, choice in (
        ("worst.png", worst, f"with the lowest {judged}"),
        ("predictions.png", some, "evenly chosen"),
    ):
        tiles: list[Tile] = []
        present: set[int] = set()
        for example in shown:
            packed = _in_pixels(example)
            assert packed is not None
            truth, predicted = packed.unpack()
            for one in (truth, predicted):
                present |= set(
                    (one.labels if isinstance(one, Segments) else np.unique(one)).tolist()
                )
            tiles.append(
                Tile(
                    pair_tile(fetch_image(example.id), truth, predicted, classes),
                    example.lines,
                    name=example.id,
                )
            )
        legend = legend_tile(classes, [c for c in range(len(classes)) if c in present])
        title = f"{len(shown)} of {len(examples)} pictures, {choice}"
        key = "; above (or left) the truth, below (or right) the prediction"
        tiles.insert(0, Tile(legend, ("classes",)))
        mosaic(tiles, at(name), title + (key if len(tiles) >= COLUMNS else ""))


def _in_pixels(example: Example) -> PackedMasks | PackedSegments | None:
    """What an example says of every pixel, if it does."""
    return example.masks or example.segments


def _key(examples: list[Example]) -> str:
    """A key of the boxes or objects on the pictures, if there is room for it."""
    marks = [mark for e in examples for mark in e.marks]
    if len(examples) < COLUMNS or not marks:
        return ""
    if any(mark.mask is not None for mark in marks):
        return "; objects: green right, red wrong, blue missed"
    return "; boxes: green right, red dashed wrong, blue dotted missed"


def _worst(examples: list[Example]) -> tuple[list[Example], str]:
    """The errors that cost most; if there are none, the pictures closest to an error."""
    wrong = [e for e in examples if not e.good]
    shown = sorted(wrong or examples, key=lambda e: -e.loss)[:MAX_TILES]
    if not wrong:
        return shown, f"No errors in {len(examples)} pictures; these were the least certain"
    return shown, f"The worst {len(shown)} of {len(wrong)} errors in {len(examples)} pictures"


def _spread(count: int, max_count: int = MAX_TILES) -> list[int]:
    """Positions spread evenly over a list, so that all classes are shown."""
    return sorted(
        set(np.linspace(0, count - 1, min(count, max_count)).round().astype(int).tolist())
    )


def _tiles(examples: list[Example], fetch_image: Callable[[str], NDArray[np.uint8]]) -> list[Tile]:
    return [Tile(fetch_image(e.id), e.lines, e.good, e.marks, e.id) for e in examples]
