"""Whether all pixels of a JPEG are there, for one that the strict decoder refuses.

libjpeg warns of a missing end mark, of stray bytes and of missing pixels alike. The end mark is
added before it is asked again, so that what it says then is about the pixels.
"""

from __future__ import annotations

import re

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from xfer.data.images.decode_error import CUT_OFF, DecodeError
from xfer.data.images.exif import JpegHeader
from xfer.data.images.remarks import remark

_END = b"\xff\xd9"
_HOLE = bytes(64)  # what a download that was stopped leaves: zeros are read as pixels
_SCANS = re.compile(rb"\xff\xda")  # among coded pixels FF is followed by 00 or a mark
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_LOSSLESS = (0xC3, 0xC7, 0xCB, 0xCF)


def decode_odd(
    data: bytes, header: JpegHeader, colours: str, min_side: int = 0
) -> NDArray[np.uint8] | None:
    """Decodes a JPEG that the strict decoder has refused, if all its pixels are there.

    Args: colours: RGB or CMYK; min_side: as simplejpeg's min_height and min_width.

    Returns: uint8 (H, W, 3 or 4), as stored; None if this decoder can't tell.
    Raises: DecodeError if pixels are missing, or if it is of a kind that is not read.
    """
    _check_kind(header)
    ends = data.find(_END, header.scan_at) >= 0
    whole = data if ends else data + _END
    image, said = _strict(whole, colours, min_side)
    if "SOS" in said:  # its first warning only: what is missing after it must be heard, too
        data = _usual_scans(data, header)
        ends = data.find(_END, header.scan_at) >= 0
        whole = data if ends else data + _END
        image, said = _strict(whole, colours, min_side)
    stray = "extraneous" in said and "0xd9" in said  # bytes between the last pixel and the end mark
    early = "premature end" in said.lower() or "found marker 0xd9" in said  # for a restart's mark
    if not ends and ((said and not stray) or not _all_scans(data, header)):
        raise DecodeError(CUT_OFF)
    if not ends and data.endswith(_HOLE):
        raise DecodeError("ends in zeros: its file was made, but not filled")
    if early:
        raise DecodeError("not all of its pixels are there")
    if image is not None:
        return image
    if "Huffman" in said or "found marker" in said:
        remark("damaged_part", "some of the pixels are damaged, so a part looks wrong")
    try:
        return simplejpeg.decode_jpeg(
            whole, colours, min_height=min_side, min_width=min_side, strict=False
        )
    except ValueError:
        return None


def _strict(data: bytes, colours: str, side: int) -> tuple[NDArray[np.uint8] | None, str]:
    """The picture, or None and the first warning of libjpeg."""
    try:
        return simplejpeg.decode_jpeg(data, colours, min_height=side, min_width=side), ""
    except ValueError as error:
        return None, str(error)


def _usual_scans(data: bytes, header: JpegHeader) -> bytes:
    """The JPEG with the three bytes after each scan's channels as T.81 wants them.

    In a sequential JPEG they have one value, 0 63 0, and say nothing; some programs write others.
    In a progressive one they choose the coefficients, and stay.

    Source: ITU T.81, table B.3.
    """
    if header.frame in _PROGRESSIVE:
        return data
    mended = bytearray(data)
    for mark in _SCANS.finditer(data, header.scan_at):
        at = mark.end() + 2
        if at < len(data):
            at += 1 + 2 * data[at]
            mended[at : at + 3] = b"\x00\x3f\x00"
    return bytes(mended)


def _check_kind(header: JpegHeader) -> None:
    """Raises DecodeError for JPEGs of kinds that libjpeg is not built for."""
    if header.frame in _LOSSLESS:
        raise DecodeError("is a lossless JPEG, which is not read: save it as PNG")
    if header.bits != 8:
        raise DecodeError(f"is a JPEG of {header.bits} bits, which is not read: save it as PNG")


def _all_scans(data: bytes, header: JpegHeader) -> bool:
    """Whether the pixels of every channel are coded, in a progressive JPEG to the last bit.

    Source: ITU T.81, B.2.3; G.1.1.1.
    """
    names = data[header.lines_at + 5 :: 3][: header.components]
    last = range(64) if header.frame in _PROGRESSIVE else range(1)
    # the coefficients of each channel whose last bits are still to come
    missing = {name: set(last) for name in names}
    for mark in _SCANS.finditer(data, header.scan_at):
        at = mark.end() + 2
        count = data[at] if at < len(data) else 0
        body = data[at + 1 : at + 1 + 2 * count + 3]
        if len(body) < 2 * count + 3:
            return False
        first, stop, bits = body[2 * count], body[2 * count + 1] + 1, body[2 * count + 2] & 15
        if bits == 0:
            for name in body[: 2 * count : 2]:
                missing.get(name, set[int]()).difference_update(range(first, stop))
    return not any(missing.values())
