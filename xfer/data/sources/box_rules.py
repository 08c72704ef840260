"""Rules for valid boxes, whichever format they come from.

1. A coordinate that is not a finite number, an undeclared class, a flag that is neither yes nor no
   stop the run, unless they may be left out (`leave_out`).
2. The form that the format declares is checked over the whole file (`box_forms`).
3. So is the frame, as stored or upright, of pictures that EXIF turns (`box_frames`).
4. A box whose corners are swapped (a negative side) is read with them in order if it lies in its
   picture. One without area or wholly outside is dropped, one partly outside is clipped.

One warning of each kind counts and names them. `settle` applies 2 to 4. What is odd but can be
learnt from (classes without a box, crowds alone, doubled boxes) is found by `BoxKind.find`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfer.boxes import clip_xyxy
from xfer.data.sources.box_forms import judge, leaving
from xfer.data.sources.box_frames import settle_frames
from xfer.errors import SKIP_BAD, DataError

NAMED = 10
# files round coordinates to two digits or more: no warning for less than this outside
SLACK = 0.02


@dataclass(frozen=True)
class Settled:
    """Boxes by the rules.

    boxes_xyxy | float64 (R, 4)  | clipped to their pictures
    keep       | bool (R,)       | which of them to use
    sizes      | int64 (N, 2)    | of the pictures, in the frame of the boxes
    changed    | bool            | the file's form is not the declared one
    lines      | the warnings
    """

    boxes_xyxy: NDArray[np.float64]
    keep: NDArray[np.bool_]
    sizes: NDArray[np.int64]
    changed: bool
    lines: list[str]


def settle(
    written: NDArray[np.float64],
    picture: NDArray[np.int64],
    sizes: NDArray[np.int64],
    names: Sequence[str],
    root: Path,
    files: Sequence[str],
    declared: str = "xyxy",
) -> Settled:
    """The boxes of a file as corners that can be learnt from.

    Args:
        root, files: the pictures, as in FileSource.
        declared: the form that the format declares, see `box_forms`.

    Shapes:
        written    | (R, 4)  | finite, pixels from 0
        picture    | (R,)    | index of each box's picture
        sizes      | (N, 2)  | height and width; (0, 0): not known, so nothing is clipped
        names      | N       | names of the pictures, for warnings
    """
    form = judge(written, picture, sizes, declared)
    boxes = form.corners(written, sizes[picture])
    sizes, lines = settle_frames(root, files, sizes, picture, boxes)
    clipped, keep, warnings = clean_boxes(boxes, picture, sizes, names)
    lines = [form.warning] * bool(form.warning) + lines + warnings
    return Settled(clipped, keep, sizes, form.changes(declared), lines)


def clean_boxes(
    boxes_xyxy: NDArray[np.float64],
    picture: NDArray[np.int64],
    sizes: NDArray[np.int64],
    names: Sequence[str],
) -> tuple[NDArray[np.float64], NDArray[np.bool_], list[str]]:
    """Boxes clipped to their pictures, which of them to keep, and the warnings.

    Shapes:
        boxes_xyxy | (R, 4)  | finite, 0-based, right and bottom exclusive
        picture    | (R,)    | index of each box's picture
        sizes      | (N, 2)  | height and width; (0, 0): not known, so nothing is clipped
        names      | N       | names of the pictures, for warnings
    """
    size = sizes[picture]
    low = np.minimum(boxes_xyxy[:, :2], boxes_xyxy[:, 2:])
    ordered = np.concatenate([low, np.maximum(boxes_xyxy[:, :2], boxes_xyxy[:, 2:])], 1)
    bounds = np.where(size > 0, size, np.iinfo(np.int64).max)
    swapped = (ordered != boxes_xyxy).any(1) & _has_area(ordered) & ~leaving(ordered, bounds)
    boxes = np.where(swapped[:, None], ordered, boxes_xyxy)
    clipped = clip_xyxy(boxes, size)
    empty = ~_has_area(boxes)
    gone = ~empty & ~_has_area(clipped)
    over = ~empty & ~gone & (np.abs(clipped - boxes) > SLACK).any(1)
    warnings = [
        f"warning: {int(which.sum())} {what}: {_named(picture[which], names)}"
        for which, what in (
            (swapped, "boxes with swapped corners (negative sides) are read with them in order"),
            (empty, "boxes without area are dropped"),
            (gone, "boxes outside their picture are dropped"),
            (over, "boxes partly outside their picture are clipped"),
        )
        if which.any()
    ]
    return clipped, ~empty & ~gone, warnings


def _has_area(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether boxes have an area in float32, the type that samples carry."""
    with np.errstate(over="ignore"):  # boxes that become infinite have no area either
        small = boxes.astype(np.float32)
    return (small[:, 2] > small[:, 0]) & (small[:, 3] > small[:, 1])


def _named(pictures: NDArray[np.int64], names: Sequence[str]) -> str:
    first = list(dict.fromkeys(pictures.tolist()))
    more = f" and {len(first) - NAMED} more pictures" if len(first) > NAMED else ""
    return ", ".join(str(names[i]) for i in first[:NAMED]) + more


def leave_out(
    where: str,
    what: str,
    bad: Sequence[tuple[str, str]],
    skip_bad: bool,
    skipped: list[tuple[str, str]],
) -> None:
    """Record what can't be used, as (name, reason).

    Raises: DataError naming the first ten, unless they may be left out.
    """
    if bad and not skip_bad:
        listed = "; ".join(f"{name} ({reason})" for name, reason in bad[:NAMED])
        more = f"; and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        if len(bad) == 1:  # "pictures have no mask" -> "picture has no mask"
            verbs = {"are": "is", "have": "has"}
            what = re.sub(
                r"s (are|have|can't)\b", lambda m: f" {verbs.get(m[1], m[1])}", what, count=1
            )
        raise DataError(f"{where}: {len(bad)} {what}: {listed}{more}", SKIP_BAD)
    skipped.extend(bad)
