"""Draw pictures side by side, each with lines of text and a mark for right or wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image

from xfer.drawing.canvas import BLUE, DPI, GREEN, GREY, INK, RED, legible, save
from xfer.metrics.example import Mark

SIDE, GAP, LINE = 190, 12, 15
COLUMNS = 6
LETTERS = 28
TITLE = 120  # letters
# colour and line style of a box by its role; three styles, so that colour is not needed
MARKS = {"right": (GREEN, "-"), "wrong": (RED, "--"), "missed": (BLUE, ":")}


@dataclass(frozen=True, slots=True)
class Tile:
    """image: uint8 (H, W, 3); lines: the text below it; good: right, wrong, or None for neither;
    marks: boxes in pixels of the image."""

    image: NDArray[np.uint8]
    lines: tuple[str, ...]
    good: bool | None = None
    marks: tuple[Mark, ...] = ()


def mosaic(tiles: Sequence[Tile], path: Path, title: str = "") -> None:
    """Draw a grid of pictures, each fitted into a square without distortion.

    Raises: ValueError if there are no tiles.
    """
    if not tiles:
        raise ValueError("no pictures to draw")
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    text = LINE * max(len(tile.lines) for tile in tiles)
    head = 34 if title else 0
    # a few pictures still leave room for the title
    room = max(460, 8 * min(len(title), TITLE) + 2 * GAP) if title else 0
    width = max(columns * (SIDE + GAP) + GAP, room)
    height = head + rows * (SIDE + text + GAP) + GAP
    canvas = np.full((height, width, 3), 255, np.uint8)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.axis("off")
    for i, tile in enumerate(tiles):
        x = GAP + i % columns * (SIDE + GAP)
        y = head + GAP + i // columns * (SIDE + text + GAP)
        colour = GREY if tile.good is None else GREEN if tile.good else RED
        left, top, scale = _paste(canvas, tile.image, x, y)
        for mark in tile.marks:
            (x1, y1, x2, y2), (line, style) = mark.box_xyxy, MARKS[mark.role]
            corner = left + x1 * scale, top + y1 * scale
            # a light line underneath keeps a thin box visible on any picture
            for line_width, ink, line_style in ((2.6, "white", "-"), (1.3, line, style)):
                ax.add_patch(Rectangle(corner, (x2 - x1) * scale, (y2 - y1) * scale, fill=False,
                                       ec=ink, lw=line_width, ls=line_style))  # fmt: skip
        ax.add_patch(Rectangle((x, y), SIDE, SIDE, fill=False, ec=colour, lw=2.5))
        mark = "" if tile.good is None else "✓ " if tile.good else "✗ "
        for number, line in enumerate(tile.lines):
            first = number == 0
            text_line = (mark if first else "") + legible(line, LETTERS - len(mark) * first)
            ax.text(x, y + SIDE + 4 + LINE * number, text_line, va="top", fontsize=7.5,
                    color=colour if first else INK)  # fmt: skip
    if title:
        ax.text(GAP, head / 2 + 4, legible(title, TITLE), va="center", fontsize=10, color=INK)
    ax.imshow(canvas, extent=(0, width, height, 0), interpolation="none")
    save(figure, path)


def _paste(
    canvas: NDArray[np.uint8], image: NDArray[np.uint8], x: int, y: int
) -> tuple[int, int, float]:
    """Paste a picture into the middle of a square of SIDE px; returns its left, top and scale."""
    height, width = image.shape[:2]
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # tiny pictures (digits) keep sharp pixels instead of being blurred
    method = Image.Resampling.NEAREST if scale > 4 else Image.Resampling.BICUBIC
    small = np.asarray(Image.fromarray(image).resize(size, method))
    canvas[y : y + SIDE, x : x + SIDE] = 238
    top, left = y + (SIDE - size[1]) // 2, x + (SIDE - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = small
    return left, top, scale
