"""Selective search over a set of pictures: on all cores, and only once per picture."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from xfer.cache import Cache, cache_file, limit_bytes
from xfer.data.images.threads import cores
from xfer.errors import XferError
from xfer.proposals.worker import TimedBoxes, Worker, timed_search
from xfer.types import Source

SECONDS = 10.0

Tick = Callable[[int, int], None]
Search = Callable[[NDArray[np.uint8]], TimedBoxes]


def search_all(
    source: Source,
    max_boxes: int,
    tick: Tick | None = None,
    workers: int = -1,
    warn: Callable[[str], None] | None = None,
) -> list[TimedBoxes]:
    """selective_search's boxes of every picture, with the CPU seconds they took.

    The boxes and seconds are cached under $XFER_CACHE/proposals, by the picture's pixels.

    Args: as in `xfer.proposals.propose.propose`; warn: called when the cache can't store more.

    Raises: DataError for a picture that can't be decoded, XferError if a process failed; the
        message names the picture.
    """
    count = cores() if workers < 0 else workers
    count = min(count, len(source))
    results: list[TimedBoxes | None] = [None] * len(source)
    pool = ThreadPoolExecutor(max(1, count))
    with _cache(warn) as cache, _searchers(count, max_boxes) as searchers, pool:

        def one(i: int) -> TimedBoxes:
            search = searchers.get()
            try:
                return _search(source, i, max_boxes, search, cache)
            finally:
                searchers.put(search)

        waiting: dict[Future[TimedBoxes], int] = {}
        left = _order(len(source))
        done = 0
        try:
            while done < len(source):
                # only a few are submitted ahead, so that an error ends the search soon
                for i in left:
                    waiting[pool.submit(one, i)] = i
                    if len(waiting) > max(1, count):
                        break
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    results[waiting.pop(future)] = future.result()
                    done += 1
                    if tick is not None:
                        tick(done, len(source))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            searchers.stop()
            raise
    return [one for one in results if one is not None]


def ticker(say: Callable[[str], None], what: str = "") -> Tick:
    """A tick that reports, every ten seconds, how many pictures are done and how long the rest
    will take."""
    start = last = time.monotonic()

    def tick(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > SECONDS and done < total:
            last = now
            left = (now - start) / done * (total - done)
            say(f"{what}{done} of {total} pictures, about {left:.0f} s left")

    return tick


def search_one(image: NDArray[np.uint8], max_boxes: int) -> NDArray[np.float32]:
    """selective_search's boxes of one picture, in this process; cached like those of a set."""
    with _cache(None) as cache:
        return _cached(image, max_boxes, lambda one: timed_search(one, max_boxes), cache)[0]


def _order(count: int) -> Iterator[int]:
    """All indices. Processes started by torchrun on this machine begin at different pictures, so
    that each finds in the cache what the others have searched."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
    first = count * int(os.environ.get("LOCAL_RANK") or 0) // processes
    return itertools.chain(range(first, count), range(first))


class _Searchers:
    """A pool of searchers, one per picture searched at the same time."""

    def __init__(self, count: int, max_boxes: int) -> None:
        self._workers = [Worker(max_boxes) for _ in range(count)]
        self._free: SimpleQueue[Search] = SimpleQueue()
        for worker in self._workers:
            self.put(worker.search)
        if not count:
            self.put(lambda image: timed_search(image, max_boxes))

    def get(self) -> Search:
        return self._free.get()

    def put(self, search: Search) -> None:
        self._free.put(search)

    def stop(self) -> None:
        for worker in self._workers:
            worker.stop()


@contextlib.contextmanager
def _searchers(count: int, max_boxes: int) -> Iterator[_Searchers]:
    searchers = _Searchers(count, max_boxes)
    try:
        yield searchers
    finally:
        searchers.stop()


@contextlib.contextmanager
def _cache(warn: Callable[[str], None] | None) -> Iterator[Cache]:
    cache = Cache(cache_file("proposals"), limit_bytes(), warn, "proposals")
    try:
        yield cache
    finally:
        cache.close()


def _search(source: Source, i: int, max_boxes: int, search: Search, cache: Cache) -> TimedBoxes:
    image = source[i].image
    try:
        return _cached(image, max_boxes, search, cache)
    except XferError as error:
        raise type(error)(f"{source.ids[i]}: {error.message}", error.hint) from error


def _cached(image: NDArray[np.uint8], max_boxes: int, search: Search, cache: Cache) -> TimedBoxes:
    """The cached boxes for these pixels, or the search's result, which is then cached."""
    key = _key(image, max_boxes)
    row = cache.find([key]).get(key)
    if row is None:
        boxes, seconds = search(image)
        cache.keep({key: np.concatenate([[np.float32(seconds)], boxes.ravel()])})
        return boxes, seconds
    return row[1:].reshape(-1, 4), float(row[0])


def _key(image: NDArray[np.uint8], max_boxes: int) -> bytes:
    from xfer.ops.selective_search import VERSION

    digest = hashlib.sha256(f"selective_search {VERSION} {max_boxes} {image.shape}".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()
