"""Count the pixels of each class in the masks of a source, reading each mask once."""

from __future__ import annotations

import contextlib
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.threads import cores
from xfer.errors import DataError
from xfer.fetch import cache_folder, others_write
from xfer.files import bytes_of, replacing
from xfer.types import IGNORE, Sample, Source

REMEMBERED = 2000  # smaller sets are counted again each time: it takes a second


def pixel_counts(source: Source) -> NDArray[np.int64]:
    """int64 (N, C + 1): pixels of each class in each mask; the last column counts ignored pixels.

    Masks that were checked before training are not read again; for large sets the counts are kept
    in $XFER_CACHE/pixels. Uses one thread per core. Raises: DataError for an unusable mask.
    """
    file = _file(source) if len(source) >= REMEMBERED else None
    known = None if file is None else _read(file)
    if known is not None and known.shape == (len(source), len(source.info.classes) + 1):
        return known

    with ThreadPoolExecutor(cores()) as pool:
        rows = list(pool.map(lambda i: pixel_counts_of(source, i), range(len(source))))
    counts = np.array(rows, np.int64).reshape(len(source), -1)
    if file is not None:
        _write(file, counts)
    return counts


def occurring(source: Source) -> NDArray[np.int64]:
    """(C,) in how many pictures each class occurs; from the labels if these are known."""
    labels = source.labels()
    if len(labels) and (labels >= 0).all():
        return labels.sum(0, dtype=np.int64)
    return (pixel_counts(source)[:, :-1] > 0).sum(0)


def pixel_counts_of(source: Source, i: int) -> NDArray[np.int64]:
    """(C + 1,) like `pixel_counts`, for one sample."""
    count = getattr(source, "pixel_counts", None)
    if count is not None:
        return count(i)
    mask = mask_of(source[i])
    if mask is None:
        raise DataError(f"{source.ids[i]}: no mask is known for this picture")
    return count_pixels(mask, len(source.info.classes))


def mask_of(sample: Sample) -> NDArray[np.uint8] | None:
    """The class of each pixel of a sample, by its mask or its segments; None if it has neither."""
    return sample.mask if sample.segments is None else sample.segments.classes(IGNORE)


def count_pixels(mask: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """(classes + 1,) pixels of each class in a mask, and ignored pixels."""
    counts = np.bincount(mask.ravel(), minlength=IGNORE + 1)
    return np.append(counts[:classes], counts[IGNORE])


def _file(source: Source) -> Path:
    return cache_folder() / "pixels" / f"{source.fingerprint()}.npy"


def _read(file: Path) -> NDArray[np.int64] | None:
    """The counts in a file; None if there is none, or a damaged one. Files of earlier versions end
    without a checksum."""
    if others_write(file.parent):
        return None
    try:
        content = bytes_of(file)
        reading = io.BytesIO(content)
        counts = np.load(reading, allow_pickle=False)
    except Exception:  # of a damaged header numpy raises almost anything
        return None
    end = reading.tell()
    if content[end:] not in (b"", _sum(content[:end])):
        return None
    return counts if counts.dtype == np.int64 else None


def _sum(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _write(file: Path, counts: NDArray[np.int64]) -> None:
    """Write the cache: an array of numpy's, and its sha256; does nothing if it can't be written."""
    made = io.BytesIO()
    np.save(made, counts)
    with (
        contextlib.suppress(OSError, DataError),
        replacing(file) as temporary,
        temporary.open("wb") as out,
    ):
        out.write(made.getvalue() + _sum(made.getvalue()))
