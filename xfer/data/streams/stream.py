"""A source without an index: pictures that come in sequence, shard by shard.

It has the outside of a `Source`, so that a run can name, count and describe it, but no picture can
be asked for by its number: `xfer.data.streams.stream_loader` reads it, and `xfer features`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, overload

import numpy as np
from numpy.typing import NDArray

from xfer import kinds
from xfer.data.images.walk import is_junk, is_picture
from xfer.data.readers.webdataset import label_of
from xfer.data.streams.shards import name_of, opened
from xfer.data.streams.tar_stream import streamed
from xfer.errors import DataError, XferError
from xfer.files import GB, MB
from xfer.types import DataInfo, Sample

NOTE = MB  # the most bytes of a label's file
PICTURE = GB


@dataclass(frozen=True, slots=True)
class Encoded:
    """A picture as it is stored. id: SHARD/NAME; label: -1 if it has none."""

    id: str
    data: bytes
    label: int = -1


class Stream:
    """Pictures in shards that are read from beginning to end.

    Args:
        info: kind and classes; shards: what `opened` opens.
        size: how many pictures an epoch has.
        counts: how many there are of each class, (C,), if they were counted.
    """

    def __init__(
        self, info: DataInfo, shards: Sequence[str], size: int,
        counts: NDArray[np.int64] | None = None,
    ) -> None:  # fmt: skip
        self.info, self.shards, self.size, self.counts = info, tuple(shards), size, counts
        self.ids: Sequence[str] = _Numbers(size)

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, i: int) -> Sample:
        _refuse(self.info.name)

    def labels(self) -> NDArray[np.int64]:
        """The labels by class, for their counts: a stream has no order. Empty if nobody counted."""
        if self.counts is None:
            return np.zeros(0, np.int64)
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def fingerprint(self) -> str:
        """Of the shards' names, the size and the classes: what is in the shards is not known."""
        parts = [*self.shards, str(self.size), *self.info.classes, self.info.split]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def read(self, shard: int) -> Iterator[Encoded]:
        """The pictures of a shard, in stored order. Raises DataError for what can't be used."""
        classes, labelled = len(self.info.classes), kinds.get(self.info.kind).labelled
        for one in pictures_of(self.shards[shard]):
            if labelled and not 0 <= one.label < classes:
                what = "no label" if one.label < 0 else f"label {one.label}"
                raise DataError(
                    f"{self.shards[shard]}: {one.id}: {what}, where 0 to {classes - 1} are known",
                    "data.classes names all classes, by number from 0",
                )
            yield one


def pictures_of(shard: str, labels_only: bool = False) -> Iterator[Encoded]:
    """The samples of a shard that have a picture. Args: labels_only: leave their content empty."""

    def wanted(name: str) -> int:
        end = name.rpartition("/")[2].partition(".")[2].lower()
        if is_picture(f"x.{end}"):
            return 0 if labels_only else PICTURE
        return NOTE if end in ("cls", "json") else 0

    name = name_of(shard)
    with opened(shard) as file:
        key, content = "", dict[str, bytes | None]()
        for path, data in streamed(file, shard, wanted):
            folder, _, file_name = path.rpartition("/")
            if is_junk(file_name):
                continue
            start, _, end = file_name.partition(".")
            own = f"{folder}/{start}" if folder else start
            if own != key and content:
                yield from _sample(shard, name, key, content)
                content = {}
            key = own
            content[end.lower()] = data
        if content:
            yield from _sample(shard, name, key, content)


def _sample(shard: str, name: str, key: str, content: dict[str, bytes | None]) -> Iterator[Encoded]:
    picture = next((end for end in content if is_picture(f"x.{end}")), None)
    if picture is None:
        return
    notes = {end: data for end, data in content.items() if data is not None and end != picture}
    yield Encoded(f"{name}/{key}", content[picture] or b"", label_of(shard, key, notes))


def _refuse(name: str) -> NoReturn:
    raise XferError(f"{name}: a stream has no pictures by number", "read shards as files instead")


class _Numbers(Sequence[str]):
    """ "0", "1", ... in place of the names of pictures that nobody has seen."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, i: int) -> str: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[str]: ...
    def __getitem__(self, i: Any) -> Any:
        found = range(self._count)[i]
        return [str(n) for n in found] if isinstance(found, range) else str(found)
