"""What a metric keeps about a picture, so that reports can show it."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xfer.objects.mask import ObjectMask
from xfer.objects.segments import Segments

Role = Literal["right", "wrong", "missed", "truth"]


@dataclass(frozen=True, slots=True)
class Mark:
    """A box to draw on a picture.

    box_xyxy | left, top, right, bottom in pixels of the original picture
    role     | right: a correct detection; wrong: a detection without a true box; missed: a true
             | box without a detection; truth: a true box
    text     | what to write at it: the class, and the score of a detection
    mask     | the object's pixels, if they are known
    """

    box_xyxy: tuple[float, float, float, float]
    role: Role
    text: str = ""
    mask: ObjectMask | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """One view of a picture: as it is, with the true boxes, under a predicted mask.

    title | what it shows, in a word or two; "": the picture itself
    image | uint8 (H, W, 3)
    marks | boxes to draw on it, in its pixels
    """

    title: str
    image: NDArray[np.uint8]
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class PackedMasks:
    """The true and predicted masks of a picture, shrunk and compressed to fit a set in memory.

    size | (height, width) of both
    data | both masks, uint8, compressed by zlib
    """

    size: tuple[int, int]
    data: bytes

    @classmethod
    def of(
        cls, truth: NDArray[np.uint8], predicted: NDArray[np.uint8], side: int = 256
    ) -> PackedMasks:
        """Pack two masks (H, W), subsampled so that neither side is longer than `side`."""
        step = max(1, -(-max(truth.shape) // side))
        small = np.stack([truth[::step, ::step], predicted[::step, ::step]])
        return cls((small.shape[1], small.shape[2]), zlib.compress(small.tobytes(), 1))

    def unpack(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The true and the predicted mask, uint8 `size`."""
        truth, predicted = np.frombuffer(zlib.decompress(self.data), np.uint8).reshape(
            2, *self.size
        )
        return truth, predicted


@dataclass(frozen=True, slots=True)
class PackedSegments:
    """The true and predicted segments of a picture, shrunk and compressed like `PackedMasks`.

    size   | (height, width) of both maps
    labels | class indices of the true and of the predicted segments
    crowd  | which of the true ones are crowds
    data   | both maps, int16, compressed by zlib
    """

    size: tuple[int, int]
    labels: tuple[tuple[int, ...], tuple[int, ...]]
    crowd: tuple[bool, ...]
    data: bytes

    @classmethod
    def of(cls, truth: Segments, predicted: Segments, side: int = 256) -> PackedSegments:
        """Pack the segments of a picture (H, W), subsampled so that neither side is longer than
        `side`."""
        step = max(1, -(-max(truth.size) // side))
        small = np.stack([one.map[::step, ::step] for one in (truth, predicted)])
        return cls(
            (small.shape[1], small.shape[2]),
            (tuple(truth.labels.tolist()), tuple(predicted.labels.tolist())),
            tuple(truth.crowd.tolist()),
            zlib.compress(small.astype("<i2").tobytes(), 1),
        )

    def unpack(self) -> tuple[Segments, Segments]:
        """The true and the predicted segments, their maps of `size`."""
        maps = np.frombuffer(zlib.decompress(self.data), "<i2").reshape(2, *self.size)
        truth, predicted = self.labels
        return Segments.of(maps[0], truth, self.crowd), Segments.of(maps[1], predicted)


@dataclass(frozen=True, slots=True)
class Example:
    """One scored picture.

    id    | sample id
    lines | what to write under it: the truth, the prediction
    good  | whether the prediction is right
    loss  | how wrong it is, 0 = perfect; sorts the worst errors
    marks | boxes to draw on it
    masks | for a segmentation, the true and predicted masks
    truth | the true boxes, each missed or truth (found)
    cells | row and column of each entry of the confusion matrix in which it is counted
    segments | for a panoptic segmentation, the true and predicted segments
    """

    id: str
    lines: tuple[str, ...]
    good: bool
    loss: float
    marks: tuple[Mark, ...] = ()
    masks: PackedMasks | None = None
    truth: tuple[Mark, ...] = ()
    cells: tuple[tuple[int, int], ...] = ()
    segments: PackedSegments | None = None


def natural_order(ids: Sequence[str]) -> list[int]:
    """Positions that sort ids with numbers in them read as numbers: img2 before img10.

    Several processes may finish in any order; sorting makes their rows the same.
    """

    def key(position: int) -> list[tuple[int, int, str]]:
        parts = re.split(r"(\d+)", ids[position])
        return [(0, int(p), p) if i % 2 else (1, 0, p) for i, p in enumerate(parts)]

    return sorted(range(len(ids)), key=key)


def unique_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Class names as keys: a name of several classes (ImageNet's crane) gets its index."""
    times = Counter(classes)
    return tuple(f"{name} [{i}]" if times[name] > 1 else name for i, name in enumerate(classes))


def as_array(values: Any) -> NDArray[Any]:
    """A tensor on any device, or an array, as an array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values)
