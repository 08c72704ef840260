"""Every kind of picture file comes out as uint8 RGB, upright, or as an error in words."""

from __future__ import annotations

import io
import pickle
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pictures import encoded, scene
from PIL import Image

from xfer.data.images import decode as module
from xfer.data.images import limits, to_rgb
from xfer.data.images.decode import DecodeError, decode, from_pil, shrink
from xfer.errors import DataError

SCENE = scene()


def exif(orientation: int, order: str = "<") -> bytes:
    head = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"Exif\0\0" + head + struct.pack(order + "IH", 8, 1) + entry + b"\0\0\0\0"


def turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """The picture as a camera with this orientation stores it (the inverse, by PIL's words)."""
    T = Image.Transpose
    how = {2: T.FLIP_LEFT_RIGHT, 3: T.ROTATE_180, 4: T.FLIP_TOP_BOTTOM, 5: T.TRANSPOSE,
           6: T.ROTATE_90, 7: T.TRANSVERSE, 8: T.ROTATE_270}  # fmt: skip
    if orientation == 1:
        return image
    return np.asarray(Image.fromarray(image).transpose(how[orientation]))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "progressive", "CMYK", "PNG", "PNG16", "WEBP", "TIFF"])
def test_orientation_is_applied_on_every_path(kind: str, orientation: int, order: str) -> None:
    stored = Image.fromarray(turned(SCENE, orientation))
    block = exif(orientation, order)
    if kind == "TIFF":
        data = encoded(stored, "TIFF", tiffinfo={274: orientation})
    elif kind == "CMYK":
        data = encoded(stored.convert("CMYK"), "JPEG", quality=95, exif=block)
    elif kind == "PNG16":
        deep = np.asarray(stored, np.uint16)[:, :, ::-1] * 257
        ok, plain = cv2.imencode(".png", deep)
        assert ok
        plain, body = plain.tobytes(), b"eXIf" + block[6:]
        chunk = struct.pack(">I", len(block) - 6) + body + struct.pack(">I", zlib.crc32(body))
        data = plain[:33] + chunk + plain[33:]
    else:
        name = "JPEG" if kind == "progressive" else kind
        data = encoded(stored, name, quality=95, exif=block, progressive=kind == "progressive")
    image = decode(data)
    assert image.shape == SCENE.shape and image.flags.c_contiguous and image.dtype == np.uint8
    assert np.abs(image.astype(int) - SCENE).mean() < 6


@pytest.mark.parametrize(
    "damage", [b"", b"II", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"]
)
def test_damaged_exif_counts_as_upright(damage: bytes) -> None:
    data = encoded(SCENE, "JPEG", quality=95, exif=b"Exif\0\0" + damage)
    assert decode(data).shape == SCENE.shape


@pytest.mark.parametrize("kind", ["JPEG", "CMYK", "PNG", "PNG16", "alpha", "GIF", "TIFF", "L"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_pil_image_is_read_as_its_file(kind: str, orientation: int) -> None:
    stored, block = Image.fromarray(turned(SCENE, orientation)), exif(orientation)
    if kind == "TIFF":
        data = encoded(stored, "TIFF", tiffinfo={274: orientation})
    elif kind == "CMYK":
        data = encoded(stored.convert("CMYK"), "JPEG", exif=block)
    elif kind == "PNG16":
        data = encoded(Image.fromarray(np.asarray(stored, np.uint16)[:, :, 0] * 257))
    elif kind == "alpha":
        stored.putalpha(60)
        data = encoded(stored, exif=block)
    elif kind == "GIF":
        data = encoded(stored, "GIF")
    else:
        data = encoded(stored.convert("L") if kind == "L" else stored, "JPEG", exif=block)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(from_pil(image), decode(data))


def test_a_pil_image_of_a_file_that_is_cut_off_is_told_by_its_name() -> None:
    data = encoded(scene(90, 90), "JPEG")
    with (
        Image.open(io.BytesIO(data[: len(data) * 9 // 10])) as image,
        pytest.raises(DecodeError, match="picture 3: cut off"),
    ):
        from_pil(image, "picture 3")


def test_what_simplejpeg_reads_is_what_pillow_reads() -> None:
    smooth = scene(200, 120)
    for image in (smooth, smooth[:, :, 0]):
        data = encoded(image, "JPEG", quality=95)
        theirs = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        assert np.abs(decode(data).astype(int) - theirs).max() <= 2


def test_cmyk_comes_as_pillow_converts_it() -> None:
    data = encoded(Image.fromarray(SCENE).convert("CMYK"), "JPEG", quality=98)
    assert np.abs(decode(data).astype(int) - SCENE).mean() < 4


def test_sixteen_bits_are_divided_by_257() -> None:
    values = np.array([[0, 128, 129, 257, 32896, 65535]], np.uint16)
    grey = decode(encoded(Image.fromarray(values)))
    assert grey[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255] == grey[0, :, 2].tolist()
    colour = np.stack([values, values * 0, values * 0 + 65535], axis=2)
    ok, data = cv2.imencode(".png", colour[:, :, ::-1])
    assert ok
    image = decode(data.tobytes())
    assert image[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]
    assert (image[..., 1] == 0).all() and (image[..., 2] == 255).all()


def test_transparency_lies_on_white() -> None:
    rgba = np.dstack([SCENE, np.full(SCENE.shape[:2], 255, np.uint8)])
    rgba[0, 0, 3], rgba[1, 1] = 0, (0, 100, 255, 51)
    image = decode(encoded(rgba))
    assert image[0, 0].tolist() == [255, 255, 255]
    assert image[1, 1].tolist() == [204, 224, 255]
    assert (image[2:] == SCENE[2:]).all()
    la = np.dstack([np.full((4, 4), 80, np.uint8), np.full((4, 4), 0, np.uint8)])
    assert (decode(encoded(Image.fromarray(la, "LA"))) == 255).all()
    palette = Image.fromarray(SCENE).quantize(8)
    index = palette.getpixel((3, 3))
    data = encoded(palette, transparency=bytes([0 if i == index else 255 for i in range(8)]))
    assert decode(data)[3, 3].tolist() == [255, 255, 255]
    deep = rgba.astype(np.uint16) * 257
    ok, png = cv2.imencode(".png", deep[:, :, [2, 1, 0, 3]])
    assert ok and np.abs(decode(png.tobytes()).astype(int) - image).max() <= 1


def test_of_an_animation_the_first_frame_is_read() -> None:
    frames = [Image.new("RGB", (8, 8), c) for c in ((200, 0, 0), (0, 200, 0))]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert decode(data)[0, 0].tolist() == [200, 0, 0]


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM", "GIF", "PNG"])
def test_grey_and_black_and_white_become_rgb(kind: str) -> None:
    for mode in ("L", "1"):
        image = decode(encoded(Image.fromarray(SCENE).convert(mode), kind))
        assert image.shape == SCENE.shape and (image[..., 0] == image[..., 2]).all()


HTML = b"\n<!DOCTYPE html><html><body>404</body></html>"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "zero bytes"), (HTML, "is HTML, not a picture"), (b"\0" * 99, "only zeros"),
        (b"version https://git-lfs.github.com/spec/v1\noid 1", "Git LFS"),
        (b"hello", "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
    ],
)  # fmt: skip
def test_what_is_no_picture_is_said_in_words(data: bytes, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "a b.jpg"
    file.write_bytes(data)
    with pytest.raises(DecodeError, match=reason) as caught:
        decode(file)
    assert "a b.jpg" in str(caught.value) and isinstance(caught.value, DataError)
    assert pickle.loads(pickle.dumps(caught.value)).reason == caught.value.reason


@pytest.mark.parametrize(
    "kind", ["JPEG", "progressive", "CMYK", "PNG", "GIF", "WEBP", "TIFF", "BMP"]
)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_cut_off_file_is_no_picture(kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (80, 90, 3), np.uint8)
    image = Image.fromarray(noise)
    name = {"progressive": "JPEG", "CMYK": "JPEG"}.get(kind, kind)
    options = {"progressive": kind == "progressive"} if name == "JPEG" else {}
    data = encoded(image.convert("CMYK") if kind == "CMYK" else image, name, **options)
    assert decode(data).shape == (80, 90, 3)
    with pytest.raises(DecodeError) as caught:
        decode(data[: int(len(data) * share)])
    if name in ("JPEG", "PNG"):
        assert caught.value.reason.startswith("cut off")


def test_a_missing_file_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DecodeError, match=r"none\.jpg: No such file"):
        decode(tmp_path / "none.jpg")
    with pytest.raises(DecodeError):
        decode(tmp_path)


def test_huge_pictures_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PIXELS", 100)
    deep = cv2.imencode(".png", SCENE.astype(np.uint16) * 257)[1].tobytes()
    for data in (encoded(SCENE, "JPEG"), encoded(SCENE), encoded(SCENE, "TIFF"), deep):
        with pytest.raises(DecodeError, match=r"24 x 16.*million pixels"):
            decode(data)


def test_shrinking_keeps_the_picture_and_its_short_side() -> None:
    large = scene(800, 500)
    data = encoded(large, "JPEG", quality=95)
    small = decode(data, short_side=100)
    assert small.shape == (100, 160, 3)
    assert np.abs(small.astype(int) - shrink(large, 100)).mean() < 3
    assert decode(data, short_side=600).shape == large.shape
    assert decode(encoded(large), short_side=100).shape == (100, 160, 3)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_bytes_give_a_picture_or_a_decode_error(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"]))
    whole = bytearray(encoded(SCENE, kind))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        image = decode(bytes(whole))
    except DecodeError as error:
        assert error.reason
    else:
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([b"", b"\xff\xd8\xff", module.PNG, b"GIF89a", b"RIFF", b"II*\0"]), st.binary()
)
@example(module.PNG + b"\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x10\2\0\0\0", b"")
def test_random_bytes_give_nothing_but_a_decode_error(start: bytes, rest: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(start + rest)


@pytest.mark.parametrize("mode", ["F", "I", "I;16", "I;16B"])
def test_numbers_are_converted_strip_by_strip(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(35 * 20).reshape(35, 20)
    if mode == "F":
        image = Image.fromarray((values / 700).astype(np.float32))
    elif mode == "I":
        image = Image.fromarray(values.astype(np.int32) * 90)
    else:
        order = ">u2" if mode == "I;16B" else "<u2"
        image = Image.frombytes(mode, (20, 35), (values * 90).astype(order).tobytes())
    at_once = to_rgb.to_rgb(image)
    monkeypatch.setattr(to_rgb, "_STRIP", 4 * 20)
    assert (to_rgb.to_rgb(image) == at_once).all()
    assert len(np.unique(at_once)) > 100
