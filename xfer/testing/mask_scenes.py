"""Small pictures with masks that a net learns in seconds."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xfer.data.together import Together
from xfer.types import DataInfo, Sample

COLOURS = ((110, 110, 110), (220, 60, 50), (60, 80, 220))


class MaskScenes:
    """A red and a blue disc on grey noise, with masks; the same scenes for the same seed.

    size, step | (H, W) of picture i is size + (i % 3) * step
    ignored    | a stripe on the left of every mask is 255
    """

    def __init__(
        self,
        count: int = 12,
        size: tuple[int, int] = (48, 64),
        step: int = 0,
        seed: int = 0,
        ignored: int = 2,
        split: str = "train",
    ) -> None:
        self.size, self.step, self.seed, self.ignored = size, step, seed, ignored
        self.info = DataInfo("scenes", "segment", ("background", "red", "blue"), split)
        self.ids = tuple(f"{split}-{i:03d}" for i in range(count))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> Sample:
        rng = np.random.default_rng((self.seed, i))
        height, width = (side + (i % 3) * self.step for side in self.size)
        mask = np.zeros((height, width), np.uint8)
        for value in (1, 2):
            r = int(rng.integers(9, 14))
            x, y = int(rng.integers(r, width - r)), int(rng.integers(r, height - r))
            cv2.circle(mask, (x, y), r, value, -1)
        noise = rng.integers(-25, 26, (height, width, 1))
        image = np.clip(np.array(COLOURS)[mask] + noise, 0, 255).astype(np.uint8)
        mask[:, : self.ignored] = 255
        return Sample(self.ids[i], image, mask=mask)

    def labels(self) -> NDArray[Any]:
        return np.full((len(self), len(self.info.classes)), -1, np.int8)

    def fingerprint(self) -> str:
        about = (self.ids, self.size, self.step, self.seed, self.ignored)
        return hashlib.sha256(repr(about).encode()).hexdigest()


class LabelledScenes(MaskScenes):
    """The same scenes with labels: whether the red disc is left or right of the blue one; several:
    as two labels, of which one holds."""

    def __init__(self, count: int = 12, several: bool = False, **about: Any) -> None:
        super().__init__(count, **about)
        self.several = several
        kind = "multilabel" if several else "classify"
        self.info = replace(self.info, kind=kind, classes=("left", "right"))

    def __getitem__(self, i: int) -> Sample:
        sample = super().__getitem__(i)
        middles = [np.nonzero(sample.mask == value)[1].mean() for value in (1, 2)]
        label: Any = int(middles[0] > middles[1])
        if self.several:
            label = np.eye(2, dtype=np.int8)[label]
        return replace(sample, mask=None, label=label)

    def labels(self) -> NDArray[Any]:
        return np.array([self[i].label for i in range(len(self))])


def joint_scenes(count: int = 12, several: bool = False, **about: Any) -> Together:
    """Scenes with both a label and a mask; arguments as for LabelledScenes."""
    labels = LabelledScenes(count, several, **about)
    return Together({labels.info.kind: labels, "segment": MaskScenes(count, **about)})
