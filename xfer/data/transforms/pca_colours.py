"""Principal components of the colours in a set of pictures."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.threads import cores
from xfer.data.sources.base import read
from xfer.types import Source

MAX_SAMPLED = 1000
SIDE = 64


def principal_colours(source: Source, count: int = MAX_SAMPLED) -> NDArray[np.float32]:
    """How the pixels of a set vary in colour, from a fixed sample of its pictures.

    Args: count: the maximum number of pictures; each counts the same, however large.

    Returns: float32 (3, 3), one row per component: its direction in RGB times its standard
        deviation, in pixel values 0..255. Each row has the sign that makes its sum positive.
    Source: Krizhevsky et al. 2012, sec. 4.1.  Differs: from a sample, shrunk to SIDE px.
    """
    chosen = np.random.default_rng(len(source)).permutation(len(source))[:count]

    def moments(i: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        pixels = read(source, i, SIDE).image.reshape(-1, 3).astype(np.float64)
        return pixels.mean(0), pixels.T @ pixels / len(pixels)

    with ThreadPoolExecutor(cores()) as pool:
        results = list(pool.map(moments, chosen.tolist()))
    mean = np.mean([m for m, _ in results], axis=0)
    covariance = np.mean([s for _, s in results], axis=0) - np.outer(mean, mean)
    values, vectors = np.linalg.eigh(covariance)
    rows = (vectors * np.sqrt(np.maximum(values, 0))).T[::-1]
    return np.ascontiguousarray(rows * np.where(rows.sum(1) < 0, -1, 1)[:, None], np.float32)
