"""Decoded pictures kept in memory, per source, shared by all loaders that read it."""

from __future__ import annotations

import threading
import weakref
from dataclasses import replace

from xfer.data.sources.base import read
from xfer.types import Sample, Source

_lock = threading.Lock()
_caches: weakref.WeakKeyDictionary[Source, PictureCache] = weakref.WeakKeyDictionary()


class PictureCache:
    """Decoded samples of one source. It is filled until there is no room, and nothing is evicted:
    since every picture is read once per epoch, eviction would only lose hits.

    used | bytes
    """

    def __init__(self) -> None:
        self.used = 0
        self._kept: dict[tuple[int, int], Sample] = {}

    def read(self, source: Source, i: int, short_side: int, room: int) -> Sample:
        """Sample i as `xfer.data.sources.base.read` returns it, from memory if it was read before.

        Args: room: bytes that all caches of this process may hold together.
        """
        kept = self._kept.get((i, short_side))
        if kept is not None:
            return kept
        sample = read(source, i, short_side)
        size = sample.image.nbytes + (0 if sample.mask is None else sample.mask.nbytes)
        with _lock:
            if (i, short_side) not in self._kept and _used() + size <= room:
                # every epoch sees this array, so writing into it is an error
                sample = replace(sample, image=sample.image.view())
                sample.image.setflags(write=False)
                self._kept[i, short_side] = sample
                self.used += size
        return sample


def _used() -> int:
    return sum(cache.used for cache in _caches.values())


def cache_of(source: Source) -> PictureCache:
    """The source's cache; it lives as long as the source."""
    with _lock:
        if source not in _caches:
            _caches[source] = PictureCache()
        return _caches[source]
