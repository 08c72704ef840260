"""The error for a file that can't be read as a picture."""

from __future__ import annotations

from typing import Any

from xfer.errors import DataError

CUT_OFF = "cut off"
NAMELESS = "picture"  # one that is in memory


class DecodeError(DataError):
    """A file can't be read as a picture. `reason` says why, without naming the file."""

    def __init__(self, reason: str, name: str = NAMELESS) -> None:
        super().__init__(
            f"{name}: {reason}", "remove it, or --skip-bad (data.skip_bad=true) leaves it out"
        )
        self.reason = reason
        self.name = name
        self.file = None if name == NAMELESS else name

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reason, self.name)


def cut_off(missing: float) -> DecodeError:
    """The error for a file that ends before its last pixel. Args: missing: share of the pixels."""
    share = f"{missing:.0%}" if missing >= 0.005 else "less than 1%"
    return DecodeError(f"{CUT_OFF}: {share} of its pixels are missing")
