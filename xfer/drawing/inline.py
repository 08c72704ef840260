"""Pictures inside HTML: small, and as data URIs, so that nothing else is needed to show them."""

from __future__ import annotations

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TINY = 64  # a picture this small is kept as it is, and shown with sharp pixels
QUALITY = 78


def data_uri(image: NDArray[np.uint8]) -> str:
    """A picture as JPEG in a data URI; a tiny one as PNG, which keeps each pixel."""
    tiny = max(image.shape[:2]) <= TINY
    held = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(image))
    if tiny:
        picture.save(held, "PNG")
    else:
        picture.save(held, "JPEG", quality=QUALITY)
    text = base64.b64encode(held.getvalue()).decode("ascii")
    return f"data:image/{'png' if tiny else 'jpeg'};base64,{text}"


def shrunk(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A picture with a longest side of at most `side`."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(width * scale)), max(1, round(height * scale))
    reduced = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(reduced.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
