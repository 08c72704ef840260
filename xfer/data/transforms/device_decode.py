"""Pass JPEGs to the device as stored in a pack, to be decoded there (data.decode)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.pack.reader import PackSource
from xfer.data.sources.base import Subset, sample_label
from xfer.errors import XferError
from xfer.types import Sample, Source

if TYPE_CHECKING:
    from xfer.recipe.tables import DataTable


class _CodedPack(PackSource):
    """A JPEG pack whose samples carry the bytes of the files, uint8 (bytes,), as their pictures."""

    def __init__(self, pack: PackSource) -> None:
        self.__dict__.update(pack.__dict__)

    def read(self, i: int, short_side: int = 0) -> Sample:
        return Sample(self.ids[i], self.content(i), sample_label(self._labels[i]))


def coded(source: Source) -> Source:
    """Returns a view of a JPEG pack, or of some of its samples, that decodes nothing."""
    if isinstance(source, Subset):
        own = source.info
        return Subset(
            coded(source.source), source.indices, split=own.split, classes=own.classes,
            table=source.table,
        )  # fmt: skip
    if not isinstance(source, PackSource) or source.raw:
        raise XferError("data.decode=device reads JPEG packs", "xfer data pack SPEC -o DIR")
    return _CodedPack(source)


def check_decode(data: DataTable, train: Source, gpu: bool) -> bool:
    """Whether the device decodes training pictures. Raises XferError if it should but can't."""
    if data.decode != "device":
        return False
    if not gpu:
        raise XferError("data.decode=device needs a CUDA GPU (nvJPEG)", "data.decode=host")
    if data.crop_on == "host":
        raise XferError("data.decode=device also cuts crops on the device", "data.crop_on=device")
    coded(train)
    return True


class Files:
    """A batch's JPEGs; they stay on the host, where the decoder expects them.

    ids | of the pictures; data | their files, uint8 (bytes,) each; places | float32 (N, 2), 0..1,
    the position of the square that is cut from a picture of another size
    """

    def __init__(
        self, ids: Sequence[str], data: Sequence[NDArray[np.uint8]], places: NDArray[np.float32]
    ) -> None:
        self.ids, self.data, self.places = ids, data, places

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, part: slice) -> Files:
        return Files(self.ids[part], self.data[part], self.places[part])


class HandFiles:
    """The transform for JPEGs decoded on the device: returns (id, file, label, numbers, side)."""

    view = staticmethod(coded)

    def __init__(self, side: int, draws: int) -> None:
        self.side, self.draws = side, draws + 2

    def __call__(self, sample: Sample, draws: NDArray[np.float32], _: None) -> tuple[Any, ...]:
        return sample.id, sample.image, sample.label, draws, self.side
