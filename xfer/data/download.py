"""`xfer data get`: a known set fetched from its own place, checked, and unpacked where it belongs.

Archives lie in $XFER_DATA/.fetched/NAME while they come. What is cut off goes on at the next call;
what is whole is checked and not fetched again. The set's folder appears when all is unpacked.
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

TIMEOUT = 30.0  # seconds without a byte
# what a set's archives and its files take together, times the archives
ROOM = 2.1

Tick = Callable[[int, int], None]
# shows how far something is: what it is called -> a context that gives a callback (done, in all)
Bar = Callable[[str], AbstractContextManager[Tick | None]]


@dataclass(frozen=True)
class Got:
    """What was done: the set's folder, its archives, and how many files were unpacked (0: it was
    there already)."""

    path: Path
    archives: tuple[Archive, ...]
    files: int


def known_set(name: str) -> KnownSet:
    """A set that can be fetched. Raises XferError for another name, DataError for one that has to
    be fetched by hand."""
    if name not in KNOWN:
        raise XferError(f"unknown data set {name!r}", nearest(name, KNOWN))
    known = KNOWN[name]
    if not known.archives:
        place = data_folder(name)
        raise DataError(
            f"{name} is not fetched by xfer", f"put {known.tree} at {place}, from {known.source}"
        )
    return known


def get(
    name: str,
    *,
    keep: bool = False,
    say: Callable[[str], None] = lambda text: None,
    bar: Bar = lambda text: nullcontext(None),
) -> Got:
    """Fetches a known set.

    Args:
        name: voc07, voc12, coco.
        keep: keep the archives, too.
        say: told what is going on; bar: shows progress.

    Raises: DataError where a server can't be reached, an archive is not the published one, or the
        disk is full; the message says where to put a file by hand.
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
    _check_room(known, archives)
    files = [_archive(archive, archives, say, bar) for archive in known.archives]
    unpacked, count = archives / "unpacked", 0
    shutil.rmtree(unpacked, ignore_errors=True)  # of a call that was stopped
    for file in files:
        say(f"unpacking {file.name}")
        with bar(f"unpacking {file.name}") as tick:
            count += unpack(file, unpacked, tick)
    if place.is_dir():
        place.rmdir()  # an empty one
    unpacked.replace(place)
    if not keep:
        shutil.rmtree(archives)
    return Got(place, known.archives, count)


def _check_room(known: KnownSet, folder: Path) -> None:
    wanted = sum(archive.size for archive in known.archives)
    have = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    free = shutil.disk_usage(folder).free
    if free < ROOM * wanted - have:
        raise DataError(
            f"{folder}: {free / 1e9:.1f} GB are free, and fetching and unpacking takes "
            f"{(ROOM * wanted - have) / 1e9:.1f} GB",
            "XFER_DATA=DIR names another place",
        )


class _Downloader:
    """What pooch calls to fetch a file: goes on behind the bytes of NAME.part, which stays until
    it is whole."""

    def __init__(self, part: Path, tick: Tick | None) -> None:
        self.part, self.tick = part, tick

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        fetch(url, self.part, self.tick, TIMEOUT)
        self.part.replace(output_file)


def _archive(archive: Archive, folder: Path, say: Callable[[str], None], bar: Bar) -> Path:
    """The archive's file, whole and checked, from the first of its places that has it."""
    import pooch

    pooch.get_logger().setLevel(logging.ERROR)
    path = folder / archive.name
    part = folder / f"{archive.name}.part"
    if path.is_file() and (size := path.stat().st_size) != archive.size:  # put there by hand
        if size > archive.size or part.exists():
            raise DataError(
                f"{path}: {size:,} bytes, the published file has {archive.size:,}",
                "put the whole file there, or remove it",
            )
        path.replace(part)  # it is gone on with
    failures: list[str] = []
    for url in archive.urls:
        say(f"fetching {url} ({archive.size / 1e6:,.0f} MB)")
        try:
            with bar(archive.name) as tick:
                # pooch's own stubs describe another protocol than the one that it calls
                downloader: Any = _Downloader(part, tick)
                pooch.retrieve(
                    url, archive.hash or None, archive.name, folder,
                    downloader=downloader,
                )  # fmt: skip
        except urllib.error.HTTPError as error:
            error.close()
            failures.append(f"{url}: the server says {error.code} {error.reason}")
            continue
        except OSError as error:
            failures.append(f"{url}: {getattr(error, 'reason', None) or error}")
            continue
        except ValueError:
            failures.append(f"{url}: what came is not the published file (another hash)")
            path.unlink(missing_ok=True)
            continue
        size = path.stat().st_size
        if size == archive.size:
            return path
        path.unlink()
        failures.append(f"{url}: {size:,} bytes came, the published file has {archive.size:,}")
    raise DataError(
        f"can't fetch {archive.name}: {'; '.join(failures)}",
        f"the same command goes on from here; or put the file at {path}",
    )
