"""The 1,797 handwritten digits that come with scikit-learn, as labelled pictures.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (its test
part), CC BY 4.0: 8x8 amounts of ink, 0..16.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xfer.data.readers.base import Reading
from xfer.data.sources.base import ArraySource, Subset
from xfer.data.sources.split import stratified
from xfer.types import DataInfo, Source

TRAIN, VAL = 1437, 360
CLASSES = tuple("0123456789")


def digits() -> Reading:
    """The digits as RGB pictures: uint8 (8, 8, 3), white ink, 0..16 scaled to 0..255.

    The split is always the same: 1,437 for training and 360 for validation, stratified by class.
    """
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    images = np.repeat(grey[..., None], 3, axis=3)
    labels = bunch.target.astype(np.int64)
    ids = [f"digit-{i:04d}" for i in range(len(labels))]
    info = DataInfo("digits", "classify", CLASSES, licence="CC BY 4.0")
    whole = ArraySource(info, images, labels, ids)
    train, val = stratified(labels, ids, share=VAL / (TRAIN + VAL), seed=0)
    parts: dict[str, Source] = {
        "train": Subset(whole, train, split="train"),
        "val": Subset(whole, val, split="val"),
    }
    return Reading(parts, [f"digits: the fixed split, {len(train)} train and {len(val)} val"])
