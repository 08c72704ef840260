"""How many threads read pictures."""

from __future__ import annotations

import os


def cores() -> int:
    """Cores that this process may use; torchrun's processes on one machine share them."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return max(1, count // max(1, int(os.environ.get("LOCAL_WORLD_SIZE") or 1)))
