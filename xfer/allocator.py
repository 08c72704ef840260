"""What the C library keeps of freed memory between steps, and when the kernel gets it back.

On a CPU, giving everything back after each step and asking for it anew takes a quarter of a bf16
step; keeping everything lets a process grow without bound where pictures differ in size: a step's
tensors don't fit the holes that the last one's have left, which stay resident. So freed memory is
kept, until the process has grown by SLACK.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

# growth that is let pass: bytes, or this share of what the process held before, if that is more
SLACK, SHARE = 512 * 2**20, 0.25
STATM = Path("/proc/self/statm")


@functools.cache
def _libc() -> Any:
    """The C library, if it is glibc and not to be left alone (XFER_PLAIN_MALLOC); else None."""
    if platform.libc_ver()[0] != "glibc" or os.environ.get("XFER_PLAIN_MALLOC"):
        return None
    return ctypes.CDLL("libc.so.6")


def keep_memory() -> bool:
    """Asks glibc to keep freed memory instead of returning it to the kernel after each step.

    A train step frees and allocates hundreds of MB; page faults on them cost a quarter of a bf16
    step on CPU. Costs about 17 % of resident memory. False where there is no glibc.
    """
    libc = _libc()
    if libc is None:
        return False
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    done = [
        libc.mallopt(mmap_max, 0),
        libc.mallopt(trim_threshold, 2**31 - 1),
        libc.mallopt(top_pad, 256 * 2**20),
    ]
    return all(done)


def resident() -> int | None:
    """Bytes of this process in memory; None where Linux does not say."""
    try:
        return int(STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def trim() -> None:
    """Gives the kernel the pages of the heap that nothing lies in. Takes about 50 ms per GB."""
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)


class GiveBack:
    """Called between steps: gives freed memory back once the process has grown.

    The size that growth is counted from is the one at the call after a return: then it again holds
    what one step needs. Steps of one size therefore cause no return after the first.

    Args: resident: bytes in memory now, or None; trim: gives back what is free.
    """

    def __init__(
        self, resident: Callable[[], int | None] = resident, trim: Callable[[], None] = trim
    ) -> None:
        self._resident, self._trim = resident, trim
        self._settled: int | None = None

    def __call__(self) -> bool:
        """Whether memory was given back."""
        size = self._resident()
        if size is None:
            return False
        if self._settled is None:
            self._settled = size
        if size <= self._settled + max(SLACK, SHARE * self._settled):
            return False
        self._trim()
        self._settled = None
        return True


# a process has one heap
give_back = GiveBack()
