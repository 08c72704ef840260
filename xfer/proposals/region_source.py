"""Regions as pictures: the proposals of a set with boxes, cut out and warped to squares."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xfer.boxes import Boxes
from xfer.kinds.annotation import annotation
from xfer.proposals.propose import propose
from xfer.proposals.search import ticker
from xfer.proposals.stored import Proposals
from xfer.types import UNLABELLED, DataInfo, Sample, Source

CONTEXT = 16 / 227  # of a warped region's side, on each side of the box (appendix A)
BACKGROUND = "background"
REST = 0.3  # IoU with every true box below which a region is background (sec. 2.3)


class RegionSource:
    """One picture per region: first the true boxes of a picture, then its proposals.

    A true box has the label of its class, a proposal that hardly overlaps any true box that of
    `background`, the last class, and the others none.

    Args:
        source: pictures with boxes; proposals: theirs; crowds and difficult boxes are left out.
        side: of the warped pictures, pixels; shown: of the square in their middle that a net
            sees, in which a box has 16 of 227 pixels around it.
        colour: of what lies beyond the picture, RGB.

    Source: Girshick et al. 2014 (R-CNN), sec. 2.3, appendices A and B.
    """

    def __init__(
        self, source: Source, proposals: Proposals, side: int, shown: int, colour: list[float]
    ) -> None:
        info = source.info
        self.info = DataInfo(
            info.name, "classify", (*info.classes, BACKGROUND), info.split, info.licence
        )
        self._source, self._side = source, side
        self._reach = side / shown / (1 - 2 * CONTEXT)
        self._colour = tuple(round(value) for value in colour)
        boxes: list[NDArray[np.float32]] = []
        labels: list[NDArray[np.int64]] = []
        counts: list[int] = []
        for i in range(len(source)):
            own, said = labelled(annotation(source, i), proposals.of(i), len(info.classes))
            boxes.append(own)
            labels.append(said)
            counts.append(len(own))
        self._boxes = np.concatenate([np.zeros((0, 4), np.float32), *boxes])
        self._labels = np.concatenate([np.zeros(0, np.int64), *labels])
        self._picture = np.repeat(np.arange(len(counts)), counts)
        number = [n for count in counts for n in range(count)]
        names = source.ids
        self.ids = tuple(
            f"{names[i]}#{n}" for i, n in zip(self._picture.tolist(), number, strict=True)
        )
        self._held: tuple[int, Sample] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> Sample:
        which = int(self._picture[i])
        held = self._held
        if held is None or held[0] != which:  # a picture's regions follow each other
            held = self._held = (which, self._source[which])
        image = warped(held[1].image, self._boxes[i], self._reach, self._side, self._colour)
        return Sample(self.ids[i], image, int(self._labels[i]))

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_held": None}

    def labels(self) -> NDArray[np.int64]:
        return self._labels

    def fingerprint(self) -> str:
        parts = (self._source.fingerprint().encode(), self._boxes.tobytes(), b"regions")
        return hashlib.sha256(b"\0".join(parts)).hexdigest()


def region_source(
    source: Source,
    method: str,
    most: int,
    side: int,
    shown: int,
    colour: list[float],
    say: Callable[[str], None],
) -> RegionSource:
    """The regions of a source, with proposals by `method`, at most `most` per picture; the rest as
    in RegionSource.

    Raises: XferError for an unknown method; DataError as `propose`.
    """
    tick = ticker(say, f"{method}: ")
    proposals = propose(source, method, max_boxes=most, tick=tick, warn=say)
    return RegionSource(source, proposals, side, shown, colour)


def labelled(
    truth: Boxes, proposals: NDArray[np.float32], classes: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """True boxes and proposals (R, 4), and the label of each, int64 (R,)."""
    own = ~truth.crowd & ~truth.difficult
    true = truth.xyxy[own].astype(np.float32)
    near = _overlaps(proposals, truth.xyxy.astype(np.float32)).max(1, initial=0)
    said = np.where(near < REST, classes, UNLABELLED)
    return np.concatenate([true, proposals]), np.concatenate([truth.labels[own], said])


def _overlaps(one: NDArray[np.float32], two: NDArray[np.float32]) -> NDArray[np.float32]:
    """IoU of every pair: (R, 4), (G, 4) -> (R, G)."""
    low = np.maximum(one[:, None, :2], two[:, :2])
    high = np.minimum(one[:, None, 2:], two[:, 2:])
    both = np.clip(high - low, 0, None).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(1) for boxes in (one, two)]
    return both / np.maximum(areas[0][:, None] + areas[1] - both, 1e-9)


def warped(
    image: NDArray[np.uint8],
    box: NDArray[np.float32],
    reach: float,
    side: int,
    colour: tuple[int, ...],
) -> NDArray[np.uint8]:
    """A box, with what is around it, as a square picture: uint8 (side, side, 3).

    Args: reach: side of what is cut out, sides of the box, both ways alike; colour: of what lies
        beyond the picture.
    """
    middle, half = (box[:2] + box[2:]) / 2, np.maximum(box[2:] - box[:2], 1) / 2 * reach
    low, high = middle - half, middle + half
    x1, y1 = np.floor(low).astype(int).tolist()
    x2, y2 = np.ceil(high).astype(int).tolist()
    height, width = image.shape[:2]
    canvas = np.empty((y2 - y1, x2 - x1, 3), np.uint8)
    canvas[:] = colour
    inside = image[max(0, y1) : min(height, y2), max(0, x1) : min(width, x2)]
    top, left = max(0, -y1), max(0, -x1)
    canvas[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
    x, y = (low - (x1, y1)).tolist()
    right, bottom = (high - (x1, y1)).tolist()
    cut = Image.fromarray(canvas).resize(
        (side, side), Image.Resampling.BILINEAR, box=(x, y, right, bottom)
    )
    return np.asarray(cut)
