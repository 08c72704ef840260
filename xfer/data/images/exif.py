"""EXIF orientation and JPEG headers, read without decoding anything.

Sources: CIPA DC-008 (EXIF 2.3), sec. 4.6.4, tag 0x0112; ITU T.81, annex B (JPEG markers).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.decode_error import DecodeError

_ORIENTATION = 0x0112
_SHORT = 3
# start-of-frame markers: C0..CF without DHT (C4), JPG (C8) and DAC (CC)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# markers that stand alone, without a length: TEM, RST0..7, SOI
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_FILL = re.compile(rb"\xff+")
MAX_MARKERS = 50_000
MAX_FILL = 1 << 20  # bytes between two markers


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """What a JPEG's header says.

    width, height | pixels, as stored (before turning)
    components    | 1 grey, 3 colour, 4 CMYK or YCCK
    orientation   | EXIF orientation, 1..8
    lines_at      | offset of its height, two bytes, the high one first
    unit          | rows that are coded together: 8 times the largest sampling factor
    plain         | baseline or extended Huffman coding, without restart markers
    frame         | its start-of-frame marker: 0xC0 baseline, 0xC2 progressive, ...
    bits          | per channel
    scan_at       | offset of the first start-of-scan marker, where the coded pixels begin
    """

    width: int
    height: int
    components: int
    orientation: int
    lines_at: int = 0
    unit: int = 16
    plain: bool = False
    frame: int = 0xC0
    bits: int = 8
    scan_at: int = 0


def read_jpeg_header(data: bytes) -> JpegHeader | None:
    """Returns the header of a JPEG; None if the file ends before the pixels begin.

    Raises: DecodeError for more markers, or filling, before the pixels than any program writes.
    """
    at, orientation = 2, 1
    frame: tuple[int, int, int] | None = None
    kind, bits = 0xC0, 8
    lines_at, unit, sequential, restarts = 0, 16, False, False
    for _ in range(MAX_MARKERS):
        if at + 4 <= len(data) and data[at] != 0xFF:  # stray bytes: look for the next marker
            at = data.find(b"\xff", at)
            at = len(data) if at < 0 else at
        if at + 4 <= len(data) and data[at + 1] == 0xFF:  # as many as the writer likes
            start, filled = at, _FILL.match(data, at)
            at = filled.end() - 1 if filled is not None else len(data)
            if at - start > MAX_FILL:  # Pillow reads them one by one
                raise DecodeError(f"has {at - start:,} bytes of filling: save it anew")
        if at + 4 > len(data):
            return None
        marker = data[at + 1]
        if marker in _ALONE or marker == 0:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + length]
        if marker == 0xDA and frame is not None:
            plain = sequential and not restarts
            return JpegHeader(*frame, orientation, lines_at, unit, plain, kind, bits, at)
        if marker in _FRAMES and frame is None:
            if len(body) < 6:
                return None
            height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            frame = (width, height, body[5])
            kind, bits = marker, body[0]
            lines_at, sequential = at + 5, marker in (0xC0, 0xC1)
            unit = 8 * max((factors & 15 for factors in body[7::3]), default=2)
        if marker == 0xDD:
            restarts = any(body)
        if marker == 0xE1 and body.startswith(b"Exif\0\0") and orientation == 1:
            orientation = orientation_of(body)
        at += 2 + max(length, 2)
    raise DecodeError(f"has more than {MAX_MARKERS:,} notes before its pixels: save it anew")


def orientation_of(exif: bytes | None) -> int:
    """Returns the orientation in an EXIF block (with or without its `Exif` head), 1..8; 1 if
    unknown.

    Damaged blocks are common in pictures that many programs have edited: they count as 1.
    """
    if not exif:
        return 1
    block = exif[6:] if exif.startswith(b"Exif\0\0") else exif
    order = {b"II": "little", b"MM": "big"}.get(block[:2])
    if order is None:
        return 1

    def number(start: int, size: int) -> int:
        return int.from_bytes(block[start : start + size], order)  # pyright: ignore[reportArgumentType]

    start = number(4, 4)
    count = number(start, 2)
    for entry in range(start + 2, min(start + 2 + 12 * count, len(block) - 11), 12):
        if number(entry, 2) == _ORIENTATION and number(entry + 2, 2) == _SHORT:
            value = number(entry + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1


def upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Returns a picture (H, W, 3) turned and mirrored so that it stands as it was taken."""
    if orientation in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def laid(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undoes `upright`: returns a picture as its file stores it."""
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    return np.ascontiguousarray(image)
