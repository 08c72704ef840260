"""Writes a run's files beside the training, on a GPU: the loop pauses for a copy to host memory
only, not for the disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import torch
from torch import Tensor

from xfer.device import Place


class Saver:
    """One thread that writes, one file after the other.

    On a CPU files are written at once: a second copy of everything would cost memory, and the
    thread the cores that compute.

    seconds | that the last write took beside the training
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.seconds = 0.0
        self._pool: ThreadPoolExecutor | None = None
        self._writing: Future[None] | None = None

    def write(self, write: Callable[[Any], None], tensors: Any) -> None:
        """Calls `write(tensors)`; on a GPU later, with a copy of them as they are now.

        Args: tensors: dicts and lists with tensors in them.

        Raises: what an earlier write has raised since the last call.
        """
        self.wait()
        if self.place.device.type == "cpu":
            write(tensors)
            return
        copy = on_host(tensors)
        self.place.synchronise()
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="saver")
        self._writing = self._pool.submit(self._timed, write, copy)

    def wait(self) -> None:
        """Returns when everything is on the disk. Raises what the last write has raised."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """Waits, and ends the thread."""
        try:
            self.wait()
        finally:
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None

    def _timed(self, write: Callable[[Any], None], tensors: Any) -> None:
        start = time.perf_counter()
        write(tensors)
        self.seconds = time.perf_counter() - start


def on_host(value: Any) -> Any:
    """Dicts and lists with copies of the tensors in them in (pinned) host memory. Those of a device
    are there when the device has been waited for."""
    if isinstance(value, Tensor):
        if value.device.type == "cpu":
            return value.clone()
        host = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
        return host.copy_(value.detach(), non_blocking=True)
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {key: on_host(one) for key, one in items}
    if isinstance(value, (list, tuple)):
        return type(value)(on_host(one) for one in cast("list[Any]", value))
    return value
