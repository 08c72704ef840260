"""The embedded set: 1,797 handwritten digits from scikit-learn, no download.

Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (the test part),
CC BY 4.0.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.source import Found, formats
from xfer.data.split import stratified
from xfer.types import DataInfo, Sample

CLASSES = tuple("0123456789")
VAL_SHARE = 0.2


class DigitPictures:
    """Some of the digits as pictures uint8 (8, 8, 3), white ink on black.

    ids | digit-<number in scikit-learn's order>; label | the digit
    """

    def __init__(self, info: DataInfo, numbers: NDArray[Any]) -> None:
        from sklearn.datasets import load_digits

        raw: Any = load_digits()
        grey = np.round(raw.images[numbers] * (255 / 16)).astype(np.uint8)  # 0..16 to 0..255
        self.info = info
        self.images = np.repeat(grey[..., None], 3, axis=3)
        self.ids = [f"digit-{n:04d}" for n in numbers]
        self._labels = raw.target[numbers].astype(np.int64)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> Sample:
        return Sample(self.ids[i], self.images[i], int(self._labels[i]))

    def labels(self) -> NDArray[Any]:
        return self._labels

    def fingerprint(self) -> str:
        content = self.images.tobytes() + self._labels.tobytes()
        return hashlib.sha256(content).hexdigest()


@formats.register("digits")
class Digits:
    """Embedded; known by its name alone. The split is the same for every seed: 1438 and 359."""

    @staticmethod
    def recognise(path: Path) -> str | None:
        return None

    @staticmethod
    def load(path: Path, name: str) -> Found:
        from sklearn.datasets import load_digits

        raw: Any = load_digits()
        train, val = stratified(raw.target, VAL_SHARE, seed=0)
        splits: dict[str, Any] = {
            split: DigitPictures(DataInfo("digits", "classify", CLASSES, split, "CC BY 4.0"), rows)
            for split, rows in (("train", train), ("val", val))
        }
        return Found("classify", CLASSES, splits)
