"""Pictures that a program hands over: arrays, tensors, PIL images and encoded bytes."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.decode import DecodeError, decode, from_pil
from xfer.data.images.to_rgb import SLACK, on_white
from xfer.errors import XferError

KINDS = (
    "give paths, PIL images, encoded bytes, arrays (H, W, 3) or tensors (3, H, W), of uint8 or of "
    "floats in 0..1"
)
CHANNELS = (1, 3, 4)


def given_picture(picture: Any, number: int | str) -> NDArray[np.uint8]:
    """Returns the pixels of a picture in memory, uint8 (H, W, 3).

    | picture | |
    |--|--|
    | PIL image | treated as its file would be |
    | bytes | the content of a file |
    | array | (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), the last channel being opacity |
    | tensor | (H, W), (1, H, W), (3, H, W) or (4, H, W) |

    Values are uint8, or floats where 0 is black and 1 is white.

    Raises: XferError for anything else, naming its number; DecodeError if it can't be decoded.
    """
    name = f"picture {number}"
    if hasattr(picture, "convert"):
        return from_pil(picture, name)
    if isinstance(picture, (bytes, bytearray, memoryview)):
        try:
            return decode(bytes(picture))
        except DecodeError as error:
            raise DecodeError(error.reason, name) from error.__cause__
    shape = tuple(getattr(picture, "shape", ()))
    if is_tensor(picture):
        picture = picture.detach().cpu()
        if str(picture.dtype) == "torch.bfloat16":
            picture = picture.float()
        picture = picture.numpy()
        if picture.ndim == 3:
            picture = picture.transpose(1, 2, 0)
        form, expected_shape = "a tensor", "(3, H, W)"
    elif isinstance(picture, np.ndarray):
        form, expected_shape = "an array", "(H, W, 3)"
    else:
        raise XferError(f"{name} is a {type(picture).__name__}", KINDS)
    if picture.ndim == 2:
        picture = picture[:, :, None]
    if picture.ndim != 3 or picture.shape[2] not in CHANNELS or not picture.size:
        raise XferError(f"{name} is {form} {shape}, not {expected_shape}", KINDS)
    pixels = _as_bytes(picture, name)
    if pixels.shape[2] == 4:
        return on_white(pixels)
    return pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2)


def is_tensor(value: Any) -> bool:
    """Whether a value is a torch tensor; needs no import of torch."""
    return hasattr(value, "detach") and hasattr(value, "numpy")


def is_one(pictures: Any) -> bool:
    """Whether the argument is one picture, not several: a path, an image, bytes, or an array with
    the channels of one picture."""
    single = (str, os.PathLike, bytes, bytearray, memoryview)
    if isinstance(pictures, single) or hasattr(pictures, "convert"):
        return True
    tensor = is_tensor(pictures)
    if not tensor and not (isinstance(pictures, np.ndarray) and pictures.dtype.kind in "buif"):
        return False
    if pictures.ndim == 3:
        return pictures.shape[0 if tensor else 2] in CHANNELS
    return pictures.ndim < 3


def _as_bytes(picture: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Returns uint8, from uint8 or from floats in 0..1."""
    if picture.dtype == np.uint8:
        return np.ascontiguousarray(picture)
    if picture.dtype.kind != "f":
        raise XferError(f"{name} holds {picture.dtype}, not uint8 or floats in 0..1", KINDS)
    low, high = float(picture.min()), float(picture.max())
    if not (low >= -SLACK and high <= 1 + SLACK):  # also catches NaN
        raise XferError(
            f"{name} holds floats from {low:.3g} to {high:.3g}, not within 0..1",
            "give pictures before any normalisation: xfer applies the net's own",
        )
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
