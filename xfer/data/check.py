"""Looking at every picture before training: what can't be decoded is found and named."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from xfer.data.decode import DecodeError, decode
from xfer.data.source import Source
from xfer.errors import DataError

# small enough that large JPEGs are decoded at an eighth: their bits are all read all the same
PROBE_SIDE = 64
SHOWN = 10


def find_broken(source: Source) -> list[tuple[int, Path, str]]:
    """(position, file, reason) of every picture file of the source that can't be decoded.

    Sources without files (embedded ones) have nothing to look at.
    """
    paths: list[Path] = getattr(source, "paths", [])

    def probe(path: Path) -> str | None:
        try:
            decode(path, PROBE_SIDE)
        except DecodeError as error:
            return error.reason
        return None

    with ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as pool:
        reasons = list(pool.map(probe, paths))
    return [
        (i, path, reason)
        for i, (path, reason) in enumerate(zip(paths, reasons, strict=True))
        if reason
    ]


def report_broken(reasons: Mapping[str, str]) -> DataError:
    """The error that names them: all, or the first ten and how many more."""
    lines = [f"  {path} {reason}" for path, reason in list(reasons.items())[:SHOWN]]
    more = len(reasons) - len(lines)
    if more > 0:
        lines.append(f"  and {more} more")
    what = "1 picture" if len(reasons) == 1 else f"{len(reasons)} pictures"
    return DataError(
        "\n".join([f"{what} can't be decoded:", *lines]),
        "remove them, or leave them out: --set data.skip_bad=true",
    )
