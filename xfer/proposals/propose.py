"""Proposals for a source of pictures (`propose`) or for one picture (`propose_one`)."""

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
from xfer.proposals.match import match_entries
from xfer.proposals.search import Tick, search_all, search_one
from xfer.proposals.stored import GridProposals, Proposals, StoredProposals
from xfer.types import Source

MAX_BOXES = 2000
METHODS = ("selective_search", "grid", "file:PATH")


def propose(
    source: Source,
    method: str,
    *,
    max_boxes: int = MAX_BOXES,
    tick: Tick | None = None,
    workers: int = -1,
    warn: Callable[[str], None] | None = None,
) -> Proposals:
    """Proposals for all pictures of a source; expensive ones are computed now.

    Args:
        source: pictures; sizes of those with boxes (kind "detect") are known without decoding.
        method: selective_search, grid or file:PATH.
        max_boxes: maximum number of boxes per picture; the best are kept.
        tick: called with (pictures done, pictures in total).
        workers: number of processes; -1: one per core, 0: in this process.
        warn: called when computed boxes can no longer be stored under $XFER_CACHE.

    Raises: XferError for an unknown method; DataError for a picture that can't be decoded, and
        for a file that can't be read or lacks a picture.
    """
    check_method(method)
    if method == "grid":
        sizes = np.array([_size(source, i) for i in range(len(source))], np.int64)
        return GridProposals(source.ids, sizes.reshape(-1, 2), max_boxes)
    if method == "selective_search":
        searched = search_all(source, max_boxes, tick, workers, warn)
        seconds = np.array([one[1] for one in searched], np.float32)
        return StoredProposals(method, source.ids, [one[0] for one in searched], seconds)
    path = method.removeprefix("file:")
    file = read_proposals(path)
    places = match_entries(file, source, path)
    boxes = [
        _inside(file.boxes[place], _size(source, i))[:max_boxes] for i, place in enumerate(places)
    ]
    return StoredProposals(method, source.ids, boxes)


def propose_one(
    image: NDArray[np.uint8], method: str, max_boxes: int = MAX_BOXES
) -> NDArray[np.float32]:
    """Proposals for one picture, uint8 (H, W, 3) -> float32 (R, 4), xyxy, best first.

    Raises: XferError for an unknown method, and for file:PATH, which has only its own pictures.
    """
    check_method(method)
    if method.startswith("file:"):
        raise XferError(
            f"proposals {method}: the file has no boxes for this picture",
            "grid and selective_search work for any picture",
        )
    if method == "grid":
        return grid(image.shape[0], image.shape[1], max_boxes)
    return search_one(image, max_boxes)


def check_method(method: str) -> None:
    """Raises XferError unless `method` is selective_search, grid or file:PATH."""
    if method in METHODS[:2] or (method.startswith("file:") and method != "file:"):
        return
    raise XferError(f"unknown proposals {method!r}", nearest(method, METHODS))


def _size(source: Source, i: int) -> tuple[int, int]:
    """(H, W) of picture i; decodes it only if its annotation lacks the size."""
    size = annotation(source, i).size if kinds.get(source.info.kind).boxes else (0, 0)
    if not all(size):
        height, width = source[i].image.shape[:2]
        return height, width
    return size


def _inside(boxes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """The boxes clipped to the picture, without those outside it."""
    clipped = clip_xyxy(boxes, size)
    return clipped[(clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])]
