"""The forms in which files write boxes, and the check that the declared one is the real one.

xyxy   | left, top, right, bottom          | VOC, csv tables, labelme
xywh   | left, top, width, height          | COCO, its results
cxcywh | centre x, centre y, width, height | YOLO

Each in pixels or as shares of the picture. A file is read in the form that its format declares,
unless that is implausible over the whole file (a quarter of the boxes or more would leave their
pictures) and another form fits nearly all of them: then it is read in that form, with a warning.
With too few boxes, or if two other forms fit, the warning is all. Numbers that are all in 0..1
where pixels are due are shares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

WORDS = {
    "xyxy": "x1, y1, x2, y2",
    "xywh": "x, y, width, height",
    "cxcywh": "centre x, centre y, width, height",
}
# a form that fits this share of the boxes is the file's; one that fails for that share is not
NEARLY_ALL, TOO_MANY = 0.98, 0.25
ENOUGH = 6  # boxes from which to judge a file
SLACK = 1.0  # pixels outside that rounding and counting from 1 explain
LEAST_SIDE = 8  # of a picture whose boxes can't all lie in its first pixel


def to_xyxy(written: Array, form: str) -> Array:
    """Boxes (R, 4) in a form, as corners."""
    first, second = written[:, :2], written[:, 2:]
    if form == "xyxy":
        return written.copy()
    if form == "xywh":
        return np.concatenate([first, first + second], 1)
    return np.concatenate([first - second / 2, first + second / 2], 1)


def from_xyxy(boxes_xyxy: Array, form: str) -> Array:
    """Corners (R, 4) in a form: undoes `to_xyxy`."""
    low, high = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    if form == "xyxy":
        return boxes_xyxy.copy()
    return np.concatenate([low if form == "xywh" else (low + high) / 2, high - low], 1)


def leaving(boxes_xyxy: Array, size: NDArray[np.int64], slack: float = SLACK) -> NDArray[np.bool_]:
    """bool (R,): which boxes reach out of their picture; size int64 (R, 2), height and width."""
    bounds = size[:, [1, 0, 1, 0]] + slack
    return np.any((boxes_xyxy < -slack) | (boxes_xyxy > bounds), axis=1)


def fitting(boxes_xyxy: Array, size: NDArray[np.int64]) -> float:
    """The share of boxes inside their pictures whose corners are in order."""
    ordered = (boxes_xyxy[:, 2:] > boxes_xyxy[:, :2]).all(1)
    return float((ordered & ~leaving(boxes_xyxy, size)).mean())


def are_shares(written: Array, size: NDArray[np.int64]) -> bool:
    """Whether numbers declared as pixels are shares: all in 0..1, in pictures of many pixels."""
    if not len(written) or (size[size.any(1)] < LEAST_SIDE).any() or (written == 0).all():
        return False
    inside = bool(written.max() <= 1 and written.min() >= 0)
    return inside and bool((written != np.round(written)).any())


@dataclass(frozen=True)
class Form:
    """How a file's boxes are read: the form, whether they are shares, and a warning if that is not
    as declared, or may not be what the file means."""

    name: str
    shares: bool = False
    warning: str = ""

    def changes(self, declared: str) -> bool:
        """Whether the boxes are read otherwise than as pixels in the declared form."""
        return self.shares or self.name != declared

    def corners(self, written: Array, size: NDArray[np.int64]) -> Array:
        """Boxes (R, 4) as written, as corners in pixels; size int64 (R, 2): height and width."""
        scale = size[:, [1, 0, 1, 0]] if self.shares else 1.0
        return to_xyxy(written * scale, self.name)


def judge(
    written: Array, picture: NDArray[np.int64], sizes: NDArray[np.int64], declared: str
) -> Form:
    """The form of a file's boxes.

    Shapes: written (R, 4): in pixels, finite; picture int64 (R,): index of each box's picture;
        sizes int64 (N, 2): height and width, (0, 0) where not known
    """
    size = sizes[picture]
    shares = are_shares(written, size)
    start = Form(declared, shares, _shares_warning(len(written)) if shares else "")
    known = size.all(1)
    if not known.any():
        return Form(declared, False, start.warning)
    size = size[known]
    scaled = written[known] * (size[:, [1, 0, 1, 0]] if shares else 1.0)
    as_declared = to_xyxy(scaled, declared)
    if declared == "xyxy":  # read as widths, corners in the wrong order are no oddity
        odd = leaving(as_declared, size) | (as_declared[:, 2:] < as_declared[:, :2]).any(1)
    else:
        odd = leaving(as_declared, size)
    if odd.mean() <= TOO_MANY:
        return start
    read: Callable[[str], Array] = lambda name: to_xyxy(scaled, name)  # noqa: E731
    others = [n for n in WORDS if n != declared and fitting(read(n), size) > NEARLY_ALL]
    if "xyxy" in others:  # corners in order are rare among numbers that are not corners
        others = ["xyxy"]
    if not others:
        return start
    count = f"{int(odd.sum())} of {len(odd)}"
    looks = " or ".join(WORDS[name] for name in others)
    why = f"read as {WORDS[declared]}, as they should be, {count} do not fit their pictures"
    text = f"warning: the boxes look like {looks}: {why}"
    if len(others) > 1 or len(odd) < ENOUGH:
        return Form(declared, shares, f"{text}; please check them")
    return Form(others[0], shares, f"{text}; so they are read as {looks}")


def _shares_warning(count: int) -> str:
    return (
        f"warning: the boxes look like shares of the picture, 0 to 1, not pixels: all {count} are "
        "read as shares"
    )
