"""Pictures from files: always uint8 RGB, upright, or an error that says what the file is.

Baseline grey and colour JPEGs go through simplejpeg (libjpeg-turbo, which releases the GIL),
everything else through Pillow. Both see the same policy:

    EXIF orientation         applied
    CMYK, YCCK               converted, Adobe's inversion included
    16 bits per channel      divided by 257; 12 bits of a TIFF that says so by 16.06
    floating point           from 0 (black) to 1 (white), grey; anything else is refused
    transparency             composited on white
    animation, several pages the first frame
    too many pixels          refused before anything is decoded, as are other costs (`limits`)
    no regular file          refused: a pipe, a device, a folder
    pixels missing           refused; whatever else is missing or damaged in a file is not looked at

A picture of 16 bits that uses the lower ones alone is read as it is, nearly black, since scaling
each picture by its own values would make equal things unequal; `remarks` tells of it.
"""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from xfer.data.images.decode_error import CUT_OFF, DecodeError, cut_off
from xfer.data.images.exif import JpegHeader, orientation_of, read_jpeg_header, upright
from xfer.data.images.jpeg_rows import Rows, decode_top
from xfer.data.images.jpeg_whole import decode_odd
from xfer.data.images.limits import (
    check_header,
    check_scans,
    check_size,
    jpeg_bytes,
    large,
    pillow_opens,
)
from xfer.data.images.picture_file import picture_file, read_all
from xfer.data.images.pixels_alone import (
    CHANNELS,
    PNG,
    exif_of_png,
    pixels_alone,
    png_whole,
    without_png_notes,
)
from xfer.data.images.ppm import with_common_white
from xfer.data.images.remarks import asked, remark
from xfer.data.images.tiff import Layout, is_tiff, layout_of, raw_kind, without_notes
from xfer.data.images.to_rgb import by_rows, on_white, remark_bits, to_8_bits, to_rgb
from xfer.data.images.unread import kind_of, what_is
from xfer.data.images.walk import readable
from xfer.errors import reason_of

# Pillow logs what it also raises, and without a handler Python prints that
logging.getLogger("PIL").addHandler(logging.NullHandler())

# leaves out formats that run another program (EPS) or hold no pixels
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "TIFF", "WEBP", "PPM", "AVIF", "JPEG2000")
# the end mark of JPEG, and of JPEG 2000
END_OF_JPEG = b"\xff\xd9"
# bytes per pixel that decoding takes at most: four channels of 16 bits, or Pillow's and ours
_DEEP = 8


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
        try:
            return shrink(_decode(source, short_side, rows), short_side)
        except DecodeError:
            raise
        except Exception as error:
            raise DecodeError(reason_of(error)) from error
    name = readable(str(source))
    try:
        with picture_file(source) as (handle, size):
            return shrink(_decode(read_all(handle, size), short_side, rows, name), short_side)
    except DecodeError as error:
        raise DecodeError(error.reason, name) from error.__cause__
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DecodeError(reason, name) from None
    except Exception as error:
        raise DecodeError(reason_of(error), name) from error


def from_pil(image: Any, name: str = "picture") -> NDArray[np.uint8]:
    """Returns a PIL image as `decode` would return its file: the first frame, upright, on white.

    It is turned by the EXIF block that it still carries; ImageOps.exif_transpose removes the block.
    Raises: DecodeError, with `name`, if the file is damaged or holds floating-point numbers.
    """
    try:
        check_size(*image.size)
        image.load()
        pixels = to_rgb(image)
    except DecodeError as error:
        raise DecodeError(error.reason, name) from None
    except Exception as error:  # Pillow's plugins raise almost anything for a damaged file
        data = _file_of(image)
        if data is None:
            raise DecodeError(_damage(b"", error), name) from error
        try:
            return _decode(data, 0, None)
        except DecodeError as closer:
            raise DecodeError(closer.reason, name) from error
    turned = image.format == "TIFF"  # Pillow has turned it
    return upright(pixels, 1 if turned else orientation_of(image.info.get("exif")))


def _file_of(image: Any) -> bytes | None:
    """The bytes of the file that Pillow could not load, if it is still open."""
    try:
        image.fp.seek(0)
        return image.fp.read()
    except (AttributeError, OSError, ValueError):
        return None


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


def _decode(data: bytes, short_side: int, rows: Rows | None, name: str = "") -> NDArray[np.uint8]:
    if not data:
        raise DecodeError("zero bytes")
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data, short_side, rows)
    if data.startswith(PNG):
        return _png(data, name)
    check_header(data)
    return _tiff(data, name) if is_tiff(data) else _pillow(with_common_white(data), name)


def _png(data: bytes, name: str) -> NDArray[np.uint8]:
    pixels = 0
    if len(data) > 25:
        width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
        channels = CHANNELS.get(data[25], 1)
        if data[24] == 16 and channels == 2:
            channels = 4  # OpenCV makes colours of grey with opacity
        check_size(width, height, -(-channels * data[24] // 8), len(data))
        pixels = width * height
    with large(pixels * _DEEP):
        if not png_whole(data):
            data = pixels_alone(data) or data  # raises if it is the pixels that are not whole
        data = without_png_notes(data)
        if data[24] == 16 and data[25] != 0:
            deep = _deep_png(data)
            if deep is not None:
                return upright(deep, orientation_of(exif_of_png(data)))
        return _pillow(data, name)


def _jpeg(data: bytes, short_side: int, rows: Rows | None) -> NDArray[np.uint8]:
    header = read_jpeg_header(data)
    if header is None:
        raise DecodeError(CUT_OFF if kind_of(data) else what_is(data))
    check_size(header.width, header.height, header.components, len(data))
    check_scans(data, header)
    side = _scaled_side(header, short_side)
    with large(jpeg_bytes(header, side)):
        image = _turbo(data, header, short_side, rows)
        if image is None:
            # Pillow does not say that pixels are missing where the end mark is there
            plain = header.components in (1, 3)
            image = decode_odd(data, header, "RGB" if plain else "CMYK", side)
            image = image if plain and image is not None else _pillow(data + END_OF_JPEG)
        return upright(image, header.orientation)


def _turbo(
    data: bytes, header: JpegHeader, short_side: int, rows: Rows | None
) -> NDArray[np.uint8] | None:
    """Decodes with simplejpeg; None if it can't, or isn't sure."""
    if header.components not in (1, 3):
        return None
    side = min(header.width, header.height)
    if rows is not None and header.orientation == 1 and side <= (short_side or side):
        top = decode_top(data, header, rows(header.height, header.width))
        if top is not None:
            return top
    min_side = _scaled_side(header, short_side)
    try:
        return simplejpeg.decode_jpeg(data, "RGB", min_height=min_side, min_width=min_side)
    except ValueError:
        return None


def _scaled_side(header: JpegHeader, short_side: int) -> int:
    """The least side for libjpeg-turbo's scaled transforms, which save time up to half the size;
    0: decode in full."""
    return short_side if min(header.width, header.height) >= 2 * short_side else 0


def _deep_png(data: bytes) -> NDArray[np.uint8] | None:
    """Decodes a 16-bit PNG with colour or alpha: Pillow would keep only the high byte."""
    image = _deep_pixels(data)
    if image is None:
        image = _deep_pixels(pixels_alone(data) or data)
    if image is None:
        return None
    if asked():
        remark_bits(int(image.max(initial=0)))

    def small(rows: NDArray[Any]) -> NDArray[Any]:
        values = to_8_bits(rows)
        return on_white(values[:, :, [2, 1, 0, 3]]) if values.shape[2] == 4 else values[:, :, ::-1]

    return by_rows(image, small, (*image.shape[:2], 3))


def _deep_pixels(data: bytes) -> NDArray[np.uint16] | None:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if image is None or image.dtype != np.uint16 or image.ndim != 3:
        return None
    return np.asarray(image, np.uint16)


@cache
def formats() -> tuple[str, ...]:
    """The FORMATS that this Pillow was built with."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _tiff(data: bytes, name: str) -> NDArray[np.uint8]:
    if raw_kind(data) is not None:  # Pillow would read its preview
        raise DecodeError(what_is(data, name))
    layout = layout_of(data)
    if layout is None:
        raise DecodeError(CUT_OFF)
    if layout.kind == "int" and layout.bits == 8:  # Pillow would read -1 as 255
        raise DecodeError(layout.refusal())
    image = _pillow(without_notes(data), name, layout)
    if layout.pages:
        remark("pages", "of several pages the first alone is read")
    if layout.channels == 2 or (layout.channels > 3 and 0 in layout.extra):
        kept = "first is" if layout.channels == 2 else "first 3 are"
        line = f"of {layout.channels} channels the {kept} read"
        remark("channels", line, layout.channels)
    return image


def _pillow(data: bytes, name: str = "", layout: Layout | None = None) -> NDArray[np.uint8]:
    try:
        return _opened(data, layout)
    except DecodeError:
        raise
    except Exception as error:  # Pillow's plugins raise almost anything for a damaged file
        alone = pixels_alone(data)  # says if it is they that are missing or damaged
        if alone is not None and alone != data:
            return _pillow(alone, name)
        if layout is not None and layout.refusal():
            raise DecodeError(layout.refusal()) from None
        if layout is not None and layout.missing:
            raise cut_off(layout.missing) from None
        if not isinstance(error, UnidentifiedImageError):
            raise DecodeError(_damage(data, error)) from error
        kind = kind_of(data)
        if kind not in _readable_kinds():
            raise DecodeError(what_is(data, name)) from None
        header = "damaged (its header is not understood)"
        raise DecodeError(CUT_OFF if _ends_early(data) else header) from None


def _opened(data: bytes, layout: Layout | None) -> NDArray[np.uint8]:
    with (
        pillow_opens(data, formats()) as image,
        large(image.width * image.height * _DEEP),
    ):
        check_size(*image.size, len(image.getbands()), len(data))
        image.load()
        # 12 bits of a TIFF are read as numbers up to 4095
        most = 4095 if layout is not None and (layout.bits, image.mode) == (12, "I;16") else 65535
        pixels = to_rgb(image, most)
        if asked() and layout is not None and layout.bits == 16 and image.mode == "RGB":
            remark_bits(int(pixels.max(initial=0)) << 8 | 255)  # Pillow keeps the high byte
        # Pillow turns TIFFs itself; JPEGs are turned by the caller
        turned = image.format in ("TIFF", "JPEG", "MPO")
        exif = None if turned else image.info.get("exif")
        return upright(pixels, orientation_of(exif))


@cache
def _readable_kinds() -> tuple[str | None, ...]:
    """The names that `kind_of` gives to formats which this Pillow was built with."""
    names = {"AVIF": "AVIF", "JPEG2000": "JPEG 2000", "WEBP": "WebP"}
    return tuple(names.get(name, name) for name in formats())


def _ends_early(data: bytes) -> bool:
    """Whether a file is shorter than its own header says."""
    kind = kind_of(data)
    if kind == "BMP":
        return int.from_bytes(data[2:6], "little") > len(data)
    if kind == "TIFF":
        return False  # its layout has been looked at
    if kind == "WebP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if kind == "AVIF" or (kind == "JPEG 2000" and data[4:8] == b"jP  "):  # boxes, ISO 14496-12
        at = 0
        while at + 8 <= len(data):
            length = int.from_bytes(data[at : at + 4], "big")
            if length == 1:
                length = int.from_bytes(data[at + 8 : at + 16], "big")
            at = at + max(length, 8) if length else len(data)
        return at != len(data) or (kind == "JPEG 2000" and not data.endswith(END_OF_JPEG))
    return len(data) < 1024 or (kind == "JPEG 2000" and not data.endswith(END_OF_JPEG))


def _damage(data: bytes, error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    cut = kind_of(data) == "JPEG 2000" and _ends_early(data)
    if cut or any(word in text.lower() for word in ("truncat", "not enough", "unexpected end")):
        return CUT_OFF
    return f"damaged ({text})"
