"""Downloads a file once: resumes partial downloads, checks the hash, renames when complete."""

from __future__ import annotations

import hashlib
import os
import queue
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from xfer.errors import DataError
from xfer.files import room
from xfer.locking.sole_writer import sole_writer

Progress = Callable[[int, int], None]
_CHUNK = 1 << 20
# seconds that a process waits for another one that is making the same file
PATIENCE = 3600.0


def cache_folder() -> Path:
    """$XFER_CACHE, else ~/.cache/xfer."""
    return Path(os.environ.get("XFER_CACHE") or "~/.cache/xfer").expanduser()


def hashes_to(path: Path, expected: str) -> bool:
    """Whether a file has the hash "sha1:HEX" or "sha256:HEX"; HEX may be the first digits only."""
    algorithm, _, hexadecimal = expected.partition(":")
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest().startswith(hexadecimal)


def download(
    url: str,
    path: Path,
    expected: str,
    progress: Progress | None = None,
    timeout: float = 4.0,
) -> Path:
    """The file at `path`, downloaded from `url` if it is not there yet.

    An existing file (put there by hand, or downloaded earlier) is checked and used. A partial file,
    PATH.part, is resumed with a Range request. If several processes want it at once, as under
    torchrun, one downloads it and the others wait.

    Args:
        url: http or https.
        path: where the file belongs.
        expected: "sha1:HEX" or "sha256:HEX".
        progress: called with (bytes so far, total bytes or 0).
        timeout: seconds to wait for a name, a connection or the next bytes.

    Raises: DataError if it can't be reached, is cut off, or has the wrong hash; the message names
        the file and where to put it by hand.
    """
    if path.is_file():
        if hashes_to(path, expected):
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
                _fetch_checked(url, part, path, expected, progress, timeout)
    except urllib.error.HTTPError as error:
        error.close()
        raise DataError(f"{url}: the server replied {error.code} {error.reason}", by_hand) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(f"can't fetch {path.name}: {reason}", by_hand) from None
    return path


def _fetch_checked(
    url: str, part: Path, path: Path, expected: str, progress: Progress | None, timeout: float
) -> None:
    """Fetches into `part`, checks it and renames it to `path`. Raises DataError for a bad hash."""
    fetch(url, part, progress, timeout)
    if not hashes_to(part, expected):
        part.unlink()
        raise DataError(
            f"{url}: the download is not the published file (wrong hash); it was deleted",
            f"fetch {url} yourself and put it at {path}",
        )
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(path)


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


def fetch(url: str, part: Path, progress: Progress | None, timeout: float) -> None:
    """Downloads `url` into `part`, after the bytes that are there already. Raises OSError if it
    fails or is cut off; the next call continues from there."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "xfer"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
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
        with room(part), part.open("ab" if have else "wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                have += len(chunk)
                if progress is not None:
                    progress(have, total)
    if total and have < total:
        raise OSError(f"cut off after {have} of {total} bytes; the next try continues from there")
