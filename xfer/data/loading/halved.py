"""Memory that runs out: the errors that say so, and batches in parts that fit."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Generic, TypeVar

import torch

from xfer.device import Place
from xfer.errors import XferError

T = TypeVar("T")

# how allocators, cuBLAS, cuDNN and NCCL say that memory has run out
_NO_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "status_alloc_failed")
# what cuDNN also says if its workspace finds no room, or for a call that it never supports
_MAYBE_NO_MEMORY = ("status_not_supported", "unable to find an engine", "cudnn algorithm",
                    "status_internal_error", "status_not_initialized")  # fmt: skip


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on any device."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or _says(error, _NO_MEMORY)


def may_be_memory(error: BaseException) -> bool:
    """Whether an exception may mean that memory ran out: whether a smaller batch is worth a try."""
    return is_out_of_memory(error) or _says(error, _MAYBE_NO_MEMORY)


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(word in text for word in words)


def free_memory(place: Place) -> None:
    """Gives unused memory of the device back, after it ran out."""
    gc.collect()
    if place.device.type != "cpu":
        torch.get_device_module(place.device).empty_cache()


class Halved(Generic[T]):
    """Work on batches, each whole, or in halves, quarters ... once memory has run out.

    Args:
        place: where the work is done.
        say: called with a line when the parts become smaller.
        hint: of the error if not even one picture fits.

    Later batches are cut likewise from the start. Only for work whose result does not depend on
    what else is in the batch: a net in evaluation.
    """

    def __init__(
        self, place: Place, say: Callable[[str], None] | None = None,
        hint: str = "a smaller data.size, or --device cpu",
    ) -> None:  # fmt: skip
        self.place, self.say, self.hint = place, say, hint
        self.most = 0  # pictures at a time; 0: all

    def __call__(self, count: int, work: Callable[[int, int], T]) -> list[T]:
        """The results of `work(start, stop)` for the parts of a batch of `count` pictures.

        Raises: XferError if memory runs out with a single picture.
        """
        results: list[T] = []
        start = 0
        while start < count:
            stop = min(count, start + (self.most or count))
            try:
                results.append(work(start, stop))
            except Exception as error:
                if not may_be_memory(error):
                    raise
                if stop - start == 1:
                    if not is_out_of_memory(error):
                        raise
                    raise XferError("out of memory with a single picture", self.hint) from error
            else:
                start = stop
                continue
            # outside the except clause, so that the failed pass's tensors have been freed
            free_memory(self.place)
            self.most = (stop - start) // 2
            if self.say is not None:
                self.say(
                    f"warning: out of memory with {stop - start} pictures at a time: "
                    f"{self.most} at a time from here on"
                )
        return results
