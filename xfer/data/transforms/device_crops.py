"""Pictures handed over whole, where training crops are cut on the device (data.crop_on)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.pack.reader import PackSource
from xfer.data.sources.base import Subset
from xfer.data.transforms.crops import resize
from xfer.data.transforms.device_decode import check_decode
from xfer.errors import XferError
from xfer.types import Sample, Source

if TYPE_CHECKING:
    from xfer.recipe.tables import DataTable


class Whole:
    """The transform where crops are cut on the device: (id, pixels, label, numbers, side).

    A picture of `shape` goes as it is; of any other, a random square of its short side, scaled.

    Differs from crops cut on the host: where it was a square, data.crop_area is a share of that and
    not of the picture, and the picture's ends are shown less often than its middle.

    Args:
        shape: (height, width) of what is handed over; a square where pictures differ in size.
        side: of the crops, for who cuts them.
        draws: uniform numbers 0..1 that the cutting of one picture takes; the loader draws them,
            and two more for the square.
    """

    def __init__(self, shape: tuple[int, int], side: int, draws: int) -> None:
        self.shape, self.side = (*shape, 3), side
        self.draws = draws + 2

    def __call__(
        self, sample: Sample, draws: NDArray[np.float32], out: NDArray[np.uint8]
    ) -> tuple[str, NDArray[np.uint8], Any, NDArray[np.float32], int]:
        """Sample, float32 (draws,), the place for its pixels -> what the device needs of it."""
        image = sample.image
        if image.shape != self.shape:
            height, width = image.shape[:2]
            side = min(height, width)
            y, x = int(draws[-1] * (height - side + 1)), int(draws[-2] * (width - side + 1))
            square = image[y : y + side, x : x + side]
            image = resize(square, self.shape[1], self.shape[0], out)
        if image is not out:
            np.copyto(out, image)
        return sample.id, out, sample.label, draws[:-2], self.side


def crop_on(data: DataTable, train: Source, gpu: bool, frozen: bool) -> str:
    """host or device: who cuts training crops, as data.crop_on and data.decode have it.

    Args: gpu, frozen: as in xfer.task.Task.choose_crops.
    Raises: XferError for changes of pictures that the device does not know, and where it can't
        decode.
    """
    key = "decode" if check_decode(data, train, gpu) else "crop_on"
    known = data.augment in ("light", "standard")
    if getattr(data, key) == "device" and not known:
        raise XferError(
            f"data.{key}=device knows data.augment light and standard, not {data.augment}",
            f"data.{key}=host",
        )
    if getattr(data, key) != "auto":
        return getattr(data, key)
    return "device" if gpu and not frozen and known and is_raw_pack(train) else "host"


def handed_over(train: Source, side: int, most: int) -> tuple[int, int]:
    """The size in which pictures are handed over, (height, width).

    Args:
        side: of the squares, where pictures differ in size or where that is not known.
        most: short side above which pictures of one size are not handed over whole either.
    """
    source, rows = _unwrapped(train)
    sizes = source.sizes[rows] if isinstance(source, PackSource) else np.zeros((0, 2), np.int64)
    if len(sizes) and (sizes == sizes[0]).all() and sizes[0].min() <= most:
        height, width = sizes[0].tolist()
        return height, width
    return side, side


def is_raw_pack(source: Source) -> bool:
    """Whether reading a picture is copying bytes."""
    inner, _ = _unwrapped(source)
    return isinstance(inner, PackSource) and inner.raw


def _unwrapped(source: Source) -> tuple[Source, NDArray[np.int64] | slice]:
    """What lies under the views of a source, and which of its pictures they show."""
    rows: NDArray[np.int64] | slice = slice(None)
    while isinstance(source, Subset):
        rows = source.indices[rows]
        source = source.source
    return source, rows
