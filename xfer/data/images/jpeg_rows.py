"""The top of a JPEG without the rest: a crop that ends above the bottom needs no more.

Huffman's codes can only be read from the beginning, and reading them is most of the work; so a
picture is decoded as far down as its crop reaches, by a header that says it were no higher.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from xfer.data.images.exif import JpegHeader

# (height, width) of a picture -> how many of its rows are looked at, counted from the top
Rows = Callable[[int, int], int]
_END = b"\xff\xd9"
_TAIL = 4096


def decode_top(data: bytes, header: JpegHeader, rows: int) -> NDArray[np.uint8] | None:
    """A picture whose first rows are those of the whole; what lies below is black.

    Args:
        data: a JPEG file, grey or YCbCr; header: its; rows: how many are wanted.

    Returns: uint8 (H, W, 3), RGB, as stored; None where decoding in full is no slower, or where
    this can't be done, damage included: then decode in full, which says what is wrong.

    Differs: codes that are damaged, but not cut off, are not noticed: libjpeg's warning of them is
    also that of codes left over. `Source.verify` is what finds them, before training.
    """
    # one unit more: the chroma of rows at its lower edge is interpolated from below
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
