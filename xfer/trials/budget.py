"""A time that an experiment may take. Light to import: it starts before what trains is loaded."""

from __future__ import annotations

import time

from xfer.errors import XferError


class Budget:
    """A time that may be used. Args: minutes: from now on; None: as long as it takes."""

    def __init__(self, minutes: float | None = None) -> None:
        if minutes is not None and not 0 < minutes < float("inf"):
            raise XferError(f"--budget {minutes:g}: minutes, above 0", "--budget 15")
        self.minutes, self.began = minutes, time.monotonic()

    @property
    def until(self) -> float | None:
        """`time.monotonic()` at its end."""
        return None if self.minutes is None else self.began + 60 * self.minutes

    @property
    def left(self) -> float:
        """Seconds; infinite without a limit."""
        return float("inf") if self.until is None else self.until - time.monotonic()

    @property
    def spent(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began
