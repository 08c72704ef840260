"""The door of a sample: whatever its files make a source raise is an error that names them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any, TypeVar

from xfer.data.images.decode_error import DecodeError
from xfer.data.images.walk import readable
from xfer.data.sources.base import path_of
from xfer.errors import XferError, reason_of

Method = TypeVar("Method", bound=Callable[..., Any])


def sample(method: Method) -> Method:
    """Decorator for a source's method that reads sample i (its first argument).

    What nobody thought of becomes a DecodeError, which --skip-bad leaves out, with the exception as
    its cause. An index beyond the source stays an IndexError, by which Python ends a loop.
    """

    @functools.wraps(method)
    def read(self: Any, i: int, *args: Any, **named: Any) -> Any:
        try:
            return method(self, i, *args, **named)
        except XferError:
            raise
        except Exception as error:
            if not _within(i, len(self)):
                raise
            name = self.ids[i]
            with contextlib.suppress(Exception):  # it may be what has just failed
                name = str(path_of(self, i) or name)
            raise DecodeError(reason_of(error), readable(name)) from error

    return read  # pyright: ignore[reportReturnType]


def _within(i: Any, count: int) -> bool:
    try:
        range(count)[i]
    except (IndexError, TypeError):
        return False
    return True
