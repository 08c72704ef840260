"""The pixels decide whether a picture is whole: nothing else in its file does."""

from __future__ import annotations

import functools
import io
import itertools
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pictures import encoded, scene
from PIL import Image, PngImagePlugin
from test_data_decode import exif, turned

from xfer.data.images.decode import DecodeError, decode, from_pil
from xfer.data.images.mask_file import read_mask_file
from xfer.data.images.pixels_alone import PNG, pixels_alone
from xfer.data.images.remarks import remarks
from xfer.data.images.size import upright_size

END = b"\xff\xd9"


def noisy(width: int = 60, height: int = 44, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 60, (height, width, 3))
    return (scene(width, height) // 2 + noise).astype(np.uint8)


def chunk(name: bytes, body: bytes, good: bool = True) -> bytes:
    checksum = zlib.crc32(name + body) ^ (not good)
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)


def adam7(image: np.ndarray) -> bytes:
    """An interlaced PNG, which Pillow does not write."""
    height, width, _ = image.shape
    rows = b""
    for x, y, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4),
                         (1, 0, 2, 2), (0, 1, 1, 2)):  # fmt: skip
        rows += b"".join(b"\0" + row.tobytes() for row in image[y::dy, x::dx])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    return PNG + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@functools.cache
def png(kind: str) -> bytes:
    image = noisy()
    if kind == "deep":
        return cv2.imencode(".png", image.astype(np.uint16) * 257)[1].tobytes()
    if kind == "deep alpha":
        alpha = np.dstack([image, image[:, :, :1]]).astype(np.uint16) * 257
        return cv2.imencode(".png", alpha)[1].tobytes()
    if kind == "interlaced":
        return adam7(image)
    picture = Image.fromarray(image)
    if kind == "I;16":
        return encoded(Image.fromarray(image[:, :, 0].astype(np.uint16) * 257))
    if kind == "P":
        return encoded(picture.quantize(40), transparency=bytes(range(40)))
    return encoded(picture.convert(kind))


PNGS = ["RGB", "L", "1", "P", "RGBA", "LA", "I;16", "deep", "deep alpha", "interlaced"]
JPEGS = {
    "plain": {}, "progressive": {"progressive": True}, "restarts": {"restart_marker_blocks": 3},
    "4:4:4": {"subsampling": 0}, "optimised": {"optimize": True},
}  # fmt: skip


@functools.cache
def jpeg(kind: str) -> bytes:
    picture = Image.fromarray(noisy())
    if kind in ("L", "CMYK"):
        return encoded(picture.convert(kind), "JPEG", quality=90)
    return encoded(picture, "JPEG", quality=90, **JPEGS[kind])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PNGS), st.integers(1, 1 << 16), st.booleans())
@example("RGB", 4, False)
@example("deep", 12, False)
@example("interlaced", 17, True)
def test_a_png_is_read_only_if_its_pixels_are_there(kind: str, cut: int, ended: bool) -> None:
    whole = png(kind)
    short = whole[: max(len(PNG), len(whole) - cut)]
    if ended and b"IDAT" in short:  # as programs write it that save what they have
        at = short.rfind(b"IDAT") - 4
        body = short[at + 8 : at + 8 + int.from_bytes(short[at : at + 4], "big")]
        short = short[:at] + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    try:
        image = decode(short)
    except DecodeError as error:
        assert cut > 12, error  # the end mark alone is not missed
        assert error.reason.startswith("cut off"), error
    else:
        assert np.array_equal(image, decode(whole))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*JPEGS, "L", "CMYK"]), st.integers(1, 1 << 15), st.booleans())
@example("plain", 2, False)
@example("CMYK", 2, False)
@example("CMYK", 400, True)
@example("CMYK", 4288, True)  # within the scan's own header
@example("progressive", 1, False)
@example("restarts", 350, False)  # between two restart marks
@example("restarts", 350, True)
def test_a_jpeg_is_read_only_if_its_pixels_are_there(kind: str, cut: int, ended: bool) -> None:
    whole = jpeg(kind)
    short = whole[: max(3, len(whole) - cut)]
    ended = ended and kind != "progressive"  # whose first scans are a whole, coarse picture
    short += END * ended
    try:
        image = decode(short)
    except DecodeError as error:
        assert cut > 2, error
        assert error.reason in ("cut off", "not all of its pixels are there")
    else:
        assert np.array_equal(image, decode(whole))


def test_a_sequential_jpeg_may_say_anything_where_progressive_ones_choose_coefficients() -> None:
    whole = jpeg("plain")
    at = whole.index(b"\xff\xda") + 5 + 2 * 3
    odd = whole[:at] + bytes([0, 0, 0]) + whole[at + 3 :]
    assert np.array_equal(decode(odd), decode(whole))
    with pytest.raises(DecodeError, match="not all of its pixels"):
        decode(odd[:-300] + END)


def test_a_progressive_jpeg_needs_all_its_scans() -> None:
    whole = jpeg("progressive")
    scans = [i for i in range(len(whole) - 1) if whole[i : i + 2] == b"\xff\xda"]
    assert len(scans) > 5
    for at in scans[1:]:
        tables = whole.rfind(b"\xff\xc4", 0, at)  # each scan has its own tables before it
        for cut in (at, tables if tables > scans[0] else at):
            with pytest.raises(DecodeError, match="cut off"):
                decode(whole[:cut])


@pytest.mark.parametrize("kind", [*JPEGS, "L", "CMYK"])
@pytest.mark.parametrize("side", [0, 20])
def test_the_end_mark_of_a_jpeg_is_not_missed_on_any_path(kind: str, side: int) -> None:
    whole = jpeg(kind)
    for short in (whole[:-2], whole[:-1], whole[:-2] + b"\0\0\0", whole + b"more"):
        assert np.array_equal(decode(short, side), decode(whole, side))
        rows = decode(short, side, lambda height, width: height // 3)
        assert np.array_equal(rows[:10], decode(whole, side)[:10])
    with Image.open(io.BytesIO(whole[:-2])) as image:
        assert np.array_equal(from_pil(image), decode(whole))


def test_damaged_codes_are_remarked_on() -> None:
    found: set[str] = set()
    for kind in ("plain", "progressive", "restarts"):
        whole = jpeg(kind)
        for at in range(len(whole) // 2, len(whole) - 40, 31):
            hurt = bytearray(whole)
            hurt[at] ^= 0x5A
            with remarks() as odd:
                try:
                    decode(bytes(hurt))
                except DecodeError as error:
                    assert any(w in error.reason for w in ("pixels", "cut off", "damaged"))
            found |= {one.check for one in odd}
        with remarks() as odd:
            decode(whole)
        assert odd == []
    assert found == {"damaged_part"}


LONG = b"parameters\0\0" + zlib.compress(b"a cat, a dog; " * 200_000)
NOTES = {
    "a long compressed text": chunk(b"zTXt", LONG),
    "a long profile": chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(1 << 22))),
    "a wrong checksum": chunk(b"pHYs", struct.pack(">IIB", 9, 9, 1), good=False),
    "a wrong checksum of text": chunk(b"tEXt", b"a\0b", good=False),
    "a note too short": chunk(b"gAMA", b"\0"),
    "a damaged profile": chunk(b"iCCP", b"p\0\0not packed"),
    "an unknown note": chunk(b"vpAg", b"", good=False),
    "a wrong count of frames": chunk(b"acTL", b"\0\0"),
}


@pytest.mark.parametrize("kind", PNGS)
@pytest.mark.parametrize("note", NOTES)
@pytest.mark.parametrize("late", [False, True])
def test_what_lies_beside_the_pixels_of_a_png_is_not_looked_at(
    kind: str, note: str, late: bool
) -> None:
    whole = png(kind)
    at = len(whole) - 12 if late else 33
    assert np.array_equal(decode(whole[:at] + NOTES[note] + whole[at:]), decode(whole))


def test_text_of_many_pieces_is_no_damage() -> None:
    info = PngImagePlugin.PngInfo()
    for i in range(70):
        info.add_text(f"k{i}", "x" * (1 << 20), zip=True)
    assert np.array_equal(decode(encoded(noisy(), pnginfo=info)), noisy())


@pytest.mark.parametrize("name", [b"IHDR", b"PLTE", b"tRNS"])
def test_wrong_checksums_of_what_the_pixels_need_are_damage(name: bytes) -> None:
    hurt = bytearray(png("P"))
    hurt[hurt.index(name) + 4 + int.from_bytes(hurt[hurt.index(name) - 4 : hurt.index(name)])] ^= 1
    with pytest.raises(DecodeError, match=rf"damaged .*{name.decode()}"):
        decode(bytes(hurt))


def test_a_wrong_checksum_of_pixels_that_unpack_as_they_were_packed_is_no_damage() -> None:
    for kind in PNGS:
        hurt = bytearray(png(kind))
        hurt[-13] ^= 1
        assert np.array_equal(decode(bytes(hurt)), decode(png(kind)))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(PNGS), st.integers(0, 1 << 20), st.integers(1, 255))
@example("P", 1747, 1)  # more bytes than pixels, and no end at which zlib would compare them
def test_changed_pixels_of_a_png_are_damage(kind: str, place: int, change: int) -> None:
    hurt = bytearray(png(kind))
    start, stop = hurt.index(b"IDAT") + 4, len(hurt) - 20
    hurt[start + place % (stop - start)] ^= change
    try:
        image = decode(bytes(hurt))
    except DecodeError as error:
        assert error.reason.startswith(("damaged", "cut off"))
    else:  # a bit that means nothing, such as the level of packing
        same = np.array_equal(image, decode(png(kind)))
        # three neighbours changed by 1, -2 and 1 have the same Adler-32: zlib can't tell
        own, other = (zlib.decompress(bytes(f[start:-16])) for f in (hurt, png(kind)))
        assert same or zlib.adler32(own) == zlib.adler32(other)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("kind", ["PNG", "deep", "JPEG", "CMYK", "WEBP"])
def test_a_mended_picture_still_stands_upright(kind: str, orientation: int) -> None:
    block = exif(orientation)
    stored = Image.fromarray(turned(noisy(), orientation))
    if kind == "deep":
        plain = cv2.imencode(".png", np.asarray(stored, np.uint16)[:, :, ::-1] * 257)[1].tobytes()
        whole = plain[:33] + chunk(b"eXIf", block[6:]) + plain[33:]
    else:
        picture = stored.convert("CMYK") if kind == "CMYK" else stored
        whole = encoded(picture, "JPEG" if kind == "CMYK" else kind, exif=block)
    if kind in ("PNG", "deep"):
        short = whole[:33] + NOTES["a wrong checksum"] + whole[33:-12]
    else:
        short = whole[:-2] if kind in ("JPEG", "CMYK") else whole
    assert np.array_equal(decode(short), decode(whole))
    assert decode(short).shape == (44, 60, 3)
    assert upright_size(short) == (44, 60)


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("alpha", [True, False])
def test_a_webp_needs_its_pixels_alone(lossless: bool, alpha: bool) -> None:
    image = np.dstack([noisy(), noisy()[:, :, :1]]) if alpha else noisy()
    notes = {"exif": b"Exif\0\0II*\0" + bytes(300), "xmp": b"<x>" + bytes(200)}
    whole = encoded(image, "WEBP", lossless=lossless, **notes)
    plain = encoded(image, "WEBP", lossless=lossless)
    assert np.array_equal(decode(plain), decode(whole))
    for cut in (1, 3, 100, 205, 300, 480):
        assert np.array_equal(decode(whole[:-cut]), decode(whole)), cut
    for cut in range(2, len(plain) - 30, 41):
        with pytest.raises(DecodeError, match="cut off"):
            decode(plain[:-cut])
    assert pixels_alone(plain) == plain


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000"])
def test_other_kinds_are_read_only_if_their_pixels_are_there(kind: str) -> None:
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow has no {kind}")
    picture = Image.fromarray(noisy())
    whole = encoded(picture.quantize(60) if kind == "GIF" else picture, kind)
    for cut in itertools.chain(range(1, 16), range(16, len(whole) - 2, 97)):
        try:
            image = decode(whole[:-cut])
        except DecodeError as error:
            assert "cut off" in error.reason, (cut, error)
        else:
            assert np.array_equal(image, decode(whole)), cut


def test_the_share_that_is_missing_is_told() -> None:
    with pytest.raises(DecodeError, match=r"cut off: (49|50|51)% of its pixels are missing"):
        decode(encoded(noisy(), "TIFF")[: -noisy().nbytes // 2])
    packed = encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    with pytest.raises(DecodeError, match=r"cut off: 2\d% of its pixels are missing"):
        decode(packed[: len(packed) * 3 // 4])


@pytest.mark.parametrize("note", NOTES)
def test_masks_are_read_alike(note: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 7, (30, 40), np.uint8)
    picture = Image.fromarray(values, "P")
    picture.putpalette(bytes(range(21)))
    whole = encoded(picture)
    file = tmp_path / "mask.png"
    file.write_bytes(whole[:33] + NOTES[note] + whole[33:-12])
    mask = read_mask_file(file)
    assert np.array_equal(mask.values, values) and mask.palette is not None
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DecodeError, match=r"mask\.png: cut off"):
        read_mask_file(file)
