"""Work that is done one piece at a time, by one thread, with room for a few that wait."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

Result = TypeVar("Result")


class Full(Exception):
    """All places are taken: try again in a moment."""


class Turns:
    """Calls functions one after another in one thread, so that a net computes for one request at a
    time: two at once would take as long and need twice the memory.

    Args: places: how many requests there may be at a time, the one at work included.
    """

    def __init__(self, places: int) -> None:
        self.places = places
        self.taken = 0
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        run = contextvars.copy_context().run  # what the caller may import, this thread may
        # the process doesn't wait for a daemon when it ends
        threading.Thread(target=run, args=(self._run,), name="net", daemon=True).start()

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place for a request, from its first byte on. Raises Full. For the event loop's thread
        alone."""
        if self.taken >= self.places:
            raise Full
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1

    async def call(self, function: Callable[[], Result], seconds: float) -> Result:
        """The function's result, or what it raises. Raises TimeoutError after so many seconds; the
        function is then not called, unless it runs already."""
        future: Future[Result] = Future()
        self._work.put((future, function))
        return await asyncio.wait_for(asyncio.wrap_future(future), seconds)

    def _run(self) -> None:
        while True:
            future, function = self._work.get()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(function())
            except BaseException as error:
                future.set_exception(error)
            del future, function  # a picture is not kept until the next one comes
