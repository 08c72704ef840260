"""Short numbers for what a picture holds and for its label, by which it is known again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer import kinds
from xfer.data.images.from_memory import given_picture
from xfer.data.images.threads import cores
from xfer.data.sources.base import ArraySource, Subset, path_of, raw
from xfer.data.sources.boxes_as_labels import Presence
from xfer.data.sources.from_python import Pictures
from xfer.errors import XferError
from xfer.files import open_file
from xfer.kinds.annotation import annotation
from xfer.kinds.pixel_counts import REMEMBERED, pixel_counts_of
from xfer.types import Source

MOST = 100_000  # pictures of a split that a run keeps marks of
MOST_INSIDE = 20_000  # pictures in tars and tables, which are read in full, that are marked
CHUNK, CHUNKS = 4096, 8  # bytes; a larger file is read in pieces spread evenly over it
UNKNOWN = 0


def marks(source: Source) -> NDArray[np.uint64]:
    """A number for the bytes of each picture, (N,); UNKNOWN where a source keeps only pixels that
    it made itself, as a pack does, where a file is gone, and in large tars and tables.

    Equal files have equal numbers, under whatever name and in whatever format of annotations.
    """
    inside = len(source) > 0 and path_of(source, 0) is None
    if inside and len(source) > MOST_INSIDE and _stored(source):
        return np.full(len(source), UNKNOWN, np.uint64)
    return _numbers(source, _mark)


def truths(source: Source) -> NDArray[np.uint64]:
    """A number for what is known about each picture, (N,): its classes by name, its boxes, the
    pixels of each class in its mask; UNKNOWN for what can't be read, and where many masks or
    pictures would have to be read for it alone."""
    kind = kinds.get(source.info.kind)
    costly = not hasattr(_innermost(source), "annotation") if kind.boxes else kind.placed
    if costly and len(source) >= REMEMBERED:
        return np.full(len(source), UNKNOWN, np.uint64)
    return _numbers(source, _truth_of(source))


def _innermost(source: Source) -> Source:
    while isinstance(source, (Subset, Presence)):
        source = source.source
    return source


def _stored(source: Source) -> bool:
    """Whether the source keeps encoded pictures."""
    return callable(getattr(_innermost(source), "raw", None))


def _numbers(source: Source, number: Callable[[Source, int], int]) -> NDArray[np.uint64]:
    def safe(i: int) -> int:
        try:
            return number(source, i)
        except (OSError, XferError):
            return UNKNOWN

    with ThreadPoolExecutor(cores()) as pool:
        return np.fromiter(pool.map(safe, range(len(source))), np.uint64, len(source))


def _mark(source: Source, i: int) -> int:
    if isinstance(source, Subset):
        return _mark(source.source, int(source.indices[i]))
    if isinstance(source, Presence):
        return _mark(source.source, i)
    path = path_of(source, i)
    if path is not None:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size <= CHUNK * CHUNKS:
                return _digest(size, file.read())
            parts: list[bytes] = []
            for start in np.linspace(0, size - CHUNK, CHUNKS).astype(int).tolist():
                file.seek(start)
                parts.append(file.read(CHUNK))
            return _digest(size, b"".join(parts))
    data = raw(source, i)
    if data is not None:
        if len(data) > CHUNK * CHUNKS:
            starts = np.linspace(0, len(data) - CHUNK, CHUNKS).astype(int).tolist()
            return _digest(len(data), b"".join(data[start : start + CHUNK] for start in starts))
        return _digest(len(data), data)
    if isinstance(source, Pictures):
        return _pixels(given_picture(source.pictures[i], i))
    if isinstance(source, ArraySource):
        return _pixels(source.images[i])
    return UNKNOWN


def _pixels(image: NDArray[np.uint8]) -> int:
    return _digest(image.shape, np.ascontiguousarray(image).tobytes())


def _digest(about: Any, data: bytes) -> int:
    digest = hashlib.blake2b(repr(about).encode("utf-8", "surrogateescape"), digest_size=8)
    digest.update(b"\0" + data)
    return int.from_bytes(digest.digest(), "little") or 1


def _truth_of(source: Source) -> Callable[[Source, int], int]:
    kind, classes = kinds.get(source.info.kind), source.info.classes

    def of_boxes(source: Source, i: int) -> int:
        boxes = annotation(source, i)
        names = [classes[label] for label in boxes.labels.tolist()]
        rows = zip(names, np.round(boxes.xyxy, 1).tolist(), boxes.crowd.tolist(), strict=True)
        return _digest(sorted(rows), b"")

    def of_pixels(source: Source, i: int) -> int:
        counts = pixel_counts_of(source, i).tolist()
        return _digest([pair for pair in zip([*classes, ""], counts, strict=True) if pair[1]], b"")

    labels = source.labels()

    def of_labels(source: Source, i: int) -> int:
        row: Any = labels[i]
        if not kind.classes:
            return _digest(row.tolist() if hasattr(row, "tolist") else row, b"")
        if labels.ndim == 1:
            return _digest(classes[int(row)] if row >= 0 else "", b"")
        said = [[classes[c] for c in np.flatnonzero(row == value)] for value in (0, 1)]
        return _digest(said, b"")

    if kind.boxes:
        return of_boxes
    return of_pixels if kind.placed else of_labels
