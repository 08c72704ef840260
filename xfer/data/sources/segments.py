"""Sources of pictures with segments, used by all readers of panoptic data."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfer import kinds
from xfer.data.images.decode import decode
from xfer.data.sources import door
from xfer.data.sources.masks import MaskSource
from xfer.objects.segments import Segments
from xfer.types import DataInfo, Sample


class SegmentSource(MaskSource):
    """Picture files, each with segments; a subclass reads these in `read_segments`.

    Read as a kind that has segments (panoptic), samples carry them; read as another (segment), they
    carry the class of each pixel.

    Args:
        info, root, files, ids: as in MaskSource.
        present: int8 (N, C), the classes of each picture's segments, if these are known without
            reading the maps.
    """

    def __init__(
        self,
        info: DataInfo,
        root: Path,
        files: Sequence[str],
        ids: Sequence[str] | None = None,
        present: NDArray[np.int8] | None = None,
    ) -> None:
        super().__init__(info, root, files, ids)
        self.whole = kinds.get(info.kind).segments
        if present is not None and self.whole:
            self._labels = present

    @abstractmethod
    def read_segments(self, i: int) -> Segments:
        """The segments of picture i as they are stored.

        Raises: DecodeError for a map that can't be used; its reason does not name the picture.
        """

    @door.sample
    def read_mask(self, i: int) -> NDArray[np.uint8]:
        return self.read_segments(i).classes()

    @door.sample
    def read(self, i: int, short_side: int = 0) -> Sample:
        """Sample i; the full picture whatever `short_side` is, since the map has its size."""
        if not self.whole:
            return super().read(i, short_side)
        image = decode(self.path(i))
        segments = self.read_segments(i)
        fitted = self._turned(i, segments.map, image.shape[:2])
        return Sample(self.ids[i], image, segments=segments.mapped(fitted))
