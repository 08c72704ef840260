"""Draw pictures side by side, each with lines of text and a mark for right or wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image, ImageColor

from xfer.drawing.boxes import MOST_TAGS, ROLE_COLOURS, ROLES, Rect, tag_place
from xfer.drawing.canvas import DPI, GREEN, GREY, INK, RED, font_for, legible, save
from xfer.drawing.outlines import paint
from xfer.metrics.example import Mark

SIDE, GAP, LINE = 190, 12, 15
COLUMNS = 6
LETTERS = 28
TITLE = 120  # letters
# line style of a box by its role, so that colour is not needed
STYLES = {"right": "-", "wrong": "--", "missed": ":", "truth": "-"}
TAG = 10  # height of a tag's letters, px
TAG_LETTERS = 18


@dataclass(frozen=True, slots=True)
class Tile:
    """image: uint8 (H, W, 3); lines: the text below it; good: right, wrong, or None for neither;
    marks: boxes and objects in pixels of the image; name: the picture's, below the lines."""

    image: NDArray[np.uint8]
    lines: tuple[str, ...]
    good: bool | None = None
    marks: tuple[Mark, ...] = ()
    name: str = ""


def mosaic(tiles: Sequence[Tile], path: Path, title: str = "") -> None:
    """Draw a grid of pictures, each fitted into a square without distortion.

    Raises: ValueError if there are no tiles.
    """
    if not tiles:
        raise ValueError("no pictures to draw")
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    text = LINE * max(len(tile.lines) + bool(tile.name) for tile in tiles)
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
        left, top, scale = _paste(canvas, tile, x, y)
        for mark in tile.marks:
            if mark.mask is not None:  # its outline says where it is
                continue
            x1, y1, x2, y2 = mark.box_xyxy
            line, style = ROLE_COLOURS[mark.role], STYLES[mark.role]
            corner = left + x1 * scale, top + y1 * scale
            # a light line underneath keeps a thin box visible on any picture
            for line_width, ink, line_style in ((2.6, "white", "-"), (1.3, line, style)):
                ax.add_patch(Rectangle(corner, (x2 - x1) * scale, (y2 - y1) * scale, fill=False,
                                       ec=ink, lw=line_width, ls=line_style))  # fmt: skip
        _write_tags(ax, tile.marks, left, top, scale, (x, y))
        ax.add_patch(Rectangle((x, y), SIDE, SIDE, fill=False, ec=colour, lw=2.5))
        mark = "" if tile.good is None else "✓ " if tile.good else "✗ "
        for number, line in enumerate(tile.lines):
            first = number == 0
            text_line = (mark if first else "") + legible(line, LETTERS - len(mark) * first)
            ax.text(x, y + SIDE + 4 + LINE * number, text_line, va="top", fontsize=7.5,
                    color=colour if first else INK)  # fmt: skip
        if tile.name:
            ax.text(x, y + SIDE + 4 + LINE * len(tile.lines), legible(tile.name, LETTERS), va="top",
                    fontsize=7, color=GREY)  # fmt: skip
    if title:
        ax.text(GAP, head / 2 + 4, legible(title, TITLE), va="center", fontsize=10, color=INK)
    ax.imshow(canvas, extent=(0, width, height, 0), interpolation="none")
    save(figure, path)


def _write_tags(
    ax: Axes, marks: Sequence[Mark], left: float, top: float, scale: float, corner: tuple[int, int]
) -> None:
    """Write what boxes hold on them, errors first; in a crowd, only what hides nothing else.

    Args: left, top, scale: of the picture in the canvas; corner: of its square.
    """
    taken: list[Rect] = []
    for mark in sorted(marks, key=lambda mark: ROLES.index(mark.role)):
        if not mark.text or len(taken) >= MOST_TAGS[mark.role]:
            continue
        text = legible(mark.text, TAG_LETTERS)
        font = font_for(text, TAG)
        wide, high = font.getlength(text) + 4, float(TAG + 4)
        x1, y1, x2, y2 = (v * scale for v in mark.box_xyxy)
        dx, dy = left - corner[0], top - corner[1]
        spot = tag_place((x1 + dx, y1 + dy, x2 + dx, y2 + dy), wide, high, taken, (SIDE, SIDE))
        if spot is None:
            continue
        taken.append(spot)
        x, y = spot[0] + corner[0], spot[1] + corner[1]
        ground = ROLE_COLOURS[mark.role]
        ax.add_patch(Rectangle((x, y), wide, high, fc=ground, ec="none", zorder=4))
        ax.text(x + 2, y + high / 2, text, fontsize=72 * TAG / DPI, color="white",
                va="center_baseline", zorder=5)  # fmt: skip


def _paste(canvas: NDArray[np.uint8], tile: Tile, x: int, y: int) -> tuple[int, int, float]:
    """Paste a picture, with its marked objects, into the middle of a square of SIDE px; returns its
    left, top and scale."""
    height, width = tile.image.shape[:2]
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    # tiny pictures (digits) keep sharp pixels instead of being blurred
    method = Image.Resampling.NEAREST if scale > 4 else Image.Resampling.BICUBIC
    small = np.array(Image.fromarray(tile.image).resize(size, method))
    for mark in sorted(tile.marks, key=lambda mark: -ROLES.index(mark.role)):
        if mark.mask is not None:
            colour = ImageColor.getrgb(ROLE_COLOURS[mark.role])[:3]
            paint(small, mark.mask, colour, 1, halo=0)  # thin digits would be all outline
    canvas[y : y + SIDE, x : x + SIDE] = 238
    top, left = y + (SIDE - size[1]) // 2, x + (SIDE - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = small
    return left, top, scale
