"""The decoder of pictures: every format that it handles, in full, in part and by header alone."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from pictures import encoded, scene, write_folder
from PIL import Image, features

from fuzz.case import Case
from fuzz.reading import SMALL, attempts, seeds_in
from fuzz.target import target
from xfer.data.images.decode import decode, from_pil
from xfer.data.images.exif import read_jpeg_header
from xfer.data.images.from_memory import given_picture
from xfer.data.images.remarks import remarks
from xfer.data.images.size import header_of, sizes_of
from xfer.data.images.unread import what_is
from xfer.doctor.check import check_data

PICTURE = scene(40, 30)


def _turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a picture"
    return encoded(PICTURE, "JPEG", exif=exif)


def pictures(folder: Path) -> list[Case]:
    image, wide = Image.fromarray(PICTURE), np.asarray(PICTURE, np.uint16)[:, :, 0] * 257
    grey, palette, alpha = image.convert("L"), image.convert("P"), image.convert("RGBA")
    alpha.putalpha(grey)
    files: dict[str, bytes] = {
        "plain.jpg": encoded(PICTURE, "JPEG"),
        "progressive.jpg": encoded(PICTURE, "JPEG", progressive=True),
        "restarts.jpg": encoded(PICTURE, "JPEG", restart_marker_rows=1),
        "cmyk.jpg": encoded(image.convert("CMYK"), "JPEG"),
        "grey.jpg": encoded(grey, "JPEG"),
        "turned.jpg": _turned(),
        "plain.png": encoded(PICTURE),
        "one.png": encoded(grey.convert("1")),
        "four.png": encoded(palette.quantize(16), bits=4),
        "palette.png": encoded(palette, transparency=3),
        "alpha.png": encoded(alpha),
        "deep.png": encoded(Image.fromarray(wide)),
        "deepcolour.png": _deep(),
        "interlaced.png": _interlaced(),
        "plain.webp": encoded(PICTURE, "WEBP"),
        "lossless.webp": encoded(alpha, "WEBP", lossless=True),
        "moving.webp": _moving("WEBP"),
        "moving.gif": _moving("GIF"),
        "plain.bmp": encoded(PICTURE, "BMP"),
        "palette.bmp": encoded(palette, "BMP"),
        "plain.ppm": encoded(PICTURE, "PPM"),
        "grey.pgm": encoded(grey, "PPM"),
        "text.ppm": b"P3\n# a remark\n2 2\n255\n" + b"1 2 3 " * 4,
        "plain.tif": encoded(PICTURE, "TIFF"),
        "lzw.tif": encoded(PICTURE, "TIFF", compression="tiff_lzw"),
        "zip.tif": encoded(PICTURE, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tif": encoded(PICTURE, "TIFF", compression="jpeg"),
        "fax.tif": encoded(grey.convert("1"), "TIFF", compression="group4"),
        "deep.tif": encoded(Image.fromarray(wide), "TIFF"),
        "float.tif": encoded(Image.fromarray(wide.astype(np.float32) / 65535), "TIFF"),
        "pages.tif": _moving("TIFF"),
    }
    for kind, module in (("JPEG2000", "jpg_2000"), ("AVIF", "avif")):
        if features.check(module):
            files[f"plain.{kind.lower()}"] = encoded(PICTURE, kind)
    return [{name: content} for name, content in files.items()]


def _deep() -> bytes:
    import cv2

    colours = np.asarray(PICTURE, np.uint16) * 257
    return cv2.imencode(".png", colours)[1].tobytes()


def _interlaced() -> bytes:
    from test_data_whole import png

    return png("interlaced")


def _moving(kind: str) -> bytes:
    file = io.BytesIO()
    more = [Image.fromarray(scene(40, 30, seed=k)) for k in (1, 2)]
    Image.fromarray(PICTURE).save(file, kind, save_all=True, append_images=more)
    return file.getvalue()


def _pil(data: bytes) -> None:
    """As data sets of torchvision hand pictures over."""
    try:
        image = Image.open(io.BytesIO(data))
    except Exception:  # Pillow's own, before xfer sees it
        return
    from_pil(image)


@target("pictures", pictures)
def use_pictures(path: Path) -> None:
    data = path.read_bytes()
    header = read_jpeg_header(data) if data.startswith(b"\xff\xd8\xff") else None
    assert header is None or header.orientation in range(1, 9)
    with remarks():
        attempts([
            lambda: decode(path),
            lambda: decode(path, SMALL),
            lambda: decode(data, SMALL, lambda height, width: height // 2),
            lambda: given_picture(data, 0),
            lambda: sizes_of([path]),
            lambda: header_of(data),
            lambda: what_is(data, str(path)),
            lambda: _pil(data),
        ])  # fmt: skip


def folders(folder: Path) -> list[Case]:
    def plain(root: Path) -> None:
        write_folder(root, {"train/ant": 2, "train/bee": 2, "val/ant": 1, "val/bee": 1})

    def other(root: Path) -> None:
        write_folder(root, {"ant": 2, "bee": 2}, ".png")
        (root / "labels.csv").write_text("filename,label\nant/0.png,ant\nbee/0.png,bee\n")

    return seeds_in(folder, plain, other)


@target("data_check", folders)
def use_check(path: Path) -> None:
    """As `xfer data check` does, with its list of proposed changes."""
    check_data(f"folder:{path}", fix=path.parent / "changes.csv").document()
