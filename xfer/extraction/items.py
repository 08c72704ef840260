"""Pictures passed in as a list, in files or in memory, as a source."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from xfer.data.images.from_memory import KINDS, given_picture, is_one
from xfer.data.sources.from_python import Pictures
from xfer.errors import DataError, XferError
from xfer.types import DataInfo


class Items(Pictures):
    """Pictures without labels, in the given order; the ids are their indices.

    Args: pictures: what `given_picture` reads, or paths, as a list, a tuple, an object array, or
        one array (N, H, W, 3) or (N, H, W) or tensor (N, 3, H, W).

    Raises: XferError for anything else, with its index.
    """

    def __init__(self, pictures: Any) -> None:
        held = [_checked(i, picture) for i, picture in enumerate(_listed(pictures))]
        super().__init__(DataInfo("pictures", "images", ()), held, np.full(len(held), -1, np.int64))


def _listed(pictures: Any) -> Iterable[Any]:
    if isinstance(pictures, np.ndarray) and pictures.dtype.kind in "uif" and pictures.ndim < 3:
        raise XferError(
            f"an array {pictures.dtype} {pictures.shape} is not a list of pictures", KINDS
        )
    if is_one(pictures):
        raise XferError(
            "a single picture is not a list of pictures", "put it into a list: [picture]"
        )
    if hasattr(pictures, "ndim") and pictures.ndim == 2 and pictures.shape[1] == 1:
        return np.asarray(pictures)[:, 0]  # a column of paths, as ColumnTransformer passes it
    if not isinstance(pictures, Iterable):
        raise XferError(
            f"an object of type {type(pictures).__name__} is not a list of pictures", KINDS
        )
    return pictures


def _checked(number: int, picture: Any) -> Any:
    """A picture as it is stored: its pixels, its file's content, or its path."""
    if isinstance(picture, (str, os.PathLike)):
        path = Path(picture)
        if path.is_dir():
            raise DataError(f"{path} is a folder", "xfer.features(FOLDER) reads folders")
        return path
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return bytes(picture)  # decoded when it is read
    return given_picture(picture, number)
