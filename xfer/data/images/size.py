"""The size of a picture from its header, without decoding it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.decode import formats
from xfer.data.images.decode_error import DecodeError
from xfer.data.images.exif import orientation_of, read_jpeg_header
from xfer.data.images.limits import check_header, pillow_opens
from xfer.data.images.picture_file import HEAD_BYTES, picture_file, read_all
from xfer.data.images.pixels_alone import PNG, exif_of_png
from xfer.data.images.threads import cores
from xfer.data.images.tiff import is_tiff, raw_kind, without_notes

TURNED = (5, 6, 7, 8)  # orientations that swap height and width


def header_of(data: bytes) -> tuple[int, int, int] | None:
    """(height, width, EXIF orientation) as stored, before turning; None if they can't be read."""
    if data.startswith(b"\xff\xd8\xff"):
        with contextlib.suppress(DecodeError):  # decoding says what is wrong
            header = read_jpeg_header(data)
            return None if header is None else (header.height, header.width, header.orientation)
        return None
    if is_tiff(data):
        if raw_kind(data) is not None:
            return None
        data = without_notes(data)
    try:
        check_header(data)
        with pillow_opens(data, formats()) as image:
            width, height = image.size
            # Pillow turns TIFFs itself when it loads them
            exif = None if image.format == "TIFF" else image.info.get("exif")
            return height, width, orientation_of(exif)
    except Exception:  # Pillow's plugins raise almost anything; decoding says what is wrong
        return _png_header(data)


def header_at(path: Path) -> tuple[int, int, int] | None:
    """`header_of` a file, of which no more is read than its header takes.

    Raises: DecodeError for what is no picture file, OSError.
    """
    with picture_file(path) as (handle, size):
        head = os.read(handle, HEAD_BYTES)
        # EXIF may hold a whole thumbnail: then the frame comes later
        header = header_of(head)
        if header is None and len(head) < size:
            header = header_of(head + read_all(handle, size - len(head)))
        return header


def _png_header(data: bytes) -> tuple[int, int, int] | None:
    """`header_of` a PNG in which something beside the pixels is wrong."""
    if not data.startswith(PNG) or data[12:16] != b"IHDR" or len(data) < 33:
        return None
    width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
    return height, width, orientation_of(exif_of_png(data))


def upright_size(picture: bytes | Path) -> tuple[int, int] | None:
    """(height, width) of the picture as `decode` returns it; None if they can't be read."""
    header = header_of(picture) if isinstance(picture, bytes) else header_at(picture)
    if header is None:
        return None
    height, width, orientation = header
    return (width, height) if orientation in TURNED else (height, width)


def headers_of(paths: Sequence[Path]) -> NDArray[np.int64]:
    """Returns int64 (N, 3): height, width and EXIF orientation of picture files as stored, before
    turning; zeros if a file can't be read. Uses one thread per core."""

    def look(path: Path) -> tuple[int, int, int]:
        try:
            return header_at(path) or (0, 0, 0)
        except (OSError, DecodeError):
            return 0, 0, 0

    with ThreadPoolExecutor(cores()) as pool:
        return np.array([*pool.map(look, paths)], np.int64).reshape(-1, 3)


def sizes_of(paths: Sequence[Path]) -> NDArray[np.int64]:
    """Returns int64 (N, 2): height and width of picture files as they are decoded; (0, 0) if a file
    can't be read. Uses one thread per core."""
    return upright_sizes(headers_of(paths))


def upright_sizes(headers: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 (N, 2): height and width as decoded, for the headers (N, 3) of pictures."""
    turned = np.isin(headers[:, 2], TURNED)
    return np.where(turned[:, None], headers[:, 1::-1], headers[:, :2])
