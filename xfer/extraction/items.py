"""Pictures that are handed over one by one, paths, arrays or PIL images, as a source."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.decode import decode, shrink
from xfer.data.images.from_memory import KINDS, given_picture
from xfer.errors import DataError, XferError
from xfer.types import DataInfo, Sample


class Items:
    """Pictures without labels, in a given order; the ids are their numbers.

    Args: pictures: paths, uint8 arrays (H, W, 3) or PIL images, as a list, a tuple, an object
        array, or one array uint8 (N, H, W, 3).

    Raises: XferError for anything else, with its number.
    """

    def __init__(self, pictures: Any) -> None:
        self.info = DataInfo("pictures", "images", ())
        self.pictures = [_checked(i, picture) for i, picture in enumerate(_listed(pictures))]
        self.ids = tuple(str(i) for i in range(len(self.pictures)))

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, i: int) -> Sample:
        return self.read(i)

    def read(self, i: int, short_side: int = 0) -> Sample:
        """Picture i, no larger than `short_side` asks for."""
        picture = self.pictures[i]
        if isinstance(picture, Path):
            return Sample(self.ids[i], decode(picture, short_side))
        return Sample(self.ids[i], shrink(picture, short_side))

    def labels(self) -> NDArray[np.int64]:
        return np.full(len(self), -1, np.int64)

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for picture in self.pictures:
            digest.update(str(picture).encode() if isinstance(picture, Path) else picture.tobytes())
        return digest.hexdigest()

    def path(self, i: int) -> Path | None:
        """The file of picture i; None for an array."""
        picture = self.pictures[i]
        return picture if isinstance(picture, Path) else None


def _listed(pictures: Any) -> Iterable[Any]:
    if isinstance(pictures, (str, bytes, Path)) or hasattr(pictures, "convert"):
        raise XferError("one picture is no list of pictures", "put it into a list: [picture]")
    if isinstance(pictures, np.ndarray) and pictures.dtype.kind in "uif" and pictures.ndim != 4:
        raise XferError(f"an array {pictures.dtype} {pictures.shape} holds no pictures", KINDS)
    if hasattr(pictures, "ndim") and pictures.ndim == 2 and pictures.shape[1] == 1:
        return np.asarray(pictures)[:, 0]  # a column of paths, as ColumnTransformer hands it over
    if not isinstance(pictures, Iterable):
        raise XferError(f"a {type(pictures).__name__} is no list of pictures", KINDS)
    return pictures


def _checked(number: int, picture: Any) -> Path | NDArray[np.uint8]:
    if isinstance(picture, (str, Path)):
        path = Path(picture)
        if path.is_dir():
            raise DataError(f"{path} is a folder", "xfer.features(FOLDER) reads folders")
        return path
    return given_picture(picture, number)
