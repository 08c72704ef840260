"""Tiles of a mosaic for masks: the truth next to the prediction, and a legend of the colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from xfer.drawing import segments
from xfer.drawing.canvas import class_labels, font_for
from xfer.drawing.masks import blend, is_background, mask_colour
from xfer.objects.segments import Segments

SIDE = 380
GAP = 8
MAX_LISTED = 44


def pair_tile(
    image: NDArray[np.uint8],
    truth: NDArray[np.uint8] | Segments,
    predicted: NDArray[np.uint8] | Segments,
    classes: Sequence[str],
) -> NDArray[np.uint8]:
    """The truth over the picture, and below it (for tall pictures, next to it) the prediction.

    Shapes: image | (H, W, 3); truth, predicted | masks (h, w), truth 255 = ignore, or segments;
        both may be smaller
    """
    height, width = image.shape[:2]
    wide = width >= height
    scale = min(1.0, SIDE / (2 * min(height, width)), SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    parts = [_painted(small, one, classes) for one in (truth, predicted)]
    gap = np.full((GAP, size[0], 3) if wide else (size[1], GAP, 3), 255, np.uint8)
    return np.concatenate([parts[0], gap, parts[1]], axis=0 if wide else 1)


def _painted(
    image: NDArray[np.uint8], known: NDArray[np.uint8] | Segments, classes: Sequence[str]
) -> NDArray[np.uint8]:
    if isinstance(known, Segments):
        return segments.blend(image, segments.fitted(known, image.shape), classes)
    size = image.shape[1], image.shape[0]
    mask = np.asarray(Image.fromarray(known).resize(size, Image.Resampling.NEAREST))
    return blend(image, mask, classes)


def legend_tile(classes: Sequence[str], occurring: Sequence[int]) -> NDArray[np.uint8]:
    """A square with the colours of the classes that occur, uint8 (SIDE, SIDE, 3)."""
    shown = list(occurring)[:MAX_LISTED]
    canvas = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(canvas)
    columns = 1 if len(shown) <= 15 else 2
    rows = max(1, -(-len(shown) // columns))
    row = min(32.0, (SIDE - 12) / rows)
    letters = min(22.0, row * 0.72)
    labels = class_labels(classes, 22 if columns == 1 else 12)
    for n, c in enumerate(shown):
        x, y = 10 + n // rows * (SIDE // columns), 6 + n % rows * row
        name = labels[c].replace(r"\$", "$")
        fill = "white" if is_background(classes[c]) else mask_colour(c)
        draw.rectangle((x, y + 2, x + letters, y + letters + 2), fill=fill, outline="#777777")
        draw.text((x + letters + 8, y + letters / 2 + 2), name, font=font_for(name, letters),
                  fill="#222222", anchor="lm")  # fmt: skip
    return np.asarray(canvas)
