"""The loader: order, shares, threads, errors, the cache."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfer.data.images.decode import DecodeError
from xfer.data.loading.loader import Loader, stack_images
from xfer.data.loading.order import balanced, repeats, windowed
from xfer.data.sources.base import subset
from xfer.data.transforms.crops import TrainTransform
from xfer.errors import DataError, XferError
from xfer.testing.source import SyntheticSource
from xfer.types import Batch, Sample


def noisy(sample: Sample, rng: np.random.Generator) -> Any:
    """An item that depends on the picture and on the generator."""
    return sample.id, np.roll(sample.image, int(rng.integers(32)), axis=0) ^ rng.integers(256)


def collate(items: list[Any]) -> Batch:
    images = stack_images([np.asarray(image, np.uint8) for _, image in items])
    return Batch(images, tuple(name for name, _ in items))


def make(source: Any = None, **options: Any) -> Loader:
    options = {"batch": 8, "train": True, **options}
    return Loader(source or SyntheticSource(30), noisy, collate, **options)


def contents(loader: Loader, epoch: int = 0, start: int = 0) -> list[tuple[tuple[str, ...], bytes]]:
    return [(b.ids, b.images.numpy().tobytes()) for b in loader.batches(epoch, start)]


def test_threads_do_not_change_a_batch() -> None:
    inline = contents(make(workers=0), 3)
    assert len(inline) == len(make()) == 3
    for workers in (1, 2, 5):
        assert contents(make(workers=workers), 3) == inline


def test_an_epoch_goes_on_exactly_where_it_stopped() -> None:
    whole = contents(make(workers=2), 5)
    assert contents(make(workers=2), 5, start=2) == whole[2:]
    assert contents(make(workers=0), 5, start=3) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_several_epochs_follow_without_a_pause(workers: int) -> None:
    wanted = [*contents(make(), 4)[1:], *contents(make(), 5), *contents(make(), 6)][:7]
    got = [(b.ids, b.images.numpy().tobytes()) for b in make(workers=workers).batches(4, 1, 7)]
    assert got == wanted and len(got) == 7


def test_epochs_and_seeds_differ() -> None:
    ids = [contents(make(seed=s), e)[0][0] for s in (0, 1) for e in (0, 1)]
    assert len(set(ids)) == 4


def test_training_drops_the_ragged_batch_and_shows_nothing_twice() -> None:
    seen = [i for ids, _ in contents(make()) for i in ids]
    assert len(seen) == len(set(seen)) == 24


def test_a_set_smaller_than_a_batch_is_one_partial_batch() -> None:
    loader = make(batch=100)
    assert len(loader) == 1 and len(contents(loader)[0][0]) == 30
    parts = [contents(make(batch=100, rank=r, world=4)) for r in range(4)]
    assert sorted(len(p[0][0]) for p in parts) == [7, 7, 8, 8]
    assert len(make(SyntheticSource(3), rank=0, world=4)) == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 5), st.booleans())
def test_the_processes_share_every_batch(count: int, batch: int, world: int, train: bool) -> None:
    source = SyntheticSource(count)
    alone = make(source, batch=batch, train=train).plan(2)
    ranks = [make(source, batch=batch, train=train, rank=r, world=world) for r in range(world)]
    if train and count < world:
        assert all(len(r) == 0 for r in ranks)
        return
    plans = [r.plan(2) for r in ranks]
    assert {len(p) for p in plans} == {len(alone)}
    for number, whole in enumerate(alone):
        together = [place for plan in plans for place in plan[number]]
        assert sorted(together) == sorted(whole)
        sizes = [len(plan[number]) for plan in plans]
        assert max(sizes) - min(sizes) <= 1
    if not train:
        assert [place for b in alone for place in b] == [(i, 0) for i in range(count)]


def test_evaluation_yields_every_picture_once_over_all_processes() -> None:
    source = SyntheticSource(21)
    seen: list[str] = []
    for rank in range(4):
        loader = make(source, batch=6, train=False, rank=rank, world=4, workers=2)
        seen += [i for ids, _ in contents(loader) for i in ids]
    assert sorted(seen) == sorted(source.ids)


def test_items_do_not_depend_on_the_number_of_processes() -> None:
    def items(world: int) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for rank in range(world):
            for batch in make(rank=rank, world=world).batches(1):
                found.update(
                    (n, i.numpy().tobytes()) for n, i in zip(batch.ids, batch.images, strict=True)
                )
        return found

    assert items(1) == items(3)


def test_balance_shows_every_class_equally_and_each_picture_as_evenly_as_it_can() -> None:
    labels = np.array([0] * 90 + [1] * 7 + [2] * 3)
    order = balanced(labels, 0, 4)
    counts = np.bincount(labels[order])
    assert len(order) == 100 and counts.max() - counts.min() <= 1
    rare = np.bincount(order, minlength=100)[90:97]
    assert rare.max() - rare.min() <= 1
    assert np.array_equal(order, balanced(labels, 0, 4))
    assert not np.array_equal(order, balanced(labels, 0, 5))


def test_a_picture_that_comes_again_in_an_epoch_is_altered_anew() -> None:
    source = subset(SyntheticSource(40, classes=2), [0, 2, 4, 6, 8, 10, 12, 14, 1])
    loader = make(source, batch=9, balance=True)
    (batch,) = loader.batches(0)
    again = [
        batch.images[k].numpy().tobytes() for k, i in enumerate(batch.ids) if i == source.ids[8]
    ]
    assert len(again) >= 4 and len(set(again)) > 1


def test_repeats_counts_earlier_ones() -> None:
    assert repeats(np.array([5, 2, 5, 5, 2])).tolist() == [0, 0, 1, 2, 1]


def test_balance_needs_one_label_a_picture() -> None:
    with pytest.raises(XferError, match="balance"):
        make(SyntheticSource(8, multilabel=True), balance=True)


class Counting:
    """A source that counts its reads, and fails where it is told to."""

    def __init__(self, count: int = 24, fails: int = -1, error: Exception | None = None) -> None:
        self.inner = SyntheticSource(count)
        self.info, self.ids = self.inner.info, self.inner.ids
        self.labels, self.fingerprint = self.inner.labels, self.inner.fingerprint
        self.fails, self.error, self.reads = fails, error, 0
        self.lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, i: int) -> Sample:
        with self.lock:
            self.reads += 1
        if i == self.fails and self.error is not None:
            raise self.error
        return self.inner[i]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_error_in_a_thread_comes_out_with_the_samples_name(workers: int) -> None:
    source = Counting(fails=7, error=ValueError("odd"))
    with pytest.raises(ValueError, match="odd") as caught:
        list(make(source, train=False, workers=workers).batches(0))
    assert source.ids[7] in "".join(caught.value.__notes__)
    broken = Counting(fails=3, error=DecodeError("cut off", "a.jpg"))
    with pytest.raises(DataError, match=r"a\.jpg: cut off"):
        list(make(broken, train=False, workers=workers).batches(0))
    assert not loader_threads()


def loader_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("loader")]


def test_no_thread_is_left_after_an_epoch_a_stop_or_an_interruption() -> None:
    loader = make(SyntheticSource(200), workers=3)
    list(loader.batches(0))
    assert not loader_threads()
    part = loader.batches(1)
    next(part)
    assert loader_threads()
    part.close()
    assert not loader_threads()
    half = loader.batches(2)
    next(half)
    with pytest.raises(KeyboardInterrupt):
        half.throw(KeyboardInterrupt())
    assert not loader_threads()
    left = loader.batches(3)
    next(left)
    loader.close()
    assert not loader_threads()


def test_only_so_many_batches_are_made_ahead() -> None:
    source = Counting(400)
    batches = make(source, workers=2, batch=8).batches(0)
    next(batches)
    time.sleep(0.2)
    with source.lock:
        assert source.reads <= 8 * 7
    batches.close()


def test_waiting_is_counted() -> None:
    class Slow(Counting):
        def __getitem__(self, i: int) -> Sample:
            time.sleep(0.005)
            return super().__getitem__(i)

    for workers in (0, 1):
        loader = make(Slow(16), workers=workers)
        list(loader.batches(0))
        assert 0.05 < loader.waited < 5


def test_the_cache_serves_later_epochs_and_later_loaders() -> None:
    source = Counting()
    plain = contents(make(Counting(), workers=2), 1)
    loader = make(source, workers=2, cache_mb=1)
    contents(loader, 0)
    assert contents(loader, 1) == plain
    assert contents(make(source, workers=0, cache_mb=1), 1) == plain
    assert source.reads == 24


def test_the_cache_keeps_to_its_room() -> None:
    source = SyntheticSource(20, size=256)  # 192 KB each: five fit into a megabyte
    counted = Counting()
    counted.inner, counted.ids = source, source.ids
    loader = make(counted, batch=20, train=False, workers=2, cache_mb=1)
    contents(loader)
    contents(loader)
    assert counted.reads == 20 + 15


def test_what_is_cached_can_not_be_written_into() -> None:
    def spoil(sample: Sample, rng: np.random.Generator) -> Any:
        sample.image[0] = 0
        return sample.id, sample.image

    loader = Loader(SyntheticSource(8), spoil, collate, batch=8, train=True, cache_mb=1, workers=0)
    with pytest.raises(ValueError, match="read-only"):
        next(loader.batches(0))


def test_batches_are_channels_last_and_one_copy() -> None:
    images = [np.full((4, 6, 3), k, np.uint8) for k in range(5)]
    batch = stack_images(images)
    assert batch.shape == (5, 3, 4, 6)
    assert batch.permute(0, 2, 3, 1).is_contiguous()
    assert batch[3].unique().tolist() == [3]
    with pytest.raises(XferError, match="one size"):
        stack_images([images[0], np.zeros((4, 5, 3), np.uint8)])
    with pytest.raises(XferError, match="no pictures"):
        stack_images([])


def test_a_batch_must_hold_something() -> None:
    with pytest.raises(XferError, match="at least one"):
        make(batch=0)


@given(st.integers(0, 300), st.integers(1, 400), st.integers(0, 5))
def test_a_window_shows_everything_once_and_reads_neighbours_together(
    count: int, window: int, epoch: int
) -> None:
    stored = np.random.default_rng(7).permutation(count)
    order = windowed(stored, window, 0, epoch)
    assert sorted(order.tolist()) == list(range(count))
    assert order.tolist() == windowed(stored, window, 0, epoch).tolist()
    places = np.empty(count, np.int64)
    places[stored] = np.arange(count)
    for start in range(0, count, window):
        near = np.sort(places[order[start : start + window]])
        runs = 1 + int((np.diff(near) > 1).sum())
        # an eighth of a window is a block; two more where blocks are cut by the window's ends
        assert runs <= -(-window // max(1, window // 8)) + 2


def test_a_window_changes_the_order_and_nothing_else() -> None:
    whole, near = dict(contents_by_id(make())), dict(contents_by_id(make(window=8)))
    assert len(near) == len(whole) == 24
    assert all(whole[k] == near[k] for k in whole.keys() & near.keys())
    assert contents(make(window=8, workers=2), 5, start=2) == contents(make(window=8), 5)[2:]


def contents_by_id(loader: Loader) -> list[tuple[str, bytes]]:
    return [
        (name, image.numpy().tobytes())
        for batch in loader.batches(0)
        for name, image in zip(batch.ids, batch.images, strict=True)
    ]


class Cut:
    """A task's transform around pixels; without `shape`, its pictures are copied into the batch."""

    def __init__(self, pixels: TrainTransform, in_place: bool) -> None:
        self.pixels = pixels
        self.shape = pixels.shape if in_place else None

    def __call__(self, sample: Sample, *rng_and_place: Any) -> Any:
        return sample.id, self.pixels(sample.image, *rng_and_place)


@pytest.mark.parametrize("augment", ["none", "light", "standard", "strong"])
@pytest.mark.parametrize("size", [24, 60])
def test_pictures_cut_in_place_are_the_same(augment: str, size: int) -> None:
    pixels = TrainTransform(size, augment=augment)
    found = [
        contents(
            Loader(
                SyntheticSource(30),
                Cut(pixels, in_place),
                collate,
                batch=8,
                train=True,
                workers=workers,
            )
        )
        for in_place in (True, False)
        for workers in (0, 2)
    ]
    assert found[0] == found[1] == found[2] == found[3]


def test_rows_of_one_array_are_stacked_without_a_copy() -> None:
    whole = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3)).astype(np.uint8)
    assert stack_images(list(whole)).data_ptr() == whole.ctypes.data
    for others in (list(whole[::-1]), list(whole[:2]), [whole[0], whole[0], whole[2]]):
        copied = stack_images(others)
        assert copied.data_ptr() != whole.ctypes.data
        assert np.array_equal(copied.permute(0, 2, 3, 1).numpy(), np.stack(others))
