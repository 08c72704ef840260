"""The errors xfer raises: one line that says what is wrong, and one that says what to do."""

from __future__ import annotations

import contextlib
import difflib
import errno
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

# the flag and the key that leave out what can't be used
SKIP_BAD = "--skip-bad (data.skip_bad=true) leaves them out"


class XferError(Exception):
    """The command or the call is wrong. The command line prints it and exits with `code`.

    Args:
        message: what is wrong, naming the file, key or value.
        hint: what to do about it, one line.

    `file` is what was being read, a file or a folder, if that is known.
    """

    code: ClassVar[int] = 2
    file: str | None = None

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  {self.hint}"


class DataError(XferError):
    """A file or a data set is missing, broken or does not fit."""

    code: ClassVar[int] = 3


class DivergedError(XferError):
    """Training produced non-finite numbers."""

    code: ClassVar[int] = 4


# a disk, a quota or a limit on files is used up
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# a disk has failed, or is no longer there
GONE = (errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENOTCONN)
# what the machine or the network does, which is not the file's fault
_NOT_THE_FILE = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE,
                 errno.ENOMEM, errno.EPIPE, errno.EINTR)  # fmt: skip


@contextlib.contextmanager
def whole(file: Path | str, fault: str = "damaged, or not what it should be") -> Iterator[None]:
    """Context for a reader: whatever a file makes it raise becomes a DataError that names the file.

    A reader checks what it knows can be wrong, and says so itself; this is for what nobody thought
    of: a number of 5,000 digits, a list where a table is due, lists in lists beyond the stack. An
    XferError passes, and so does an OSError that is not the file's fault, such as a full disk.
    """
    try:
        yield
    except XferError as error:
        error.file = error.file or str(file)
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NOT_THE_FILE:
            raise
        known = DataError(f"{file}: {reason_of(error, fault)}")
        if isinstance(error, MemoryError):
            known.hint = "it may be damaged, or be far larger inside than outside"
        known.file = str(file)
        raise known from error


Reader = TypeVar("Reader", bound=Callable[..., Any])


def reader(function: Reader) -> Reader:
    """Decorator for a function that reads a file, its first argument: the door of `whole`."""

    @functools.wraps(function)
    def read(file: Path | str, *args: Any, **named: Any) -> Any:
        with whole(file):
            return function(file, *args, **named)

    return read  # pyright: ignore[reportReturnType]


def reason_of(error: Exception, fault: str = "damaged, or not what it should be") -> str:
    """What is wrong with the file that made a reader raise this, in a few words."""
    if isinstance(error, RecursionError):
        return f"{fault} (nested too deeply)"
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = " ".join(str(error).split())[:200] or "no reason given"
    name = "" if isinstance(error, (OSError, ValueError)) else f"{type(error).__name__}: "
    return f"{fault} ({name}{text})"


# what a terminal obeys instead of showing it: C0 and C1, but for tab and newline, and marks that
# turn the direction of writing, by which a line reads as another
_OBEYED = {n: f"\\x{n:02x}" for n in (*range(32), *range(127, 160)) if n not in (9, 10)}
_OBEYED |= {n: f"\\u{n:04x}" for n in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def printable(text: str) -> str:
    """A text for a terminal: characters that it would obey are written as \\x1b. Names of classes
    and files are other people's, and a terminal can be told to do much."""
    return text.translate(_OBEYED)


def nearest(word: str, choices: Iterable[str], many: int = 6) -> str:
    """A hint that names the valid choices nearest to a mistyped word."""
    known = sorted(choices)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    names = ", ".join(known[:many])
    return f"choose from: {names}{', ...' if len(known) > many else ''}"


def listed(names: Sequence[str], max_names: int = 10) -> str:
    """The first `max_names` names in a line, and how many more there are."""
    more = f" and {len(names) - max_names} more" if len(names) > max_names else ""
    return ", ".join(names[:max_names]) + more
