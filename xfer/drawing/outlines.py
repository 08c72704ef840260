"""Tint and outline an object on a picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from xfer.objects.mask import ObjectMask

TINT = 0.45  # share of the object's colour; the rest is the picture


def drawn_mask(mask: ObjectMask, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A mask at the size (width, height) of a drawing, uint8, 0 or 1."""
    pixels = mask.pixels()
    if pixels.shape == size[::-1]:
        return pixels
    if size[0] < pixels.shape[1]:
        return (cv2.resize(pixels * 255, size, interpolation=cv2.INTER_AREA) > 127).astype(np.uint8)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def outline(mask: ObjectMask, step: float) -> list[NDArray[np.int64]]:
    """The closed lines around an object's parts and holes: each (P, 2), x and y of pixel corners.

    Args: step: how far a line may stray, pixels: it is drawn no finer.
    """
    # a pixel becomes 2 x 2, so that a line runs around its pixels and not through their centres
    pixels = np.pad(mask.pixels(), 1)
    twice = np.repeat(np.repeat(pixels, 2, 0), 2, 1)
    lines = cv2.findContours(twice, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0]
    rough = [cv2.approxPolyDP(line, 2 * step, True)[:, 0] for line in lines]
    return [(line.astype(np.int64) + 1) // 2 - 1 for line in rough]


def paint(
    pixels: NDArray[np.uint8], mask: ObjectMask, colour: tuple[int, ...], line: int, halo: int = 2
) -> None:
    """Tint and outline an object in place. Args: line: width of the outline, halo: by how much the
    white one under it is wider, pixels."""
    seen = drawn_mask(mask, (pixels.shape[1], pixels.shape[0]))
    where = seen > 0
    pixels[where] = np.rint(pixels[where] * (1 - TINT) + TINT * np.array(colour)).astype(np.uint8)
    edges = cv2.findContours(seen, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0]
    if halo:
        cv2.drawContours(pixels, edges, -1, (255, 255, 255), line + halo)
    cv2.drawContours(pixels, edges, -1, colour, line)
