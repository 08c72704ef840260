"""`digits` for boxes, masks and instances: scenes of digits on noisy textures, drawn when read.

Each scene is SIDE pixels square and holds 3 to 8 real digits, 8 to 64 pixels high, in any grey that
stands out from what is under it; about one in four touches another or overlaps it a little. Boxes
are tight around the visible ink, masks label its pixels; an instance is a digit's visible ink.
Train scenes use only training digits, val scenes only val digits. They are the same every time.

The layout is computed once in a process (half a second for all); pixels are drawn when read.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xfer import kinds
from xfer.boxes import Boxes
from xfer.data.readers.base import Reading
from xfer.data.readers.digits.pictures import CLASSES, digits
from xfer.data.sources.boxes import BoxTable, box_table
from xfer.objects.mask import as_column
from xfer.objects.rle import encode
from xfer.types import DataInfo, Sample, Source

SIDE = 192
SCENES = {"train": 600, "val": 150}
COUNT = (3, 8)
HEIGHT = (8, 64)  # pixels
TOUCHING = 0.3  # share of digits that are placed next to another, if there is room
CONTRAST = 50  # minimum difference between a digit's grey and the mean of what it covers, 0..255
HIDDEN = 0.1  # share of a digit's ink that a later digit may cover
OVERLAP = 0.15  # share of the smaller of two boxes that the other may cover
INK = 0.4  # a pixel belongs to the digit if the pen covers at least this share of it
BACKGROUND = "background"


@dataclass(frozen=True, slots=True)
class Placed:
    """A digit in a scene: which one, the position and size of its frame in pixels, and a draw in
    0..1 that picks its grey among those that stand out."""

    digit: int
    top: int
    left: int
    height: int
    width: int
    grey: float

    @property
    def rows(self) -> slice:
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        return slice(self.left, self.left + self.width)


# a scene's digits in drawing order, and x1, y1, x2, y2, area of each one's visible ink
Arranged = tuple[list[Placed], list[tuple[float, ...]]]


def scenes(kind: str, make: type[SceneSource] | None = None) -> Reading:
    """The scenes, train and val, as a kind of data: with boxes (detect), masks (segment) or both
    (instance), or what a subclass of SceneSource, `make`, adds to them."""
    make = make or SceneSource
    parts: dict[str, Source] = {
        split: make(split, ink, labels, SCENES[split], kind, arranged)
        for split, (ink, labels, arranged) in _arranged().items()
    }
    counts = " and ".join(f"{len(source)} {split}" for split, source in parts.items())
    return Reading(parts, [f"digits: {counts} scenes, each made of digits of its own split"])


@functools.cache
def _arranged() -> dict[str, tuple[NDArray[np.uint8], NDArray[np.int64], list[Arranged]]]:
    """The digits of each split, their labels, and its scenes, which both kinds of data share."""
    found: dict[str, Any] = {}
    for split, source in digits().parts.items():
        samples = [source[i] for i in range(len(source))]
        ink = np.stack([sample.image[:, :, 0] for sample in samples])
        labels = np.array([sample.label for sample in samples], np.int64)
        boxed = SceneSource(split, ink, labels, SCENES[split])
        found[split] = ink, labels, boxed.arranged
    return found


class SceneSource:
    """Scenes of one split.

    Args:
        split: train or val; it seeds the scenes.
        ink: uint8 (n, 8, 8), 0..255; labels: int64 (n,), the digits.
        count: how many scenes; kind: detect, segment or instance.
        arranged: the scenes, if they are known; else they are arranged.
    """

    def __init__(
        self,
        split: str,
        ink: NDArray[np.uint8],
        labels: NDArray[np.int64],
        count: int,
        kind: str = "detect",
        arranged: list[Arranged] | None = None,
    ) -> None:
        self.masks, self.outlined = not kinds.get(kind).boxes, kinds.get(kind).outlined
        classes = (BACKGROUND, *CLASSES) if self.masks else CLASSES
        self.info = DataInfo("digits", kind, classes, split, licence="CC BY 4.0")
        self.ids = tuple(f"{split}-scene-{i:04d}" for i in range(count))
        self.ink, self.digit_labels = ink, labels
        self._seed = sum(split.encode())
        self._frames = [_framed(one).astype(np.float32) / 255 for one in ink]
        self.arranged = arranged or [self._arrange(i) for i in range(count)]
        self.placed = tuple(tuple(layout) for layout, _ in self.arranged)
        self.table = self._table([boxes for _, boxes in self.arranged])

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> Sample:
        image, owners = self._draw(i)
        if self.masks:
            digits = [self.digit_labels[p.digit] + 1 for p in self.placed[i]]
            return Sample(self.ids[i], image, mask=np.array([0, *digits], np.uint8)[owners])
        boxes = self.table.of(i).astype(np.float32)
        return Sample(self.ids[i], image, boxes=self._with_masks(boxes, owners))

    def annotation(self, i: int) -> Boxes:
        """The boxes of scene i; areas are those of the visible ink."""
        return self._with_masks(self.table.of(i), self._owners(i) if self.outlined else None)

    def _with_masks(self, boxes: Boxes, owners: NDArray[np.uint8] | None) -> Boxes:
        if not self.outlined or owners is None:
            return boxes
        masks = [encode(owners == k) for k in range(1, len(boxes) + 1)]
        return replace(boxes, masks=as_column(masks))

    def labels(self) -> NDArray[np.int8]:
        present = self.table.presence(len(self.info.classes))
        if self.masks:
            present[:, 0] = 1
        return present

    def fingerprint(self) -> str:
        about = (self.info.kind, self.info.classes, self.ids, self.placed)
        digest = hashlib.sha256(repr(about).encode())
        digest.update(self.ink.tobytes())
        return digest.hexdigest()

    def _under(self, i: int, canvas: NDArray[np.float32], own: Any) -> NDArray[np.float32]:
        """What lies under the digits of scene i: its texture, and what a subclass adds to it."""
        return canvas

    def _table(self, boxes: list[list[tuple[float, ...]]]) -> BoxTable:
        shift = 1 if self.masks else 0
        picture = np.repeat(np.arange(len(boxes)), [len(b) for b in boxes])
        rows = np.array([row for scene in boxes for row in scene], np.float64).reshape(-1, 5)
        labels = np.array(
            [self.digit_labels[p.digit] + shift for layout in self.placed for p in layout], np.int64
        )
        sizes = np.full((len(boxes), 2), SIDE, np.int64)
        return box_table(picture, Boxes.of(rows[:, :4], labels, area=rows[:, 4]), sizes)

    def _arrange(self, i: int) -> Arranged:
        rng = np.random.default_rng((self._seed, i))
        owners = np.zeros((SIDE, SIDE), np.uint8)
        layout: list[Placed] = []
        boxes: list[tuple[float, ...]] = []
        count = int(rng.integers(COUNT[0], COUNT[1] + 1))
        for _ in range(80):
            beside = boxes[int(rng.integers(len(boxes)))] if boxes else None
            new = self._propose(rng, beside if rng.random() < TOUCHING else None)
            if new is not None and (hidden := self._hidden(new, boxes, owners)) is not None:
                layout.append(new)
                owners[new.rows, new.columns][self._alpha(new) >= INK] = len(layout)
                boxes.append(_extent(owners == len(layout)))
                for k in hidden:
                    boxes[k] = _extent(owners == k + 1)
            if len(layout) == count:
                break
        return layout, boxes

    def _propose(self, rng: np.random.Generator, beside: tuple[float, ...] | None) -> Placed | None:
        """Propose a digit anywhere, or next to the box of another one; None if it is too large, too
        small, or leaves the scene."""
        digit = int(rng.integers(len(self.ink)))
        rows, columns = self._frames[digit].shape
        # the frame of a digit is about 1.25 times its ink
        height = round(1.25 * rng.integers(HEIGHT[0], HEIGHT[1] + 1))
        width = max(2, round(height * columns / rows * rng.uniform(0.85, 1.15)))
        new = Placed(digit, 0, 0, height, width, float(rng.random()))
        x1, y1, x2, y2, _ = (int(v) for v in _extent(self._alpha(new) >= INK))
        if not HEIGHT[0] <= y2 - y1 <= HEIGHT[1] or max(width, height) > SIDE:
            return None
        left, top = (int(rng.integers(0, SIDE - n + 1)) for n in (width, height))
        if beside is not None:
            shared = int(rng.integers(0, 3))  # pixels that the two boxes share
            slip = float(rng.uniform(-0.3, 0.3)) * (y2 - y1)
            top = round((beside[1] + beside[3] - y1 - y2) / 2 + slip)
            right = rng.random() < 0.5
            left = int(beside[2]) - shared - x1 if right else int(beside[0]) + shared - x2
        inside = left >= 0 and top >= 0 and left + width <= SIDE and top + height <= SIDE
        return replace(new, top=top, left=left) if inside else None

    def _hidden(
        self, new: Placed, boxes: list[tuple[float, ...]], owners: NDArray[np.uint8]
    ) -> list[int] | None:
        """The digits whose ink a new one partly hides; None if it hides too much of any."""
        ink = self._alpha(new) >= INK
        covered = np.bincount(owners[new.rows, new.columns][ink], minlength=len(boxes) + 1)[1:]
        x1, y1, x2, y2, _ = _extent(ink)
        x1, y1, x2, y2 = x1 + new.left, y1 + new.top, x2 + new.left, y2 + new.top
        for lost, (a1, b1, a2, b2, area) in zip(covered.tolist(), boxes, strict=True):
            shared = max(0, min(x2, a2) - max(x1, a1)) * max(0, min(y2, b2) - max(y1, b1))
            smaller = min((x2 - x1) * (y2 - y1), (a2 - a1) * (b2 - b1))
            if lost > HIDDEN * area or shared > OVERLAP * smaller:
                return None
        return np.flatnonzero(covered).tolist()

    def _alpha(self, placed: Placed) -> NDArray[np.float32]:
        """float32 (height, width): how much of each pixel the pen covers, 0..1."""
        size = placed.width, placed.height
        grown: Any = cv2.resize(self._frames[placed.digit], size, interpolation=cv2.INTER_CUBIC)
        return np.clip(grown, 0, 1).astype(np.float32)

    def _owners(self, i: int) -> NDArray[np.uint8]:
        """Whose each pixel of scene i is: 0 for none, k + 1 for digit k."""
        owners = np.zeros((SIDE, SIDE), np.uint8)
        for k, placed in enumerate(self.placed[i]):
            owners[placed.rows, placed.columns][self._alpha(placed) >= INK] = k + 1
        return owners

    def _draw(self, i: int, ground: Any = None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The pixels of scene i, and their owners.

        Args: ground: for `_under`.
        """
        rng = np.random.default_rng((self._seed, i, 1))
        canvas = self._under(i, _texture(rng), ground)
        for placed in self.placed[i]:
            alpha = self._alpha(placed)
            under = canvas[placed.rows, placed.columns]
            grey = standing_out(float(under.mean()), placed.grey)
            under += alpha[:, :, None] * (grey - under)
        canvas += rng.normal(0, float(rng.uniform(2, 8)), (SIDE, SIDE, 1))
        return np.clip(np.rint(canvas), 0, 255).astype(np.uint8), self._owners(i)


def _framed(ink: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A digit with a margin of one: the pixels that hold at least INK, and those next to them."""
    seen = ink >= INK * 255
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    return np.pad(ink, 1)[rows[0] : rows[-1] + 3, columns[0] : columns[-1] + 3]


def _extent(seen: NDArray[np.bool_]) -> tuple[float, ...]:
    """x1, y1, x2, y2 of a mask's pixels, and their number."""
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    return (
        float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1),
        float(np.count_nonzero(seen)),
    )  # fmt: skip


def standing_out(mean: float, draw: float) -> float:
    """A grey in 0..255 that differs from `mean` by at least CONTRAST; `draw` in 0..1 picks it."""
    dark, light = max(0.0, mean - CONTRAST), max(0.0, 255 - mean - CONTRAST)
    at = draw * (dark + light)
    return at if at < dark else mean + CONTRAST + at - dark


def _texture(rng: np.random.Generator) -> NDArray[np.float32]:
    """float32 (SIDE, SIDE, 3): smooth noise at several scales around one grey, slightly tinted."""
    canvas = np.full((SIDE, SIDE, 3), rng.uniform(30, 225), np.float32)
    for cells, strength in ((3, 25), (12, 12), (48, 8)):
        grid = rng.normal(0, rng.uniform(0.3, 1) * strength, (cells, cells, 1)).astype(np.float32)
        canvas += cv2.resize(grid, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)[:, :, None]
    return canvas + rng.uniform(-12, 12, 3).astype(np.float32)
