"""What is odd in boxes, for every format: one list of checks.

empty_class  | a class without a box, in train also with crowds alone
unscored     | a class of val or test whose boxes are all crowds or difficult
swapped, flat, outside | corners in the wrong order, no area, not wholly in the picture; readers of
             | files mend these, see data/sources/box_rules.py, sources from Python don't
doubled      | the same box and class twice in a picture
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError
from xfer.kinds.box_stats import EveryBox, every_box
from xfer.kinds.findings import Corners, Finding, counted, named
from xfer.types import Source

SLACK = 1.0  # pixels outside a picture that rounding explains


def find_in_boxes(splits: Mapping[str, Source], classes: Sequence[str]) -> list[Finding]:
    """The findings of all splits (role -> source)."""
    found: list[Finding] = []
    for role, source in splits.items():
        try:
            every = every_box(source)
        except DataError:  # a source whose samples can't be read: checking its pictures says so
            continue
        found += _classes(role, every, classes)
        found += _places(role, every, source.ids)
    return found


def _classes(role: str, every: EveryBox, classes: Sequence[str]) -> list[Finding]:
    boxes, count = every.boxes, len(classes)
    total = np.bincount(boxes.labels, minlength=count)
    crowds = np.bincount(boxes.labels[boxes.crowd], minlength=count)
    counting = np.bincount(boxes.labels[~boxes.ignored], minlength=count)
    found: list[Finding] = []

    def tell(check: str, which: NDArray[np.bool_], text: Callable[[str, str], str]) -> None:
        names = [classes[c] for c in np.flatnonzero(which).tolist()]
        if names:
            has = counted(len(names), "class has", "classes have")
            found.append(Finding(check, text(has, named(names)), tuple((n,) for n in names)))

    if role == "train":
        tell("empty_class", total == 0, lambda has, names:
             f"{has} no box in {role}: {names}: nothing to learn from")  # fmt: skip
        tell("empty_class", (total > 0) & (crowds == total), lambda has, names:
             f"{has} only crowds (iscrowd) in {role}, which are not learnt: {names}")  # fmt: skip
    else:
        if total.any():
            tell("empty_class", total == 0, lambda has, names:
                 f"{has} no box in {role}: {names}: not scored")  # fmt: skip
        which = (total > 0) & (counting == 0)
        tell("unscored", which, lambda has, names:
             f"{has} only crowds or difficult boxes in {role}: {names}: not scored")  # fmt: skip
    return found


def _places(role: str, every: EveryBox, ids: Sequence[str]) -> list[Finding]:
    xyxy = every.boxes.xyxy.astype(np.float64)
    size = every.sizes[every.picture][:, ::-1]
    swapped = (xyxy[:, 2:] < xyxy[:, :2]).any(1)
    flat = ~swapped & (xyxy[:, 2:] == xyxy[:, :2]).any(1)
    known = (size > 0).all(1)
    outside = known & ((xyxy < -SLACK).any(1) | (xyxy > np.tile(size, 2) + SLACK).any(1))
    found: list[Finding] = []
    for check, which, one, many in (
        ("swapped", swapped, "box has its corners swapped", "boxes have their corners swapped"),
        ("flat", flat, "box has no area", "boxes have no area"),
        ("outside", outside, "box reaches out of its picture", "boxes reach out of their pictures"),
        ("doubled", _doubled(every), "box is there twice", "boxes are there twice"),
    ):
        if which.any():
            places: dict[str, list[Corners]] = {}
            for r in np.flatnonzero(which).tolist():
                x1, y1, x2, y2 = xyxy[r].tolist()
                places.setdefault(ids[int(every.picture[r])], []).append((x1, y1, x2, y2))
            pictures = list(places)
            text = f"{counted(int(which.sum()), one, many)} ({role}): {named(pictures)}"
            boxes = tuple(map(tuple, places.values()))
            found.append(Finding(check, text, tuple((n,) for n in pictures), boxes=boxes))
    return found


def _doubled(every: EveryBox) -> NDArray[np.bool_]:
    """bool (R,): boxes that repeat one before: the same picture, class and corners."""
    columns = np.column_stack([every.picture, every.boxes.labels, every.boxes.xyxy])
    rows = np.ascontiguousarray(columns.astype(np.float64) + 0.0).view(np.uint64)
    with np.errstate(over="ignore"):  # one number per box is quick to sort
        factors = np.random.default_rng(0).integers(1, 2**63, 6, np.uint64) | np.uint64(1)
        mixed = (rows ^ (rows >> np.uint64(29))) * factors
        marks = (mixed ^ (mixed >> np.uint64(32))).sum(1, dtype=np.uint64)
    first = np.unique(marks, return_index=True)[1]
    repeats = np.ones(len(marks), bool)
    repeats[first] = False
    return repeats
