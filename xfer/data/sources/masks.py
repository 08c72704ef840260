"""Sources of pictures with masks, used by all readers of masks."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.decode import DecodeError, decode
from xfer.data.images.exif import upright
from xfer.data.images.mask_file import RawMask, read_mask_file
from xfer.data.images.size import header_at, upright_size
from xfer.data.images.walk import readable
from xfer.data.sources import door
from xfer.data.sources.files import PROBE_SIDE, FileSource
from xfer.data.sources.mask_codes import MaskCode
from xfer.kinds.base import UNJUDGED
from xfer.kinds.pixel_counts import count_pixels
from xfer.types import DataInfo, Sample

UNCOUNTED = -1


class MaskSource(FileSource):
    """Picture files, each with a mask; a subclass reads the mask in `read_mask`.

    The picture is upright. A mask as large as the upright picture is used unchanged; one that has
    the size of the picture before its EXIF turn is turned with it.

    Args:
        info, root, files, ids: as in FileSource; kind is segment.
    """

    def __init__(
        self, info: DataInfo, root: Path, files: Sequence[str], ids: Sequence[str] | None = None
    ) -> None:
        none = np.full((len(files), len(info.classes)), UNJUDGED, np.int8)
        super().__init__(info, root, files, none, ids)
        # pixels per class, filled as masks are read: all are read once before training
        self._counts = np.full((len(files), len(info.classes) + 1), UNCOUNTED, np.int64)

    @abstractmethod
    def read_mask(self, i: int) -> NDArray[np.uint8]:
        """The mask of picture i as it is stored: uint8 (H, W) of class indices, 255 = ignore.

        Raises: DecodeError for a mask that can't be used; its reason does not name the picture.
        """

    @abstractmethod
    def mask_stamp(self, i: int) -> str:
        """Text that changes with the file of mask i, or with the meaning of its values."""

    @door.sample
    def read(self, i: int, short_side: int = 0) -> Sample:
        """Sample i; the full picture whatever `short_side` is, since the mask has its size."""
        image = decode(self.path(i))
        return Sample(self.ids[i], image, mask=self._fitted(i, image.shape[:2]))

    @door.sample
    def verify(self, i: int) -> None:
        """Raises DecodeError if picture i or its mask can't be used. Counts the mask's pixels."""
        path = self.path(i)
        decode(path, PROBE_SIDE)
        size = upright_size(path) or decode(path).shape[:2]
        self._count(i, self._fitted(i, (size[0], size[1])))

    @door.sample
    def pixel_counts(self, i: int) -> NDArray[np.int64]:
        """(C + 1,) pixels of each class in mask i; the last entry counts ignored pixels."""
        if self._counts[i, 0] == UNCOUNTED:
            self._count(i, self.read_mask(i))
        return self._counts[i]

    def stamp(self, i: int) -> str | None:
        """As for FileSource, and of the mask."""
        own = super().stamp(i)
        return None if own is None else f"{own}\0{self.mask_stamp(i)}"

    def fingerprint(self) -> str:
        """As for FileSource, and of the masks' files and what their values mean."""
        if not self._fingerprint:
            digest = hashlib.sha256(super().fingerprint().encode())
            for i in range(len(self)):
                digest.update(f"{self.mask_stamp(i)};".encode("utf-8", "surrogateescape"))
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    def _count(self, i: int, mask: NDArray[np.uint8]) -> None:
        self._counts[i] = count_pixels(mask, len(self.info.classes))

    def _fitted(self, i: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Mask i, turned like its upright picture. Raises DecodeError if it does not fit."""
        return self._turned(i, self.read_mask(i), size)

    def _turned(self, i: int, mask: NDArray[Any], size: tuple[int, ...]) -> NDArray[Any]:
        """A map (H, W) of picture i, turned like the picture. Raises DecodeError as `_fitted`."""
        if mask.shape == size:
            return mask
        header = header_at(self.path(i))
        if header is not None and header[2] > 4 and mask.shape == header[:2] == size[::-1]:
            turned = upright(np.repeat(mask[:, :, None], 3, axis=2), header[2])
            return np.ascontiguousarray(turned[:, :, 0])
        raise DecodeError(
            f"the mask is {mask.shape[1]} x {mask.shape[0]}, the picture {size[1]} x {size[0]}",
            readable(str(self.path(i))),
        )


class MaskFiles(MaskSource):
    """Pictures with mask files that hold numbers or colours.

    Args:
        masks: N paths, relative to root or absolute; code: what their values mean, or N of them.
        more: further masks of a picture, by its index: where one holds 0, the next one counts.
    """

    def __init__(
        self,
        info: DataInfo,
        root: Path,
        files: Sequence[str],
        masks: Sequence[str],
        code: MaskCode | Sequence[MaskCode],
        ids: Sequence[str] | None = None,
        more: Mapping[int, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(info, root, files, ids)
        self.masks, self.more = tuple(masks), dict(more or {})
        self.codes = (code,) * len(self.masks) if isinstance(code, MaskCode) else tuple(code)
        marks = {key: one.fingerprint() for key, one in {id(c): c for c in self.codes}.items()}
        self._code_marks = tuple(marks[id(one)] for one in self.codes)

    @door.sample
    def read_mask(self, i: int) -> NDArray[np.uint8]:
        whole: RawMask | None = None
        name = self.masks[i]
        try:
            for name in (self.masks[i], *self.more.get(i, ())):
                raw = self.read_raw(self.root / name)
                whole = raw if whole is None else joined(whole, raw)
            assert whole is not None
            return self.codes[i].decode(whole)
        except DecodeError as error:
            named = f"mask {readable(Path(name).as_posix())}: {error.reason}"
            raise DecodeError(named, self.ids[i]) from None

    def read_raw(self, path: Path) -> RawMask:
        """Read a mask file as it is stored."""
        return read_mask_file(path)

    def mask_stamp(self, i: int) -> str:
        stamps = [file_stamp(self.root / name) for name in (self.masks[i], *self.more.get(i, ()))]
        return f"{' '.join(stamps)} {self._code_marks[i]}"


def joined(one: RawMask, other: RawMask) -> RawMask:
    """Two masks of the same picture as one: where the first holds 0, the second counts.

    Raises: DecodeError if they differ in size or kind, or hold different values at a pixel.
    """
    first, second = one.values, other.values
    if first.shape != second.shape:
        raise DecodeError("it has another size or kind than the other mask of its picture")
    channels = np.atleast_3d(first), np.atleast_3d(second)
    bare = ~channels[0].any(2)
    clash = ~bare & channels[1].any(2) & (channels[0] != channels[1]).any(2)
    if clash.any():
        raise DecodeError(f"it and the other mask of its picture differ at {clash.sum()} pixels")
    mixed = np.where(bare.reshape(bare.shape + (1,) * (first.ndim - 2)), second, first)
    return replace(one, values=mixed.astype(np.promote_types(first.dtype, second.dtype)))


def file_stamp(path: Path) -> str:
    """A file's name, size and time of change in whole seconds."""
    try:
        state = path.stat()
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return f"{readable(path.name)} gone"
    return f"{path.name} {state.st_size} {int(state.st_mtime)}"
