"""Batches from a stream: shards are dealt to processes, pictures shuffled in a buffer on their way.

The unit of shuffling is the shard: an epoch reads them in an order of its own, and mixes as many
pictures as the buffer holds. No step needs a list of all pictures. Order and crops depend only on
the seed, the epoch and the shards, so a run resumes where it was: what came before in the epoch is
read again, but not decoded.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from xfer.allocator import give_back
from xfer.data.images.decode import DecodeError, decode
from xfer.data.loading.loader import AHEAD, Loader
from xfer.data.loading.sample_rng import draws_of
from xfer.data.streams.stream import Encoded, Stream
from xfer.errors import XferError
from xfer.types import Batch, Sample

BUFFER = 1000  # pictures that are mixed; data.window sets it
ORDER = 0x57E4  # keeps the shards' seed apart from a picture's

Item = tuple[int, Encoded]


class StreamLoader(Loader):
    """Like `Loader` in training, for a stream.

    Args: as there; window: pictures that are mixed at a time, 0: BUFFER.

    passes | how many pictures this process's shards hold, once it has read all of them
    Raises: XferError if there are fewer shards than processes.
    """

    def __init__(
        self, source: Stream, transform: Callable[..., Any],
        collate: Callable[[list[Any]], Batch], *, window: int = 0, **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(source, transform, collate, train=True, **options)
        self.stream, self._buffer = source, window or BUFFER
        self.passes: int | None = None
        if len(source.shards) < self.world:
            raise XferError(
                f"{len(source.shards)} shards for {self.world} processes",
                "at least one shard per process: fewer processes, or smaller shards",
            )

    def plan(self, epoch: int) -> Any:
        raise XferError("a stream has no order of pictures that could be planned")

    def batches(self, epoch: int, start: int = 0, count: int = 0) -> Generator[Batch, None, None]:
        """The epoch's batches from number `start` on; see `Loader.batches`."""
        left = count or len(self) - start
        while left > 0:
            with closing(self._of_epoch(epoch, start)) as batches:
                for batch in itertools.islice(batches, left):
                    left -= 1
                    yield batch
            epoch, start = epoch + 1, 0

    def _of_epoch(self, epoch: int, start: int) -> Generator[Batch, None, None]:
        size = min(self.batch, len(self.source))
        share = len(range(self.rank, size, self.world))
        cv2.setNumThreads(0)
        pool = ThreadPoolExecutor(max(1, self.workers), thread_name_prefix="loader")
        self._pools.add(pool)
        pending: deque[list[Future[Any]]] = deque()
        with closing(Ahead(self._shuffled(epoch), 2 * share)) as coming:
            try:
                for _ in range(start * share):
                    next(coming)
                for _ in range(start, len(self)):
                    if len(pending) > AHEAD:
                        yield self._next(pending)
                        give_back()
                    rows = self._rows(share)
                    items = [next(coming) for _ in range(share)]
                    pending.append([
                        pool.submit(self._one, epoch, *item, row)
                        for item, row in zip(items, rows, strict=True)
                    ])  # fmt: skip
                while pending:
                    yield self._next(pending)
                    give_back()
            finally:
                self._pools.discard(pool)
                pool.shutdown(wait=True, cancel_futures=True)

    def _next(self, pending: deque[list[Future[Any]]]) -> Batch:
        begin = time.perf_counter()
        batch = self._finish([one.result() for one in pending.popleft()])
        self.waited += time.perf_counter() - begin
        return batch

    def _one(self, epoch: int, index: int, picture: Encoded, row: NDArray[np.uint8] | None) -> Any:
        try:
            image = decode(picture.data, self.short_side)
        except DecodeError as error:
            raise DecodeError(error.reason, picture.id) from error.__cause__
        sample = Sample(picture.id, image, picture.label)
        if self._draws:
            rng = draws_of(self.seed, epoch, index)
            drawn = rng.random(self._draws, np.float32)
            return self.transform(sample, drawn, row)
        rng = draws_of(self.seed, epoch, index)
        return self.transform(sample, rng) if row is None else self.transform(sample, rng, row)

    def _shuffled(self, epoch: int) -> Iterator[Item]:
        """This process's pictures, endlessly: pass after pass over its shards."""
        rng = np.random.default_rng((self.seed, epoch, self.rank, ORDER))
        for count, one in enumerate(self._mixed(epoch, rng, [])):
            yield count * self.world + self.rank, one

    def _mixed(
        self, epoch: int, rng: np.random.Generator, held: list[Encoded]
    ) -> Iterator[Encoded]:
        number = 0
        while True:
            order = np.random.default_rng((self.seed, epoch, number, ORDER))
            shards = order.permutation(len(self.stream.shards))[self.rank :: self.world]
            count = 0
            for shard in shards.tolist():
                for one in self.stream.read(shard):
                    count += 1
                    if len(held) < self._buffer:
                        held.append(one)
                        continue
                    place = int(rng.integers(len(held)))
                    held[place], one = one, held[place]
                    yield one
            if not count:
                raise XferError(f"{self.stream.info.name}: no picture in this process's shards")
            self.passes, number = count, number + 1
            for place in rng.permutation(len(held)).tolist():
                yield held[place]
            held.clear()


T = TypeVar("T")
_END = object()


class Ahead(Iterator[T]):
    """An iterator that a thread reads ahead of its consumer, `most` items at most."""

    def __init__(self, items: Iterator[T], most: int) -> None:
        self._items = items
        self._queue: queue.Queue[Any] = queue.Queue(max(1, most))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="stream", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        last: Any = _END
        try:
            for item in self._items:
                self._put(item)
                if self._stopped.is_set():
                    break
        except BaseException as error:
            last = error
        finally:
            close: Any = getattr(self._items, "close", None)
            if close is not None:
                close()
            self._put(last)

    def _put(self, item: Any) -> None:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def __next__(self) -> T:
        item = self._queue.get()
        if item is _END or isinstance(item, BaseException):
            self._stopped.set()
            raise StopIteration if item is _END else item
        return item

    def close(self) -> None:
        """Ends the thread, and whatever it reads from."""
        self._stopped.set()
        self._thread.join()
