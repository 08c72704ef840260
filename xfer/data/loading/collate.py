"""Pictures stacked into one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xfer.errors import XferError

if TYPE_CHECKING:
    from torch import Tensor


def stack_images(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Stack pictures of one size; one copy, or none if they are already rows of one array.

    Shapes: N x uint8 (H, W, 3) -> uint8 (N, 3, H, W), channels_last (NHWC in memory).
    Raises: XferError if there is no picture, or if sizes differ.
    """
    import torch  # here, so that looking at data needs no torch

    if not images:
        raise XferError("no pictures to stack")
    shapes = {image.shape for image in images}
    if len(shapes) > 1:
        raise XferError(f"pictures of one batch must have one size, got {sorted(shapes)}")
    whole = _common(images)
    if whole is None:
        whole = np.empty((len(images), *images[0].shape), np.uint8)
        for i, image in enumerate(images):
            whole[i] = image
    return torch.from_numpy(whole).permute(0, 3, 1, 2)


def stack_padded(
    images: Sequence[NDArray[np.uint8]], colour: Sequence[float], multiple: int = 32
) -> Tensor:
    """Stack pictures of several sizes, padded right and below to a common size.

    Args:
        colour: of the padding, one value per channel, 0..255; the mean that a net subtracts
            becomes zero.
        multiple: height and width of the batch are multiples of this, for fewer shapes.

    Shapes: N x uint8 (H, W, 3) -> uint8 (N, 3, H', W'), channels_last.
    """
    import torch

    height, width = (
        -(-max(image.shape[side] for image in images) // multiple) * multiple for side in (0, 1)
    )
    whole = np.empty((len(images), height, width, 3), np.uint8)
    filling = np.round(colour).astype(np.uint8)
    for i, image in enumerate(images):
        h, w = image.shape[:2]
        whole[i, :h, :w] = image
        whole[i, h:] = filling
        whole[i, :h, w:] = filling
    return torch.from_numpy(whole).permute(0, 3, 1, 2)


def _common(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8] | None:
    """The array (N, H, W, 3) whose rows are exactly these pictures, in this order; None if none."""
    whole = images[0].base
    if not isinstance(whole, np.ndarray) or whole.shape != (len(images), *images[0].shape):
        return None
    first, step = whole.ctypes.data, whole.strides[0]
    rows = all(
        image.base is whole and image.ctypes.data == first + i * step and image.dtype == np.uint8
        for i, image in enumerate(images)
    )
    return whole if rows and whole.flags.c_contiguous else None


def empty_pictures(shape: Sequence[int], pin: bool) -> NDArray[np.uint8]:
    """Memory for the pictures of a batch; `pin`: pinned, so that no further copy is needed."""
    if not pin:
        return np.empty(shape, np.uint8)
    import torch

    return torch.empty(tuple(shape), dtype=torch.uint8, pin_memory=True).numpy()
