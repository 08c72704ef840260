"""Pictures that are no files, or far larger inside than outside, are named before they cost."""

from __future__ import annotations

import io
import os
import socket
import struct
import tarfile
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from pictures import encoded, scene
from PIL import Image

from xfer.data.images import limits, picture_file, to_rgb
from xfer.data.images.decode import DecodeError, decode, formats, from_pil
from xfer.data.images.mask_file import read_mask_file
from xfer.data.images.picture_file import picture_bytes
from xfer.data.images.size import header_at, header_of, sizes_of
from xfer.data.sources.tar_index import members
from xfer.data.spec import open_spec
from xfer.errors import DataError

SCENE = scene(60, 40)


def png(width: int, height: int, bits: int, colours: int, notes: bytes = b"") -> bytes:
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colours]
    rows = zlib.compress(bytes(height * (1 + width * channels * bits // 8)), 9)
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    parts = chunk(b"IHDR", header), notes, chunk(b"IDAT", rows), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def tiff(*tags: tuple[int, int, int], body: bytes = b"") -> bytes:
    """A TIFF of 10 x 10 grey pixels, with further (tag, count, value)."""
    base = [(256, 1, 10), (257, 1, 10), (258, 1, 8), (262, 1, 1), (277, 1, 1), *tags]
    entries = b"".join(struct.pack("<HHII", tag, 4, n, value) for tag, n, value in sorted(base))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(base)) + entries + bytes(4) + body


def hole(file: Path, start: bytes, size: int) -> Path:
    """A file that begins so, and is zeros without a place on the disk from there on."""
    file.write_bytes(start)
    os.truncate(file, size)
    return file


@pytest.mark.parametrize("read", [decode, read_mask_file, header_at, picture_bytes])
def test_what_is_no_file_is_named_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: object
) -> None:
    assert callable(read)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        for name, what in {
            "pipe": "a pipe", "zero": "a device", "folder": "a folder", "socket": "a socket"
        }.items():  # fmt: skip
            with pytest.raises(DecodeError, match=f"not a picture file: {what}"):
                read(Path(f"{name}.png"))
        assert sizes_of([Path("pipe.png"), Path("zero.png")]).tolist() == [[0, 0], [0, 0]]


def test_a_file_of_proc_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("/proc/self/maps")
    with pytest.raises(DecodeError, match="zero bytes"):
        decode(tmp_path / "a.png")


def test_files_far_larger_than_their_pixels_are_not_read(tmp_path: Path) -> None:
    start = encoded(SCENE, "JPEG")
    before = time.process_time()
    for size, line in ((3 << 30, "a file of 3.2 GB"), (900 << 20, "far more than its 0.0 million")):
        with pytest.raises(DecodeError, match=line):
            decode(hole(tmp_path / "a.jpg", start, size))
    with pytest.raises(DecodeError, match="holds only zeros"):
        read_mask_file(hole(tmp_path / "b.png", b"", 900 << 20))
    assert time.process_time() - before < 1


def test_a_jpeg_that_was_never_filled_is_no_picture(tmp_path: Path) -> None:
    start = encoded(SCENE, "JPEG")
    with pytest.raises(DecodeError, match=r"zeros|cut off|not all"):
        decode(hole(tmp_path / "a.jpg", start[:-2], 100_000))
    assert decode(start + bytes(1000)).shape == (40, 60, 3)  # its end mark is there


def test_memory_counts_channels_and_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_DECODED", 30_000)
    for colours, bits, pixels in ((6, 16, 3750), (2, 16, 5000), (4, 16, 3750), (6, 8, 7500)):
        assert decode(png(pixels // 50, 50, bits, colours)).shape == (50, pixels // 50, 3)
        with pytest.raises(DecodeError, match=r"pixels of \d bytes take .*save it with 8 bits"):
            decode(png(pixels // 50 + 1, 50, bits, colours))
    with pytest.raises(DecodeError, match="pixels of 60000 bytes"):
        decode(tiff((273, 1, 8), (279, 1, 8), (277, 1, 60_000))[:200] + bytes(100))


def test_cameras_pass_and_bombs_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for width, height, depth, stored in (
        (12_000, 9_000, 3, 4_000_000), (16_320, 12_240, 3, 8_000_000), (16_320, 12_240, 4, 0),
        (14_204, 10_652, 6, 400_000_000), (20_000, 12_500, 4, 30_000_000),
    ):  # fmt: skip
        limits.check_size(width, height, depth, stored)
    for width, height, depth, stored, said in (
        (16_320, 12_240, 3, 2_000_000, "can hold no such picture"),
        (16_320, 12_240, 8, 99_000_000, "pixels of 8 bytes take 1,598 MB"),
        (16_000, 16_000, 1, 99_000_000, "more than 250 million pixels"),
    ):
        with pytest.raises(DecodeError, match=said):
            limits.check_size(width, height, depth, stored)
    monkeypatch.setenv(limits.MEGAPIXELS, "400")
    limits.check_size(20_000, 20_000, 4, 1000)
    with pytest.raises(DecodeError, match="more than 400 million pixels"):
        limits.check_size(20_000, 20_001)
    monkeypatch.setenv(limits.MEGAPIXELS, "many")
    with pytest.raises(DecodeError, match="XFER_MAX_MEGAPIXELS=many is no number"):
        decode(png(20, 20, 8, 2))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "JPEG2000", "AVIF"])
def test_a_large_picture_must_be_worth_its_file(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if kind not in formats():
        pytest.skip(f"this Pillow has no {kind}")
    options = {"compression": "tiff_lzw"} if kind == "TIFF" else {}
    file = io.BytesIO()
    Image.new("P" if kind == "GIF" else "RGB", (400, 300)).save(file, kind, **options)
    assert decode(file.getvalue()).shape == (300, 400, 3)
    monkeypatch.setattr(limits, "_PLENTY", 119_999)
    monkeypatch.setattr(limits, "MAX_RATIO", 10)
    with pytest.raises(DecodeError, match=r"400 x 300 pixels in a file of 0\.0 MB"):
        decode(file.getvalue())
    monkeypatch.setattr(limits, "_PLENTY", 120_000)
    decode(file.getvalue())


def test_pillows_own_limit_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for kind in ("PNG", "BMP"):
        data = encoded(SCENE, kind)
        assert decode(data).shape == SCENE.shape and header_of(data) == (*SCENE.shape[:2], 1)
    (tmp_path / "m.png").write_bytes(encoded(SCENE[:, :, 0]))
    assert read_mask_file(tmp_path / "m.png").values.shape == SCENE.shape[:2]
    with pytest.raises(DecodeError):
        decode(b"BM" + bytes(60))
    assert Image.MAX_IMAGE_PIXELS == 100


def test_tiles_and_lists_of_them_count(tmp_path: Path) -> None:
    huge = tiff((322, 1, 60_000), (323, 1, 60_000), (324, 1, 8), (325, 1, 8))
    many = tiff((273, 200_000_000, 8), (278, 1, 1), (279, 200_000_000, 8))
    (tmp_path / "m.tif").write_bytes(huge)
    with pytest.raises(DecodeError, match="million pixels"):
        read_mask_file(tmp_path / "m.tif")
    with pytest.raises(DecodeError, match="lists more than"):
        decode(many)


def test_a_webp_is_refused_by_its_header() -> None:
    image = io.BytesIO()
    Image.fromarray(SCENE).save(image, "WEBP", lossless=True)
    data = bytearray(image.getvalue())
    data[21:25] = (16382 | 16382 << 14).to_bytes(4, "little")
    with pytest.raises(DecodeError, match=r"16383 x 16383: more than"):
        decode(bytes(data))


def test_passes_over_a_jpeg_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    Image.fromarray(SCENE).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    last = data.rindex(b"\xff\xda")
    more = data[:-2] + data[last:-2] * 300 + b"\xff\xd9"
    with pytest.raises(DecodeError, match=r"in 3\d\d passes over 60 x 40"):
        decode(more, 16)
    assert decode(data).shape == (40, 60, 3)
    monkeypatch.setattr(limits, "_MAX_SCANNED", 5 * 2400)  # 10 passes over many pixels
    with pytest.raises(DecodeError, match=r"in 10 passes"):
        decode(data)
    assert decode(encoded(SCENE, "JPEG")).shape == (40, 60, 3)  # one pass, not counted


def test_long_notes_of_a_png_are_not_unpacked() -> None:
    packed = zlib.compress(bytes(1 << 20), 9)
    notes = b"".join(chunk(b"zTXt", b"k%d\0\0" % i + packed) for i in range(300))
    before = time.process_time()
    assert decode(png(10, 10, 8, 2, notes)).shape == (10, 10, 3)
    assert time.process_time() - before < 0.5


def test_a_bmp_that_moves_by_whole_lines_and_pictures_in_text_are_limited() -> None:
    head = struct.pack("<IiiHHIIiiII", 40, 80_000_000, 1, 1, 8, 1, 8, 0, 0, 256, 0)
    bmp = b"BM" + struct.pack("<IHHI", 1100, 0, 0, 1078) + head + bytes(1024) + b"\0\2\1\xff" * 4
    with pytest.raises(DecodeError, match="a packed BMP of 80000000 x 1 pixels"):
        decode(bmp)
    with pytest.raises(DecodeError, match=r"a picture in 40 MB of text"):
        decode(b"P3\n4000 4000\n255\n" + b"1 " * 20_000_000)


@pytest.mark.parametrize(("kind", "white"), [(5, 20), (5, 254), (5, 1000), (6, 20), (6, 1000)])
def test_another_white_is_read_as_pillow_reads_it(tmp_path: Path, kind: int, white: int) -> None:
    rng = np.random.default_rng(white)
    shape = (30, 20) if kind == 5 else (30, 20, 3)
    values = rng.integers(0, white + 1, shape).astype(">u2" if white > 255 else np.uint8)
    data = b"P%d # note\n20\n#\n30 %d\n" % (kind, white) + values.tobytes()
    with Image.open(io.BytesIO(data)) as image:
        expected = from_pil(image)
    assert np.array_equal(decode(data), expected)
    if kind == 5:  # in a mask values are classes
        (tmp_path / "m.pgm").write_bytes(data)
        assert np.array_equal(read_mask_file(tmp_path / "m.pgm").values, values)
    with pytest.raises(DecodeError):
        decode(data[:-1])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "CMYK", "I;16", "F"])
def test_strips_give_the_same_pixels(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rgba = Image.fromarray(rng.integers(0, 256, (50, 70, 4), np.uint8))
    image = rgba.convert("RGB").quantize(9) if mode == "P" else rgba
    if mode == "F":
        image = Image.fromarray(rng.random((50, 70), np.float32))
    elif mode == "I;16":
        image = Image.fromarray(rng.integers(0, 65536, (50, 70)).astype(np.uint16))
    elif mode != "P":
        image = rgba.convert("RGB").convert(mode) if mode == "CMYK" else rgba.convert(mode)
    if mode == "P":
        image.info["transparency"] = 3
    whole = to_rgb.to_rgb(image)
    monkeypatch.setattr(to_rgb, "_STRIP", 300)
    monkeypatch.setattr(to_rgb, "_BLOCK", 200)
    assert np.array_equal(to_rgb.to_rgb(image), whole)


def test_16_bits_are_rounded() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    assert np.array_equal(to_rgb.to_8_bits(values), np.rint(values / 257).astype(np.uint8))


def test_large_pictures_are_read_one_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(png(50, 50, 8, 2))
    monkeypatch.setattr(limits, "_LARGE", 10)
    inside, most = [0], [0]
    real = picture_file.read_all

    def slow(handle: int, size: int) -> bytes:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.005)
        inside[0] -= 1
        return real(handle, size)

    monkeypatch.setattr(picture_file, "read_all", slow)
    threads = [threading.Thread(target=picture_bytes, args=(tmp_path / "a.png",)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1


def shard(file: Path, **sizes: int) -> Path:
    """A tar of one sample whose members are holes of these sizes, by their endings."""
    with file.open("wb") as out:
        for ending, size in sizes.items():
            about = tarfile.TarInfo(f"a.{ending}")
            about.size = size
            out.write(about.tobuf())
            out.seek(-(-size // 512) * 512, os.SEEK_CUR)
        out.truncate(out.tell() + 1024)
    return file


def test_members_of_tars_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XFER_CACHE", str(tmp_path / "cache"))
    for name, sizes in (("label", {"jpg": 9, "cls": 3 << 30}), ("picture", {"jpg": 3 << 30})):
        (tmp_path / name).mkdir()
        shard(tmp_path / name / "shard-000000.tar", **sizes)
    with pytest.raises(DataError, match=r"a\.cls: 3,221,225,472 bytes, far more than a label"):
        open_spec(f"webdataset:{tmp_path / 'label'}")
    source = next(iter(open_spec(f"webdataset:{tmp_path / 'picture'}").reading.parts.values()))
    with pytest.raises(DecodeError, match=r"a file of 3\.2 GB"):
        source[0]
    name = tarfile.TarInfo("././@LongLink")
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    hole(tmp_path / "long.tar", name.tobuf(), 2 << 30)
    with pytest.raises(DataError, match="a header of"):
        list(members(tmp_path / "long.tar"))


def jpeg(before: bytes) -> bytes:
    whole = encoded(SCENE, "JPEG")
    return whole[:2] + before + whole[2:]


def gif(before: bytes) -> bytes:
    whole = encoded(SCENE, "GIF")
    first = 13 + (3 << (whole[10] & 7) + 1)  # after its table of colours
    return whole[:first] + before + whole[first:]


NOTE = b"\xff\xe5\0\2"
MANY_PIECES = {
    "notes of a JPEG": jpeg(NOTE * 1_000_000),
    "marks of a JPEG": jpeg(b"\xff\xd0" * 1_000_000),
    "filling of a JPEG": jpeg(b"\xff" * 5_000_000),
    "notes of a GIF": gif(b"!\xf9\4\0\0\0\0\0" * 500_000),
    "a long note of a GIF": gif(b"!\xfe" + b"\1a" * 1_000_000 + b"\0"),
    "pieces of a PNG": png(9, 9, 8, 2, chunk(b"IDAT", b"") * 300_000),
    "remarks of a PPM": b"P6\n#" + b"a" * 5_000_000 + b"\n1 1 255\n123",
    "blanks of a PPM": b"P6 1 1" + b" " * 5_000_000 + b"255\n123",
    "remarks of a PBM": b"P4 8\n" + b"#\n" * 1_000_000 + b"8\n12345678",
}


@pytest.mark.parametrize("name", MANY_PIECES)
def test_files_in_millions_of_pieces_are_refused(name: str, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(DecodeError, match=r"[0-9,]+ (notes|pieces|bytes of)"):
        decode(MANY_PIECES[name])
    mask = tmp_path / "mask.png"
    mask.write_bytes(MANY_PIECES[name])
    with pytest.raises(DecodeError):
        read_mask_file(mask)
    sizes_of([mask])
    assert time.monotonic() - started < 5


def test_pieces_as_programs_write_them_are_read() -> None:
    expected = decode(encoded(SCENE, "JPEG"))
    for before in (b"\xff" * 1_000_000, NOTE + b"stray", NOTE * 1000, b"\xff\xd0" * 99, b""):
        assert np.array_equal(decode(jpeg(before)), expected)
    expected = decode(encoded(SCENE, "GIF"))
    for before in (b"", b"!\xfe" + b"\1a" * 1000 + b"\0", b"!\xf9\4\0\0\0\0\0" * 99):
        assert np.array_equal(decode(gif(before)), expected)
    body = bytes(range(256)) * 300
    for head in (b"P6 160 160 255\n", b"P6\n#" + b"a" * 60_000 + b"\n160 160\n#b\n255\n"):
        assert np.array_equal(decode(head + body).ravel(), np.frombuffer(body, np.uint8))


def test_what_follows_after_the_end_of_a_tar_is_not_missed(tmp_path: Path) -> None:
    picture = encoded(SCENE)
    for i in range(2):
        with tarfile.open(tmp_path / f"{i}.tar", "w") as tar:
            info = tarfile.TarInfo(f"{i}.png")
            info.size = len(picture)
            tar.addfile(info, io.BytesIO(picture))
    one, two = ((tmp_path / f"{i}.tar").read_bytes() for i in range(2))
    file = tmp_path / "both.tar"
    for content, line in {
        one: "",
        one + bytes(1 << 20): "",  # a large record
        one + two: r"both\.tar: more follows after the end of both\.tar",
        bytes(10240) + two: r"both\.tar: more follows after the end",
    }.items():
        file.write_bytes(content)
        if line:
            with pytest.raises(DataError, match=line):
                list(members(file))
        else:
            assert [member.name for member in members(file)] == ["0.png"]
    hole(file, one, 5 << 30)  # a download whose place was laid out
    with pytest.raises(DataError, match=r"both\.tar: 5,\d+,\d+,\d+ bytes follow after the end"):
        list(members(file))
