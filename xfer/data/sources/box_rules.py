"""Rules for valid boxes, whichever format they come from.

A box partly outside its picture is clipped, one without area or wholly outside is dropped; one
warning of each kind counts and names them. What can't be understood at all (a coordinate that is
not a number, an undeclared class) stops the run, unless it may be left out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xfer.boxes import clip_xyxy
from xfer.errors import DataError

NAMED = 10
SKIP = "--set data.skip_bad=true leaves them out"
# files round coordinates to two digits or more: no warning for less than this outside
SLACK = 0.02


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
    clipped = clip_xyxy(boxes_xyxy, size)
    empty = ~_has_area(boxes_xyxy)
    gone = ~empty & ~_has_area(clipped)
    over = ~empty & ~gone & (np.abs(clipped - boxes_xyxy) > SLACK).any(1)
    warnings = [
        f"warning: {int(which.sum())} {what}: {_named(picture[which], names)}"
        for which, what in (
            (empty, "boxes without area are dropped"),
            (gone, "boxes outside their picture are dropped"),
            (over, "boxes partly outside their picture are clipped"),
        )
        if which.any()
    ]
    if len(boxes_xyxy) and boxes_xyxy.max() <= 1 and size.min() > 1:
        warnings.append("warning: the boxes look like shares of the picture, 0 to 1, not pixels")
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


def looks_like_xyxy(
    boxes_xywh: NDArray[np.float64], picture: NDArray[np.int64], sizes: NDArray[np.int64]
) -> bool:
    """Whether boxes declared as x, y, width, height look like corners: read as declared, many leave
    their pictures; read as corners, nearly all fit."""
    size = sizes[picture][:, ::-1]
    known = (size > 0).all(1)
    boxes, size = boxes_xywh[known], size[known]
    if not len(boxes):
        return False
    leaving = (boxes[:, :2] + boxes[:, 2:] > size + 1).any(1).mean()
    corners = ((boxes[:, 2:] >= boxes[:, :2]) & (boxes[:, 2:] <= size + 1)).all(1).mean()
    return bool(leaving > 0.25 and corners > 0.98)


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
        raise DataError(f"{where}: {len(bad)} {what}: {listed}{more}", SKIP)
    skipped.extend(bad)
