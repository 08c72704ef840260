"""Features in parts: what a part holds, and how the parts become one file.

A part is a features file of some rows, with meta["part"]:

part | "1/3"
rows | how many it has; of: how many pictures the data hold
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.inspect.verify import look_at
from xfer.data.sources.base import Bundle, subset
from xfer.errors import DataError, XferError
from xfer.extraction.parquet import check_parquet, read_parquet
from xfer.extraction.store import Features, read_features
from xfer.parts.folder import PartsFolder
from xfer.parts.part import Part, parse_part

ENDS = (".npz", ".parquet")


def parts_folder(
    out: Path | str | None, part: str, ending: str, asked: Mapping[str, Any]
) -> PartsFolder:
    """Where a part goes. Raises XferError without a folder and for an unknown ending."""
    if out is None or Path(out).suffix in ENDS:
        what = "no folder given" if out is None else f"{out}: a file"
        raise XferError(f"{what}: with --part, each part is a file of its own", "-o parts/")
    if ending not in ENDS:
        raise XferError(f"unknown file extension {ending!r}", f"choose {' or '.join(ENDS)}")
    if ending == ".parquet":
        check_parquet()
    return PartsFolder(Path(out), parse_part(part), ending, "features", asked)


def open_part(file: Path, verify: bool = True) -> Features:
    """A part's features. Raises DataError if the file is damaged, or is not a part."""
    reads = read_parquet if file.suffix == ".parquet" else read_features
    table = reads(file, verify)
    about = table.meta.get("part")
    if not isinstance(about, dict) or not isinstance(about.get("part"), str):
        raise DataError(f"{file}: no part of a job, but a whole features file", "leave it out")
    return table


def is_whole(file: Path, say: Callable[[str], None]) -> bool:
    """Whether a part's file can be read; if not, a line says that it is made again."""
    try:
        open_part(file, verify=False)
    except DataError as error:
        say(f"warning: {error.message}: it is made again")
        return False
    return True


def part_of(
    bundle: Bundle, part: Part, batch: int, skip_bad: bool, say: Callable[[str], None]
) -> list[NDArray[np.int64]]:
    """The rows of each split that belong to a part, int64.

    Args: skip_bad: look at these pictures, and leave out those that can't be decoded.
    """
    counts = [len(source) for source in bundle.splits.values()]
    rows = [np.arange(own.start, own.stop) for own in part.rows(counts, batch)]
    if skip_bad:
        for k, source in enumerate(bundle.splits.values()):
            bad = look_at(subset(source, rows[k]), all=True).bad
            for place, reason in bad:
                say(f"left out: {source.ids[int(rows[k][place])]}: {reason}")
            rows[k] = np.delete(rows[k], [place for place, _ in bad])
    return rows


def about_part(part: Part, bundle: Bundle, rows: list[NDArray[np.int64]]) -> dict[str, Any]:
    """meta["part"] of a part's file."""
    return {
        "part": str(part),
        "rows": sum(map(len, rows)),
        "of": sum(len(source) for source in bundle.splits.values()),
    }
