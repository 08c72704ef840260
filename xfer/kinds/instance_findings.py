"""What is odd in the masks of objects, for `xfer data check`.

empty_mask | an outline without a pixel: too small, or of fewer than three points
box_mask   | a box that is not the one around its mask
overlap    | two objects that share a tenth of the smaller one's pixels
touching   | two objects side by side: a semantic mask would join them
sliver     | a mask that is nowhere three pixels wide, where few of its class are so thin
hole       | a mask with a hole, where few of its class have one
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError
from xfer.kinds.findings import Corners, Finding, counted, finding
from xfer.kinds.instance_stats import MaskStats, mask_stats
from xfer.types import Source

USUAL = 0.1  # share of a class's objects from which a form is usual for it


def find_in_instances(splits: Mapping[str, Source], classes: Sequence[str]) -> list[Finding]:
    """The findings of all splits (role -> source)."""
    found: list[Finding] = []
    for role, source in splits.items():
        try:
            stats = mask_stats(source)
        except DataError:  # checking its pictures says so
            continue
        found += _of_split(role, stats, source.ids, classes)
    return found


def unusual(which: NDArray[np.bool_], label: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Those of the marked objects of whose class less than a tenth are marked."""
    total = np.bincount(label, minlength=1)
    marked = np.bincount(label[which], minlength=len(total))
    rare = marked < USUAL * total
    return which & rare[label] if len(label) else which


def _of_split(
    role: str, stats: MaskStats, ids: Sequence[str], classes: Sequence[str]
) -> list[Finding]:
    found: list[Finding] = []
    for check, which, one, many in (
        ("empty_mask", stats.empty, "object has an outline without a pixel",
         "objects have an outline without a pixel"),
        ("box_mask", stats.off_box, "object has a box that is not the one around its mask",
         "objects have a box that is not the one around their mask"),
        ("sliver", unusual(stats.sliver & ~stats.empty, stats.label),
         "object is nowhere three pixels wide, unlike others of its class",
         "objects are nowhere three pixels wide, unlike others of their class"),
        ("hole", unusual(stats.holed, stats.label),
         "object has a hole, unlike others of its class",
         "objects have a hole, unlike others of their class"),
    ):  # fmt: skip
        if which.any():
            rows = np.flatnonzero(which)[:, None]
            text = f"{counted(len(rows), one, many)} ({role})"
            found.append(finding(check, text, *_listed(rows, stats, ids, classes)))
    for check, pairs, what in (
        ("overlap", stats.overlapping, "overlap by a tenth of the smaller one or more"),
        ("touching", stats.touching, "touch each other"),
    ):
        if len(pairs):
            text = f"{counted(len(pairs), 'pair')} of objects {what} ({role})"
            found.append(finding(check, text, *_listed(pairs, stats, ids, classes)))
    return found


def _listed(
    groups: NDArray[np.int64], stats: MaskStats, ids: Sequence[str], classes: Sequence[str]
) -> tuple[list[list[str]], list[str], list[list[Corners]]]:
    """The pictures of these objects, each once, a line for each, and the boxes.

    Args: groups: int64 (G, 1 or 2), rows of objects that belong together.
    """
    texts: dict[str, list[str]] = {}
    places: dict[str, list[Corners]] = {}
    for group in groups.tolist():
        name = ids[int(stats.picture[group[0]])]
        words: list[str] = []
        for row in group:
            x1, y1, x2, y2 = stats.xyxy[row].tolist()
            places.setdefault(name, []).append((x1, y1, x2, y2))
            words.append(f"{classes[int(stats.label[row])]} at {x1:.0f}, {y1:.0f}")
        texts.setdefault(name, []).append(" and ".join(words))
    lines = [f"{name} ({'; '.join(t[:3])})" for name, t in texts.items()]
    return [[name] for name in texts], lines, list(places.values())
