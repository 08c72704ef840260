"""Runs a net over the rows of a data set and writes them where they belong."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.decode import DecodeError
from xfer.data.images.remarks import Remark
from xfer.data.inspect.verify import odd_pictures
from xfer.data.sources.base import Bundle, subset
from xfer.device import Place
from xfer.errors import DataError
from xfer.extraction.cache import FeatureCache
from xfer.extraction.form import Form
from xfer.extraction.net import FeatureNet
from xfer.extraction.store import Spool
from xfer.extraction.stream import Part, parts
from xfer.parts.part import dealt

SAY_SECONDS = 10.0


class Memory:
    """Rows in memory, with the methods of a Spool."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._layers: dict[str, NDArray[Any]] = {}

    def write(self, rows: NDArray[np.int64], layers: Mapping[str, NDArray[Any]]) -> None:
        for name, values in layers.items():
            if name not in self._layers:
                self._layers[name] = np.empty((self.count, *values.shape[1:]), values.dtype)
            self._layers[name][rows] = values

    def arrays(self, layers: Sequence[str]) -> dict[str, NDArray[Any]]:
        return {name: self._layers[name] for name in layers}

    def close(self) -> None:
        """No file is open."""


@dataclass(frozen=True)
class Work:
    """What to compute.

    rows    | which rows of each split, int64, in the order of the bundle's splits
    batch   | pictures per pass of the net; workers: threads that read
    place   | which of several processes this one is: each does whole batches, so that a picture is
            | always computed beside the same others, however many processes share the work
    """

    bundle: Bundle
    rows: Sequence[NDArray[np.int64]]
    place: Place
    batch: int
    workers: int
    say: Callable[[str], None]

    @property
    def count(self) -> int:
        """How many rows, over all processes."""
        return sum(map(len, self.rows))


def fill(
    work: Work, net: FeatureNet, cache: FeatureCache, sink: Spool | Memory, form: Form
) -> tuple[int, int]:
    """Writes this process's rows; returns how many were computed and how many were cached."""
    computed = cached = first = 0
    odd: list[tuple[str, Remark]] = []
    say, world, begin = work.say, work.place.world, time.monotonic()
    last_said = begin
    for source, rows in zip(work.bundle.splits.values(), work.rows, strict=True):
        own = dealt(len(rows), work.batch, work.place.rank, world)
        stream = parts(
            source if len(own) == len(source) else subset(source, rows[own]), net, cache,
            batch=work.batch, workers=work.workers, odd=odd, say=say,
        )  # fmt: skip
        for part in _hinted(stream):
            written = {name: form(values) for name, values in part.layers.items()}
            sink.write(first + own[part.rows], written)
            computed += part.computed
            cached += len(part.rows) - part.computed
            done, now = (computed + cached) * world, time.monotonic()
            if now - last_said > SAY_SECONDS:
                last_said = now
                speed = done / (now - begin)
                say(f"{done} of {work.count} pictures, {speed:.0f} per second, "
                    f"{(work.count - done) / speed:.0f} s left")  # fmt: skip
        first += len(rows)
    said = {finding.check for finding in work.bundle.findings}  # with skip_bad all were looked at
    for finding in odd_pictures(odd):
        if finding.check not in said:
            say(f"warning: {finding.text}")
    return computed, cached


def _hinted(stream: Iterator[Part]) -> Iterator[Part]:
    """The parts; the error for a picture that can't be read gets this command's hint."""
    try:
        yield from stream
    except DecodeError as error:
        hint = "remove it, or --skip-bad; finished vectors stay in the cache"
        raise DataError(error.message, hint) from error
