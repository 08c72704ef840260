"""Decoded pixels of any kind as 8-bit RGB: 16 bits, floating point, palettes, transparency.

Large pictures are converted a few rows at a time, so that what lies between takes no memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.decode_error import DecodeError
from xfer.data.images.remarks import asked, remark
from xfer.data.images.tiff import SAVE

# a picture of 16 bits that uses no more of them is read as dark
DARK_BITS = 14
SLACK = 1e-3  # how far resizing may leave 0..1
# pixels that are converted at a time: what lies between takes up to 24 bytes each, so that it stays
# in the processor's cache; and of pictures in Pillow's keeping
_BLOCK, _STRIP = 1 << 16, 1 << 22


def to_rgb(image: Any, most: int = 65535) -> NDArray[np.uint8]:
    """Returns a loaded Pillow image as uint8 (H, W, 3). Args: most: the value that is white."""
    if image.mode.startswith("I"):
        values = _numbers(image)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise DecodeError(f"its values are not within 16 bits: {SAVE}")
        if asked() and most == 65535:
            remark_bits(int(values.max(initial=0)))
        grey = to_8_bits(values.astype(np.uint16), most)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "F":
        values = _numbers(image)
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
        if not (low >= -SLACK and high <= 1 + SLACK):  # also catches NaN
            span = f"from {low:.4g} to {high:.4g}"
            raise DecodeError(f"holds floating-point numbers {span}, not within 0..1: {SAVE}")
        grey = by_rows(values, lambda rows: np.rint(np.clip(rows, 0, 1) * 255), values.shape)
        return np.repeat(grey[:, :, None], 3, axis=2)
    width, height = image.size
    step = max(1, _STRIP // max(1, width))
    if height <= step:
        return _colours(image)
    out = np.empty((height, width, 3), np.uint8)  # a strip at a time: converting takes copies
    for top in range(0, height, step):
        bottom = min(height, top + step)
        out[top:bottom] = _colours(image.crop((0, top, width, bottom)))
    return out


def _numbers(image: Any) -> NDArray[Any]:
    """The values (H, W) of an image of one channel, a strip at a time: Pillow's whole array is made
    by way of two copies."""
    width, height = image.size
    step = max(1, _STRIP // max(1, width))
    first = np.asarray(image.crop((0, 0, width, min(height, step))))
    if height <= step:
        return first
    values = np.empty((height, width), first.dtype)
    values[:step] = first
    for top in range(step, height, step):
        bottom = min(height, top + step)
        values[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return values


def _colours(image: Any) -> NDArray[np.uint8]:
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        return on_white(np.asarray(image.convert("RGBA")))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def remark_bits(most: int) -> None:
    """Remarks that a picture of 16 bits uses few of them. Args: most: its largest value."""
    bits = max(8, most.bit_length())
    if most and bits <= DARK_BITS:
        looks = "almost black" if bits <= 12 else "dark"
        line = (
            f"only the lower {bits} of 16 bits are used, which is read as {looks}: multiply the "
            f"values by {2 ** (16 - bits)}, or save as 8 bit"
        )
        remark("few_bits", line, bits)


def to_8_bits(values: NDArray[np.uint16], most: int = 65535) -> NDArray[np.uint8]:
    """Maps 0..most to 0..255, rounded: 257 = 65535 / 255."""

    def mapped(rows: NDArray[Any]) -> NDArray[Any]:
        if most != 65535:
            return ((rows.astype(np.uint32) * 255 + most // 2) // most).clip(0, 255)
        return (rows.astype(np.uint32) * 255 + 32895) >> 16  # (v + 128) // 257, for all 16 bits

    return by_rows(values, mapped, values.shape)


def on_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Composites uint8 (H, W, 4) on white: uint8 (H, W, 3)."""

    def mixed(rows: NDArray[Any]) -> NDArray[Any]:
        alpha = rows[:, :, 3:].astype(np.uint16)
        sums = rows[:, :, :3] * alpha + 255 * (255 - alpha)
        return (sums.astype(np.uint32) + 127) // 255

    return by_rows(rgba, mixed, (*rgba.shape[:2], 3))


def by_rows(
    pixels: NDArray[Any], work: Callable[[NDArray[Any]], NDArray[Any]], shape: tuple[int, ...]
) -> NDArray[np.uint8]:
    """What `work` makes of pixels (H, W, ...), a few rows at a time: uint8 of that shape."""
    height, width = shape[:2]
    step = max(1, _BLOCK // max(1, width))
    if height <= step:
        return np.ascontiguousarray(work(pixels), np.uint8)
    out = np.empty(shape, np.uint8)
    for top in range(0, height, step):
        out[top : top + step] = work(pixels[top : top + step])
    return out
