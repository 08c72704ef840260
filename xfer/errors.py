"""The errors xfer raises: one line that says what is wrong, and one that says what to do."""

from __future__ import annotations

import contextlib
import difflib
import errno
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

# the flag and the key that leave out what can't be used
SKIP_BAD = "--skip-bad (data.skip_bad=true) leaves them out"


class XferError(Exception):
    """The command or the call is wrong. The command line prints it and exits with `code`.

    Args:
        message: what is wrong, naming the file, key or value.
        hint: what to do about it, one line.
    """

    code: ClassVar[int] = 2

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
    except XferError:
        raise
    except RecursionError:
        raise DataError(f"{file}: {fault} (nested too deeply)") from None
    except MemoryError as error:
        hint = "it may be damaged, or be far larger inside than outside"
        raise DataError(f"{file}: needs more memory than there is", hint) from error
    except OSError as error:
        if error.errno in _NOT_THE_FILE:
            raise
        raise DataError(f"{file}: {error.strerror or error}") from error
    except Exception as error:
        text = " ".join(str(error).split())[:200] or "no reason given"
        name = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise DataError(f"{file}: {fault} ({name}{text})") from error


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
