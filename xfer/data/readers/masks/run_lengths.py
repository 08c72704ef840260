"""Masks as run lengths in the cells of a table: `start length start length ...`.

Pixels are numbered from 1, down the first column, then down the next, as Kaggle's tables have it
(Airbus, Severstal, Carvana). A cell that is empty, or holds -1, is a picture without an object.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xfer.data.readers.table.text import Table
from xfer.errors import DataError

NONE = frozenset(("", "-1", "nan", "none", "null"))
_RUNS = re.compile(r"\d+ +\d+(?: +\d+ +\d+)*")
# words in the names of columns that hold run lengths
_NAMES = frozenset(
    ("rle", "runlength", "runlengths", "encodedpixels", "encoded", "encoding", "mask", "masks",
     "segmentation", "annotation")
)  # fmt: skip
_BOXES = frozenset(("box", "boxes", "bbox", "bboxes", "xywh", "xyxy", "rect", "prediction"))
PROBED = 2000
MOST = 0.7  # of the cells of a column that is called masks
SURE = 6  # numbers in a cell that can hardly be anything else


def run_length_column(table: Table) -> int | None:
    """The column of a table that holds run lengths, told by its cells; None if there is none.

    The filled cells are pairs of numbers. In a column whose name says nothing of masks, all are,
    they rise, and most have three pairs or more: numbers of labels and boxes do not look so.
    """
    for k, head in enumerate(table.header):
        words = set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", head).casefold()))
        words.add("".join(re.findall("[a-z]+", head.casefold())))
        if words & _BOXES:
            continue
        cells = (row[k] for row in table.rows if row[k].casefold() not in NONE)
        filled = list(itertools.islice(cells, PROBED))
        pairs = [cell for cell in filled if _RUNS.fullmatch(cell)]
        named = bool(words & _NAMES)
        if not pairs or len(pairs) < len(filled) * (MOST if named else 1):
            continue
        if named or (
            np.median([len(cell.split()) for cell in filled]) >= SURE
            and all(_rising(parse_runs(cell)) for cell in filled)
        ):
            return k
    return None


def parse_runs(cell: str) -> NDArray[np.int64]:
    """int64 (R, 2): start and length of each run of a cell. Raises DataError for anything else."""
    if cell.strip().casefold() in NONE:
        return np.zeros((0, 2), np.int64)
    try:
        numbers = np.array([int(word) for word in cell.split()], np.int64)
    except (ValueError, OverflowError):
        raise DataError(f"{cell[:40]!r} are not run lengths") from None
    if len(numbers) % 2:
        raise DataError(f"{len(numbers)} numbers: run lengths are pairs of start and length")
    if (numbers < 0).any():
        raise DataError("a negative number among the run lengths")
    return numbers.reshape(-1, 2)


def write_runs(mask: NDArray[np.bool_]) -> str:
    """The run lengths of a mask (H, W) as a cell: the inverse of `parse_runs` and `draw_runs`."""
    flat = np.concatenate([[False], mask.T.ravel(), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts, ends = edges[::2], edges[1::2]
    return " ".join(f"{a} {b - a}" for a, b in zip(starts, ends, strict=True))


def draw_runs(
    runs: NDArray[np.int64], height: int, width: int, first: int = 1, by_rows: bool = False
) -> NDArray[np.bool_]:
    """The pixels of run lengths, bool (height, width).

    Args:
        first: the number of the first pixel; by_rows: pixels are numbered along the rows.

    Raises: DataError for a run that leaves the picture.
    """
    total = height * width
    starts = runs[:, 0] - first
    ends = starts + np.minimum(runs[:, 1], total + 1)  # a sum of larger numbers may turn negative
    wrong = np.flatnonzero((starts < 0) | (starts > total) | (ends > total))
    if len(wrong):
        start, length = runs[wrong[0]].tolist()
        raise DataError(
            f"the run {start} {length} leaves the picture, which has {width} x {height} pixels"
        )
    steps = np.zeros(total + 1, np.int32)
    np.add.at(steps, starts, 1)
    np.add.at(steps, ends, -1)
    inside = np.cumsum(steps[:-1]) > 0
    return inside.reshape(height, width) if by_rows else inside.reshape(width, height).T


def along_rows(cells: Sequence[NDArray[np.int64]], sizes: Sequence[tuple[int, int]]) -> bool:
    """Whether runs are numbered along the rows: those of one object follow each other by about the
    picture's width, not by its height. Pictures that are nearly square tell nothing.

    Args: sizes: (height, width) of the picture of each cell.
    """
    by_height = by_width = 0
    for runs, (height, width) in zip(cells, sizes, strict=True):
        if abs(height - width) < 0.2 * min(height, width):
            continue
        steps = np.diff(runs[:, 0])
        near = 0.08 * min(height, width)
        by_height += int((np.abs(steps - height) <= near).sum())
        by_width += int((np.abs(steps - width) <= near).sum())
    return by_width >= 8 and by_width > 4 * by_height


def relative(cells: Sequence[NDArray[np.int64]]) -> bool:
    """Whether starts count from the end of the run before, as in SIIM's table: read as numbers of
    pixels, the runs of most cells fall back."""
    several = [runs for runs in cells if len(runs) > 1]
    return len(several) > 0 and sum(not _rising(runs) for runs in several) * 2 > len(several)


def _rising(runs: NDArray[np.int64]) -> bool:
    """Whether each run begins after the end of the one before."""
    return bool((runs[:, 1] > 0).all() and (runs[1:, 0] > runs[:-1].sum(1) - 1).all())
