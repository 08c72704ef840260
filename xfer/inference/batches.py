"""Predictions a group of pictures at a time: threads read ahead, the net predicts whole groups.

A group is predicted by itself, so its predictions do not depend on what else there is, on how many
processes share the work, or on which part of it this is.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from xfer.data.images.decode import DecodeError, decode, shrink
from xfer.data.images.remarks import Remark, remarks
from xfer.data.images.threads import cores
from xfer.data.loading.halved import Halved
from xfer.errors import DataError
from xfer.inference.score import predict_batch
from xfer.task import Task
from xfer.types import Sample

HELD = 2**27  # largest batch in bytes of pictures: four of 4000 x 3000
Given = Sample | Path


@dataclass
class Group:
    """What predicting a group of pictures gave.

    items   | a prediction of each picture that was read; read: these pictures
    skipped | (name, reason) of the others
    remarks | (id, remark) of those that may look wrong
    """

    items: list[Any] = field(default_factory=list[Any])
    read: list[Given] = field(default_factory=list[Given])
    skipped: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    remarks: list[tuple[str, Remark]] = field(default_factory=list[tuple[str, Remark]])


@dataclass(frozen=True)
class _Read:
    """A picture as the net takes it, or why it can't be read."""

    given: Given
    item: Any = None
    nbytes: int = 0
    error: DecodeError | None = None
    odd: Sequence[tuple[str, Remark]] = ()


def in_groups(pictures: Sequence[Given], rows: range, batch: int) -> Iterator[Sequence[Given]]:
    """These rows of the pictures, `batch` at a time."""
    for start in range(rows.start, rows.stop, batch):
        yield pictures[start : min(start + batch, rows.stop)]


def predicted(
    task: Task, groups: Iterable[Sequence[Given]], tta: str, fitting: Halved[list[Any]],
    skip_bad: bool = False,
) -> Iterator[Group]:  # fmt: skip
    """The predictions of each group. Few pictures are held at a time: those of a batch of at most
    HELD bytes, and the next ones.

    Raises: DataError for a picture that can't be read, unless `skip_bad`.
    """
    transform, unused = task.transform(False, tta), np.random.default_rng(0)

    def read(given: Given) -> _Read:
        with remarks() as odd:
            try:
                sample = _sample(given, task.short_side)
            except DecodeError as error:
                return _Read(given, error=error)
        seen = [(sample.id, one) for one in odd]
        return _Read(given, transform(sample, unused), sample.image.nbytes, odd=seen)

    with ThreadPoolExecutor(cores(), thread_name_prefix="reader") as pool:
        try:
            for reads in _ahead(pool, read, groups):
                yield _group(task, reads, tta, fitting, skip_bad)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _ahead(
    pool: ThreadPoolExecutor, read: Any, groups: Iterable[Sequence[Given]]
) -> Iterator[Iterator[_Read]]:
    """Each group's pictures as they are read; a few are read ahead, also of the next group."""
    coming = ((k, given) for k, group in enumerate(groups) for given in group)
    waiting: deque[tuple[int, Future[_Read]]] = deque()

    def more() -> None:
        for k, given in itertools.islice(coming, 2 * cores() + 1 - len(waiting)):
            waiting.append((k, pool.submit(read, given)))

    def of(group: int) -> Iterator[_Read]:
        while waiting and waiting[0][0] == group:
            one = waiting.popleft()[1].result()
            more()
            yield one

    more()
    while waiting:
        yield of(waiting[0][0])


def _group(
    task: Task, reads: Iterator[_Read], tta: str, fitting: Halved[list[Any]], skip_bad: bool
) -> Group:
    group, items, held = Group(), list[Any](), 0

    def flush() -> None:
        nonlocal held
        if items:
            group.items.extend(predict_batch(task, task.collate(items), tta, fitting))
        items.clear()
        held = 0

    for one in reads:
        if one.error is not None:
            if not skip_bad:
                error = one.error
                raise DataError(error.message, "leave it out, or skip_bad=True") from error
            group.skipped.append((one.error.name, one.error.reason))
            continue
        group.read.append(one.given)
        group.remarks.extend(one.odd)
        items.append(one.item)
        held += one.nbytes
        if held > HELD:
            flush()
    flush()
    return group


def _sample(given: Given, side: int) -> Sample:
    if isinstance(given, Path):
        return Sample(str(given), decode(given, side))
    return replace(given, image=shrink(given.image, side))
