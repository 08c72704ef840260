"""Pictures from files: always uint8 RGB, upright, or an error that says what the file is.

Baseline grey and colour JPEGs go through simplejpeg (libjpeg-turbo, which releases the GIL),
everything else through Pillow. Both see the same policy:

    EXIF orientation         applied
    CMYK, YCCK               converted, Adobe's inversion included
    16 bits per channel      divided by 257
    transparency             composited on white
    animation, several pages the first frame
    more than MAX_PIXELS     refused before anything is decoded
"""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from xfer.data.images.exif import JpegHeader, orientation_of, read_jpeg_header, upright
from xfer.data.images.jpeg_rows import Rows, decode_top
from xfer.data.images.walk import readable
from xfer.errors import DataError

# Pillow's own first limit, above which it warns
MAX_PIXELS = 89_478_485

# leaves out formats that run another program (EPS) or hold no pixels
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "AVIF", "JPEG2000")
PNG = b"\x89PNG\r\n\x1a\n"


class DecodeError(DataError):
    """A file can't be read as a picture. `reason` says why, without naming the file."""

    def __init__(self, reason: str, name: str = "picture") -> None:
        super().__init__(f"{name}: {reason}", "remove it, or --set data.skip_bad=true")
        self.reason = reason
        self.name = name

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.reason, self.name)


def decode(
    source: Path | str | bytes, short_side: int = 0, rows: Rows | None = None
) -> NDArray[np.uint8]:
    """Read one picture.

    Args:
        source: a path, or the bytes of the file.
        short_side: if positive, a picture whose short side is longer is shrunk to it by averaging
            areas (bilinearly for factors of 0.8 and more); a JPEG at least twice as large is not
            even decoded in full. Use the same value in training and evaluation.
        rows: returns how many rows from the top are needed; the rows below may then be black.

    Returns: uint8 (H, W, 3), RGB, upright, C-contiguous.
    Raises: DecodeError, with the path in its message if one was given.
    """
    if isinstance(source, bytes):
        return shrink(_decode(source, short_side, rows), short_side)
    try:
        return shrink(_decode(Path(source).read_bytes(), short_side, rows), short_side)
    except DecodeError as error:
        raise DecodeError(error.reason, readable(str(source))) from error.__cause__
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DecodeError(reason, readable(str(source))) from None


def from_pil(image: Any, name: str = "picture") -> NDArray[np.uint8]:
    """Returns a PIL image as `decode` would return its file: the first frame, upright, on white.

    It is turned by the EXIF block that it still carries; ImageOps.exif_transpose removes the block.
    Raises: DecodeError, with `name`, if the file is damaged or holds floating-point numbers.
    """
    try:
        image.load()
        pixels = _rgb(image)
    except DecodeError as error:
        raise DecodeError(error.reason, name) from None
    except Exception as error:  # Pillow's plugins raise almost anything for a damaged file
        raise DecodeError(_damage(b"", error), name) from error
    turned = image.format == "TIFF"  # Pillow has turned it
    return upright(pixels, 1 if turned else orientation_of(image.info.get("exif")))


def shrink(image: NDArray[np.uint8], short_side: int) -> NDArray[np.uint8]:
    """Returns the picture with a short side of at most `short_side` (0: unchanged)."""
    height, width = image.shape[:2]
    if not short_side or min(height, width) <= short_side:
        return image
    scale = short_side / min(height, width)
    size = max(short_side, round(width * scale)), max(short_side, round(height * scale))
    # averaging areas takes four times as long, and makes little difference down to 0.8
    interpolation = cv2.INTER_LINEAR if scale >= 0.8 else cv2.INTER_AREA
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8)


def _decode(data: bytes, short_side: int, rows: Rows | None) -> NDArray[np.uint8]:
    if not data:
        raise DecodeError("zero bytes")
    if data.startswith(b"\xff\xd8\xff"):
        header = read_jpeg_header(data)
        if header is None:
            raise DecodeError("cut off")
        _check_size(header.width, header.height)
        image = _turbo(data, header, short_side, rows)
        return upright(_pillow(data) if image is None else image, header.orientation)
    if (
        data.startswith(b"\x89PNG\r\n\x1a\n")
        and len(data) > 25
        and data[24] == 16
        and data[25] != 0
    ):
        deep = _deep_png(data)
        if deep is not None:
            return upright(deep, orientation_of(_png_chunk(data, b"eXIf")))
    return _pillow(data)


def _turbo(
    data: bytes, header: JpegHeader, short_side: int, rows: Rows | None
) -> NDArray[np.uint8] | None:
    """Decodes with simplejpeg; None if it can't, or isn't sure: then Pillow decides."""
    if header.components not in (1, 3):
        return None
    side = min(header.width, header.height)
    if rows is not None and header.orientation == 1 and side <= (short_side or side):
        top = decode_top(data, header, rows(header.height, header.width))
        if top is not None:
            return top
    # up to half the size, libjpeg-turbo's scaled transforms save time; above, they cost time
    min_side = short_side if side >= 2 * short_side else 0
    try:
        return simplejpeg.decode_jpeg(data, "RGB", min_height=min_side, min_width=min_side)
    except ValueError:
        return None


def _deep_png(data: bytes) -> NDArray[np.uint8] | None:
    """Decodes a 16-bit PNG with colour or alpha: Pillow would keep only the high byte."""
    width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
    _check_size(width, height)
    if b"IEND" not in data[-16:]:
        raise DecodeError("cut off")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if image is None or image.dtype != np.uint16 or image.ndim != 3:
        return None
    small = _to_8_bits(np.asarray(image, np.uint16))
    if small.shape[2] == 4:
        return on_white(small[:, :, [2, 1, 0, 3]])
    return np.ascontiguousarray(small[:, :, ::-1])


@cache
def _formats() -> tuple[str, ...]:
    """The FORMATS that this Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _pillow(data: bytes) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            _check_size(*image.size)
            image.load()
            pixels = _rgb(image)
            # Pillow turns TIFFs itself; JPEGs are turned by the caller
            turned = image.format in ("TIFF", "JPEG", "MPO")
            exif = None if turned else image.info.get("exif")
            return upright(pixels, orientation_of(exif))
    except DecodeError:
        raise
    except UnidentifiedImageError:
        raise DecodeError(_what_is(data)) from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise DecodeError(_too_large()) from None
    except Exception as error:  # Pillow's plugins raise almost anything for a damaged file
        raise DecodeError(_damage(data, error)) from error


def _rgb(image: Any) -> NDArray[np.uint8]:
    """Returns a loaded Pillow image as uint8 (H, W, 3)."""
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise DecodeError("its values are not within 16 bits: save it as 8 or 16 bit")
        grey = _to_8_bits(values.astype(np.uint16))
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise DecodeError("holds floating-point numbers: save it as 8 or 16 bit")
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        return on_white(np.asarray(image.convert("RGBA")))
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _to_8_bits(values: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Maps 0..65535 to 0..255, rounded: 257 = 65535 / 255."""
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)


def on_white(rgba: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Composites uint8 (H, W, 4) on white: uint8 (H, W, 3)."""
    alpha = rgba[:, :, 3:].astype(np.uint16)
    mixed = rgba[:, :, :3] * alpha + 255 * (255 - alpha)
    return ((mixed.astype(np.uint32) + 127) // 255).astype(np.uint8)


def _check_size(width: int, height: int) -> None:
    if width <= 0 or height <= 0:
        raise DecodeError("has no pixels")
    if width * height > MAX_PIXELS:
        raise DecodeError(f"{width} x {height}: {_too_large()}")


def _too_large() -> str:
    return f"more than {MAX_PIXELS / 1e6:.0f} million pixels; shrink it first"


def _png_chunk(data: bytes, name: bytes) -> bytes | None:
    """Returns the content of a PNG's first chunk of that name."""
    at = 8
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] == name:
            return data[at + 8 : at + 8 + length]
        at += length + 12
    return None


_KNOWN_STARTS = (
    (b"<!doctype html", "is HTML, not a picture"),
    (b"<html", "is HTML, not a picture"),
    (b"<svg", "is SVG, a drawing without pixels"),
    (b"<?xml", "is XML, not a picture"),
    (b"version https://git-lfs", "is a Git LFS pointer: fetch the file itself"),
    (b"%pdf", "is PDF, not a picture"),
    (b"pk\x03\x04", "is a zip archive, not a picture"),
    (b"\x1f\x8b", "is gzip, not a picture"),
    (b"{", "is text, not a picture"),
)


def _what_is(data: bytes) -> str:
    """Says what a file is that no decoder recognises."""
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for mark, meaning in _KNOWN_STARTS:
        if start.startswith(mark):
            return meaning
    if data.startswith((b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF")):
        return "cut off"
    if not data.strip(b"\0"):
        return "holds only zeros"
    return "is not a picture in a known format"


def _damage(data: bytes, error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    cut = data.startswith(b"\x89PNG") and b"IEND" not in data[-16:]
    if cut or any(word in text.lower() for word in ("truncat", "not enough", "unexpected end")):
        return "cut off"
    return f"damaged ({text})"
