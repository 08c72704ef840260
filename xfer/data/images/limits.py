"""What a picture may cost: pixels, memory and passes, known before it is decoded.

A small file can be a huge picture: 700 kB of PNG unpack to 700 MB, 500 kB of JPEG can ask for 300
passes over 80 million pixels. So sizes are compared with what headers say, and what is large is
decoded one at a time, however many threads read.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import threading
from collections.abc import Iterator

from PIL import Image

from xfer.data.images.decode_error import DecodeError
from xfer.data.images.exif import JpegHeader, read_jpeg_header
from xfer.data.images.tiff import (
    BITS,
    HEIGHT,
    SAMPLES,
    STRIP_BYTES,
    STRIPS,
    TILE_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    TILES,
    WIDTH,
    read_directory,
    read_tags,
)
from xfer.files import MB

# phones have 200 million, and stitched pictures more
MAX_PIXELS = 250_000_000
MEGAPIXELS = "XFER_MAX_MEGAPIXELS"  # of the environment: another limit
# as a decoder holds the pixels: MAX_PIXELS of RGBA fit, and 178 million of RGB with 16 bits
MAX_DECODED = 1024 * MB
# Pillow's own first limit: above it a picture may be MAX_RATIO times as large as its file. Photos
# in JPEG are 4 to 50 times, a single colour is 400 (JPEG) to 1000 times (PNG)
_PLENTY = 89_478_485
MAX_RATIO = 200
# files and pictures above this are read and decoded one at a time
_LARGE = 256 * MB
# encoders write about 10 passes; each costs as much as decoding anew
MAX_SCANS = 100
_MAX_SCANNED = 12 * MAX_PIXELS  # scans times pixels
_SCAN = re.compile(rb"\xff\xda")
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
# blocks of a GIF before its first picture; a note of 25 MB has as many
MAX_NOTES = 100_000
_NOTE, _FRAME_FOLLOWS = 0x21, 0x2C
_MAX_PARTS = 1 << 22
_MAX_PLAIN = 32 * MB
# numbers in the header of a PBM, PGM, PPM or PFM, by the letter after the P
_NUMBERS = {b"1": 2, b"4": 2, b"2": 3, b"3": 3, b"5": 3, b"6": 3, b"f": 3, b"F": 3}
_REMARK = re.compile(rb"#[^\r\n]*")
_HEAD = 1 << 16
_MAX_PACKED = 20_000_000  # pixels of a BMP in run lengths
_LISTS = (STRIPS, STRIP_BYTES, TILES, TILE_BYTES)
_FRAME = (WIDTH, HEIGHT, BITS, SAMPLES, TILE_WIDTH, TILE_HEIGHT)

_one_at_a_time = threading.RLock()
_counting = threading.Lock()
_opening, _pillow_s = 0, Image.MAX_IMAGE_PIXELS


def large(bytes_: int) -> contextlib.AbstractContextManager[object]:
    """Context for work that needs `bytes_` of memory: one thread at a time above _LARGE."""
    return _one_at_a_time if bytes_ > _LARGE else contextlib.nullcontext()


def max_pixels() -> int:
    """The most pixels that a picture may have. Raises DecodeError for a limit that is no number."""
    text = os.environ.get(MEGAPIXELS)
    if not text:
        return MAX_PIXELS
    if not re.fullmatch(r"[1-9]\d{0,6}", text):
        raise DecodeError(f"can't be judged: {MEGAPIXELS}={text:.20} is no number of megapixels")
    return int(text) * 1_000_000


def check_size(width: int, height: int, bytes_per_pixel: int = 1, stored: int = 0) -> None:
    """Raises DecodeError for a picture without pixels, of too many, or of too many bytes.

    Args: stored: the size of its file in bytes, which a large picture must be worth; 0: not known.
    """
    if width <= 0 or height <= 0:
        raise DecodeError("has no pixels")
    most = max_pixels()
    if width * height > most:
        raise DecodeError(
            f"{width} x {height}: more than {most / 1e6:.0f} million pixels; shrink it first, or "
            f"set {MEGAPIXELS}"
        )
    size = width * height * bytes_per_pixel
    if size > max(MAX_DECODED, 4 * most if os.environ.get(MEGAPIXELS) else 0):
        raise DecodeError(
            f"{width} x {height} pixels of {bytes_per_pixel} bytes take {size / 1e6:,.0f} MB, more "
            f"than {MAX_DECODED / 1e6:.0f}: save it with 8 bits, or shrink it first"
        )
    hollow = 0 < stored * MAX_RATIO < size and width * height > _PLENTY
    if hollow and not os.environ.get(MEGAPIXELS):
        raise DecodeError(
            f"{width} x {height} pixels in a file of {stored / 1e6:.1f} MB, which can hold no "
            f"such picture; shrink it first, or set {MEGAPIXELS}"
        )


@contextlib.contextmanager
def pillow_opens(data: bytes, formats: tuple[str, ...]) -> Iterator[Image.Image]:
    """A picture as Image.open gives it, by these limits, not Pillow's, which are one number for the
    whole process: it is set aside while a header is read, and then what it was."""
    global _opening, _pillow_s
    with _counting:
        if not _opening:
            _pillow_s, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _opening += 1
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    finally:
        with _counting:
            _opening -= 1
            if not _opening:
                Image.MAX_IMAGE_PIXELS = _pillow_s
    with image:
        yield image


def check_header(data: bytes) -> None:
    """Raises DecodeError for a picture that costs much before Pillow tells its size, or while it
    is unpacked line by line."""
    if data[:3] == b"\xff\xd8\xff":
        read_jpeg_header(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        size = _webp_size(data)
        if size is not None:
            check_size(*size, 4, len(data))  # to open it takes room for all its pixels
    if data[:2] == b"BM" and len(data) >= 34:
        width, height = (abs(_signed(data, at)) for at in (18, 22))
        packed = int.from_bytes(data[30:34], "little") in (1, 2)
        # RLE moves by whole lines at no cost, and Pillow unpacks it in Python
        if packed and (width >= 1 << 16 or width * height > _MAX_PACKED):
            raise DecodeError(f"is a packed BMP of {width} x {height} pixels: save it as PNG")
    if data[:2] in (b"P1", b"P2", b"P3") and len(data) > _MAX_PLAIN:
        raise DecodeError(f"a picture in {len(data) / 1e6:.0f} MB of text: save it as PNG")
    if data[:1] == b"P" and data[1:2] in _NUMBERS and len(data) > _HEAD:
        words = _REMARK.sub(b"", data[:_HEAD]).split()
        if len(words) <= _NUMBERS[data[1:2]]:  # Pillow reads remarks letter by letter
            raise DecodeError(f"has more than {_HEAD:,} bytes of remarks: save it as PNG")
    if data[:4] == b"GIF8":
        _check_notes(data)
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        _check_tiles(data)


def _signed(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little", signed=True)


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """Source: RFC 9649, sec. 2."""
    if data[12:16] == b"VP8X" and len(data) >= 30:
        return tuple(int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))  # pyright: ignore[reportReturnType]
    if data[12:16] == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None


def _check_notes(data: bytes) -> None:
    """Raises DecodeError for a GIF with very many notes before its first picture: Pillow reads them
    one by one, in Python. Source: GIF89a, sec. 15 to 26."""
    at = 13 + (3 << (data[10] & 7) + 1 if len(data) > 10 and data[10] & 128 else 0)
    inside = False
    for _ in range(MAX_NOTES):
        if at >= len(data):
            return
        if inside:
            inside, at = data[at] != 0, at + 1 + data[at]
        elif data[at] == _NOTE:
            inside, at = True, at + 2
        elif data[at] == _FRAME_FOLLOWS:
            return
        else:  # Pillow looks for the next one
            at += 1
    raise DecodeError(f"has more than {MAX_NOTES:,} notes before its pixels: save it anew")


def _check_tiles(data: bytes) -> None:
    """Raises DecodeError for a TIFF whose tiles are far larger than the picture, or whose list of
    them is."""
    directory = read_directory(data)
    if directory is None:
        return
    if any(entry.count > _MAX_PARTS and entry.tag in _LISTS for entry in directory.entries):
        raise DecodeError(f"damaged (it lists more than {_MAX_PARTS:,} strips or tiles)")
    tags = read_tags(data, directory, _FRAME)
    width, height = (tags.get(tag, (1,))[0] for tag in (WIDTH, HEIGHT))
    across, down = (tags.get(tag, (1,))[0] for tag in (TILE_WIDTH, TILE_HEIGHT))
    channels, bits = tags.get(SAMPLES, (1,))[0], max(tags.get(BITS, (1,)))
    check_size(max(width, across), max(height, down), -(-channels * bits // 8))


def check_scans(data: bytes, header: JpegHeader) -> None:
    """Raises DecodeError for a JPEG that asks for more passes over its pixels than encoders make.

    A JPEG whose first scan holds all channels to the last bit has no other.
    """
    at = header.scan_at + 4
    if header.frame not in _PROGRESSIVE and at < len(data) and data[at] >= header.components:
        return
    scans = sum(1 for _ in _SCAN.finditer(data, header.scan_at))
    if scans > MAX_SCANS or scans * header.width * header.height > _MAX_SCANNED:
        raise DecodeError(
            f"is a JPEG in {scans} passes over {header.width} x {header.height} pixels, far more "
            "than encoders write: save it anew"
        )


def jpeg_bytes(header: JpegHeader, side: int) -> int:
    """The bytes that decoding takes, about. Args: side: see `simplejpeg`; 0: in full."""
    pixels = header.width * header.height
    kept = 2 * header.components * pixels if header.frame in _PROGRESSIVE else 0
    scale = min(header.width, header.height) // side if side else 1
    return kept + 3 * pixels // min(8, max(1, scale)) ** 2
