"""Decode the top of a JPEG without the rest, for a crop that ends above the bottom.

Huffman codes can only be read from the beginning, and reading them is most of the work; so a
picture is decoded only as far down as its crop reaches, with a smaller height in its header.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from xfer.data.images.exif import JpegHeader

# (height, width) of a picture -> how many of its rows are needed, counted from the top
Rows = Callable[[int, int], int]
_END = b"\xff\xd9"
_TAIL = 4096


def decode_top(data: bytes, header: JpegHeader, rows: int) -> NDArray[np.uint8] | None:
    """Returns a picture whose first rows are decoded; the rows below are black.

    Args:
        data: a JPEG file, grey or YCbCr; header: its header; rows: how many are needed.

    Returns: uint8 (H, W, 3), RGB, as stored; None if decoding in full is no slower, or if
    this can't be done, e.g. for a damaged file: then decode in full, which reports the fault.

    Differs: damaged codes are not noticed unless they are cut off: libjpeg gives the same warning
    for damaged codes and for unread ones. `Source.verify` finds them before training.
    """
    # one unit more: the chroma of the last rows is interpolated from the rows below
    top = (-(-rows // header.unit) + 1) * header.unit
    if not header.plain or top >= header.height or _END not in data[-_TAIL:]:
        return None
    at = header.lines_at
    shorter = b"".join((data[:at], top.to_bytes(2, "big"), data[at + 2 :]))
    image = np.empty((header.height, header.width, 3), np.uint8)
    try:
        simplejpeg.decode_jpeg(shorter, "RGB", buffer=image[:top], strict=False)
    except ValueError:
        return None
    image[top:] = 0
    return image
