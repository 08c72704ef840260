"""Picture files to pixels: uint8 RGB, upright, the same on every path.

JPEG goes through simplejpeg (twice as fast as PIL, and without the interpreter's lock); whatever
it refuses, and every other format, through PIL. Policies: EXIF orientation is applied; CMYK is
converted as PIL does (Adobe's inverted files included); 16-bit is divided by 257; transparency
is composited on white; of an animation the first frame is taken.
"""

from __future__ import annotations

import io
import threading
import warnings
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from xfer.errors import DataError

MAX_PIXELS = 200_000_000
_ORIENTATION = 0x0112
# warnings' filters belong to the process: one thread at a time may silence PIL
_quiet = threading.Lock()


class DecodeError(DataError):
    """A picture file that can't be decoded. `reason` says why, in words."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}", "remove it, or leave it out: data.skip_bad=true")
        self.reason = reason


def decode(source: Path | str | bytes, short_side: int = 0) -> NDArray[np.uint8]:
    """Decodes a picture.

    Args:
        source: a path, or a file's bytes.
        short_side: if above 0, a picture whose shorter side is longer than this is shrunk to it by
            averaging areas; large JPEGs are not even decoded in full.

    Returns: uint8 (H, W, 3), RGB, upright.
    Raises: DecodeError for what is no picture, is cut off, or is larger than 200 megapixels.
    """
    name = "picture" if isinstance(source, bytes) else str(source)
    if isinstance(source, bytes):
        data = source
    else:
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise DecodeError(name, error.strerror or "can't be read") from None
    reason = _not_a_picture(data)
    if reason:
        raise DecodeError(name, reason)
    pixels = _jpeg(data, short_side) if data[:3] == b"\xff\xd8\xff" else None
    if pixels is None:
        pixels = _by_pil(data, name)
    return shrink(pixels, short_side)


def shrink(image: NDArray[np.uint8], short_side: int) -> NDArray[np.uint8]:
    """The picture with its shorter side at most `short_side` (0: as it is), averaging areas."""
    height, width = image.shape[:2]
    if not short_side or min(height, width) <= short_side:
        return image
    scale = short_side / min(height, width)
    size = max(short_side, round(width * scale)), max(short_side, round(height * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _not_a_picture(data: bytes) -> str | None:
    if not data:
        return "zero bytes"
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "is an HTML page, not a picture"
    if start.startswith((b"<?xml", b"<svg")):
        return "is XML or SVG, not a picture of pixels"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer: the picture itself was not fetched"
    return None


def _jpeg(data: bytes, short_side: int) -> NDArray[np.uint8] | None:
    """A baseline or progressive RGB or grey JPEG; None for what PIL must judge."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours not in ("YCbCr", "RGB", "Gray", "GRAY") or height * width > MAX_PIXELS:
            return None
        wanted = 0
        if short_side and min(height, width) >= 2 * short_side:
            wanted = short_side
        pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=wanted, min_width=wanted)
    except ValueError:
        return None
    return _upright(pixels, _orientation(data))


def _orientation(data: bytes) -> int:
    """EXIF orientation 1..8 of a JPEG; 1 where there is none or it can't be read."""
    if b"Exif\0\0" not in data[: 1 << 16]:
        return 1
    try:
        with _quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return int(Image.open(io.BytesIO(data)).getexif().get(_ORIENTATION, 1))
    except Exception:  # PIL raises anything from SyntaxError to struct.error for broken EXIF
        return 1


def _upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Undoes an EXIF orientation, as PIL's ImageOps.exif_transpose."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _by_pil(data: bytes, name: str) -> NDArray[np.uint8]:
    try:
        with _quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data))
            if image.width * image.height > MAX_PIXELS:
                size = f"{image.width}x{image.height}"
                raise DecodeError(name, f"{size} pixels are more than {MAX_PIXELS // 10**6} million")
            orientation = int(image.getexif().get(_ORIENTATION, 1))
        image.load()
        pixels = _rgb(image)
    except DecodeError:
        raise
    except UnidentifiedImageError:
        raise DecodeError(name, "is not a picture in a known format") from None
    except (Image.DecompressionBombError, MemoryError):
        raise DecodeError(name, "is too large to decode") from None
    except Exception as error:  # PIL's plugins raise many kinds for broken files
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        cut = "truncated" in text or "Truncated" in text or "EOF" in text or "broken data" in text
        raise DecodeError(name, "is cut off" if cut else f"is broken ({text})") from None
    return _upright(pixels, orientation if 1 <= orientation <= 8 else 1)


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Any mode of PIL as uint8 RGB."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image).astype(np.float64)
        if values.max(initial=0) > 255:
            values = values / 257
        grey = np.clip(np.round(values), 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"))
    return np.asarray(image.convert("RGB"))
