"""Pictures that a program hands over: arrays and PIL images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.decode import from_pil
from xfer.errors import XferError

KINDS = "give paths, uint8 arrays (H, W, 3) or PIL images"


def given_picture(picture: Any, number: int) -> NDArray[np.uint8]:
    """The pixels of an array or a PIL image, uint8 (H, W, 3).

    Raises: XferError for anything else, with its number; DecodeError for an image that can't be
        decoded.
    """
    name = f"picture {number}"
    if hasattr(picture, "convert"):
        return from_pil(picture, name)
    if not isinstance(picture, np.ndarray):
        raise XferError(f"{name} is a {type(picture).__name__}", KINDS)
    if picture.dtype != np.uint8:
        raise XferError(f"{name} is a {picture.dtype} array", KINDS)
    if picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise XferError(f"{name} is an array {picture.shape}, not (H, W, 3)", KINDS)
    return picture
