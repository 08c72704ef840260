"""PGM and PPM whose white is another number than 255: Pillow reads them value by value in Python.

Source: netpbm's pgm(5) and ppm(5).
"""

from __future__ import annotations

import re

import numpy as np

_BLANK = rb"(?:\s|#[^\r\n]*[\r\n])+"
_HEADER = re.compile(
    b"P([56])" + _BLANK + b"([0-9]{1,9})" + _BLANK + b"([0-9]{1,9})" + _BLANK + rb"([0-9]{1,5})\s"
)
_BLOCK = 1 << 20  # values at a time


def with_common_white(data: bytes, scale: bool = True) -> bytes:
    """A binary PGM or PPM with values up to 255, or up to 65535 if it is grey and holds more; any
    other file as it is.

    Args: scale: whether values are scaled with their white, as Pillow does; else they stay.
    """
    header = _HEADER.match(data) if data[:2] in (b"P5", b"P6") else None
    if header is None:
        return data
    grey = header[1] == b"5"
    width, height, white = (int(header[k]) for k in (2, 3, 4))
    deep = white > 255
    if white == 255 or not 0 < white < 65536 or (grey and white == 65535):
        return data
    top = 65535 if grey and deep else 255
    count = min(width * height * (1 if grey else 3), (len(data) - header.end()) // (1 + deep))
    values = np.frombuffer(data, ">u2" if deep else np.uint8, count, header.end())
    out = np.empty(count, ">u2" if top == 65535 else np.uint8)
    for start in range(0, count, _BLOCK):
        part = values[start : start + _BLOCK]
        if scale:
            part = np.rint(part / white * top)
        out[start : start + _BLOCK] = np.minimum(part, top)
    return b"P%b %d %d %d\n" % (header[1], width, height, top) + out.tobytes()
