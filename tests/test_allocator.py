"""The memory of a process is bounded: freed memory goes back once the process has grown."""

from __future__ import annotations

import platform
import subprocess
import sys

import numpy as np
import pytest

from xfer.allocator import SHARE, SLACK, GiveBack
from xfer.data.loading import loader as loading
from xfer.data.loading.loader import Loader
from xfer.testing.source import SyntheticSource
from xfer.types import Batch

MB = 2**20


class Heap:
    """A process that gives back `free` bytes when it is asked to."""

    def __init__(self, size: int) -> None:
        self.size, self.free, self.times = size, 0, 0

    def trim(self) -> None:
        self.size -= self.free
        self.free, self.times = 0, self.times + 1


def test_steps_of_one_size_give_nothing_back():
    heap = Heap(900 * MB)
    give_back = GiveBack(lambda: heap.size, heap.trim)
    assert not any(give_back() for _ in range(100))
    assert heap.times == 0


def test_growth_is_bounded_and_given_back_rarely():
    heap = Heap(900 * MB)
    give_back = GiveBack(lambda: heap.size, heap.trim)
    peak = 0
    for _ in range(1000):  # each step leaves 10 MB of holes
        heap.size += 10 * MB
        heap.free += 10 * MB
        peak = max(peak, heap.size)
        give_back()
    assert peak <= 900 * MB + SLACK + 30 * MB
    assert heap.times <= 1000 * 10 * MB / SLACK


def test_a_large_process_may_grow_by_a_share_of_its_size():
    heap = Heap(40_000 * MB)
    give_back = GiveBack(lambda: heap.size, heap.trim)
    give_back()
    heap.size += int(SHARE * 39_000 * MB)
    assert not give_back()
    heap.size += 1_000 * MB
    assert give_back()


def test_without_statm_nothing_is_given_back():
    heap = Heap(0)
    assert not GiveBack(lambda: None, heap.trim)()
    assert heap.times == 0


HOLES = """
from xfer import allocator
import numpy as np
assert allocator.keep_memory()
give_back = allocator.GiveBack()
give_back()
before = allocator.resident()
for n in range(20):
    holes = [(np.ones(2**20 * (8 + n), np.uint8), bytearray(900)) for _ in range(8)]
    pins = [pin for _, pin in holes]
    del holes
    give_back()
    assert allocator.resident() - before < allocator.SLACK + 300 * 2**20, n
allocator.trim()
assert allocator.resident() - before < 64 * 2**20
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="keeps memory with glibc only")
def test_holes_between_long_lived_values_go_back_to_the_kernel():
    subprocess.run([sys.executable, "-c", HOLES], check=True, timeout=60)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_memory_back_after_each_batch_is_used(workers, monkeypatch):
    used: list[str] = []
    monkeypatch.setattr(loading, "give_back", lambda: used.append("given back"))

    def collate(items: list[str]) -> Batch:
        return Batch(np.zeros(0), tuple(items), {})  # pyright: ignore[reportArgumentType]

    source = SyntheticSource(4)
    read = Loader(
        source, lambda sample, rng: sample.id, collate, batch=2, train=False, workers=workers
    )
    for _ in read.batches(0):
        used.append("used")
    assert used == ["used", "given back"] * 2
