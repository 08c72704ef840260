"""One writer at a time: locks on runs, packs, features files and all that takes long to write."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from xfer.errors import DataError

# the name of the lock in a folder; beside a file NAME it is .NAME.lock
LOCK = ".writer.lock"
_PATIENCE = 0.5  # seconds in which a process that has just got a lock signs it


class _Home(NamedTuple):
    """The folder of a lock that this process holds: its absolute path, the name that the user
    gave it, and its device and number, which another folder of that name has not."""

    path: Path
    name: Path
    identity: tuple[int, int] | None


_HOMES: dict[int, _Home] = {}


@contextlib.contextmanager
def sole_writer(target: Path, *, inside: bool = False, wait: float = 0.0) -> Iterator[None]:
    """Context in which this process alone writes `target`: its lock is held.

    The lock ends with the process, however that ends; its file, which names process, host and time,
    is then taken over by the next one. It is a lock of the system's (flock), which network disks
    pass on to their server. On a disk that can't lock files the note in the file decides: a process
    of this machine counts while it lives, and one of another machine until the file is removed.

    Args:
        target: a file that may not exist yet, or with `inside` a folder that exists.
        wait: seconds to wait for the other process.

    Raises: DataError while another process writes there, and if the lock can't be made.
    """
    lock = target / LOCK if inside else target.with_name(f".{target.name}.lock")
    handle = _lock(target, lock, wait)
    home = lock.absolute().parent
    _HOMES[handle] = _Home(home, lock.parent, _identity(home))
    try:
        yield
    finally:
        del _HOMES[handle]
        ours = _identity(lock) == _identity(handle)  # else it is in a folder that took our place
        if os.name == "nt":  # where no open file can be removed
            os.close(handle)
        if ours:
            with contextlib.suppress(OSError):
                lock.unlink()
        if os.name != "nt":
            os.close(handle)


def check_writer(target: Path, *, inside: bool = False) -> None:
    """Raises DataError if another process is the sole writer of `target`. Changes nothing."""
    lock = target / LOCK if inside else target.with_name(f".{target.name}.lock")
    if os.path.lexists(lock):
        handle = _open_lock(target, lock, 0)
        try:
            if not _flocked(handle):
                raise _refusal(target, lock, _owner(handle))
        finally:
            os.close(handle)


def check_home(path: Path) -> Path | None:
    """The folder of a lock that this process holds and that `path` lies in, absolute, if any.

    Raises: DataError if that folder is gone, or another one has its name: nothing may be written
        there, not even a folder.
    """
    if not _HOMES:
        return None
    place = path.absolute()
    for home in tuple(_HOMES.values()):
        if home.path in (place, *place.parents):
            if _identity(home.path) != home.identity:
                raise DataError(
                    f"{home.name}: was removed, renamed or unmounted while it was written into",
                    "nothing is written any more",
                )
            return home.path
    return None


def _lock(target: Path, lock: Path, wait: float) -> int:
    """Takes the lock and signs it; a descriptor that holds it. Raises DataError, see above."""
    start, told = time.monotonic(), False
    while True:
        handle = _open_lock(target, lock)
        got = _flocked(handle)
        if got and _identity(lock) == _identity(handle):
            note = {"pid": os.getpid(), "host": _host(), "since": time.time()}
            with contextlib.suppress(OSError):  # a full disk: the lock holds without it
                os.ftruncate(handle, 0)
                os.lseek(handle, 0, os.SEEK_SET)
                os.write(handle, json.dumps(note).encode())
            return handle
        owner = _owner(handle)
        os.close(handle)
        if got:  # whoever had it has just removed the file
            continue
        waited = time.monotonic() - start
        signed = owner is not None and not owner.dead()
        if waited > (max(wait, 0 if signed else _PATIENCE)):
            raise _refusal(target, lock, owner)
        if waited > 5 and not told:
            told = True
            print(f"xfer: waiting: {_refusal(target, lock, owner).message}", file=sys.stderr)
        time.sleep(0.05)


def _open_lock(target: Path, lock: Path, make: int = os.O_CREAT) -> int:
    """Opens a lock's file, made if need be; never one that lies elsewhere. Raises DataError."""
    flags = os.O_RDWR | make | getattr(os, "O_CLOEXEC", 0)
    # a link to a file that matters would be overwritten, and a pipe be waited for
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        handle = os.open(lock, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DataError(f"{lock}: a link, where a lock is due", "remove it") from None
        raise DataError(
            f"{target}: can't be written ({lock}: {error.strerror or error})", "choose another"
        ) from None
    about = os.fstat(handle)
    if not stat.S_ISREG(about.st_mode) or about.st_nlink > 1:
        os.close(handle)
        raise DataError(f"{lock}: not a file of its own, where a lock is due", "remove it")
    return handle


def _flocked(handle: int) -> bool:
    """Whether the descriptor has the lock now."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # Windows, and some network disks
        owner = _owner(handle)
        return owner is None or owner.dead()
    return True


class _Owner(NamedTuple):
    """Who signed a lock: process, host, and seconds since 1970."""

    pid: int
    host: str
    since: float

    def dead(self) -> bool:
        """Whether the process is gone; of another machine's process it is not known."""
        if self.host != _host() or sys.platform == "win32":
            return False  # on Windows, signal 0 is Ctrl-C
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return True
        except OSError:  # another user's
            return False
        return False


def _owner(handle: int) -> _Owner | None:
    """Who signed the lock; None if nobody has yet."""
    try:
        os.lseek(handle, 0, os.SEEK_SET)
        note = json.loads(os.read(handle, 4096))
        return _Owner(abs(int(note["pid"])), str(note["host"])[:100], float(note["since"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _refusal(target: Path, lock: Path, owner: _Owner | None) -> DataError:
    """The error that says who is writing there."""
    hint = "wait for it, or choose another place"
    if owner is None:
        return DataError(f"{target}: another process is writing into it", hint)
    host = "".join(c for c in owner.host if c.isprintable())
    since = "a while"
    with contextlib.suppress(ValueError, OverflowError, OSError):
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(owner.since))
    if host != _host():
        hint += f"; if it is gone: rm {lock}"
    return DataError(
        f"{target}: process {owner.pid} on {host} has been writing into it since {since}", hint
    )


def _host() -> str:
    import socket  # not needed by `xfer --help`

    return socket.gethostname()


def _identity(path: Path | int) -> tuple[int, int] | None:
    """Device and inode of a file or folder; None if it does not exist."""
    try:
        about = os.fstat(path) if isinstance(path, int) else path.stat()
    except OSError:
        return None
    return about.st_dev, about.st_ino
