"""Pass whole pictures to the device, which cuts the training crops (data.crop_on)."""

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
    """The transform for crops cut on the device: returns (id, pixels, label, numbers, side).

    A picture of `shape` is passed unchanged; for any other size, a random square as large as its
    short side is cut and scaled.

    Differs from crops cut on the host: with a square, data.crop_area is a share of the square, not
    of the picture, and the picture's ends are shown less often than its middle.

    Args:
        shape: (height, width) of what is passed on; a square if pictures differ in size.
        side: of the crops, for the code that cuts them.
        draws: uniform numbers 0..1 needed to cut one picture; the loader draws them, and two more
            for the square.
    """

    def __init__(self, shape: tuple[int, int], side: int, draws: int) -> None:
        self.shape, self.side = (*shape, 3), side
        self.draws = draws + 2

    def __call__(
        self, sample: Sample, draws: NDArray[np.float32], out: NDArray[np.uint8]
    ) -> tuple[str, NDArray[np.uint8], Any, NDArray[np.float32], int]:
        """Sample, float32 (draws,), the array for its pixels -> what the device needs."""
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
    """Returns where training crops are cut, host or device, by data.crop_on and data.decode.

    Args: gpu, frozen: as in xfer.task.Task.choose_crops.
    Raises: XferError for an augmentation that the device does not support, and if it can't
        decode.
    """
    key = "decode" if check_decode(data, train, gpu) else "crop_on"
    known = data.augment in ("light", "standard")
    if getattr(data, key) == "device" and not known:
        raise XferError(
            f"data.{key}=device supports data.augment light and standard, not {data.augment}",
            f"data.{key}=host",
        )
    if getattr(data, key) != "auto":
        return getattr(data, key)
    return "device" if gpu and not frozen and known and is_raw_pack(train) else "host"


def handed_over(train: Source, side: int, max_side: int) -> tuple[int, int]:
    """The size of the pictures passed to the device, (height, width).

    Args:
        side: of the squares, used if pictures differ in size or their sizes are not known.
        max_side: pictures of one size are passed whole only up to this short side.
    """
    source, rows = _unwrapped(train)
    sizes = source.sizes[rows] if isinstance(source, PackSource) else np.zeros((0, 2), np.int64)
    if len(sizes) and (sizes == sizes[0]).all() and sizes[0].min() <= max_side:
        height, width = sizes[0].tolist()
        return height, width
    return side, side


def is_raw_pack(source: Source) -> bool:
    """Whether the pictures are stored as raw pixels in a pack."""
    inner, _ = _unwrapped(source)
    return isinstance(inner, PackSource) and inner.raw


def _unwrapped(source: Source) -> tuple[Source, NDArray[np.int64] | slice]:
    """The source beneath any views, and which of its pictures they show."""
    rows: NDArray[np.int64] | slice = slice(None)
    while isinstance(source, Subset):
        rows = source.indices[rows]
        source = source.source
    return source, rows
