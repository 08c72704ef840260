"""pictures.npz of a run: numbers for the bytes and the labels of its pictures.

By them `xfer eval` knows a picture again under another name, and sees what has changed since.
Written at the end of a run, when its pictures have been read many times; a megabyte for 60,000.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.npz import read_npz
from xfer.data.sources.base import Bundle, is_streamed
from xfer.data.sources.marks import MOST, marks, truths
from xfer.errors import DataError, whole
from xfer.files import check_schema, replacing

PICTURES = "pictures.npz"
SCHEMA = 1
Numbers = dict[str, NDArray[np.uint64]]


def write_pictures(run: Path, bundle: Bundle) -> None:
    """Writes the numbers of each split of at most MOST pictures, in the order of split.json."""
    arrays: dict[str, Any] = {"schema": np.array(SCHEMA)}
    for role, source in bundle.splits.items():
        if len(source) <= MOST and not is_streamed(source):
            arrays |= {f"{role}_marks": marks(source), f"{role}_truths": truths(source)}
    with replacing(run / PICTURES) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_pictures(run: Path, splits: Mapping[str, Any]) -> tuple[Numbers, Numbers]:
    """The marks and the truths of each split; empty for a run that has no such file.

    Args: splits: the run's split.json; numbers of a split with another count are left out.

    Raises: DataError for a damaged file.
    """
    path = run / PICTURES
    found: tuple[Numbers, Numbers] = {}, {}
    if not path.is_file():
        return found
    try:
        with whole(path, "damaged"):
            arrays = read_npz(path)
            if "schema" in arrays:
                check_schema(path, arrays["schema"].tolist(), SCHEMA)
            for role, ids in splits.items():
                names = (f"{role}_marks", f"{role}_truths")
                if not isinstance(ids, list) or len(ids) > MOST:
                    continue
                lacks = next((name for name in names if name not in arrays), None)
                if lacks is not None and "schema" in arrays:
                    # a zip's table of contents has no checksum, and can lose an entry
                    raise ValueError(f"it lacks {lacks}")
                if lacks is not None:  # an earlier version's
                    continue
                both = [arrays[name].astype(np.uint64) for name in names]
                if all(numbers.shape == (len(ids),) for numbers in both):
                    found[0][role], found[1][role] = both
    except DataError as error:
        error.hint = "the run can be scored without it"
        raise
    return found
