"""Small pictures with boxes, drawn on demand, that a detector learns in seconds."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from xfer.boxes import Boxes
from xfer.kinds.annotation import boxes_of
from xfer.objects.rle import encode
from xfer.testing.source import COLOURS, SHAPES
from xfer.types import DataInfo, Sample


class ShapeScenes:
    """One to three coloured shapes on grey noise, with boxes; the same scenes for the same seed.

    count, seed, split | as in SyntheticSource; size: (H, W) of picture i is size + (i % 3) * step
    empty              | every `empty`-th picture has no shape; 0: none
    crowds             | the last box of every third picture is a crowd
    masks              | objects with masks, of what was drawn last at each pixel, instead of boxes
    """

    def __init__(
        self,
        count: int = 12,
        size: tuple[int, int] = (64, 96),
        step: int = 0,
        seed: int = 0,
        empty: int = 0,
        crowds: bool = False,
        split: str = "train",
        masks: bool = False,
    ) -> None:
        self.masks = masks
        self.size, self.step, self.seed, self.empty, self.crowds = size, step, seed, empty, crowds
        self.info = DataInfo("scenes", "instance" if masks else "detect", tuple(SHAPES)[:2], split)
        self.ids = tuple(f"{split}-{i:03d}" for i in range(count))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> Sample:
        rng = np.random.default_rng((self.seed, i))
        height, width = (side + (i % 3) * self.step for side in self.size)
        grey = rng.integers(100, 156, (height, width, 1), np.uint8)
        image = np.ascontiguousarray(np.repeat(grey, 3, axis=2))
        boxes: list[tuple[int, int, int, int]] = []
        labels: list[int] = []
        owners = np.zeros((height, width), np.uint8)
        bare = self.empty and i % self.empty == 0
        for _ in range(0 if bare else int(rng.integers(1, 4))):
            r = int(rng.integers(8, 15))
            x = int(rng.integers(r, width - r))
            y = int(rng.integers(r, height - r))
            shape = int(rng.integers(2))
            before = image.copy()
            SHAPES[self.info.classes[shape]](image, x, y, r, COLOURS[shape])
            owners[(image != before).any(2)] = len(boxes) + 1
            boxes.append((x - r, y - r, x + r, y + r))
            labels.append(shape)
        crowd = np.zeros(len(boxes), bool)
        if self.crowds and i % 3 == 0:
            crowd[-1:] = True
        masks = [encode(owners == k) for k in range(1, len(boxes) + 1)] if self.masks else None
        truth = Boxes.of(
            np.array(boxes, np.float32), labels, crowd=crowd, size=image.shape[:2], masks=masks
        )
        return Sample(self.ids[i], image, boxes=truth)

    def annotation(self, i: int) -> Boxes:
        return boxes_of(self[i])

    def labels(self) -> NDArray[np.int8]:
        rows = np.zeros((len(self), len(self.info.classes)), np.int8)
        for i in range(len(self)):
            rows[i, self.annotation(i).labels] = 1
        return rows

    def fingerprint(self) -> str:
        about = (self.ids, self.size, self.step, self.seed, self.empty, self.crowds, self.masks)
        return hashlib.sha256(repr(about).encode()).hexdigest()
