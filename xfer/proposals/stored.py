"""The proposals of one source of pictures, as a detector's training and evaluation use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError, nearest
from xfer.ops.grid import grid


class Proposals(Protocol):
    """Boxes per picture, best first. Can be pickled, and read from several threads at once.

    method    | selective_search, grid or file:PATH
    ids       | the pictures' ids, as in the source
    of(which) | float32 (R, 4), xyxy in the picture's own pixels; `which`: an index or an id.
              | DataError for an unknown id
    """

    method: str
    ids: tuple[str, ...]

    def of(self, which: int | str) -> NDArray[np.float32]: ...


class StoredProposals:
    """Boxes that are already computed or read.

    Whole numbers below 65,536, such as selective search returns, are stored in two bytes each:
    2,000 boxes for each of COCO's 118,287 training pictures take 1.9 GB.

    Args:
        method: how they were made.
        ids: N names.
        boxes: N arrays (R, 4), xyxy, best first.
        seconds: float32 (N,), CPU time per picture; None if they were read from a file.
    """

    def __init__(
        self,
        method: str,
        ids: Sequence[str],
        boxes: Sequence[NDArray[np.floating]],
        seconds: NDArray[np.float32] | None = None,
    ) -> None:
        self.method, self.ids, self.seconds = method, tuple(ids), seconds
        self._boxes = tuple(_narrow(one) for one in boxes)
        self._index = {name: i for i, name in enumerate(self.ids)}

    def of(self, which: int | str) -> NDArray[np.float32]:
        """Boxes of picture `which`, float32 (R, 4). Raises DataError for an unknown id."""
        return self._boxes[_number(self._index, which)].astype(np.float32)


class GridProposals:
    """The same grid for all pictures of one size; computed when needed.

    Args:
        ids: N names.
        sizes: int (N, 2), (H, W) of each picture.
        max_boxes: maximum number of boxes per picture.
    """

    method = "grid"

    def __init__(self, ids: Sequence[str], sizes: NDArray[np.int64], max_boxes: int) -> None:
        self.ids, self.sizes, self.max_boxes = tuple(ids), sizes, max_boxes
        self._index = {name: i for i, name in enumerate(self.ids)}
        self._by_size: dict[tuple[int, int], NDArray[np.float32]] = {}

    def of(self, which: int | str) -> NDArray[np.float32]:
        """Boxes of picture `which`, float32 (R, 4). Raises DataError for an unknown id."""
        height, width = self.sizes[_number(self._index, which)].tolist()
        if (height, width) not in self._by_size:
            self._by_size[height, width] = grid(height, width, self.max_boxes)
        return self._by_size[height, width].copy()


def _number(index: dict[str, int], which: int | str) -> int:
    if not isinstance(which, str):
        return which
    if which not in index:
        raise DataError(f"{which}: no proposals for this picture", nearest(which, index))
    return index[which]


def _narrow(boxes: NDArray[np.floating]) -> NDArray:
    """The boxes as uint16 if that loses nothing, else float32."""
    compact = np.ascontiguousarray(boxes, np.float32).reshape(-1, 4)
    whole = (compact == np.rint(compact)) & (compact >= 0) & (compact < 65536)
    return compact.astype(np.uint16) if whole.all() else compact
