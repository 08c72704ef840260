"""Files that are not read are named as what they are, by their bytes."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from pictures import encoded, scene
from PIL import Image

from xfer.data.images.decode import DecodeError, decode
from xfer.data.images.unread import RAW_ENDINGS, UNREAD_ENDINGS, kind_of, what_is
from xfer.data.images.walk import EXTENSIONS, is_picture


def tiff(entries: list[tuple[int, int, int]], order: str = "<", tail: bytes = b"") -> bytes:
    """A TIFF's head with one directory of entries (tag, type, value)."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    for tag, kind, value in entries:
        packed = struct.pack(order + ("H" if kind == 3 else "I"), value).ljust(4, b"\0")
        head += struct.pack(order + "HHI", tag, kind, 1) + packed
    return head + bytes(4) + tail


def boxes(*brands: bytes) -> bytes:
    body = brands[0] + bytes(4) + b"".join(brands[1:])
    return struct.pack(">I", len(body) + 8) + b"ftyp" + body + bytes(300)


DICOM = bytes(128) + b"DICM" + bytes(40)
UNREAD = [
    (boxes(b"heic", b"mif1", b"heic"), "HEIC"),
    (boxes(b"mif1", b"miaf", b"heix"), "HEIC"),
    (boxes(b"msf1", b"hevc"), "HEIC"),
    (boxes(b"crx ", b"isom"), r"camera's raw picture \(CR3\)"),
    (boxes(b"isom", b"mp42"), "video"),
    (boxes(b"qt  "), "video"),
    (b"II*\0\x10\0\0\0CR\x02\0" + bytes(400), r"camera's raw picture \(CR2\)"),
    (tiff([(254, 4, 1), (50706, 4, 1)]), r"raw picture \(DNG\)"),
    (tiff([(256, 3, 8), (259, 3, 34713)], ">"), "camera's raw picture"),
    (tiff([(256, 3, 8), (262, 3, 32803)]), "camera's raw picture"),
    (b"FUJIFILMCCD-RAW 0201" + bytes(90), r"\(RAF\)"),
    (b"IIRO\x08\0\0\0" + bytes(90), r"\(ORF\)"),
    (b"IIU\0\x18\0\0\0" + bytes(90), r"\(RW2\)"),
    (b"\xff\x0a" + bytes(90), "JPEG XL"),
    (b"\xff\xd8\xff\xf7\0\x0b\x08" + bytes(90), "JPEG-LS"),
    (b"8BPS\0\1" + bytes(90), "Photoshop"),
    (DICOM, "DICOM"),
    (b"%PDF-1.7\n" + bytes(90), "PDF, not a picture"),
    (b"<?xml version='1.0'?>\n<svg width='3'/>", "SVG"),
    (b"<?xml version='1.0'?>\n<annotation/>", "XML"),
    (b"\xef\xbb\xbf  <!DOCTYPE html><p>", "HTML"),
    (b"PK\x03\x04" + bytes(90), "a zip archive, not a picture"),
    (b"\x1a\x45\xdf\xa3" + bytes(90), "video"),
    (b"RIFF\x10\0\0\0AVI LIST", "video"),
    (b"\x93NUMPY\x01\0v\0", "NumPy"),
    (b"id,label\n1,cat\n", "text"),
    ("é".encode() * 400, "text"),
    (b"\x89PNG\n\x1a\n" + bytes(40), "line ends"),
    (bytes(50), "only zeros"),
    (b"\x01\x02\x03\x04" * 9, "not a picture in a known format"),
]


@pytest.mark.parametrize(("data", "said"), UNREAD)
@pytest.mark.parametrize("name", ["holiday.jpg", "SCAN 7.TIF", "x"])
def test_a_file_is_named_by_its_bytes_under_any_name(
    data: bytes, said: str, name: str, tmp_path: Path
) -> None:
    assert kind_of(data) is None
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DecodeError, match=said) as caught:
        decode(tmp_path / name)
    assert caught.value.reason == what_is(data, name) and name in str(caught.value)
    assert "cut off" not in str(caught.value)


def test_the_name_helps_where_the_bytes_say_nothing(tmp_path: Path) -> None:
    file = tmp_path / "a.kdc"
    file.write_bytes(b"\x07\x01" * 40)
    with pytest.raises(DecodeError, match=r"by its name \(\.kdc\) a camera's raw picture"):
        decode(file)
    assert "(.tga)" in what_is(b"\0\1\2\3" * 9, "old.TGA")


KINDS = ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF", "JPEG2000"]


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_that_are_read_are_named(kind: str) -> None:
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow has no {kind}")
    data = encoded(scene(64, 48), kind)
    names = {"WEBP": "WebP", "JPEG2000": "JPEG 2000"}
    assert kind_of(data[:64]) == names.get(kind, kind)
    assert decode(data).shape == (48, 64, 3)


def test_a_tiff_of_a_camera_that_is_no_raw_picture_is_read() -> None:
    data = encoded(scene(), "TIFF", tiffinfo={271: "NIKON CORPORATION", 272: "D90"})
    assert kind_of(data) == "TIFF" and np.array_equal(decode(data), scene())


def test_the_preview_in_a_raw_picture_is_not_taken_for_it() -> None:
    """DNG and NEF begin with a small picture that TIFF's readers can read."""
    file = io.BytesIO()
    Image.fromarray(scene(32, 24)).save(file, "TIFF", tiffinfo={50706: b"\1\4\0\0"})
    with Image.open(io.BytesIO(file.getvalue())) as preview:
        assert preview.size == (32, 24)
    with pytest.raises(DecodeError, match="DNG"):
        decode(file.getvalue())


def test_endings_are_read_or_not_and_never_both() -> None:
    assert not UNREAD_ENDINGS & EXTENSIONS and RAW_ENDINGS < UNREAD_ENDINGS
    assert all(e == e.casefold() and e.startswith(".") for e in UNREAD_ENDINGS)
    assert {".heic", ".heif", ".cr2", ".nef", ".arw", ".dng", ".raf", ".jxl"} <= UNREAD_ENDINGS


@pytest.mark.parametrize(
    ("name", "read"),
    [("a.jpg_large", True), ("a.JPG_Large", True), ("b.png:small", True), ("c.jpg-orig", True),
     ("d.jpg_1200x900", True), ("e.jpeg!large", True), ("f.pnm", True), ("a.jpg~", False),
     ("a.jpg_old", False), ("a.txt_large", False), ("a_large", False), ("a.heic", False)],
)  # fmt: skip
def test_odd_endings_of_pictures_are_known(name: str, read: bool) -> None:
    assert is_picture(name) is read
