"""Draw a picture with its predicted classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from xfer.drawing.canvas import BLUE, DPI, GREY, INK, PALE, legible, save
from xfer.types import ClassPrediction

MAX_CLASSES = 5
ROW = 24
NARROWEST, LARGEST = 360, 1200


def draw_classes(
    image: NDArray[np.uint8], prediction: ClassPrediction, classes: Sequence[str], path: Path
) -> None:
    """Write the picture with the five best classes and their probabilities below it."""
    scale = min(1.0, LARGEST / max(image.shape[:2]))
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    if scale < 1:
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    order: list[int] = np.argsort(-prediction.scores, kind="stable")[:MAX_CLASSES].tolist()
    width, height = max(NARROWEST, size[0]), size[1] + ROW * len(order) + 8
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.axis("off")
    left = (width - size[0]) / 2
    # drawn pixel for pixel: the axes' limits are in pixels
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
