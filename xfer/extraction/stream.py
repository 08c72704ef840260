"""Pictures to vectors: threads read, hash and cut pictures, cached vectors come from the cache, and
the net computes the rest in full batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfer.data.images.decode import DecodeError, decode
from xfer.data.images.picture_file import picture_file, read_all
from xfer.data.images.remarks import Remark, remarks
from xfer.data.images.walk import readable
from xfer.data.loading.halved import Halved
from xfer.data.loading.loader import Loader, stack_images
from xfer.data.loading.sample_rng import STREAM
from xfer.data.sources.base import Subset, read
from xfer.device import Place
from xfer.extraction.cache import FeatureCache
from xfer.types import Batch, DataInfo, Sample, Source


class Net(Protocol):
    """What computes the vectors: `xfer.extraction.net.FeatureNet`, or a task without its head.

    layers      | names of its outputs; views: crops per picture
    side        | of its input, pixels; short_side: decode pictures no larger, pixels
    transform() | (uint8 (H, W, 3), generator) -> its input: (side, side, 3), several views
                | stacked as (views, side, side, 3)
    signature   | bytes that change with all that a layer's vector depends on, except the picture
    place       | where it computes
    call        | uint8 (N * views, 3, side, side) -> layer -> float32 (N, D)
    """

    @property
    def place(self) -> Place: ...
    @property
    def layers(self) -> tuple[str, ...]: ...
    @property
    def views(self) -> int: ...
    @property
    def side(self) -> int: ...
    @property
    def short_side(self) -> int: ...
    def transform(self) -> Any: ...
    def signature(self, layer: str) -> bytes: ...
    def __call__(self, images: Tensor, /) -> dict[str, NDArray[np.float32]]: ...


@dataclass(frozen=True, slots=True)
class Seen(Sample):
    """A picture that was looked up in the cache.

    row    | its index in the source
    keys   | layer -> key in the cache
    cached | layer -> vector, for all layers or none; if present, `image` is empty
    """

    row: int = 0
    keys: dict[str, bytes] | None = None
    cached: dict[str, NDArray[np.float32]] | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """Some finished rows.

    rows     | int64 (n,), indices into the source
    layers   | layer -> float32 (n, D)
    computed | how many of them the net computed; the others were cached
    """

    rows: NDArray[np.int64]
    layers: dict[str, NDArray[np.float32]]
    computed: int


class LookedUp:
    """A source for the loader that looks pictures up in the cache before it decodes them.

    Args:
        source: the pictures; net: computes their vectors; cache: holds known vectors.
        seed: of random views, which also depend on the picture's index in the source;
            None: views are not random.
        odd: gets (id, remark) for pictures that are decoded and may look wrong.
    """

    def __init__(
        self, source: Source, net: Net, cache: FeatureCache, seed: int | None = None,
        odd: list[tuple[str, Remark]] | None = None,
    ) -> None:  # fmt: skip
        self.source, self.cache, self.seed, self.odd = source, cache, seed, odd
        self.info: DataInfo = source.info
        self.ids = source.ids
        self.signatures = {layer: net.signature(layer) for layer in net.layers}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> Seen:
        return self.read(i)

    def labels(self) -> NDArray[Any]:
        return self.source.labels()

    def fingerprint(self) -> str:
        return self.source.fingerprint()

    def read(self, i: int, short_side: int = 0) -> Seen:
        """Picture i, decoded no larger than `short_side`, or its vectors if they are cached."""
        if self.odd is None:
            return self._read(i, short_side)
        with remarks() as found:
            seen = self._read(i, short_side)
        self.odd += [(self.ids[i], one) for one in found]
        return seen

    def _read(self, i: int, short_side: int) -> Seen:
        path = picture_path(self.source, i)
        if path is None:
            image = read(self.source, i, short_side).image
            digest = hashlib.sha256(f"{image.shape}".encode())
            digest.update(np.ascontiguousarray(image).data)
            return self._seen(i, digest.digest(), lambda: image)
        try:
            with picture_file(path) as (handle, size):
                data = read_all(handle, size)
                digest = hashlib.sha256(data).digest()
                return self._seen(i, digest, lambda: decode(data, short_side))
        except DecodeError as error:
            raise DecodeError(error.reason, readable(str(path))) from error.__cause__
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise DecodeError(reason, readable(str(path))) from None

    def _seen(self, i: int, digest: bytes, pixels: Callable[[], NDArray[np.uint8]]) -> Seen:
        """Picture i, or its vectors if they are cached. Args: digest: of its file."""
        if self.seed is not None:
            digest += f" {STREAM} {self.seed} {i}".encode()
        keys = {
            layer: hashlib.sha256(digest + signature).digest()
            for layer, signature in self.signatures.items()
        }
        vectors = self.cache.find(list(keys.values()))
        if len(vectors) == len(keys):
            cached = {layer: vectors[key] for layer, key in keys.items()}
            return Seen(self.ids[i], np.empty((0, 0, 3), np.uint8), row=i, keys=keys, cached=cached)
        return Seen(self.ids[i], pixels(), row=i, keys=keys)


def picture_path(source: Source, i: int) -> Path | None:
    """The file of picture i; None if the source has no files."""
    while isinstance(source, Subset):
        source, i = source.source, int(source.indices[i])
    find: Any = getattr(source, "path", None)
    path: Any = find(i) if callable(find) else None
    return None if path is None else Path(path)


class _Cut:
    """The loader's transform: cuts the pictures that the net must compute."""

    def __init__(self, net: Net) -> None:
        self.transform = net.transform()

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        assert isinstance(sample, Seen)
        return sample if sample.cached else replace(sample, image=self.transform(sample.image, rng))


def _collate(size: int) -> Any:
    def collate(items: list[Seen]) -> Batch:
        views = [v for s in items if not s.cached for v in _views(s.image)]
        images = stack_images(views) if views else torch.empty((0, 3, size, size)).byte()
        return Batch(images, tuple(s.id for s in items), {"seen": items})

    return collate


def _views(image: NDArray[np.uint8]) -> Sequence[NDArray[np.uint8]]:
    return [image] if image.ndim == 3 else list(image)


def parts(
    source: Source,
    net: Net,
    cache: FeatureCache,
    *,
    batch: int = 64,
    workers: int = -1,
    rank: int = 0,
    world: int = 1,
    seed: int | None = None,
    epoch: int = 0,
    odd: list[tuple[str, Remark]] | None = None,
    say: Callable[[str], None] | None = None,
) -> Iterator[Part]:
    """This process's share of a source's rows, each once; cached ones immediately, the others
    when a batch is full.

    Args:
        batch: pictures per pass of the net; workers: threads, as in Loader.
        seed, epoch: random views are those that training with this seed draws in this epoch.
        odd: gets (id, remark) for pictures that are decoded and may look wrong.
        say: called with a line if a batch does not fit into memory, and is computed in parts.

    Raises: DataError for a picture that can't be read.
    """
    loader = Loader(
        LookedUp(source, net, cache, seed, odd), _Cut(net), _collate(net.side),
        batch=batch * world, train=False, workers=workers, rank=rank, world=world,
        seed=seed or 0, short_side=net.short_side,
    )  # fmt: skip
    fitting = Halved[dict[str, NDArray[np.float32]]](net.place, say, "--device cpu")
    waiting: list[Seen] = []
    images: list[Tensor] = []
    for loaded in loader.batches(epoch):
        seen: list[Seen] = loaded.targets["seen"]
        cached = [s for s in seen if s.cached]
        if cached:
            yield _from_cache(cached)
        waiting += [s for s in seen if not s.cached]
        if len(loaded.images):
            images.append(loaded.images)
        while len(waiting) >= batch:
            yield _computed(waiting, images, batch, net, cache, fitting)
    if waiting:
        yield _computed(waiting, images, len(waiting), net, cache, fitting)


def _from_cache(seen: list[Seen]) -> Part:
    rows = [s.cached for s in seen if s.cached]
    layers = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return Part(_rows(seen), layers, 0)


def _computed(
    waiting: list[Seen],
    images: list[Tensor],
    count: int,
    net: Net,
    cache: FeatureCache,
    fitting: Halved[dict[str, NDArray[np.float32]]],
) -> Part:
    """Takes the first `count` waiting pictures off both lists and runs them through the net."""
    seen = waiting[:count]
    del waiting[:count]
    whole = images[0] if len(images) == 1 else torch.cat(images)
    cut = count * net.views
    images[:] = [whole[cut:]] if len(whole) > cut else []
    results = fitting(count, lambda start, stop: net(whole[start * net.views : stop * net.views]))
    layers = {
        name: np.concatenate([one[name] for one in results]) if len(results) > 1 else values
        for name, values in results[0].items()
    }
    cache.keep(
        {s.keys[name]: values[i] for name, values in layers.items()
         for i, s in enumerate(seen) if s.keys}
    )  # fmt: skip
    return Part(_rows(seen), layers, count)


def _rows(seen: list[Seen]) -> NDArray[np.int64]:
    return np.array([s.row for s in seen], np.int64)
