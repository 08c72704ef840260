"""Cityscapes' segments: gtFine/SPLIT/CITY/X_gtFine_instanceIds.png, whose values are their ids.

A value of 1000 or more is an object, class * 1000 + its number; a smaller one is the class itself:
stuff, or a group of objects, which is read as a crowd. Classes that are not evaluated are void.

Source: mcordts/cityscapesScripts, preparation/createPanopticImgs.py, whose PNGs hold the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from xfer.data.images.decode import DecodeError
from xfer.data.images.mask_file import read_mask_file
from xfer.data.images.walk import readable
from xfer.data.readers.cityscapes_instances import BASE, ENDING, OBJECTS
from xfer.data.sources import door
from xfer.data.sources.masks import file_stamp
from xfer.data.sources.segments import SegmentSource
from xfer.objects.segments import Segments
from xfer.types import DataInfo


class CityscapesSegments(SegmentSource):
    """One split.

    Args: files, maps: pictures and their instanceIds, relative to root; values: class name -> its
        id; those of classes that are not in `info` are void.
    """

    def __init__(
        self, info: DataInfo, root: Path, files: Sequence[str], maps: Sequence[str],
        values: Mapping[str, int],
    ) -> None:  # fmt: skip
        super().__init__(info, root, files)
        self.maps = tuple(maps)
        self._label = {values[name]: k for k, name in enumerate(info.classes)}
        self._objects = frozenset(OBJECTS.values())

    @door.sample
    def read_segments(self, i: int) -> Segments:
        file = self.root / self.maps[i]
        raw = read_mask_file(file)
        if raw.coloured:
            raise DecodeError(f"{ENDING} with colours instead of numbers", readable(str(file)))
        known: dict[int, tuple[int, bool]] = {}
        for value in np.unique(raw.values).tolist():
            number = value // BASE if value >= BASE else value
            known[value] = self._label.get(number, -1), value < BASE and number in self._objects
        return Segments.from_ids(raw.values, known, void=-1)

    def mask_stamp(self, i: int) -> str:
        return f"{file_stamp(self.root / self.maps[i])} {self.info.classes}"
