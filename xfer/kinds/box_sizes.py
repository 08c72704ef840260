"""Boxes of an odd size, for `xfer data check`.

tiny   | sides below TINY px, or a share of the picture that no map of a net resolves
huge   | nearly the whole picture, where most boxes of the class are far smaller
unlike | far larger or smaller than the boxes of their class
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError
from xfer.kinds.box_stats import EveryBox, every_box
from xfer.kinds.findings import Corners, Finding, counted, finding
from xfer.types import Source

TINY = 4.0  # pixels
HUGE = 0.95  # of the picture's sides, as a geometric mean
USUAL = 0.6  # a class whose median box is larger fills pictures by nature
# a box is unlike its class if the logarithm of its side is this many robust deviations (1.4826
# times the median absolute deviation; Iglewicz and Hoaglin 1993 use 3.5) from the median, and by a
# factor of at least FACTOR; of fewer than ENOUGH boxes nothing is said
DEVIATIONS, FACTOR, ENOUGH = 5.0, 4.0, 20


def find_odd_sizes(splits: Mapping[str, Source], classes: Sequence[str]) -> list[Finding]:
    """The findings of all splits (role -> source)."""
    found: list[Finding] = []
    for role, source in splits.items():
        try:
            every = every_box(source)
        except DataError:  # checking its pictures says so
            continue
        found += _of_split(role, every, source.ids, classes)
    return found


def _of_split(
    role: str, every: EveryBox, ids: Sequence[str], classes: Sequence[str]
) -> list[Finding]:
    boxes = every.boxes
    sides = boxes.sides.astype(np.float64)
    side = np.sqrt(np.maximum(sides.prod(1), 1e-12))
    whole = np.sqrt(every.sizes[every.picture].astype(np.float64).prod(1))
    share = np.divide(side, whole, out=np.full(len(side), np.nan), where=whole > 0)
    single = ~boxes.crowd
    tiny = single & (sides.min(1) < TINY) if len(sides) else np.zeros(0, bool)
    huge = np.zeros(len(side), bool)
    unlike = np.zeros(len(side), bool)
    for c in np.unique(boxes.labels):
        own = single & (boxes.labels == c)
        shares = share[own & ~np.isnan(share)]
        if len(shares) and np.median(shares) < USUAL:
            huge |= own & (share > HUGE)
        if own.sum() >= ENOUGH:
            logs = np.log(side)
            middle = np.median(logs[own])
            spread = 1.4826 * np.median(np.abs(logs[own] - middle))
            away = np.abs(logs - middle)
            unlike |= own & (away > np.log(FACTOR)) & (away > DEVIATIONS * spread)
    unlike &= ~tiny & ~huge
    return [
        finding(check, f"{counted(int(which.sum()), one, many)} ({role})",
                *_listed(which, every, ids, classes))
        for check, which, one, many in (
            ("tiny_box", tiny, f"box has a side below {TINY:g} px",
             f"boxes have a side below {TINY:g} px"),
            ("huge_box", huge, "box covers nearly its whole picture",
             "boxes cover nearly their whole picture"),
            ("unlike_box", unlike, "box is far larger or smaller than others of its class",
             "boxes are far larger or smaller than others of their class"),
        )
        if which.any()
    ]  # fmt: skip


def _listed(
    which: NDArray[np.bool_], every: EveryBox, ids: Sequence[str], classes: Sequence[str]
) -> tuple[list[list[str]], list[str], list[list[Corners]]]:
    """The pictures of these boxes, each once, and a line for each: its odd boxes; and these."""
    texts: dict[str, list[str]] = {}
    places: dict[str, list[Corners]] = {}
    for r in np.flatnonzero(which).tolist():
        x1, y1, x2, y2 = every.boxes.xyxy[r].tolist()
        name = classes[int(every.boxes.labels[r])]
        places.setdefault(ids[int(every.picture[r])], []).append((x1, y1, x2, y2))
        texts.setdefault(ids[int(every.picture[r])], []).append(
            f"{name} {x2 - x1:.0f} x {y2 - y1:.0f} at {x1:.0f}, {y1:.0f}"
        )
    lines = [f"{name} ({'; '.join(t[:3])})" for name, t in texts.items()]
    return [[name] for name in texts], lines, list(places.values())
