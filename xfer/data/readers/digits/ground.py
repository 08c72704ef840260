"""What panoptic scenes have under their digits: stuff in wavy regions, a smudge of void, a crowd.

All of it comes from a random stream of its own, so that the digits on it are those of the scenes
for boxes and masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

STUFF = ("smooth", "stripes", "dots")
REGIONS = (2, 3)  # kinds of stuff in a scene
LEAST = 0.04  # share of the scene that a region must have, or it is left to the others
STRENGTH = (14, 30)  # of stripes and dots above and below the mean, 0..255
PERIOD = (7.0, 14.0)  # pixels from stripe to stripe, and from dot to dot
VOID_SHARE, CROWD_SHARE = 0.3, 0.2  # of the scenes that have one
VOID_SIDES = (18, 44)  # pixels
CROWD_COUNT, CROWD_HEIGHT = (5, 9), (11, 17)  # digits of a crowd, and their height in pixels


@dataclass(frozen=True, slots=True)
class Ground:
    """The ground of a scene.

    pattern | float32 (H, W), added to its grey
    stuff   | uint8 (H, W), index into STUFF
    void    | bool (H, W)
    crowd   | float32 (H, W), how much of a pixel the pens of a crowd cover, 0..1
    label   | the digit of which the crowd is made, -1 without one
    """

    pattern: NDArray[np.float32]
    stuff: NDArray[np.uint8]
    void: NDArray[np.bool_]
    crowd: NDArray[np.float32]
    label: int


def ground(
    rng: np.random.Generator, side: int, frames: Sequence[NDArray[Any]],
    labels: NDArray[np.int64],
) -> Ground:  # fmt: skip
    """Draw the ground of one scene.

    Args: side: pixels; frames: the split's digits, float32 (h, w), 0..1; labels: (n,) which they
        are.
    """
    stuff = _regions(rng, side)
    patterns = np.stack([np.zeros((side, side), np.float32), _stripes(rng, side), _dots(rng, side)])
    pattern = np.take_along_axis(patterns, stuff[None].astype(np.int64), 0)[0]
    void = np.zeros((side, side), bool)
    if rng.random() < VOID_SHARE:
        void = _smudge(rng, side)
        pattern = np.where(void, rng.normal(0, 45, (side, side)), pattern)
    crowd, label = np.zeros((side, side), np.float32), -1
    if rng.random() < CROWD_SHARE:
        label = int(rng.choice(labels))
        crowd = _crowd(rng, side, [frames[k] for k in np.flatnonzero(labels == label).tolist()])
    return Ground(pattern.astype(np.float32), stuff, void, crowd, label)


def _field(rng: np.random.Generator, side: int, cells: int) -> NDArray[np.float32]:
    """float32 (side, side): smooth noise that waves about `cells` times across."""
    grid = rng.normal(0, 1, (cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC), np.float32)


def _regions(rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    count = int(rng.integers(REGIONS[0], REGIONS[1] + 1))
    kinds = rng.permutation(len(STUFF))[:count]
    fields = np.stack([_field(rng, side, 4) for _ in kinds])
    chosen = fields.argmax(0)
    small = np.bincount(chosen.ravel(), minlength=count) < LEAST * side**2
    if small.any():
        fields[small] = -np.inf
        chosen = fields.argmax(0)
    return kinds[chosen].astype(np.uint8)


def _stripes(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    angle, period = rng.uniform(0, np.pi), rng.uniform(*PERIOD)
    y, x = np.mgrid[:side, :side]
    along = x * np.cos(angle) + y * np.sin(angle)
    wave = np.sin(along * (2 * np.pi / period) + rng.uniform(0, 6))
    return (np.sign(wave) * rng.uniform(*STRENGTH)).astype(np.float32)


def _dots(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    step = rng.uniform(*PERIOD)
    y, x = np.mgrid[:side, :side]
    shift = rng.uniform(0, step, 2)
    dy = (y + shift[0]) % step - step / 2
    dx = (x + shift[1]) % step - step / 2
    inside = dy**2 + dx**2 < (0.3 * step) ** 2
    sign = 1 if rng.random() < 0.5 else -1
    return (sign * (2 * inside - 1) * rng.uniform(*STRENGTH)).astype(np.float32)


def _smudge(rng: np.random.Generator, side: int) -> NDArray[np.bool_]:
    blot = np.zeros((side, side), np.uint8)
    centre = [int(v) for v in rng.integers(side // 8, side - side // 8, 2)]
    axes = [int(v) // 2 for v in rng.integers(VOID_SIDES[0], VOID_SIDES[1] + 1, 2)]
    cv2.ellipse(blot, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    return blot.astype(bool)


def _crowd(
    rng: np.random.Generator, side: int, frames: Sequence[NDArray[Any]]
) -> NDArray[np.float32]:
    """Small digits of one class, close together in two rows."""
    crowd = np.zeros((side, side), np.float32)
    count = int(rng.integers(CROWD_COUNT[0], CROWD_COUNT[1] + 1))
    height = int(rng.integers(CROWD_HEIGHT[0], CROWD_HEIGHT[1] + 1))
    columns = -(-count // 2)
    top, left = (int(rng.integers(0, side - n)) for n in (2 * height, columns * height))
    for k in range(count):
        frame = frames[int(rng.integers(len(frames)))]
        width = max(2, min(height, round(height * frame.shape[1] / frame.shape[0])))
        alpha = np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_CUBIC))
        y, x = top + k % 2 * (height - 1), left + k // 2 * (width + 1)
        part = crowd[y : y + height, x : x + width]
        np.maximum(part, alpha.clip(0, 1)[: part.shape[0], : part.shape[1]], out=part)
    return crowd
