"""`xfer data get`: fetch a known set from its publisher, check it, and unpack it.

Archives are fetched into $XFER_DATA/.fetched/NAME. An interrupted download continues with the next
call; complete archives are checked and not fetched again. The set's folder appears once everything
is unpacked.
"""

from __future__ import annotations

import logging
import shutil
import urllib.error
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xfer.data.catalog import KNOWN, Archive, KnownSet, data_folder
from xfer.data.unpack import unpack
from xfer.errors import DataError, XferError, nearest
from xfer.fetch import fetch
from xfer.locking.sole_writer import sole_writer

TIMEOUT = 30.0  # seconds without a byte
# disk space for a set's archives and files together, as a multiple of the archives
ROOM = 2.1

Tick = Callable[[int, int], None]
# shows progress: a name -> a context that yields a callback (done, total)
Bar = Callable[[str], AbstractContextManager[Tick | None]]


@dataclass(frozen=True)
class Got:
    """The result: the set's folder, its archives, and how many files were unpacked (0 if the set
    was there already)."""

    path: Path
    archives: tuple[Archive, ...]
    files: int


def known_set(name: str) -> KnownSet:
    """Look up a set that can be fetched. Raises XferError for an unknown name, DataError for a set
    that has to be fetched by hand."""
    if name not in KNOWN:
        raise XferError(f"unknown data set {name!r}", nearest(name, KNOWN))
    known = KNOWN[name]
    if not known.archives:
        place = data_folder(name)
        raise DataError(
            f"xfer can't fetch {name}", f"put {known.tree} at {place}, from {known.source}"
        )
    return known


def get(
    name: str,
    *,
    keep: bool = False,
    say: Callable[[str], None] = lambda text: None,
    bar: Bar = lambda text: nullcontext(None),
) -> Got:
    """Fetch a known set.

    Args:
        name: voc07, voc12, coco.
        keep: also keep the archives.
        say: called with status lines; bar: shows progress.

    Raises: DataError if a server can't be reached, an archive is not the published one, or the disk
        is full; the message says where to put a file by hand.
    """
    known = known_set(name)
    place = data_folder(name)
    if place.is_dir() and any(place.iterdir()):
        return Got(place, known.archives, 0)
    archives = place.parent / ".fetched" / name
    try:
        archives.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{archives}: {error.strerror}") from None
    with sole_writer(archives):
        if place.is_dir() and any(place.iterdir()):  # another process has just ended
            return Got(place, known.archives, 0)
        archives.mkdir(exist_ok=True)
        _check_room(known, archives)
        files = [_archive(archive, archives, say, bar) for archive in known.archives]
        count = _unpacked(files, archives / "unpacked", place, say, bar)
        if not keep:
            shutil.rmtree(archives)
    return Got(place, known.archives, count)


def _unpacked(
    files: list[Path], folder: Path, place: Path, say: Callable[[str], None], bar: Bar
) -> int:
    """Unpacks archives into `folder`, which becomes `place` when all are; how many files."""
    count = 0
    try:
        shutil.rmtree(folder, ignore_errors=True)  # left by a call that was killed
        for file in files:
            say(f"unpacking {file.name}")
            with bar(f"unpacking {file.name}") as tick:
                count += unpack(file, folder, tick)
        if place.is_dir():
            place.rmdir()  # an empty one
        folder.replace(place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return count


def _check_room(known: KnownSet, folder: Path) -> None:
    total = sum(archive.size for archive in known.archives)
    fetched = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    free = shutil.disk_usage(folder).free
    if free < ROOM * total - fetched:
        raise DataError(
            f"{folder}: {free / 1e9:.1f} GB are free, but fetching and unpacking needs "
            f"{(ROOM * total - fetched) / 1e9:.1f} GB",
            "set XFER_DATA=DIR to use another disk",
        )


class _Downloader:
    """What pooch calls to fetch a file: continues after the bytes already in NAME.part, which stays
    until the file is complete, and takes no more than the published size."""

    def __init__(self, part: Path, tick: Tick | None, size: int) -> None:
        self.part, self.tick, self.size = part, tick, size

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        fetch(url, self.part, self.tick, TIMEOUT, self.size)
        self.part.replace(output_file)


def _archive(archive: Archive, folder: Path, say: Callable[[str], None], bar: Bar) -> Path:
    """Fetch an archive, complete and checked, from the first of its URLs that works."""
    import pooch

    pooch.get_logger().setLevel(logging.ERROR)
    path = folder / archive.name
    part = folder / f"{archive.name}.part"
    if path.is_file() and (size := path.stat().st_size) != archive.size:  # put there by hand
        if size > archive.size or part.exists():
            raise DataError(
                f"{path}: has {size:,} bytes, the published file {archive.size:,}",
                "put the complete file there, or remove it",
            )
        path.replace(part)  # the download continues from it
    failures: list[str] = []
    for url in archive.urls:
        say(f"fetching {url} ({archive.size / 1e6:,.0f} MB)")
        try:
            with bar(archive.name) as tick:
                # pooch's stubs describe a protocol other than the one it calls
                downloader: Any = _Downloader(part, tick, archive.size)
                pooch.retrieve(
                    url, archive.hash or None, archive.name, folder,
                    downloader=downloader,
                )  # fmt: skip
        except urllib.error.HTTPError as error:
            error.close()
            failures.append(f"{url}: the server answered {error.code} {error.reason}")
            continue
        except OSError as error:
            failures.append(f"{url}: {getattr(error, 'reason', None) or error}")
            continue
        except ValueError:
            failures.append(f"{url}: the file received is not the published one (different hash)")
            path.unlink(missing_ok=True)
            continue
        size = path.stat().st_size
        if size == archive.size:
            return path
        path.unlink()
        failures.append(f"{url}: received {size:,} bytes, the published file has {archive.size:,}")
    raise DataError(
        f"can't fetch {archive.name}: {'; '.join(failures)}",
        f"run the same command again to continue, or put the file at {path}",
    )
