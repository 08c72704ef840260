"""How a command ends: the message on stderr, and the exit code.

0   | done
1   | a bug in xfer
2   | the command is wrong, or a plug's code raises something
3   | the data or a file is wrong or missing
4   | training diverged
130 | interrupted
141 | the reader of our output went away (a broken pipe), as shells report it
"""

from __future__ import annotations

import errno
import os
import sys
import traceback

from xfer import plugs
from xfer.errors import XferError

# errors that a path in a command may cause, besides those checked where it is used
_IN_THE_WAY = (errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR,
               errno.ENAMETOOLONG, errno.ENOENT)  # fmt: skip
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def is_main() -> bool:
    """Whether this process prints messages: torchrun starts several, numbered by RANK."""
    return os.environ.get("RANK", "0") == "0"


def report(error: BaseException, debug: bool = False) -> int:
    """Prints on stderr what went wrong, in a line or two, and returns the exit code.

    Args:
        error: what ended the command.
        debug: show the traceback as well.
    """
    if isinstance(error, BrokenPipeError):
        # Python flushes stdout once more at exit, which would fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    if debug:
        traceback.print_exception(error)
    if isinstance(error, XferError):
        if is_main():
            complain(error.message, error.hint)
        return error.code
    if isinstance(error, KeyboardInterrupt):
        if is_main():
            complain(str(error) or "interrupted")
        return 130
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        where = f": {error.filename}" if error.filename else ""
        complain(
            f"{(error.strerror or 'no space left').lower()}{where}",
            "what was already written is kept; free some space, or write elsewhere",
        )
        return 3
    if isinstance(error, OSError) and error.errno in _IN_THE_WAY and error.filename is not None:
        complain(f"{error.filename}: {(error.strerror or 'unusable').lower()}")
        return 3
    hint = None if debug else "--debug shows the traceback"
    text = " ".join(str(error).split())
    plug = plugs.whose(error)
    if plug is not None:
        complain(f"{plug}: {type(error).__name__}: {text[:500]}", hint)
        return XferError.code
    complain(f"internal error: {type(error).__name__}: {text[:500]}", hint)
    return 1


def complain(message: str, hint: str | None = None) -> None:
    """Prints one line on stderr, and the hint under it."""
    print(f"xfer: {message}", file=sys.stderr)
    if hint:
        print(f"  {hint}", file=sys.stderr)
    sys.stderr.flush()
