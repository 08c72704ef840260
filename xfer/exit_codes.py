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

import contextlib
import errno
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

from xfer import plugs
from xfer.errors import GONE, NO_ROOM, XferError, printable

# errors that a path in a command may cause, besides those checked where it is used
_IN_THE_WAY = (errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR,
               errno.ENAMETOOLONG, errno.ENOENT, *GONE)  # fmt: skip
_FULL = (*NO_ROOM, errno.EROFS)
# seconds that a command has to end in once it is interrupted for good
LAST = 2.0


def is_main() -> bool:
    """Whether this process prints messages: torchrun starts several, numbered by RANK."""
    return os.environ.get("RANK", "0") == "0"


def stop_signals() -> list[signal.Signals]:
    """The signals that end a command: Ctrl-C, SIGTERM, and SIGHUP unless it is ignored, as under
    nohup."""
    names = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        names.append(signal.SIGHUP)
    return names


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Context of a command: SIGTERM and SIGHUP end it as Ctrl-C does, by KeyboardInterrupt, so that
    its temporary files are removed; training takes them over (`xfer.train.signals`).

    Python sees a signal only when the main thread returns from native code, which may take minutes.
    A thread therefore counts each Ctrl-C as it arrives: after the second, the process ends in LAST
    seconds, whatever it is doing; after the third, at once. What was written completely stays.
    """
    if threading.current_thread() is not threading.main_thread() or os.name == "nt":
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before: dict[int, Any] = {}
    for number in stop_signals():
        if number != signal.SIGINT or signal.getsignal(number) == signal.SIG_IGN:
            before[number] = signal.signal(number, interrupt)
    other = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_count_interrupts, args=(reader,), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(other)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(writer)  # which ends the thread


def _count_interrupts(reader: int) -> None:
    """Ends the process after the second SIGINT of those whose numbers come out of the pipe."""
    with open(reader, "rb", buffering=0) as arriving:
        count = 0
        while byte := arriving.read(1):
            count += byte[0] == signal.SIGINT
            if count == 2 and byte[0] == signal.SIGINT:
                end_soon(b"xfer: interrupted\n" if is_main() else b"")
            if count > 2:
                os._exit(130)


def end_soon(message: bytes = b"") -> None:
    """Ends the process in LAST seconds as interrupted, unless it ends before: a thread that decodes
    a large picture would keep it."""

    def end() -> None:
        time.sleep(LAST)
        with contextlib.suppress(OSError):
            os.write(2, message)
        os._exit(130)

    threading.Thread(target=end, daemon=True).start()


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
    if isinstance(error, OSError) and error.errno in _FULL:
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
    print(f"xfer: {printable(message)}", file=sys.stderr)
    if hint:
        print(f"  {printable(hint)}", file=sys.stderr)
    sys.stderr.flush()
