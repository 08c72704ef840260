"""Draw a picture in its own size with lines of text below it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from xfer.drawing.canvas import INK, font_for, legible
from xfer.files import replacing

LETTERS, LINE, MARGIN = 14, 20, 6
NARROWEST = 360  # a smaller picture is enlarged, so that there is room for the text


def captioned(image: NDArray[np.uint8], lines: Sequence[str], path: Path) -> None:
    """Write the picture, uint8 (H, W, 3), with the lines below it, as PNG."""
    picture = Image.fromarray(image)
    if lines and picture.width < NARROWEST:
        height = max(1, round(picture.height * NARROWEST / picture.width))
        picture = picture.resize((NARROWEST, height), Image.Resampling.NEAREST)
    text = LINE * len(lines) + 2 * MARGIN if lines else 0
    canvas = Image.new("RGB", (picture.width, picture.height + text), "white")
    canvas.paste(picture, (0, 0))
    draw = ImageDraw.Draw(canvas)
    for number, line in enumerate(lines):
        shown = legible(line, picture.width // 8).replace("\\$", "$")
        place = (MARGIN, picture.height + MARGIN + LINE * number)
        draw.text(place, shown, fill=INK, font=font_for(shown, LETTERS))
    with replacing(path) as temporary:
        canvas.save(temporary, format="png")
