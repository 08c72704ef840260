"""What a metric remembers of one picture, so that reports can show it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Role = Literal["right", "wrong", "missed"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A box to draw on a picture.

    box_xyxy | left, top, right, bottom in the picture's own pixels
    role     | right: found; wrong: found where there is none; missed: there and not found
    """

    box_xyxy: tuple[float, float, float, float]
    role: Role


@dataclass(frozen=True, slots=True)
class Example:
    """One scored picture.

    id    | sample id
    lines | what to write under it: the truth, the prediction
    good  | whether the prediction is right
    loss  | how wrong it is, 0 = perfect; orders the worst errors
    marks | boxes to draw on it
    """

    id: str
    lines: tuple[str, ...]
    good: bool
    loss: float
    marks: tuple[Mark, ...] = ()


def natural_order(ids: Sequence[str]) -> list[int]:
    """Positions that sort ids with their numbers read as numbers: img2 before img10.

    Several processes finish in any order; sorted, their rows come out the same.
    """

    def key(position: int) -> list[tuple[int, int, str]]:
        parts = re.split(r"(\d+)", ids[position])
        return [(0, int(p), p) if i % 2 else (1, 0, p) for i, p in enumerate(parts)]

    return sorted(range(len(ids)), key=key)


def unique_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Class names as keys: a name that two classes share (ImageNet's crane) gets its index."""
    times = Counter(classes)
    return tuple(f"{name} [{i}]" if times[name] > 1 else name for i, name in enumerate(classes))


def as_array(values: Any) -> NDArray[Any]:
    """A tensor on any device, or an array, as an array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values)
