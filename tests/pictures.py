"""Small picture files for the tests of data readers."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def scene(width: int = 24, height: int = 16, seed: int = 0) -> np.ndarray:
    """Smooth colours with four different corners: uint8 (height, width, 3)."""
    y, x = np.mgrid[0:height, 0:width] / max(width, height)
    shift = seed * 0.37
    channels = [x * 200 + 20, y * 200 + 40, (x + y + shift) % 1 * 120 + 60]
    return np.stack(channels, axis=2).astype(np.uint8)


def encoded(image: Any, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of an array or PIL image in a file format."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def write_picture(path: Path, seed: int = 0, size: tuple[int, int] = (24, 16)) -> Path:
    """Writes a JPEG, or the format of the suffix, to a path; makes its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = {".png": "PNG", ".bmp": "BMP"}.get(path.suffix.lower(), "JPEG")
    path.write_bytes(encoded(scene(*size, seed=seed), kind))
    return path


def write_folder(root: Path, counts: dict[str, int], suffix: str = ".jpg") -> Path:
    """Class folders with a number of pictures each: {"train/ant": 3}."""
    for folder, count in counts.items():
        for i in range(count):
            write_picture(root / folder / f"{i}{suffix}", seed=i)
    return root
