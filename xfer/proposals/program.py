"""The one entry to proposals: `propose` for a source of pictures, `propose_one` for a picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from xfer import kinds
from xfer.boxes import clip_xyxy
from xfer.errors import XferError, nearest
from xfer.kinds.annotation import annotation
from xfer.ops.grid import grid
from xfer.proposals.files import read_proposals
from xfer.proposals.kept import GridProposals, KeptProposals, Proposals
from xfer.proposals.match import match_entries
from xfer.proposals.search import Tick, search_all, search_one
from xfer.types import Source

MOST = 2000
METHODS = ("selective_search", "grid", "file:PATH")


def propose(
    source: Source,
    method: str,
    *,
    most: int = MOST,
    tick: Tick | None = None,
    workers: int = -1,
    warn: Callable[[str], None] | None = None,
) -> Proposals:
    """Proposals for all pictures of a source, computed now where that is work.

    Args:
        source: pictures; those with boxes (kind "detect") tell their sizes without being decoded.
        method: selective_search, grid or file:PATH.
        most: boxes a picture, at most; the best are kept.
        tick: called with (pictures done, pictures in all).
        workers: processes that compute; -1: one a core, 0: in this process.
        warn: told when computed boxes can't be kept under $XFER_CACHE any more.

    Raises: XferError for an unknown method; DataError for a picture that can't be decoded, and
        for a file that can't be read or lacks a picture.
    """
    check_method(method)
    if method == "grid":
        sizes = np.array([_size(source, i) for i in range(len(source))], np.int64)
        return GridProposals(source.ids, sizes.reshape(-1, 2), most)
    if method == "selective_search":
        found = search_all(source, most, tick, workers, warn)
        seconds = np.array([one[1] for one in found], np.float32)
        return KeptProposals(method, source.ids, [one[0] for one in found], seconds)
    path = method.removeprefix("file:")
    read = read_proposals(path)
    places = match_entries(read.ids, source, path, read.coco)
    boxes = [_inside(read.boxes[place], _size(source, i))[:most] for i, place in enumerate(places)]
    return KeptProposals(method, source.ids, boxes)


def propose_one(image: NDArray[np.uint8], method: str, most: int = MOST) -> NDArray[np.float32]:
    """Proposals for one picture, uint8 (H, W, 3) -> float32 (R, 4), xyxy, best first.

    Raises: XferError for an unknown method, and for file:PATH, which knows its own pictures only.
    """
    check_method(method)
    if method.startswith("file:"):
        raise XferError(
            f"proposals {method}: a file has no boxes for a picture outside its set",
            "grid and selective_search are computed from any picture",
        )
    if method == "grid":
        return grid(image.shape[0], image.shape[1], most)
    return search_one(image, most)


def check_method(method: str) -> None:
    """Raises XferError unless `method` is selective_search, grid or file:PATH."""
    if method in METHODS[:2] or (method.startswith("file:") and method != "file:"):
        return
    raise XferError(f"unknown proposals {method!r}", nearest(method, METHODS))


def _size(source: Source, i: int) -> tuple[int, int]:
    """(H, W) of picture i; decodes it only where nothing else tells."""
    size = annotation(source, i).size if kinds.get(source.info.kind).boxes else (0, 0)
    if not all(size):
        height, width = source[i].image.shape[:2]
        return height, width
    return size


def _inside(boxes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """The boxes clipped to the picture; those outside of it are left out."""
    clipped = clip_xyxy(boxes, size)
    return clipped[(clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])]
