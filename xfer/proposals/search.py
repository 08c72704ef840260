"""Selective search over a set of pictures: on all cores, and never twice for the same picture."""

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
from xfer.proposals.worker import Found, Worker, timed_search
from xfer.types import Source

SECONDS = 10.0

Tick = Callable[[int, int], None]
Search = Callable[[NDArray[np.uint8]], Found]


def search_all(
    source: Source,
    most: int,
    tick: Tick | None = None,
    workers: int = -1,
    warn: Callable[[str], None] | None = None,
) -> list[Found]:
    """selective_search's boxes of every picture, each with the CPU seconds that they took.

    What was found for a picture's pixels is kept under $XFER_CACHE/proposals, with the seconds.

    Args: as in `xfer.proposals.program.propose`; warn: told when nothing is kept any more.

    Raises: DataError for a picture that can't be decoded, XferError where a process failed; the
        picture is named.
    """
    count = cores() if workers < 0 else workers
    count = min(count, len(source))
    found: list[Found | None] = [None] * len(source)
    pool = ThreadPoolExecutor(max(1, count))
    with _cache(warn) as cache, _searchers(count, most) as searchers, pool:

        def one(i: int) -> Found:
            search = searchers.get()
            try:
                return _search(source, i, most, search, cache)
            finally:
                searchers.put(search)

        waiting: dict[Future[Found], int] = {}
        left = _order(len(source))
        done = 0
        try:
            while done < len(source):
                # no more are handed out than are soon needed, so that an error ends it soon
                for i in left:
                    waiting[pool.submit(one, i)] = i
                    if len(waiting) > max(1, count):
                        break
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    found[waiting.pop(future)] = future.result()
                    done += 1
                    if tick is not None:
                        tick(done, len(source))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            searchers.stop()
            raise
    return [one for one in found if one is not None]


def ticker(say: Callable[[str], None], what: str = "") -> Tick:
    """A tick that says how many pictures are done, and how long the rest will take, every ten
    seconds."""
    start = last = time.monotonic()

    def tick(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > SECONDS and done < total:
            last = now
            left = (now - start) / done * (total - done)
            say(f"{what}{done} of {total} pictures, about {left:.0f} s left")

    return tick


def search_one(image: NDArray[np.uint8], most: int) -> NDArray[np.float32]:
    """selective_search's boxes of one picture, in this process, kept as those of a set."""
    with _cache(None) as cache:
        return _kept(image, most, lambda one: timed_search(one, most), cache)[0]


def _order(count: int) -> Iterator[int]:
    """All pictures. Processes that torchrun has started here begin at different ones, so that each
    finds kept what the others have searched."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE") or 1)
    first = count * int(os.environ.get("LOCAL_RANK") or 0) // processes
    return itertools.chain(range(first, count), range(first))


class _Searchers:
    """As many searchers as pictures are searched at once, handed out and taken back."""

    def __init__(self, count: int, most: int) -> None:
        self._workers = [Worker(most) for _ in range(count)]
        self._free: SimpleQueue[Search] = SimpleQueue()
        for worker in self._workers:
            self.put(worker.search)
        if not count:
            self.put(lambda image: timed_search(image, most))

    def get(self) -> Search:
        return self._free.get()

    def put(self, search: Search) -> None:
        self._free.put(search)

    def stop(self) -> None:
        for worker in self._workers:
            worker.stop()


@contextlib.contextmanager
def _searchers(count: int, most: int) -> Iterator[_Searchers]:
    searchers = _Searchers(count, most)
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


def _search(source: Source, i: int, most: int, search: Search, cache: Cache) -> Found:
    image = source[i].image
    try:
        return _kept(image, most, search, cache)
    except XferError as error:
        raise type(error)(f"{source.ids[i]}: {error.message}", error.hint) from error


def _kept(image: NDArray[np.uint8], most: int, search: Search, cache: Cache) -> Found:
    """What the cache has for these pixels, else what the search finds, which is then kept."""
    key = _key(image, most)
    row = cache.find([key]).get(key)
    if row is None:
        boxes, seconds = search(image)
        cache.keep({key: np.concatenate([[np.float32(seconds)], boxes.ravel()])})
        return boxes, seconds
    return row[1:].reshape(-1, 4), float(row[0])


def _key(image: NDArray[np.uint8], most: int) -> bytes:
    from xfer.ops.selective_search import VERSION

    digest = hashlib.sha256(f"selective_search {VERSION} {most} {image.shape}".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.digest()
