"""Treat data as data of which less is known: boxes as labels, objects with masks as boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfer import kinds
from xfer.boxes import Boxes
from xfer.data.images.decode import shrink
from xfer.data.sources.base import Bundle, path_of, raw, read, stamp, verify
from xfer.data.sources.boxes import category_ids, image_ids
from xfer.kinds.annotation import annotation
from xfer.types import Sample, Source


class Presence:
    """A source of boxes seen as one with several labels per picture: int8 (N, C).

    Args: source: of kind detect.
    """

    def __init__(self, source: Source) -> None:
        self.source, self.ids = source, source.ids
        self.info = replace(source.info, kind="multilabel")

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> Sample:
        return self.read(i)

    def read(self, i: int, short_side: int = 0) -> Sample:
        """Sample i with labels in place of boxes, so it can be shrunk to `short_side`."""
        sample = read(self.source, i, short_side)
        return Sample(sample.id, shrink(sample.image, short_side), self.labels()[i])

    def labels(self) -> NDArray[np.int64] | NDArray[np.int8]:
        return self.source.labels()

    def fingerprint(self) -> str:
        return self.source.fingerprint()


def presence(bundle: Bundle) -> Bundle:
    """The same bundle with each split wrapped in `Presence`."""
    splits: dict[str, Source] = {role: Presence(s) for role, s in bundle.splits.items()}
    return replace(bundle, kind="multilabel", splits=splits)


class BoxesAlone:
    """A source of objects with masks seen as one of boxes; everything else is the source's.

    Args: kind: the kind of data that it becomes.
    """

    def __init__(self, source: Source, kind: str) -> None:
        self.source, self.ids = source, source.ids
        self.info = replace(source.info, kind=kind)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> Sample:
        return self.read(i)

    def read(self, i: int, short_side: int = 0) -> Sample:
        """Sample i with its boxes; the full picture whatever `short_side` is."""
        sample = self.source[i]
        boxes = sample.boxes
        return sample if boxes is None else replace(sample, boxes=replace(boxes, masks=None))

    def annotation(self, i: int) -> Boxes:
        """The boxes of picture i, without decoding it if the source can."""
        return replace(annotation(self.source, i), masks=None)

    def labels(self) -> NDArray[np.int64] | NDArray[np.int8]:
        return self.source.labels()

    def fingerprint(self) -> str:
        return self.source.fingerprint()

    def verify(self, i: int) -> None:
        """Raises DataError if picture i can't be decoded."""
        verify(self.source, i)

    def stamp(self, i: int) -> str | None:
        """Text that changes with the file of picture i, see `base.stamp`."""
        return stamp(self.source, i)

    def path(self, i: int) -> Path | None:
        """The file of picture i, see `base.path_of`."""
        return path_of(self.source, i)

    def raw(self, i: int) -> bytes | None:
        """Picture i as it is stored, see `base.raw`."""
        return raw(self.source, i)

    @property
    def image_ids(self) -> Sequence[int | str]:
        """A COCO file's ids of the pictures, if it comes from one."""
        return image_ids(self.source) or ()

    @property
    def category_ids(self) -> Sequence[int | str]:
        """A COCO file's ids of the classes, if it names them all."""
        ids = category_ids(self.source) or {}
        return [ids[c] for c in self.info.classes] if set(self.info.classes) <= set(ids) else ()


def without_masks(source: Source, wanted: Sequence[str]) -> Source:
    """The source; as one of boxes alone if it holds objects with masks and boxes are wanted.

    Args: wanted: names of kinds, the first that holds boxes is taken; empty: any.
    """
    kind = kinds.get(source.info.kind)
    if not kind.outlined or kind.name in wanted:
        return source
    plain = [name for name in wanted if name in kind.also and kinds.get(name).boxes]
    return BoxesAlone(source, plain[0]) if plain else source
