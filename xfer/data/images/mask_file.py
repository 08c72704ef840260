"""Mask files: their numbers exactly as stored, never as displayed colours.

A palette picture is read as its indices, 16 bits stay 16 bits, and grey with 1, 2 or 4 bits is not
stretched to 0..255. Lossy formats are refused: their values are no longer classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xfer.data.images.decode import DecodeError, decode, formats
from xfer.data.images.limits import check_header, check_size, large, pillow_opens
from xfer.data.images.picture_file import picture_file, read_all
from xfer.data.images.pixels_alone import PNG, pixels_alone, png_whole, without_png_notes
from xfer.data.images.ppm import with_common_white
from xfer.data.images.tiff import is_tiff, without_notes
from xfer.data.images.walk import readable

LOSSLESS = ("PNG", "BMP", "DIB", "TIFF", "GIF", "PPM")
# of files whose names say that they lose values
LOSSY_ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".avif", ".jp2")
_LOSSY = {"JPEG": "JPEG", "MPO": "JPEG", "WEBP": "WebP", "JPEG2000": "JPEG 2000", "AVIF": "AVIF"}


@dataclass(frozen=True, slots=True)
class RawMask:
    """A mask as its file stores it.

    values  | (H, W) uint8 or uint16, or colours uint8 (H, W, 3)
    palette | uint8 (n, 3), the colours of a palette picture's values; None without a palette
    """

    values: NDArray[np.uint8] | NDArray[np.uint16]
    palette: NDArray[np.uint8] | None = None

    @property
    def coloured(self) -> bool:
        return self.values.ndim == 3


def read_mask_file(path: Path) -> RawMask:
    """Read one mask. Colours that are all grey are read as numbers; transparency is ignored.

    Raises: DecodeError, with the path, for a file that is not a picture, holds no whole numbers,
        or is in a lossy format.
    """
    try:
        with picture_file(path) as (handle, size):
            return _read(read_all(handle, size))
    except DecodeError as error:
        raise DecodeError(error.reason, readable(str(path))) from None
    except OSError as error:
        raise DecodeError(error.strerror or str(error), readable(str(path))) from None


def _read(data: bytes) -> RawMask:
    check_header(data)
    if is_tiff(data):
        data = without_notes(data)
    elif data.startswith(PNG) and png_whole(data):
        data = without_png_notes(data)
    data = with_common_white(data, scale=False)
    try:
        with pillow_opens(data, formats()) as image:
            lossy = _LOSSY.get(image.format or "")
            if image.format == "TIFF" and image.info.get("compression") in ("jpeg", "webp"):
                lossy = f"TIFF with {image.info['compression']} inside"
            if lossy:
                raise DecodeError(
                    f"is {lossy}, which blurs the values of a mask: save masks as PNG"
                )
            if image.format not in LOSSLESS:
                raise DecodeError(f"is {image.format}, not a format for masks: save it as PNG")
            check_size(*image.size)
            with large(image.width * image.height * 8):
                image.load()
                return _values(image, data)
    except DecodeError:
        raise
    except Exception:  # Pillow's plugins raise almost anything; `decode` says what is wrong
        decode(data)
    alone = pixels_alone(data)  # what lies beside them may be at fault
    if alone is None or alone == data:
        raise DecodeError("can't be read as a mask")
    return _read(alone)


def _values(image: Image.Image, data: bytes) -> RawMask:
    mode = image.mode
    if mode == "P":
        palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
        return RawMask(np.array(image), palette)
    if mode == "1":
        return RawMask(np.array(image).astype(np.uint8))
    if mode in ("L", "LA", "La"):
        grey = np.array(image.getchannel(0))
        # Pillow stretches the grey of PNGs with 1, 2 or 4 bits to 0..255
        bits = data[24] if image.format == "PNG" else 8
        return RawMask(grey // (255 // (2**bits - 1)) if bits < 8 else grey)
    if mode.startswith("I"):
        wide = np.array(image)
        if wide.size and (wide.min() < 0 or wide.max() > 65535):
            raise DecodeError("its values are not within 16 bits")
        return RawMask(wide.astype(np.uint16))
    if mode in ("RGB", "RGBA", "RGBa", "RGBX"):
        if image.format == "PNG" and data[24] == 16:
            raise DecodeError("has 16 bits per colour: save it with 8")
        colours = np.array(image)[:, :, :3]
        red, green, blue = (colours[:, :, c] for c in range(3))
        if np.array_equal(red, green) and np.array_equal(red, blue):
            return RawMask(np.ascontiguousarray(red))
        return RawMask(colours)
    raise DecodeError(f"holds {mode} pixels, not whole numbers: save it as 8-bit PNG")
