"""Ctrl-C, SIGTERM and SIGHUP: finish the step, save, print how to resume."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from xfer.errors import spoken
from xfer.exit_codes import is_main, stop_signals


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop; it can be resumed from `path`."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"interrupted; to resume: xfer finetune --resume {shlex.quote(str(path))}")
        self.path = path

    def __str__(self) -> str:
        return spoken(str(self.args[0]))

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of the traceback."""
        return [f"{type(self).__name__}: {self}"]


class StopFlag:
    """Context in which a stop signal sets `asked`; a second Ctrl-C stops at once, as a message
    after the first one explains.

    Signals reach only the main thread: elsewhere (a notebook's worker) nothing is installed. A
    SIGHUP that was ignored at the start, as under nohup, stays ignored.

    Args: until: the time of `time.monotonic()` from which on it is asked as well.
    """

    def __init__(self, until: float | None = None) -> None:
        self._signalled = False
        self._until = until
        self._before: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        return self._signalled or (self._until is not None and time.monotonic() >= self._until)

    def __enter__(self) -> StopFlag:
        if threading.current_thread() is threading.main_thread():
            for number in stop_signals():
                self._before[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._signalled and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._signalled = True
        if number == signal.SIGINT and is_main():
            # the next step may be far off, after a search for proposals; print is unsafe here
            with contextlib.suppress(OSError):
                os.write(2, b"\nxfer: stopping after this step; Ctrl-C again stops at once\n")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
