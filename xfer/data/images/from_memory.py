"""Pictures that a program hands over: arrays, tensors, PIL images and encoded bytes."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.decode import DecodeError, decode, from_pil, on_white
from xfer.errors import XferError

KINDS = (
    "give paths, PIL images, encoded bytes, arrays (H, W, 3) or tensors (3, H, W), of uint8 or of "
    "floats in 0..1"
)
CHANNELS = (1, 3, 4)
SLACK = 1e-3  # what resizing may add to 0..1


def given_picture(picture: Any, number: int | str) -> NDArray[np.uint8]:
    """The pixels of a picture in memory, uint8 (H, W, 3).

    | picture | |
    |--|--|
    | PIL image | as its file is read |
    | bytes | a file's content |
    | array | (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), whose last channel is opacity |
    | tensor | (H, W), (1, H, W), (3, H, W) or (4, H, W) |

    Numbers are uint8, or floats of which 0 is black and 1 is white.

    Raises: XferError for anything else, with its number; DecodeError for what can't be decoded.
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
        what, wanted = "a tensor", "(3, H, W)"
    elif isinstance(picture, np.ndarray):
        what, wanted = "an array", "(H, W, 3)"
    else:
        raise XferError(f"{name} is a {type(picture).__name__}", KINDS)
    if picture.ndim == 2:
        picture = picture[:, :, None]
    if picture.ndim != 3 or picture.shape[2] not in CHANNELS or not picture.size:
        raise XferError(f"{name} is {what} {shape}, not {wanted}", KINDS)
    pixels = _as_bytes(picture, name)
    if pixels.shape[2] == 4:
        return on_white(pixels)
    return pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2)


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor of torch's, told without importing torch."""
    return hasattr(value, "detach") and hasattr(value, "numpy")


def is_one(pictures: Any) -> bool:
    """Whether what was given is one picture, and not several: a path, an image, bytes, or an array
    that has the channels of one."""
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
    """uint8 of uint8, or of floats in 0..1."""
    if picture.dtype == np.uint8:
        return np.ascontiguousarray(picture)
    if picture.dtype.kind != "f":
        raise XferError(f"{name} is of {picture.dtype}, not of uint8 or floats in 0..1", KINDS)
    low, high = float(picture.min()), float(picture.max())
    if not (low >= -SLACK and high <= 1 + SLACK):  # NaN is not, either
        raise XferError(
            f"{name} holds floats from {low:.3g} to {high:.3g}, not within 0..1",
            "pictures as they are, before any normalisation: xfer does what the net needs",
        )
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
