"""Draw a heat map on its picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from xfer.drawing.canvas import DPI, INK, legible, save

NARROWEST, LARGEST = 360, 1200
ROW = 26
STRENGTH = 0.75  # opacity of the hottest colour


def draw_heat(
    image: NDArray[np.uint8],
    heat: NDArray[np.float32],
    title: str,
    path: Path,
    box_xyxy: tuple[float, float, float, float] | None = None,
) -> None:
    """Write the picture in grey with the map in colour on it, the hotter the less transparent.

    Args:
        heat: float (H, W) in 0..1, of the picture's size.
        title: a line below it; box_xyxy: a box to draw.
    """
    height, width = image.shape[:2]
    scale = min(1.0, LARGEST / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    shown = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    mixed = heat_on(
        shown, np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR))
    )
    wide = max(NARROWEST, size[0])
    figure = Figure(figsize=(wide / DPI, (size[1] + ROW) / DPI), dpi=DPI)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.axis("off")
    left = (wide - size[0]) / 2
    ax.imshow(mixed, extent=(left, left + size[0], size[1], 0), interpolation="none")
    if box_xyxy is not None:
        x1, y1, x2, y2 = (v * scale for v in box_xyxy)
        ax.add_patch(Rectangle((left + x1, y1), x2 - x1, y2 - y1, fill=False, ec="white", lw=1.5))
    ax.set_xlim(0, wide)
    ax.set_ylim(size[1] + ROW, 0)
    ax.text(8, size[1] + ROW / 2, legible(title, (wide - 16) // 7), va="center", fontsize=8.5,
            color=INK)  # fmt: skip
    save(figure, path)


def heat_on(image: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The picture in grey with the map in colour on it, the hotter the less transparent.

    Shapes: image | uint8 (H, W, 3); heat | float (H, W), 0..1; returns uint8 (H, W, 3)
    """
    grey = np.asarray(Image.fromarray(image).convert("L"))[..., None] / 255
    share = STRENGTH * heat[..., None]
    # inferno runs from black to light yellow also in grey, and for every kind of colour vision
    colour = colormaps["inferno"](0.15 + 0.85 * heat)[..., :3]
    mixed = grey * (1 - share) + colour * share
    return (255 * mixed.clip(0, 1)).round().astype(np.uint8)


def heat_layer(heat: NDArray[np.float32], side: int) -> NDArray[np.uint8]:
    """The colours of `draw_heat` with their opacity, uint8 (h, w, 4), to be laid over the picture.

    Args: heat: float (H, W) in 0..1; side: the longest side of the result, pixels.
    """
    height, width = heat.shape
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR))
    layer = colormaps["inferno"](0.15 + 0.85 * small)
    layer[..., 3] = STRENGTH * small
    return np.rint(255 * layer.clip(0, 1)).astype(np.uint8)
