"""What the class and picture numbers of another tool's detections mean.

As the data number their classes and pictures, first of all. Tools often number them from 0 by
place, while the data's ids start at 1 or have gaps (COCO's 80 classes have ids to 90), or the other
way round. If results have numbers that the data don't have, and counting from 0 or from 1 explains
all of them, they are read so, with a warning; unless the boxes say otherwise:

classes  | where detections overlap true boxes, that reading must agree with the true classes at
         | least as often as the data's numbers, and nearly always if none of the numbers is 0
pictures | read so, most detections must overlap a true box, twice as many as by the data's numbers

If the data's numbers explain all, they are used, but boxes that fit only the other counting get a
warning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from xfer.boxes import overlap_xyxy
from xfer.data.sources.written import Id
from xfer.metrics.boxes import FoundBoxes, TrueBoxes

LOOKED_AT = 2000  # detections, the surest ones
OVERLAP = 0.5
ENOUGH, OFTEN, MOSTLY, RARELY = 8, 0.9, 0.5, 0.1


def counted_from(ids: Sequence[Id], first: int, classes: int) -> dict[Id, int] | None:
    """The ids as places counted from `first`; None if not all of them can be."""
    numbers = {key for key in ids if isinstance(key, int) and first <= key < first + classes}
    return {key: key - first for key in numbers} if numbers and numbers == set(ids) else None


def class_numbers(
    ids: Sequence[Id], known: Mapping[Id, int], classes: int, found: FoundBoxes, truth: TrueBoxes
) -> tuple[Mapping[Id, int], list[str]]:
    """What each id of the results means (id -> class index), and warnings.

    Args:
        ids: R, of the detections; known: the data's own; classes: how many there are.
        found: the detections, their labels not yet known, with image -1 for unknown pictures.
    """
    used = set(ids)
    others = {first: table for first in (0, 1)
              if (table := counted_from(ids, first, classes)) is not None
              and any(known.get(key, -1) != c for key, c in table.items())}  # fmt: skip
    if not used or not others:
        return known, []
    matches = _true_labels(found, truth)
    agreement = {first: _agreement(ids, table, *matches) for first, table in others.items()}
    first = max(agreement, key=lambda one: agreement[one])
    own = _agreement(ids, known, *matches)
    unknown = sorted(key for key in used if isinstance(key, int) and key not in known)
    numbers = f"{min(known, key=str)} to {max(known, key=_size)}" if known else "other numbers"
    theirs = f"category_id counts the classes from {first}"
    sure = len(matches[0]) >= ENOUGH and agreement[first] >= OFTEN
    if unknown and agreement[first] >= own and (sure or (first == 0 and 0 in used)):
        listed = ", ".join(map(str, unknown[:5]))
        return others[first], [
            f"{theirs}, the data have {numbers} (not {listed}): read as counted from {first}"
        ]
    if not unknown and sure and own <= RARELY:
        return known, [
            f"category_id is read as the data's numbers, {numbers}, but the boxes agree with their "
            f"classes only if {theirs}: add the difference to every category_id"
        ]
    return known, []


def picture_numbers(
    ids: Sequence[Id], known: Mapping[Id, int], pictures: int, found: FoundBoxes, truth: TrueBoxes
) -> tuple[Mapping[Id, int], list[str]]:
    """What each image_id of the results means (id -> index), and warnings.

    Args:
        ids: R, of the detections; known: the data's own; pictures: how many there are.
        found: the detections; their pictures and labels are not yet known.
    """
    used = set(ids)
    others = {first: table for first in (0, 1)
              if (table := counted_from(ids, first, pictures)) is not None
              and any(known.get(key, -1) != i for key, i in table.items())}  # fmt: skip
    if not used or not others:
        return known, []
    shares = {first: _share_on_boxes(ids, table, found, truth) for first, table in others.items()}
    own = _share_on_boxes(ids, known, found, truth)
    first = max(shares, key=lambda one: shares[one])
    if len(found) < ENOUGH or shares[first] < MOSTLY or shares[first] < 2 * own:
        return known, []
    theirs = f"image_id counts the pictures from {first}, in the order of the data"
    fits = f"{shares[first]:.0%} of the surest detections lie on a true box so, {own:.0%} by id"
    if any(key not in known for key in used):
        return others[first], [f"{theirs}: read so, since {fits}"]
    if shares[first] >= OFTEN and own <= RARELY:
        return known, [f"image_id is read as the data's ids, but perhaps {theirs}: {fits}"]
    return known, []


def _share_on_boxes(
    ids: Sequence[Id], table: Mapping[Id, int], found: FoundBoxes, truth: TrueBoxes
) -> float:
    """The share of the surest detections that lie on a true box of their picture by `table`."""
    image = np.array([table.get(key, -1) for key in ids], np.int64)
    rows, _ = _true_labels(replace(found, image=image), truth)
    return len(rows) / max(1, min(LOOKED_AT, len(found)))


def _size(key: Id) -> tuple[bool, float, str]:
    return isinstance(key, int), float(key) if isinstance(key, int) else 0.0, str(key)


def _agreement(
    ids: Sequence[Id], table: Mapping[Id, int], rows: NDArray[np.int64], labels: NDArray[np.int64]
) -> float:
    """The share of the detections in `rows` whose id means the true class; 0 if there are none."""
    if not len(rows):
        return 0.0
    pairs = zip(rows.tolist(), labels.tolist(), strict=True)
    return float(np.mean([table.get(ids[k], -1) == c for k, c in pairs]))


def _true_labels(
    found: FoundBoxes, truth: TrueBoxes
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of the surest detections lie on a true box, and that box's class."""
    surest = np.argsort(-found.score, kind="stable")[:LOOKED_AT]
    rows: list[int] = []
    labels: list[int] = []
    for image in np.unique(found.image[surest]).tolist():
        own = surest[found.image[surest] == image]
        true = np.flatnonzero(truth.image == image)
        if image < 0 or not len(true):
            continue
        overlap = overlap_xyxy(found.xyxy[own][:, None], truth.boxes.xyxy[true][None])
        best = overlap.argmax(1)
        on = overlap.max(1) >= OVERLAP
        rows += own[on].tolist()
        labels += truth.label[true[best[on]]].tolist()
    return np.array(rows, np.int64), np.array(labels, np.int64)
