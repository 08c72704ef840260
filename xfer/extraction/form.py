"""How the numbers of a features file are written: their type, and how vectors are normalised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.errors import XferError, nearest

NORMS = {
    "none": "as the net returns them",
    "l2": "each vector divided by its length",
    "power": "sign(x) sqrt(|x|) of each number (Perronnin et al. 2010, sec. 3.1)",
    "power-l2": "power, then l2",
}
DTYPES = {"float32": np.float32, "float16": np.float16}


@dataclass(frozen=True)
class Form:
    """How the numbers are written. dtype: float32 or float16; normalise: a key of NORMS."""

    dtype: str = "float32"
    normalise: str = "none"

    def check(self) -> None:
        """Raises XferError for an unknown dtype or normalisation."""
        if self.dtype not in DTYPES:
            raise XferError(f"unknown dtype {self.dtype!r}", nearest(self.dtype, DTYPES))
        if self.normalise not in NORMS:
            raise XferError(f"unknown normalise {self.normalise!r}", nearest(self.normalise, NORMS))

    def __call__(self, rows: NDArray[Any]) -> NDArray[Any]:
        """float32 (n, D) -> (n, D) normalised by row, of `dtype`; an all-zero row stays zero."""
        if "power" in self.normalise:
            rows = np.sign(rows) * np.sqrt(np.abs(rows))
        if "l2" in self.normalise:
            length = np.linalg.norm(rows, axis=1, keepdims=True)
            rows = rows / np.where(length > 0, length, 1)
        if self.dtype == "float16" and rows.size and np.abs(rows).max() > np.finfo(np.float16).max:
            raise XferError("a feature is too large for float16", "--dtype float32")
        return rows.astype(DTYPES[self.dtype], copy=False)
