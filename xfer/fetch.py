"""Downloads a file once: resumes partial downloads, checks the hash, renames when complete.

Addresses are https where the publisher has it, and never lead from there to http. Where no hash of
the whole file is published, that of the first download is kept beside it, in NAME.sha256, and what
is there later must agree with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import socket
import stat
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xfer.errors import DataError
from xfer.files import GB, KB, room, text_of, write_text
from xfer.locking.sole_writer import sole_writer

Progress = Callable[[int, int], None]
_CHUNK = 1 << 20
# bytes of a file of weights: the largest published ones have four
MOST = 16 * GB
# seconds that a process waits for another one that is making the same file
PATIENCE = 3600.0


def cache_folder() -> Path:
    """$XFER_CACHE, else ~/.cache/xfer."""
    return Path(os.environ.get("XFER_CACHE") or "~/.cache/xfer").expanduser()


def others_write(folder: Path) -> str:
    """Who else than the user and root can write into a folder, in words; "" if nobody can, and
    where the system can't say."""
    if not hasattr(os, "geteuid"):
        return ""
    try:
        about = folder.stat()
    except OSError:
        return ""
    if about.st_uid not in (0, os.geteuid()):
        return f"it belongs to another user ({about.st_uid})"
    if about.st_mode & stat.S_IWOTH:
        return "anyone can write into it"
    if about.st_mode & stat.S_IWGRP and not _own_group(about.st_gid):
        return f"its group ({about.st_gid}) can write into it"
    return ""


def _own_group(group: int) -> bool:
    """Whether a group is the user's alone, as many systems make one for each user."""
    import grp
    import pwd

    try:
        alone = set(grp.getgrgid(group).gr_mem) <= {pwd.getpwuid(os.geteuid()).pw_name}
    except KeyError:  # without a name, as in a container
        alone = True
    return alone and group == os.getegid()


def check_recorded(path: Path, record: Path, sha256: str = "") -> None:
    """Compares a file with the sha256 that was recorded of it; without a record, makes one.

    Args: sha256: of the file, if it is known already.

    Raises: DataError for another file than the first one of that name, and if others can write
        where the record lies.
    """
    if why := others_write(record.parent):
        raise DataError(
            f"{path}: no checksum of it is published, and {record.parent} is not safe for one: "
            f"{why}",
            f"chmod go-w {record.parent}, or another folder: XFER_CACHE=DIR",
        )
    sha256 = sha256 or _sums(path, "sha256:")[1]
    try:
        known = text_of(record, 4 * KB).split()
    except FileNotFoundError:
        with contextlib.suppress(OSError):
            write_text(record, f"{sha256}  {path.name}\n")
        return
    except OSError as error:
        raise DataError(f"{record}: {error.strerror}") from None
    if known[:1] != [sha256]:
        raise DataError(
            f"{path} is not the file that was fetched first: its sha256 differs from {record}",
            "delete both, and it is fetched again",
        )


def _sums(path: Path, expected: str) -> tuple[bool, str]:
    """Whether a file has the hash "sha1:HEX" or "sha256:HEX", where HEX may be the first digits
    only, and its sha256."""
    algorithm, _, digits = expected.partition(":")
    sums = {name: hashlib.new(name) for name in {algorithm, "sha256"}}
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            for each in sums.values():
                each.update(chunk)
    return sums[algorithm].hexdigest().startswith(digits), sums["sha256"].hexdigest()


def _is_whole(expected: str) -> bool:
    return expected.startswith("sha256:") and len(expected) == 7 + 64


def download(
    url: str,
    path: Path,
    expected: str,
    progress: Progress | None = None,
    timeout: float = 4.0,
    *,
    record: Path | None = None,
    most: int = MOST,
) -> Path:
    """The file at `path`, downloaded from `url` if it is not there yet.

    An existing file (put there by hand, or downloaded earlier) is checked and used. A partial file,
    PATH.part, is resumed with a Range request. If several processes want it at once, as under
    torchrun, one downloads it and the others wait.

    Args:
        url: http or https.
        path: where the file belongs.
        expected: "sha1:HEX" or "sha256:HEX"; HEX may be the first digits only.
        record: where the sha256 is recorded unless `expected` is a whole one; PATH.sha256.
        most: bytes; the server is not believed that a file has more.
        progress: called with (bytes so far, total bytes or 0).
        timeout: seconds to wait for a name, a connection or the next bytes.

    Raises: DataError if it can't be reached, is cut off, or has the wrong hash; the message names
        the file and where to put it by hand.
    """
    record = record or path.with_name(f"{path.name}.sha256")
    if path.is_file():
        fits, sha256 = _sums(path, expected)
        if fits:
            if not _is_whole(expected):
                check_recorded(path, record, sha256)
            return path
        raise DataError(
            f"{path} is not the published file: its {expected.partition(':')[0]} differs",
            f"delete it, or replace it with {url}",
        )
    by_hand = f"fetch {url} yourself and put it at {path}"
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _resolve(url, timeout)
        with sole_writer(path, wait=PATIENCE):
            if not path.is_file():  # else another process has fetched it meanwhile
                fetch(url, part, progress, timeout, most)
                _put(url, part, path, expected, record)
    except urllib.error.HTTPError as error:
        error.close()
        raise DataError(f"{url}: the server replied {error.code} {error.reason}", by_hand) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(f"can't fetch {path.name}: {reason}", by_hand) from None
    return path


def _put(url: str, part: Path, path: Path, expected: str, record: Path) -> None:
    """Checks what was fetched into `part` and renames it to `path`. Raises DataError for a bad
    hash."""
    fits, sha256 = _sums(part, expected)
    if not fits:
        part.unlink()
        raise DataError(
            f"{url}: the download is not the published file (wrong hash); it was deleted",
            f"fetch {url} yourself and put it at {path}",
        )
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)
    if not _is_whole(expected):
        record.unlink(missing_ok=True)  # of an earlier file, which is gone
        check_recorded(path, record, sha256)


def reachable(url: str, timeout: float = 4.0) -> None:
    """Returns if the server of `url` accepts connections; else raises OSError in 2 * timeout."""
    _resolve(url, timeout)
    parts = urllib.parse.urlsplit(url)
    if urllib.request.getproxies().get(parts.scheme):
        return
    port = parts.port or (443 if parts.scheme == "https" else 80)
    socket.create_connection((parts.hostname or "", port), timeout=timeout).close()


def _resolve(url: str, timeout: float) -> None:
    """Looks up the server's name within `timeout`: the system's own lookup may take minutes."""
    parts = urllib.parse.urlsplit(url)
    if urllib.request.getproxies().get(parts.scheme) or not parts.hostname:
        return
    answers: queue.Queue[OSError | None] = queue.Queue()

    def look_up() -> None:
        try:
            socket.getaddrinfo(parts.hostname, parts.port or 80)
            answers.put(None)
        except OSError as error:
            answers.put(error)

    threading.Thread(target=look_up, daemon=True).start()
    try:
        answer = answers.get(timeout=timeout)
    except queue.Empty:
        raise OSError(f"no answer for {parts.hostname} within {timeout:g} s") from None
    if answer is not None:
        raise OSError(f"{parts.hostname} can't be found (offline?)")


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    """Follows a server to other addresses, but not from https to http."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if urllib.parse.urlsplit(newurl).scheme not in ("https", req.type):
            raise OSError(f"the server leads from {req.type} to {newurl[:100]}: refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> urllib.request.OpenerDirector:
    """Opens http and https, also through the user's proxy, and nothing else: no file:, no ftp:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler(),
        urllib.request.UnknownHandler(), urllib.request.HTTPDefaultErrorHandler(), _NoDowngrade(),
        urllib.request.HTTPErrorProcessor(),
    ):  # fmt: skip
        opener.add_handler(handler)
    return opener


def fetch(
    url: str, part: Path, progress: Progress | None, timeout: float, most: int = MOST
) -> None:
    """Downloads `url` into `part`, after the bytes that are there already, and no more than `most`.
    Raises OSError if it fails or is cut off; the next call continues from there."""
    if part.is_symlink():
        raise OSError(f"{part} is a link, where a partial download is due: remove it")
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "xfer"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = _opener().open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing left to send: the hash decides
            error.close()
            return
        raise
    with response:
        if response.status != 206:
            have = 0  # the server sends everything again
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else 0
        with room(part), open(_part(part, have), "ab" if have else "wb") as file:
            # whatever length the server announces
            while chunk := response.read(min(_CHUNK, most - have + 1)):
                if have + len(chunk) > most:
                    part.unlink(missing_ok=True)
                    raise OSError(f"the server sends more than {most:,} bytes")
                file.write(chunk)
                have += len(chunk)
                if progress is not None:
                    progress(have, total)
    if total and have < total:
        raise OSError(f"cut off after {have} of {total} bytes; the next try continues from there")


def _part(part: Path, have: int) -> int:
    """A descriptor of the partial file, which others may not have put there as a link."""
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    flags |= os.O_APPEND if have else os.O_TRUNC
    return os.open(part, flags | getattr(os, "O_BINARY", 0), 0o666)
