"""Treat pictures with boxes as pictures with labels: the classes that have a box."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.decode import shrink
from xfer.data.sources.base import Bundle, read
from xfer.types import Sample, Source


class Presence:
    """A source of boxes seen as one with several labels per picture: int8 (N, C).

    Args: source: of kind detect.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.ids = source, source.ids
        self.info = replace(source.info, kind="multilabel")

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> Sample:
        return self.read(i)

    def read(self, i: int, short_side: int = 0) -> Sample:
        """Sample i with labels in place of boxes, so it can be shrunk to `short_side`."""
        sample = read(self.source, i, short_side)
        return Sample(sample.id, shrink(sample.image, short_side), self.labels()[i])

    def labels(self) -> NDArray[np.int64] | NDArray[np.int8]:
        return self.source.labels()

    def fingerprint(self) -> str:
        return self.source.fingerprint()


def presence(bundle: Bundle) -> Bundle:
    """The same bundle with each split wrapped in `Presence`."""
    splits: dict[str, Source] = {role: Presence(s) for role, s in bundle.splits.items()}
    return replace(bundle, kind="multilabel", splits=splits)
