"""`digits` as labelled scenes: each picture's label is the tallest digit in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xfer.data.readers.digits.pictures import CLASSES
from xfer.data.readers.digits.scenes import Arranged, SceneSource
from xfer.types import DataInfo, Sample


class LabelledScenes(SceneSource):
    """Scenes of one split, each with the digit whose visible ink is tallest, of equal ones the one
    that is drawn first; arguments as for SceneSource."""

    def __init__(
        self,
        split: str,
        ink: NDArray[np.uint8],
        labels: NDArray[np.int64],
        count: int,
        kind: str,
        arranged: list[Arranged] | None = None,
    ) -> None:
        super().__init__(split, ink, labels, count, "detect", arranged)
        self.info = DataInfo("digits", kind, CLASSES, split, self.info.licence)
        tallest = [
            layout[int(np.argmax([y2 - y1 for _, y1, _, y2, _ in boxes]))].digit
            for layout, boxes in self.arranged
        ]
        self._tallest = self.digit_labels[tallest].astype(np.int64)

    def __getitem__(self, i: int) -> Sample:
        return Sample(self.ids[i], self._draw(i)[0], int(self._tallest[i]))

    def labels(self) -> NDArray[np.int64]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self._tallest
