"""Looking at every picture before training: what can't be decoded is found now, and all of it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from xfer.data.decode import DecodeError
from xfer.data.source import Source, verify
from xfer.data.workers import cores
from xfer.errors import DataError

NAMED = 10


def find_bad(source: Source) -> list[tuple[int, str]]:
    """(index, reason) of every picture of a source that can't be decoded. Threads: one a core."""

    def look(i: int) -> str | None:
        try:
            verify(source, i)
        except DecodeError as error:
            return error.reason
        except DataError as error:
            return error.message
        return None

    with ThreadPoolExecutor(cores()) as pool:
        reasons = list(pool.map(look, range(len(source)), chunksize=16))
    return [(i, reason) for i, reason in enumerate(reasons) if reason is not None]


def bad_pictures(name: str, total: int, bad: Sequence[tuple[str, str]]) -> DataError:
    """The error that names the pictures that can't be decoded: the first ten, and how many more."""
    named = "; ".join(f"{file} ({reason})" for file, reason in bad[:NAMED])
    more = f"; and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
    return DataError(
        f"{name}: {len(bad)} of {total} pictures can't be decoded: {named}{more}",
        "--set data.skip_bad=true leaves them out",
    )
