"""Batches from a source: threads decode ahead, in an order that depends only on the seed.

Threads, not processes: simplejpeg and OpenCV release the GIL, nothing is copied between processes,
and starting them costs nothing.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, overload

import cv2
import numpy as np
from numpy.typing import NDArray

from xfer.allocator import give_back
from xfer.data.images.threads import cores
from xfer.data.loading.collate import empty_pictures, stack_images
from xfer.data.loading.order import balanced, batch_count, repeats, shuffled, windowed
from xfer.data.loading.picture_cache import cache_of
from xfer.data.loading.sample_rng import draws_of
from xfer.data.sources.base import read, stored_order
from xfer.errors import DataError, XferError
from xfer.types import Batch, Source

__all__ = ["Loader", "stack_images"]

AHEAD = 3  # batches being prepared while one is used
SMALLEST_PART = 4  # pictures that a thread takes at a time, if a batch has that many
NUMBERS = 0x9ACC5  # keeps a batch's seed apart from a picture's

# (index into the source, how often it has come before in this epoch)
Place = tuple[int, int]


class Plan(Sequence[list[Place]]):
    """One process's pictures in each batch of an epoch, listed lazily, batch by batch.

    order | int64 (N,), indices into the source; again | how often each has come before, or None
    """

    def __init__(
        self, order: NDArray[np.int64], again: NDArray[np.int64] | None,
        batches: int, batch: int, rank: int, world: int,
    ) -> None:  # fmt: skip
        self.order, self.again, self.batches = order, again, batches
        self.batch, self.rank, self.world = batch, rank, world

    def __len__(self) -> int:
        return self.batches

    @overload
    def __getitem__(self, k: int) -> list[Place]: ...
    @overload
    def __getitem__(self, k: slice) -> list[list[Place]]: ...
    def __getitem__(self, k: int | slice) -> list[Place] | list[list[Place]]:
        if isinstance(k, slice):
            return [self[i] for i in range(self.batches)[k]]
        start = range(self.batches)[k] * self.batch
        part = slice(start + self.rank, start + self.batch, self.world)
        indices = self.order[part].tolist()
        again = [0] * len(indices) if self.again is None else self.again[part].tolist()
        return list(zip(indices, again, strict=True))


class Loader:
    """Yields the batches of one split.

    Args:
        source: the samples.
        transform: (sample, generator) -> item; runs in several threads at once, and must not write
            into the sample. The generator is seeded by (seed, epoch, index), so an item does not
            depend on threads, resuming or the number of processes. Optional attributes:
            `shape`: it is called with a third argument, a uint8 array of that shape to write its
            picture to.
            `rows(height, width, generator)`: returns how many rows from the top it needs, given
            the same generator; the rows below may be black.
            `draws`: instead of the generator it gets that many uniform numbers 0..1, float32: a
            generator per picture takes longer than copying the picture.
            `view(source)`: samples are read from the source that it returns.
        collate: items -> Batch.
        batch: pictures per batch over all processes; each process takes its share of every batch.
        train: shuffle each epoch and drop the last partial batch (a set smaller than a batch is
            one partial batch); else in order, every picture exactly once over all processes.
        seed: of order and items, 0 or more.
        workers: threads; -1: one per core, 0: none, decode in the calling thread.
        rank, world: this process, and how many there are.
        balance: show every class equally often, with repetition (train only).
        window: shuffle within windows of N pictures in disk order; 0: shuffle everything (train
            only).
        cache_mb: decoded pictures kept in memory, MB, over all loaders of this process.
        short_side: decode pictures no larger than this short side (see `decode`); 0: in full.
        pin: put batches into pinned memory, so that copies to the device overlap with work.

    waited | seconds that the consumer has waited for batches
    Raises: XferError for a batch below one, and for balance with several labels per picture.
    """

    def __init__(
        self,
        source: Source,
        transform: Callable[..., Any],
        collate: Callable[[list[Any]], Batch],
        *,
        batch: int,
        train: bool,
        seed: int = 0,
        workers: int = -1,
        rank: int = 0,
        world: int = 1,
        balance: bool = False,
        window: int = 0,
        cache_mb: int = 0,
        short_side: int = 0,
        pin: bool = False,
    ) -> None:
        if batch < 1:
            raise XferError(f"a batch must hold at least one picture, got {batch}")
        self._original, self.collate = source, collate
        self.batch, self.train, self.seed = batch, train, seed
        self.workers = cores() if workers < 0 else workers
        self.rank, self.world, self.short_side, self.pin = rank, world, short_side, pin
        self.waited = 0.0
        self.set_transform(transform)
        self._window = window
        self._stored = stored_order(source) if window and train else None
        self._room = cache_mb * 2**20
        self._cache = cache_of(self.source) if cache_mb else None
        self._labels = source.labels() if balance and train else None
        if self._labels is not None and self._labels.ndim != 1:
            raise XferError("data.balance needs one label per picture", "data.balance=false")
        self._pools: set[ThreadPoolExecutor] = set()

    def __len__(self) -> int:
        """Batches per epoch, the same on every process."""
        return batch_count(len(self.source), self.batch, self.train, self.world)

    def set_transform(self, transform: Callable[..., Any]) -> None:
        """Use another transform from the next call of `batches`; none may be running."""
        self.transform = transform
        self.source: Source = getattr(transform, "view", lambda source: source)(self._original)
        self._shape: tuple[int, ...] | None = getattr(transform, "shape", None)
        self._rows_needed: Callable[..., int] | None = getattr(transform, "rows", None)
        self._draws: int = getattr(transform, "draws", 0)

    def plan(self, epoch: int) -> Plan:
        """This process's pictures in each batch of the epoch; in evaluation there may be none."""
        count = len(self.source)
        if not self.train:
            order = np.arange(count)
        elif self._labels is not None:
            order = balanced(self._labels, self.seed, epoch)
        elif self._stored is not None:
            order = windowed(self._stored, self._window, self.seed, epoch)
        else:
            order = shuffled(count, self.seed, epoch)
        again = repeats(order) if self._labels is not None else None
        return Plan(order, again, len(self), self.batch, self.rank, self.world)

    def batches(self, epoch: int, start: int = 0, count: int = 0) -> Generator[Batch, None, None]:
        """The epoch's batches from number `start` on.

        Args: count: as many of them, from the epochs that follow as well, whose first batches are
            prepared while the last ones are used; 0: all of this epoch.

        Errors in threads are raised here, with the sample's id. The threads end with the iterator:
        when it is exhausted, closed or interrupted.
        """
        rest = self._planned(epoch, start)
        if count:
            following = (self._planned(later, 0) for later in itertools.count(epoch + 1))
            rest = itertools.islice(
                itertools.chain(rest, itertools.chain.from_iterable(following)), count
            )
        if self.workers == 0:
            for epoch, k, places in rest:
                begin = time.perf_counter()
                rows, draws = self._rows(len(places)), self._numbers(epoch, k, len(places))
                items = [self._item(epoch, *one) for one in zip(places, rows, draws, strict=True)]
                batch = self._finish(items)
                self.waited += time.perf_counter() - begin
                yield batch
                give_back()
            return
        cv2.setNumThreads(0)  # the parallel threads are those of the pool
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="loader")
        self._pools.add(pool)
        pending: deque[Future[Batch]] = deque()
        try:
            for planned in rest:
                pending.append(self._submit(pool, *planned))
                if len(pending) > self._ahead():
                    break
            while pending:
                begin = time.perf_counter()
                batch = pending.popleft().result()
                self.waited += time.perf_counter() - begin
                planned = next(rest, None)
                if planned is not None:
                    pending.append(self._submit(pool, *planned))
                yield batch
                give_back()  # the batch has been used
        finally:
            self._pools.discard(pool)
            pool.shutdown(wait=True, cancel_futures=True)

    def _planned(self, epoch: int, start: int) -> Iterator[tuple[int, int, list[Place]]]:
        """(epoch, number of the batch, its pictures) of an epoch's batches from `start` on."""
        plan = self.plan(epoch)
        return ((epoch, k, places) for k in range(start, len(plan)) if (places := plan[k]))

    def close(self) -> None:
        """End the threads of iterators that are still open; those can't be used any further."""
        for pool in list(self._pools):
            pool.shutdown(wait=True, cancel_futures=True)

    def _ahead(self) -> int:
        """Batches being prepared: more if a batch is too small to keep every thread busy."""
        parts = max(1, min(self.workers, self.batch // self.world // SMALLEST_PART))
        return max(AHEAD, 2 * self.workers // parts)

    def _submit(
        self, pool: ThreadPoolExecutor, epoch: int, k: int, places: list[Place]
    ) -> Future[Batch]:
        """Make batch k in several threads; the last one to finish collates it."""
        done: Future[Batch] = Future()
        items: list[Any] = [None] * len(places)
        rows, draws = self._rows(len(places)), self._numbers(epoch, k, len(places))
        size = max(min(SMALLEST_PART, len(places)), -(-len(places) // self.workers))
        parts = [range(s, min(s + size, len(places))) for s in range(0, len(places), size)]
        left, lock = [len(parts)], threading.Lock()

        def work(part: range) -> None:
            try:
                for i in part:
                    if done.done():
                        return  # another part has failed
                    items[i] = self._item(epoch, places[i], rows[i], draws[i])
                with lock:
                    left[0] -= 1
                    last = left[0] == 0
                if last:
                    done.set_result(self._finish(items))
            except BaseException as error:
                with lock:
                    if not done.done():
                        done.set_exception(error)

        for part in parts:
            # a part that is cancelled before it begins must not leave its batch pending forever
            pool.submit(work, part).add_done_callback(
                lambda job: done.cancel() if job.cancelled() else None
            )
        return done

    def _rows(self, count: int) -> Sequence[NDArray[np.uint8] | None]:
        """Arrays that the pictures of a batch are written to."""
        if self._shape is None:
            return [None] * count
        return list(empty_pictures((count, *self._shape), self.pin))

    def _numbers(self, epoch: int, k: int, count: int) -> Sequence[NDArray[np.float32] | None]:
        """The uniform numbers of this process's pictures in batch k, by their position in it."""
        if not self._draws:
            return [None] * count
        rng = np.random.default_rng((self.seed, epoch, k, NUMBERS))
        drawn = rng.random((self.batch, self._draws), np.float32)
        return list(drawn[self.rank :: self.world][:count])

    def _item(
        self, epoch: int, place: Place, row: NDArray[np.uint8] | None,
        draws: NDArray[np.float32] | None,
    ) -> Any:  # fmt: skip
        index, again = place
        try:
            if self._cache is not None:
                sample = self._cache.read(self.source, index, self.short_side, self._room)
            elif self._rows_needed is None:
                sample = read(self.source, index, self.short_side)
            else:
                rows_needed = self._rows_needed
                sample = read(
                    self.source, index, self.short_side,
                    lambda h, w: rows_needed(h, w, draws_of(self.seed, epoch, index, again)),
                )  # fmt: skip
            if draws is not None:
                return self.transform(sample, draws, row)
            rng = draws_of(self.seed, epoch, index, again)
            return self.transform(sample, rng) if row is None else self.transform(sample, rng, row)
        except DataError:
            raise  # names the file
        except Exception as error:
            error.add_note(f"while reading {self.source.ids[index]!r}")
            raise

    def _finish(self, items: list[Any]) -> Batch:
        batch = self.collate(items)
        return batch.pin_memory() if self.pin else batch
