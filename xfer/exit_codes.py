"""How a command ends: the message on stderr, and the exit code.

0   | done
1   | a bug in xfer
2   | the command is wrong
3   | the data or a file is wrong or missing
4   | training diverged
130 | interrupted
141 | the reader of our output went away (a broken pipe), as shells report it

Of several processes, each says what is wrong with its rank before it, once if all say the same, and
ends with the code of the first that failed. They write to each other in the store where torchrun
lets them meet. torchrun itself ends with 1, and names that code in what it prints.
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
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from xfer import plugs
from xfer.errors import GONE, NO_ROOM, XferError, printable

# errors that a path in a command may cause, besides those checked where it is used
_IN_THE_WAY = (errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR,
               errno.ENAMETOOLONG, errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.ENOTEMPTY,
               errno.EBUSY, errno.ETXTBSY, *GONE)  # fmt: skip
_FULL = (*NO_ROOM, errno.EROFS)
# what torchrun tells each process of its place among the others
_TOLD = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
# seconds that a command has to end in once it is interrupted for good
LAST = 2.0

SAME_SECONDS = 1.5  # how long the others are waited for, which may say the same
GRACE_SECONDS = 5.0  # how long a process may take to end by itself once another has failed
_CONNECT_SECONDS = 3.0
# how gloo, NCCL and the store say that another process is gone
_LOST = ("connection closed by peer", "connection reset by peer", "broken pipe", "remote process",
         "nccl communicator was aborted", "ncclremoteerror", "socket timeout",
         "recvvalue failed", "sendbytes failed")  # fmt: skip


def is_main() -> bool:
    """Whether this process prints messages: torchrun starts several, numbered by RANK."""
    return os.environ.get("RANK", "0") == "0"


def processes() -> int:
    """How many processes torchrun has started for this command; 1 without torchrun."""
    number = os.environ.get("WORLD_SIZE", "1")
    return int(number) if number.isdecimal() else 1


@contextlib.contextmanager
def as_the_only_one() -> Iterator[None]:
    """Context of work that is not shared: what torchrun has told this process about the others is
    not seen, so that it takes none of them into account and waits for none."""
    told = {name: os.environ.pop(name) for name in _TOLD if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(told)


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Context of work that each process does for itself, as one part of a job: it joins no group
    and waits for none of the others, but keeps to its own card (LOCAL_RANK, or SLURM's number)."""
    own = {"RANK": "0", "WORLD_SIZE": "1"}
    if "SLURM_LOCALID" in os.environ and "LOCAL_RANK" not in os.environ:
        own["LOCAL_RANK"] = os.environ["SLURM_LOCALID"]
    changed = (*own, "SLURM_STEP_NUM_TASKS")
    before = {name: os.environ.pop(name, None) for name in changed}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


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
    several = processes() > 1
    if isinstance(error, KeyboardInterrupt):
        # torchrun sends SIGTERM to the others once one has failed
        first = _first_code(0.0) if several else None
        if first is None and is_main():
            complain(str(error) or "interrupted")
        return 130 if first is None else first
    code, message, hint = _words_for(error, debug)
    if several and _is_echo(error):
        first = _first_code(SAME_SECONDS)
        if first is not None:  # that one has said what is wrong
            return first
        message = "lost contact with another process"
        hint = "it was killed, perhaps for lack of memory, or its machine or network failed"
    elif several:
        note_failure(error)
    complain_once(message, hint)
    return code


def _words_for(error: BaseException, debug: bool) -> tuple[int, str, str | None]:
    """The exit code for an error, its line, and the hint under it."""
    if isinstance(error, XferError):
        return error.code, error.message, error.hint
    if isinstance(error, OSError) and error.errno in _FULL:
        where = f": {error.filename}" if error.filename else ""
        return (
            3, f"{(error.strerror or 'no space left').lower()}{where}",
            "what was already written is kept; free some space, or write elsewhere",
        )  # fmt: skip
    if isinstance(error, OSError) and error.errno in _IN_THE_WAY and error.filename is not None:
        return 3, f"{error.filename}: {(error.strerror or 'unusable').lower()}", None
    hint = None if debug else "--debug shows the traceback"
    text = " ".join(str(error).split())
    plug = plugs.whose(error)
    if plug is not None:
        return XferError.code, f"{plug}: {type(error).__name__}: {text[:500]}", hint
    return 1, f"internal error: {type(error).__name__}: {text[:500]}", hint


def complain(message: str, hint: str | None = None) -> None:
    """Prints one line on stderr, and the hint under it."""
    print(f"xfer: {printable(message)}", file=sys.stderr)
    if hint:
        print(f"  {printable(hint)}", file=sys.stderr)
    sys.stderr.flush()


def complain_once(message: str, hint: str | None = None) -> None:
    """`complain`, with this process's rank if there are several; if all of them have the same to
    say, one does, and names none."""
    world = processes()
    if world == 1:
        complain(message, hint)
        return
    with contextlib.suppress(ValueError):  # torchrun ends the others as soon as one has
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    import hashlib  # not needed by `xfer --help`

    key = hashlib.sha256(f"{message} {hint}".encode()).hexdigest()
    rank = f"rank {os.environ.get('RANK', '0')}: "
    store = _store()
    try:
        if store is None:
            complain(rank + message, hint)
        elif store.add(f"same {key}", 1) == 1:
            everyone = _in_time(lambda: store.add(f"same {key}", 0) >= world, SAME_SECONDS)
            complain(("" if everyone else rank) + message, hint)
            store.add(f"said {key}", 1)
        else:  # torchrun may end the one that speaks, if this one ends before
            _in_time(lambda: store.add(f"said {key}", 0) > 0, 2 * SAME_SECONDS)
    except Exception:  # the store went away with the process that held it
        complain(rank + message, hint)


def note_failure(error: BaseException) -> None:
    """Tells the other processes that this one has failed, so that none waits for it in vain. That
    another was lost is no failure of this one."""
    if processes() == 1 or not isinstance(error, Exception) or _is_echo(error):
        return  # an interrupt, or a script's own exit
    store = _store()
    if store is not None:
        with contextlib.suppress(Exception):
            store.keep_first("code", str(_words_for(error, False)[0]))
            store.add("failed", 1)


def end_with_the_others(store: Any) -> Callable[[], None]:
    """Watches for the failure of another process, after which this one ends too, even if it waits
    in a collective for it (which NCCL does for half an hour). Returns what stops the watch.

    Args: store: torch's, in which the processes meet: a connection for this alone.
    """
    done = threading.Event()

    own = _Store(store)

    def watch() -> None:
        with contextlib.suppress(Exception):  # the store ends with the process that holds it
            while own.add("failed", 0) == 0:
                if done.wait(0.5):
                    return
            code = int(own.keep_first("code", "1"))  # now: the store may end before this process
            if not done.wait(GRACE_SECONDS):
                sys.stderr.flush()
                os._exit(code)

    thread = threading.Thread(target=watch, name="others", daemon=True)
    thread.start()

    def stop() -> None:
        done.set()
        thread.join(1.0)

    return stop


_met: _Store | None = None


def use_store(store: Any) -> None:
    """Args: store: torch's, in which the processes have met; it is held until this one ends."""
    global _met
    _met = _Store(store)


def _store() -> _Store | None:
    """Where the processes meet; None if there is no such place, or not yet."""
    if _met is None:
        with contextlib.suppress(Exception):
            use_store(_connected(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])))
    return _met


def _connected(host: str, port: int) -> Any:
    """torch's store: torchrun's, or that of the first process, which may not be there yet."""
    import socket  # not needed by `xfer --help`

    first = is_main() and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection((host, port), 1.0):
            return True
        return False

    # torch itself would print where it waits in vain
    if not first and not _in_time(answers, _CONNECT_SECONDS):
        raise ConnectionError
    from datetime import timedelta

    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    wait = timedelta(seconds=_CONNECT_SECONDS)
    return TCPStore(host, port, is_master=first, wait_for_workers=False, timeout=wait)


class _Store:
    """torch's store, with keys of its own for each start: torchrun keeps it over restarts."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._start = f"ends {os.environ.get('TORCHELASTIC_RESTART_COUNT') or 0} "

    def add(self, key: str, number: int) -> int:
        """Adds to a number that begins with 0, and returns it."""
        return self._store.add(self._start + key, number)

    def keep_first(self, key: str, value: str) -> str:
        """The value that was first given for this key."""
        return self._store.compare_set(self._start + key, "", value).decode()


def _is_echo(error: BaseException) -> bool:
    """Whether an error only means that another process has ended."""
    if isinstance(error, XferError) or not isinstance(error, (RuntimeError, OSError)):
        return False
    kind = type(error)
    torch_s = kind.__module__.startswith("torch.") and kind.__name__.startswith("Dist")
    return torch_s or any(words in str(error).lower() for words in _LOST)


def _first_code(seconds: float) -> int | None:
    """The exit code of the process that failed first; None if none says so in that time."""
    store = _store() if seconds else _met  # met already, if none is to be waited for
    if store is None:
        return None
    with contextlib.suppress(Exception):
        if _in_time(lambda: store.add("failed", 0) > 0, seconds):
            return int(store.keep_first("code", "1"))
    return None


def _in_time(condition: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True
