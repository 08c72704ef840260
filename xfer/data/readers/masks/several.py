"""Several masks of one picture: parts of one, as x_mask.png and x_mask_1.png, or drawn twice."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.decode import DecodeError
from xfer.data.images.mask_file import read_mask_file
from xfer.data.readers.masks.layout import Pairs
from xfer.data.readers.masks.pairing import stem
from xfer.errors import XferError

PROBED = 16  # pictures with several masks that are looked at


def check_parts(path: Path, parts: Sequence[Pairs]) -> None:
    """Raises XferError where the masks of a picture cover each other: only parts can be joined."""
    several = (
        (picture, (first, *part.more[picture]))
        for part in parts for picture, first in part.files if picture in part.more
    )  # fmt: skip
    for picture, masks in itertools.islice(several, PROBED):
        marked = [_marked(mask) for mask in masks]
        for (one, a), (other, b) in itertools.combinations(zip(masks, marked, strict=True), 2):
            if a is None or b is None or a.shape != b.shape:
                continue  # reading them says what is wrong
            least = min(int(a.sum()), int(b.sum()))
            if least and int((a & b).sum()) * 2 > least:
                raise XferError(
                    f"{path}: {one.name} and {other.name}, masks of {picture.name}, cover each "
                    "other: they are not parts of one mask",
                    _choice(stem(one.name), stem(other.name)),
                )


def _marked(mask: Path) -> NDArray[np.bool_] | None:
    """The pixels of a mask that are not 0; None if it can't be read."""
    try:
        values = read_mask_file(mask).values
    except DecodeError:
        return None
    return np.asarray(np.atleast_3d(values > 0).any(2))


def _choice(one: str, other: str) -> str:
    """How the user says which of two masks is the truth."""
    pairs = zip(one, other, strict=False)
    alike = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    ends = [end for name in (one, other) if (end := name[alike:].strip("-_. "))]
    if len(ends) < 2:
        return "keep one mask per picture"
    return f"name the truth: {' or '.join(shlex.quote(f'data.label={end}') for end in ends)}"
