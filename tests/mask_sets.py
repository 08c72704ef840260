"""Small sets of pictures and masks, in the layouts that tools write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xfer.types import Source

SIZE = (12, 16)  # height, width


def mask_of(source: Source, i: int = 0) -> NDArray[np.uint8]:
    """The mask of sample i."""
    mask = source[i].mask
    assert mask is not None
    return mask


def write_picture(path: Path, seed: int = 0, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def make_mask(
    values: Sequence[int], seed: int = 0, size: tuple[int, int] = SIZE
) -> NDArray[np.uint8]:
    """A mask with all the values, in patches."""
    rng = np.random.default_rng(seed)
    mask = np.asarray(values, np.uint8)[rng.integers(0, len(values), size)]
    mask[0, : len(values)] = values
    return mask


def write_mask(
    path: Path, mask: NDArray[np.uint8], palette: Sequence[Sequence[int]] | None = None
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(mask)
    if palette is not None:
        image.putpalette([v for colour in palette for v in colour] + [7] * 3 * (256 - len(palette)))
    image.save(path)


def write_set(
    root: Path,
    pictures: str = "images/{}.png",
    masks: str = "masks/{}.png",
    names: Sequence[str] = ("a", "b", "c"),
    values: Sequence[int] = (0, 1, 2),
) -> dict[str, NDArray[np.uint8]]:
    """Writes a picture and a mask for each name; returns the masks."""
    found: dict[str, NDArray[np.uint8]] = {}
    for seed, name in enumerate(names):
        write_picture(root / pictures.format(name), seed)
        found[name] = make_mask(values, seed)
        write_mask(root / masks.format(name), found[name])
    return found
