"""The principal components of the colours of a set of pictures."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.threads import cores
from xfer.data.sources.base import read
from xfer.types import Source

LOOKED_AT = 1000
SIDE = 64


def principal_colours(source: Source, count: int = LOOKED_AT) -> NDArray[np.float32]:
    """How the pixels of a set vary in colour, over a sample drawn once for all.

    Args: count: pictures at most; each counts the same, however large.

    Returns: float32 (3, 3), a row a component: its direction in RGB times its standard deviation,
        in pixel values 0..255. The sign of a row is the one that makes its sum positive.
    Source: Krizhevsky et al. 2012, sec. 4.1.  Differs: of a sample, shrunk to SIDE px.
    """
    chosen = np.random.default_rng(len(source)).permutation(len(source))[:count]

    def moments(i: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        pixels = read(source, i, SIDE).image.reshape(-1, 3).astype(np.float64)
        return pixels.mean(0), pixels.T @ pixels / len(pixels)

    with ThreadPoolExecutor(cores()) as pool:
        found = list(pool.map(moments, chosen.tolist()))
    mean = np.mean([m for m, _ in found], axis=0)
    covariance = np.mean([s for _, s in found], axis=0) - np.outer(mean, mean)
    values, vectors = np.linalg.eigh(covariance)
    rows = (vectors * np.sqrt(np.maximum(values, 0))).T[::-1]
    return np.ascontiguousarray(rows * np.where(rows.sum(1) < 0, -1, 1)[:, None], np.float32)
