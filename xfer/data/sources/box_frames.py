"""The frame of boxes and outlines in pictures that EXIF turns by a quarter: as stored, or upright.

A file gives its pictures' sizes in one frame and should give boxes in the same. Some exports give
the size before the turn while people drew on the upright picture, or the other way round. Such a
picture is known by its boxes: they leave the size that the file gives, and fit the turned one.

Only the headers of such pictures are read; if one of them is turned indeed, those of all pictures
of the file are, since what holds for it holds for the others, unless their boxes speak against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.size import TURNED, headers_of
from xfer.data.sources.box_forms import SLACK, leaving


def settle_frames(
    root: Path,
    files: Sequence[str],
    sizes: NDArray[np.int64],
    picture: NDArray[np.int64],
    boxes_xyxy: NDArray[np.float64],
) -> tuple[NDArray[np.int64], list[str]]:
    """Sizes in the frame of the boxes, and a warning if that is not the frame of `sizes`.

    Shapes:
        files      | N       | the pictures, relative to root or absolute
        sizes      | (N, 2)  | height and width as given; (0, 0): not known
        picture    | (R,)    | index of each box's picture
        boxes_xyxy | (R, 4)  | in pixels
    """
    size = sizes[picture]
    out = _any_of(leaving(boxes_xyxy, size), picture, len(sizes))
    out_turned = _any_of(leaving(boxes_xyxy, size[:, ::-1]), picture, len(sizes))
    oblong = sizes.all(1) & (np.abs(sizes[:, 0] - sizes[:, 1]) > SLACK)
    suspects = np.flatnonzero(oblong & out & ~out_turned)
    if not len(suspects):
        return sizes, []
    turned, stored = _turned(root, files, sizes, suspects)
    if not turned.any():
        return sizes, []
    as_stored = bool(stored[suspects[turned[suspects]]].mean() >= 0.5)
    rest = np.setdiff1d(np.flatnonzero(oblong), suspects)
    also_turned, also_stored = _turned(root, files, sizes, rest)
    same = (turned & (stored == as_stored)) | (also_turned & (also_stored == as_stored))
    fitting = same & out & ~out_turned
    against = same & out_turned & ~out
    either = same & ~fitting & ~against
    words = ("the upright picture", "the picture as stored")
    other, given = words if as_stored else words[::-1]
    text = (
        f"warning: EXIF turns {int(same.sum())} pictures, and the file gives the size of {given}, "
        f"but the boxes of {int(fitting.sum())} fit only {other}"
    )
    moved = fitting
    if against.any():
        text += (
            f", those of {int(against.sum())} only {given}; each is read as it fits, "
            f"{int(either.sum())} that fit both ways on {given}"
        )
    else:
        moved = same & ~(out & out_turned)
        text += f": all are read on {other}"
    mended = sizes.copy()
    mended[moved] = sizes[moved][:, ::-1]
    return mended, [text]


def _any_of(which: NDArray[np.bool_], picture: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """bool (N,): the pictures with a box among `which`."""
    return np.bincount(picture[which], minlength=count) > 0


def _turned(
    root: Path, files: Sequence[str], sizes: NDArray[np.int64], places: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """bool (N,) twice: which of the pictures at `places` EXIF turns by a quarter, with the given
    size in one of both frames; and for which it is the size as stored."""
    turned, stored = np.zeros(len(sizes), bool), np.zeros(len(sizes), bool)
    headers = headers_of([root / files[int(i)] for i in places])
    own = (headers[:, :2] == sizes[places]).all(1)
    across = (headers[:, :2] == sizes[places][:, ::-1]).all(1)
    turned[places] = np.isin(headers[:, 2], TURNED) & (own | across)
    stored[places] = own
    return turned, stored
