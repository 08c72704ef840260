"""Which part of the work a process does: `--part 1/3`, or what its starter says."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xfer.errors import XferError

MOST = 100_000  # parts: their files are numbered by five digits
_FORM = re.compile(r"(\d+|auto)/(\d+)")
HINT = "--part 0/3, 1/3, 2/3, or --part auto under torchrun, srun or a job array"
# how a starter tells a process its number and how many there are, the lowest number and the step
# between two; of each line the first that is set. Both lines multiply: torchrun on each machine of
# a job array.
_STARTERS: tuple[tuple[tuple[str, str, str, str], ...], ...] = (
    (
        ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN",
         "SLURM_ARRAY_TASK_STEP"),
        ("JOB_COMPLETION_INDEX", "JOB_COMPLETIONS", "", ""),  # Kubernetes, an indexed Job
    ),
    (
        ("RANK", "WORLD_SIZE", "", ""),
        ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "", ""),  # the second is set by srun alone
    ),
)  # fmt: skip
# which of them give no count of their own
_UNCOUNTED = ("JOB_COMPLETION_INDEX",)


@dataclass(frozen=True)
class Part:
    """Part `index`, from 0, of `count`."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def name(self) -> str:
        """The name of its file, without the ending."""
        return f"part-{self.index:05d}"

    def of(self, total: int) -> range:
        """Its contiguous share of `total` things; shares differ by one at most."""
        return range(self.index * total // self.count, (self.index + 1) * total // self.count)

    def rows(self, counts: Sequence[int], batch: int) -> list[range]:
        """Its rows of several lists that are worked on in order, in batches of `batch` rows.

        Batches are never cut, so each row is computed beside the same others as without parts.
        """
        batches = [-(-count // batch) for count in counts]
        own = self.of(sum(batches))
        ranges: list[range] = []
        first = 0
        for count, number in zip(counts, batches, strict=True):
            start, stop = (min(max(0, end - first), number) for end in (own.start, own.stop))
            ranges.append(range(min(start * batch, count), min(stop * batch, count)))
            first += number
        return ranges


def dealt(count: int, batch: int, rank: int, world: int) -> NDArray[np.int64]:
    """Which of `count` rows one of `world` processes does, int64: whole batches, in turn."""
    starts = range(rank * batch, count, batch * world)
    blocks = [np.arange(start, min(start + batch, count)) for start in starts]
    return np.concatenate([np.zeros(0, np.int64), *blocks])


def parse_part(text: str, environment: Mapping[str, str] = os.environ) -> Part:
    """`i/N`, from 0; `auto`: by the variables of torchrun, SLURM and Kubernetes; `auto/N`: where
    these give the number of a process but not how many there are.

    Raises: XferError for anything else, and where no starter has set its variables.
    """
    match = _FORM.fullmatch("auto/0" if text == "auto" else text.strip())
    if match is None:
        raise XferError(f"--part {text}: not a part", HINT)
    index, count = match[1], int(match[2])
    part = _started(text, environment, count) if index == "auto" else Part(int(index), count)
    if part.index >= part.count:
        raise XferError(f"--part {part}: parts are numbered from 0 to N-1", HINT)
    if part.count > MOST:
        raise XferError(f"--part {part}: at most {MOST:,} parts")
    return part


def _started(text: str, environment: Mapping[str, str], given: int) -> Part:
    index, count, found, used = 0, 1, False, False
    for starters in _STARTERS:
        for number, many, lowest, step in starters:
            total = _number(environment, many)
            if not environment.get(number, "").isdecimal() or not (total or number in _UNCOUNTED):
                continue
            if not total and not given:
                raise XferError(
                    f"--part {text}: {number} is set, but not how many parts there are",
                    f"--part auto/N, or {many}=N",
                )
            used = used or not total
            own = int(environment[number]) - _number(environment, lowest)
            index = index * (total or given) + own // max(1, _number(environment, step))
            count, found = count * (total or given), True
            break
    if not found:
        names = ", ".join(name for starters in _STARTERS for name, *_ in starters)
        raise XferError(f"--part {text}: none of {names} is set", HINT)
    if given and not used and given != count:
        raise XferError(f"--part {text}: the environment tells of {count} processes")
    return Part(index, count)


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    return int(text) if text.isdecimal() else 0
