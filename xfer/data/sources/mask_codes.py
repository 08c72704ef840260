"""Map what a mask file holds to class indices: one table of numbers or colours per set."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.decode import DecodeError
from xfer.data.images.mask_file import RawMask
from xfer.types import IGNORE

NAMED = 6
UNKNOWN = -1


def colour_codes(colours: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Colours (..., 3) as one number each, R * 65536 + G * 256 + B."""
    # bytes laid side by side: a third of the memory of shifting each channel, and of the time
    codes = np.zeros((*colours.shape[:-1], 4), np.uint8)
    codes[..., :3] = colours[..., ::-1]
    return codes.view("<i4")[..., 0]


def runs_of(codes: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The run lengths of a flattened array: values, and how often each is repeated. Looking up the
    runs of a mask instead of its pixels is about ten times faster."""
    flat = codes.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    return flat[starts], np.diff(np.append(starts, len(flat)))


@dataclass(frozen=True)
class MaskCode:
    """What the values of a set's masks mean.

    by     | value: the numbers themselves, or palette indices; colour: their colours
    values | the numbers, or colours as from `colour_codes`, that occur; int64 (n,), rising
    labels | uint8 (n,): class index of each, 255: ignored
    """

    by: Literal["value", "colour"]
    values: NDArray[np.int64]
    labels: NDArray[np.uint8]
    table: NDArray[np.int16] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        size = 65536 if self.by == "value" else 0
        table = np.full(size, UNKNOWN, np.int16)
        if size:
            table[self.values] = self.labels
        object.__setattr__(self, "table", table)

    def decode(self, raw: RawMask) -> NDArray[np.uint8]:
        """Class indices (H, W), 255 = ignore. Raises DecodeError naming values without a class.

        With `by` colour, numbers are looked up by their colour in the palette, or as grey.
        """
        if self.by == "value":
            if raw.coloured:
                raise DecodeError("the mask holds colours, the others hold numbers")
            labels = self.table[raw.values]
            unknown = labels == UNKNOWN
            if unknown.any():
                raise DecodeError(f"the mask holds {_listed(np.unique(raw.values[unknown]))}")
            return labels.astype(np.uint8)
        if raw.coloured:
            labels, known = self._look_up(colour_codes(np.asarray(raw.values, np.uint8)))
        else:
            labels, known = self._look_up(_appearance(raw))
            labels, known = labels[raw.values], known[raw.values]
        if not known.all():
            wrong = raw.values[~known]
            colours = wrong if raw.coloured else _unpacked(_appearance(raw)[wrong])
            raise DecodeError(f"the mask holds {_listed(np.unique(colours, axis=0))}")
        return labels

    def _look_up(self, codes: NDArray[np.int32]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        run_values, times = runs_of(codes)
        place = np.minimum(np.searchsorted(self.values, run_values), len(self.values) - 1)
        labels, known = self.labels[place], self.values[place] == run_values
        return np.repeat(labels, times).reshape(codes.shape), np.repeat(known, times).reshape(
            codes.shape
        )

    def fingerprint(self) -> str:
        digest = hashlib.sha256(self.by.encode())
        digest.update(self.values.astype("<i8").tobytes())
        digest.update(self.labels.tobytes())
        return digest.hexdigest()


def make_code(by: Literal["value", "colour"], labels: Mapping[int, int]) -> MaskCode:
    """Make a code from value or colour -> class index, 255 for ignored ones."""
    values = sorted(labels)
    return MaskCode(by, np.array(values, np.int64), np.array([labels[v] for v in values], np.uint8))


def identity(classes: int) -> MaskCode:
    """The code of masks whose values are class indices, 255 = ignore."""
    return make_code("value", {**{c: c for c in range(classes)}, IGNORE: IGNORE})


def _appearance(raw: RawMask) -> NDArray[np.int32]:
    """The colour code of each value of a mask of numbers."""
    palette = raw.palette
    if palette is None:
        palette = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    size = int(raw.values.max()) + 1 if raw.values.size else 0
    codes = np.full(max(size, 256), -2, np.int32)
    codes[: len(palette)] = colour_codes(palette)
    return codes


def _unpacked(codes: NDArray[np.int32]) -> NDArray[np.int64]:
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], -1).astype(np.int64)


def _listed(values: NDArray) -> str:
    """The first few values or colours, in words."""
    named = values[:NAMED].tolist()
    words = ", ".join(str(tuple(v)) if isinstance(v, list) else str(v) for v in named)
    more = f" and {len(values) - NAMED} more" if len(values) > NAMED else ""
    what = "colour" if values.ndim == 2 else "value"
    return f"{what}{'s' if len(values) > 1 else ''} {words}{more} that no class has"
