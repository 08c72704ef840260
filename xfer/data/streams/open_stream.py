"""Opens a stream: its shards, its classes and how many pictures it has, counted if nobody says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.threads import cores
from xfer.data.sources.base import Bundle
from xfer.data.sources.wordnet import MAX_CLASSES
from xfer.data.streams.shards import FORMAT, shards_of
from xfer.data.streams.stream import Stream, pictures_of
from xfer.errors import DataError, XferError
from xfer.kinds.findings import counted
from xfer.types import DataInfo


class _Count(NamedTuple):
    """What a pass over shards has shown: pictures, those without label, labels by class."""

    pictures: int
    unlabelled: int
    labels: NDArray[np.int64]


def open_stream(spec: str, classes: str = "", size: int = 0, labelled: bool = True) -> Bundle:
    """A stream as data with one split, train. What the user does not say is counted, in one pass.

    Args:
        spec: see `xfer.data.streams.shards`.
        classes: their names by number, "ant,bee"; empty: counted, and named by their numbers.
        size: pictures per epoch; 0: as many as there are.
        labelled: whether classes are needed.

    Raises: XferError for a command that only a file names; DataError for shards that can't be read.
    """
    shards = shards_of(spec)
    names = [name.strip() for name in classes.split(",") if name.strip()]
    if len(set(names)) < len(names):
        raise XferError(f"data.classes={classes}: a class is named twice")
    notes = [f"a stream of {counted(len(shards), 'shard', 'shards')}, read in sequence"]
    counts = None
    if (labelled and not names) or not size:
        found = _counted(shards)
        if not found.pictures:
            raise DataError(f"{spec}: no pictures in the shards")
        if labelled and found.unlabelled:
            raise DataError(
                f"{spec}: {counted(found.unlabelled, 'picture', 'pictures')} without a label",
                "a class is a number in .cls, or `label` in .json",
            )
        if names and len(found.labels) > len(names):
            raise DataError(
                f"{spec}: label {len(found.labels) - 1}, but data.classes names {len(names)}"
            )
        counts = np.zeros(len(names) or len(found.labels), np.int64)
        counts[: len(found.labels)] = found.labels
        names = names or [str(k) for k in range(len(counts))]
        keys = f"data.stream_size={size or found.pictures}"
        if labelled:
            keys += f" data.classes={','.join(names)}"
        notes.append(
            f"counted in one pass over all shards: {found.pictures:,} pictures, "
            f"{counted(len(names), 'class', 'classes')}; {keys} saves it"
        )
        size = size or found.pictures
    kind = "classify" if labelled else "images"
    if labelled and len(names) < 2:
        raise DataError(f"{spec}: one class ({names[0]}), and nothing to tell it from")
    notes.append(f"an epoch is {size:,} pictures")
    info = DataInfo(name_of_stream(spec), kind, tuple(names) if labelled else (), "train")
    return Bundle(
        spec, FORMAT.rstrip(":"), kind, info.classes, {"train": Stream(info, shards, size, counts)},
        tuple(notes),
    )  # fmt: skip


def name_of_stream(spec: str) -> str:
    """A short name for a stream."""
    return spec if len(spec) <= 60 else f"{spec[:57]}..."


def _counted(shards: list[str]) -> _Count:
    """Labels and pictures of all shards; several are read at once."""
    with ThreadPoolExecutor(max(1, min(len(shards), cores()))) as pool:
        parts = list(pool.map(_counted_in, shards))
    labels = np.zeros(max(len(part.labels) for part in parts), np.int64)
    for part in parts:
        labels[: len(part.labels)] += part.labels
    return _Count(sum(p.pictures for p in parts), sum(p.unlabelled for p in parts), labels)


def _counted_in(shard: str) -> _Count:
    labels = np.zeros(0, np.int64)
    pictures = unlabelled = 0
    for one in pictures_of(shard, labels_only=True):
        pictures += 1
        if one.label < 0:
            unlabelled += 1
            continue
        if one.label >= MAX_CLASSES:
            raise DataError(f"{shard}: {one.id}: label {one.label} is out of range")
        if one.label >= len(labels):
            labels = np.concatenate([labels, np.zeros(one.label + 1 - len(labels), np.int64)])
        labels[one.label] += 1
    return _Count(pictures, unlabelled, labels)
