"""Batches from a source: threads that decode ahead, in an order that depends on the seed alone.

Threads, not processes: simplejpeg and OpenCV release the interpreter's lock, nothing is copied
between processes, and start-up costs nothing (benchmarks/RESULTS.md has the comparison).
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfer.data.decode import shrink
from xfer.data.source import Source, read
from xfer.errors import XferError
from xfer.types import Batch, Sample

AHEAD = 3  # batches a worker prepares before they are asked for


def stack_images(images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """Pictures uint8 (H, W, 3) of one size -> uint8 (N, 3, H, W) in channels_last, one copy."""
    whole = np.empty((len(images), *images[0].shape), np.uint8)
    for i, image in enumerate(images):
        whole[i] = image
    return torch.from_numpy(whole).permute(0, 3, 1, 2)


class Loader:
    """Yields batches of one split.

    Args:
        source: the samples.
        transform: (sample, generator) -> item; called in several threads at once. The generator
            is seeded by (seed, epoch, position): neither threads nor resuming change an item.
        collate: items -> Batch.
        batch: pictures a batch over all processes; each process takes its share of every batch.
        train: shuffle each epoch and drop the last partial batch (a set smaller than a batch is
            one partial batch); else in order, every picture exactly once over all processes.
        workers: threads; -1: one a core, 0: none, in line.
        rank, world: this process and how many there are.
        balance: draw every class equally often, with repetition (train only).
        cache_mb: decoded pictures kept in memory for the next epoch, MB.
        short_side: decode pictures no larger than this short side (see `decode`); 0: in full.
        pin: put batches into pinned memory, for copies that overlap.

    waited | seconds that the consumer spent waiting for batches
    """

    def __init__(
        self,
        source: Source,
        transform: Callable[[Sample, np.random.Generator], Any],
        collate: Callable[[list[Any]], Batch],
        *,
        batch: int,
        train: bool,
        seed: int = 0,
        workers: int = -1,
        rank: int = 0,
        world: int = 1,
        balance: bool = False,
        cache_mb: int = 0,
        short_side: int = 0,
        pin: bool = False,
    ) -> None:
        self.source, self.transform, self.collate = source, transform, collate
        self.batch, self.train, self.seed = batch, train, seed
        self.workers = (os.cpu_count() or 1) if workers < 0 else workers
        self.rank, self.world, self.short_side, self.pin = rank, world, short_side, pin
        self.waited = 0.0
        self._room = cache_mb * 2**20
        self._cache: dict[int, Sample] = {}
        self._lock = threading.Lock()
        self._by_class = self._classes() if balance else None

    def __len__(self) -> int:
        """Batches an epoch, the same on every process."""
        count = len(self.source)
        if self.train:
            return max(1, count // self.batch) if count >= self.world else 0
        return -(-count // self.batch)

    def _classes(self) -> list[NDArray[np.int64]]:
        labels = self.source.labels()
        if labels.ndim != 1:
            raise XferError("data.balance needs one label a picture")
        return [np.flatnonzero(labels == value) for value in np.unique(labels)]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        count = len(self.source)
        if not self.train:
            return np.arange(count)
        rng = np.random.default_rng((self.seed, epoch))
        if self._by_class is None:
            return rng.permutation(count)
        which = rng.permutation(np.arange(count) % len(self._by_class))
        return np.array([rng.choice(self._by_class[c]) for c in which], np.int64)

    def _shares(self, epoch: int) -> list[NDArray[np.int64]]:
        """This process's positions in each batch of the epoch; empty shares in evaluation only."""
        order = self._order(epoch)
        whole = [order[i * self.batch : (i + 1) * self.batch] for i in range(len(self))]
        return [part[self.rank :: self.world] for part in whole]

    def _sample(self, position: int) -> Sample:
        kept = self._cache.get(position)
        if kept is not None:
            return kept
        sample = read(self.source, position, self.short_side)
        if self.short_side:
            sample = replace(sample, image=shrink(sample.image, self.short_side))
        with self._lock:
            if sample.image.nbytes <= self._room and position not in self._cache:
                self._room -= sample.image.nbytes
                self._cache[position] = sample
        return sample

    def _make(self, epoch: int, positions: NDArray[np.int64], first: int) -> Batch:
        items: list[Any] = []
        for place, position in enumerate(positions):
            # a balanced epoch shows a picture more than once: its place tells the two apart
            own = (self.seed, epoch, int(position), first + place if self._by_class else 0)
            items.append(self.transform(self._sample(int(position)), np.random.default_rng(own)))
        batch = self.collate(items)
        return replace(batch, images=batch.images.pin_memory()) if self.pin else batch

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The epoch's batches from number `start` on. Errors in a thread are raised here."""
        jobs = [
            (positions, number * self.batch)
            for number, positions in enumerate(self._shares(epoch))
            if number >= start and len(positions)
        ]
        if not self.workers:
            for positions, first in jobs:
                begin = time.perf_counter()
                batch = self._make(epoch, positions, first)
                self.waited += time.perf_counter() - begin
                yield batch
            return
        cv2.setNumThreads(0)  # the threads here are the parallel ones
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="loader")
        waiting: deque[Future[Batch]] = deque()
        rest = iter(jobs)
        try:
            for positions, first in rest:
                waiting.append(pool.submit(self._make, epoch, positions, first))
                if len(waiting) >= AHEAD * self.workers:
                    break
            while waiting:
                begin = time.perf_counter()
                batch = waiting.popleft().result()
                self.waited += time.perf_counter() - begin
                following = next(rest, None)
                if following is not None:
                    waiting.append(pool.submit(self._make, epoch, *following))
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
