"""A picture with what was predicted of it, for `xfer predict --draw`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from xfer.errors import XferError
from xfer.files import replacing
from xfer.report.boxes import boxes_on
from xfer.report.canvas import BLUE, DPI, GREY, INK, PALE, legible, save
from xfer.report.masks import draw_mask_prediction, save_palette
from xfer.types import BoxPrediction, ClassPrediction, MaskPrediction

MOST = 5
ROW = 24
NARROWEST, LARGEST = 360, 1200


def draw_prediction(
    image: NDArray[np.uint8],
    prediction: Any,
    classes: Sequence[str],
    path: Path,
    min_score: float | None = None,
) -> None:
    """Writes the picture with its boxes, its classes a pixel, or the five best classes under it.

    Of a MaskPrediction also <stem>_mask.png: a palette PNG of class indices, the picture's size.

    Args:
        image: uint8 (H, W, 3); large ones are shrunk.
        prediction: a BoxPrediction, a MaskPrediction or a ClassPrediction.
        classes: names; labels, and the positions of scores, are indices into them.
        path: the PNG to write.
        min_score: of boxes: the least score drawn; None: 0.5, or the best few where none has it.

    Raises: XferError for another kind of prediction, and for min_score where there are no boxes.
    """
    if isinstance(prediction, BoxPrediction):
        with replacing(path) as temporary:
            boxes_on(image, prediction, classes, min_score).save(temporary, format="png")
        return
    if isinstance(prediction, MaskPrediction) and min_score is None:
        draw_mask_prediction(image, prediction, classes, path)
        save_palette(prediction.mask, path.with_name(f"{path.stem}_mask.png"))
        return
    if not isinstance(prediction, ClassPrediction | MaskPrediction):
        raise XferError(f"a {type(prediction).__name__} can't be drawn")
    if min_score is not None:
        raise XferError("--min-score is for boxes; these are classes")
    assert isinstance(prediction, ClassPrediction)
    _draw_classes(image, prediction, classes, path)


def _draw_classes(
    image: NDArray[np.uint8], prediction: ClassPrediction, classes: Sequence[str], path: Path
) -> None:
    """Writes the picture with the five best classes and their probabilities under it."""
    scale = min(1.0, LARGEST / max(image.shape[:2]))
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    if scale < 1:
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    order: list[int] = np.argsort(-prediction.scores, kind="stable")[:MOST].tolist()
    width, height = max(NARROWEST, size[0]), size[1] + ROW * len(order) + 8
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.axis("off")
    left = (width - size[0]) / 2
    # drawn dot for dot: the axes' limits are set to pixels
    ax.imshow(image, extent=(left, left + size[0], size[1], 0), interpolation="none")
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    for line, c in enumerate(order):
        score = float(prediction.scores[c])
        y = size[1] + 6 + ROW * line
        ax.add_patch(Rectangle((6, y), width - 12, ROW - 4, fc=PALE, ec="none"))
        ax.add_patch(Rectangle((6, y), (width - 12) * min(score, 1), ROW - 4, fc=BLUE, ec="none",
                               alpha=0.35))  # fmt: skip
        middle = y + (ROW - 4) / 2
        name = legible(classes[c], (width - 90) // 8)
        ax.text(12, middle, name, va="center", fontsize=8.5, color=INK)
        ax.text(width - 12, middle, f"{score:.3f}", va="center", ha="right", fontsize=8.5,
                color=INK if line == 0 else GREY)  # fmt: skip
    save(figure, path)
