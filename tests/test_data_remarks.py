"""Pictures that are read but may look wrong are counted and named, whatever format they come in."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pictures import encoded, scene, write_folder, write_picture
from PIL import Image, TiffImagePlugin

from xfer.cli.app import main
from xfer.data.images.decode import DecodeError, decode
from xfer.data.images.mask_file import read_mask_file
from xfer.data.images.remarks import Remark, remark, remarks
from xfer.data.images.size import upright_size
from xfer.data.images.tiff import layout_of, read_directory, without_notes
from xfer.data.inspect import verify
from xfer.data.inspect.verify import look_at, odd_pictures
from xfer.data.open import open_data


def tiff(
    pixels: np.ndarray, tags: dict[int, Any] | None = None, order: Any = "<", large: bool = False
) -> bytes:
    """An uncompressed TIFF of an array (H, W) or (H, W, C), with some tags changed or added; None
    leaves a tag out."""
    values = np.atleast_3d(pixels)
    height, width, channels = values.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    bits = (values.dtype.itemsize * 8,) * channels
    own: dict[int, Any] = {
        256: width, 257: height, 258: bits, 259: 1, 262: 2 if channels in (3, 4) else 1, 273: 0,
        277: channels, 278: height, 279: len(data), 339: (kind,) * channels,
    }  # fmt: skip
    if channels not in (1, 3):
        own[338] = (0,) * (channels - (3 if channels == 4 else 1))
    own = {
        tag: value for tag, value in sorted({**own, **(tags or {})}.items()) if value is not None
    }
    word, size, start = ("Q", 20, 16) if large else ("I", 12, 8)
    entries, behind = b"", b""
    end = start + (8 if large else 2) + size * len(own) + struct.calcsize(word)
    pack = lambda form, *some: struct.pack(order + form, *some)  # noqa: E731
    pixels_at = end + sum(4 * len(v) for v in own.values() if isinstance(v, tuple) and len(v) > 1)
    for tag, value in own.items():
        some = (pixels_at,) if tag == 273 else value if isinstance(value, tuple) else (value,)
        block = pack(f"{len(some)}I", *some)
        if len(block) > struct.calcsize(word):
            behind += block
            block = pack(word, end + len(behind) - len(block))
        entries += pack("HH" + word, tag, 4, len(some)) + block.ljust(struct.calcsize(word), b"\0")
    if large:
        head = pack("2sHHHQ", b"II" if order == "<" else b"MM", 43, 8, 0, start)
        return head + pack("Q", len(own)) + entries + pack("Q", 0) + behind.ljust(
            pixels_at - end, b"\0") + data  # fmt: skip
    head = pack("2sHI", b"II" if order == "<" else b"MM", 42, start)
    return head + pack("H", len(own)) + entries + pack("I", 0) + behind.ljust(
        pixels_at - end, b"\0") + data  # fmt: skip


def random(*shape: int, dtype: Any = np.uint8, most: int = 256) -> np.ndarray:
    return np.random.default_rng(0).integers(0, most, shape).astype(dtype)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("large", [False, True])  # Pillow reads the larger kind in one order only
def test_tiffs_of_the_usual_kinds_are_read(order: str, large: bool) -> None:
    large = large and order == "<"
    colour, grey, deep = random(9, 7, 3), random(9, 7), random(9, 7, dtype=np.uint16, most=65536)
    assert np.array_equal(decode(tiff(colour, order=order, large=large)), colour)
    assert np.array_equal(decode(tiff(grey, order=order, large=large))[..., 1], grey)
    assert np.abs(decode(tiff(deep, order=order))[..., 0] - deep / 257).max() < 0.51


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("channels", [2, 5, 8, 13])
def test_pictures_of_many_channels_are_named_with_their_number(channels: int, order: str) -> None:
    data = tiff(random(9, 7, channels), {338: None}, order)
    with pytest.raises(DecodeError, match=rf"has {channels} channels, not 1, 3 or 4") as caught:
        decode(data)
    assert "cut off" not in caught.value.reason
    with pytest.raises(DecodeError, match=f"has {channels} channels of uint16"):
        decode(tiff(random(9, 7, channels, dtype=np.uint16), order=order))


@pytest.mark.parametrize(
    ("pixels", "tags", "said"),
    [
        (random(9, 7, 3, dtype=np.float32), {}, "float32 values in 3 channels"),
        (random(9, 7, dtype=np.float64), {}, "float64 values: save it as 8 or 16 bit"),
        (random(9, 7, dtype=np.float16), {}, "float16"),
        (random(9, 7, dtype=np.uint64), {}, "uint64"),
        (random(9, 7, dtype=np.int8), {}, "int8"),
        (random(9, 7, 4), {262: 1, 338: (0, 0, 0)}, "4 channels that are not marked as RGB"),
        (random(9, 7, 3), {262: 1, 338: (0, 0)}, "3 channels that are not marked as RGB"),
        (random(9, 7, dtype=np.float32, most=9), {}, "numbers from 0 to 8, not within 0..1"),
        (random(9, 7, dtype=np.int16, most=9) - 4, {}, "not within 16 bits"),
        (random(9, 7), {256: None}, "damaged"),
        (random(9, 7), {259: 9999}, "packed in a way that is not read .*9999"),
    ],
)
def test_values_that_are_not_read_are_named(pixels: np.ndarray, tags: Any, said: str) -> None:
    data = tiff(pixels.astype(np.int16) if pixels.dtype.kind == "i" and pixels.itemsize > 2
                else pixels, tags)  # fmt: skip
    with pytest.raises(DecodeError, match=said) as caught:
        decode(data)
    assert "cut off" not in caught.value.reason


def test_floats_from_0_to_1_are_read() -> None:
    values = np.linspace(0, 1, 63, dtype=np.float32).reshape(9, 7)
    assert np.array_equal(decode(tiff(values))[..., 0], np.rint(values * 255))
    assert np.array_equal(decode(encoded(Image.fromarray(values), "TIFF"))[..., 2],
                          np.rint(values * 255))  # fmt: skip
    values[3, 3] = np.nan
    with pytest.raises(DecodeError, match="floating-point"):
        decode(tiff(values))


def test_twelve_bits_that_are_declared_are_scaled() -> None:
    """A TIFF says how many bits it has, so that no guess is made."""
    values = np.array([[0, 1, 2048, 4095]], np.uint16)
    packed = b"".join(
        bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in values.reshape(-1, 2).tolist()
    )
    data = tiff(np.frombuffer(packed, np.uint8)[None], {256: 4, 258: 12, 279: 6})
    with remarks() as odd:
        assert decode(data)[0, :, 0].tolist() == [0, 0, 128, 255]
    assert odd == []


def test_notes_behind_the_end_of_a_tiff_are_left_out(tmp_path: Path) -> None:
    """No warning of Pillow's either: warnings are errors here."""
    whole = tiff(random(9, 7, 3), {270: tuple(range(40)), 700: tuple(range(90)), 34675: (1, 2)})
    directory = read_directory(whole)
    assert directory is not None
    for tag in (270, 700, 34675):
        entry = next(e for e in directory.entries if e.tag == tag)
        hurt = bytearray(whole)
        hurt[entry.at + 8 : entry.at + 12] = struct.pack("<I", 1 << 30)
        assert np.array_equal(decode(bytes(hurt)), decode(whole))
        assert upright_size(bytes(hurt)) == (9, 7)
        (tmp_path / "mask.tif").write_bytes(bytes(hurt))
        assert read_mask_file(tmp_path / "mask.tif").values.shape == (9, 7, 3)
        short = without_notes(bytes(hurt))
        assert len(short) == len(whole) and layout_of(short) == layout_of(whole)
    entry = next(e for e in directory.entries if e.tag == 273)
    hurt = bytearray(whole)
    hurt[entry.at + 8 : entry.at + 12] = struct.pack("<I", 1 << 30)
    with pytest.raises(DecodeError, match="cut off: 100%"):
        decode(bytes(hurt))


DIM = {
    "grey PNG": lambda v: encoded(Image.fromarray(v)),
    "colour PNG": lambda v: cv2.imencode(".png", np.dstack([v, v // 2, v // 3]))[1].tobytes(),
    "PNG with opacity": lambda v: cv2.imencode(".png", np.dstack([v, v, v, v]))[1].tobytes(),
    "grey TIFF": lambda v: tiff(v),
    "colour TIFF": lambda v: tiff(np.dstack([v, v // 2, v // 3]), order=">"),
    "32 bits": lambda v: encoded(Image.fromarray(v.astype(np.int32)), "TIFF"),
}


@pytest.mark.parametrize("kind", DIM)
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 15, 16])
def test_pictures_that_use_few_of_16_bits_are_remarked_on(kind: str, bits: int) -> None:
    values = np.linspace(0, 2**bits - 1, 96).astype(np.uint16).reshape(12, 8)
    data = DIM[kind](values)
    with remarks() as odd:
        seen = decode(data)
    assert np.array_equal(seen, decode(data))  # looking changes nothing, nor does it scale
    if kind != "PNG with opacity":  # through which white shows
        assert abs(int(seen.max()) - (2**bits - 1) / 257) <= 1
    lines = [one.line for one in odd if one.check == "few_bits"]
    assert len(lines) == (bits <= 14)
    if lines:
        assert f"only the lower {bits} of 16 bits" in lines[0]
        assert f"values by {2 ** (16 - bits)}" in lines[0]


def test_black_pictures_and_8_bits_are_not_remarked_on() -> None:
    with remarks() as odd:
        decode(encoded(Image.fromarray(np.zeros((4, 4), np.uint16))))
        decode(encoded(np.zeros((4, 4, 3), np.uint8)))
        decode(encoded(Image.fromarray(np.ones((4, 4), np.uint8))))
    assert odd == []


def test_channels_and_pages_that_are_left_out_are_remarked_on() -> None:
    with remarks() as odd:
        near = random(9, 7, 4)
        assert np.array_equal(decode(tiff(near)), near[:, :, :3])
        double = random(9, 7, 2)
        assert np.array_equal(decode(tiff(double))[..., 2], double[..., 0])
    assert [one.line for one in odd] == [
        "of 4 channels the first 3 are read", "of 2 channels the first is read"
    ]  # fmt: skip
    file = io.BytesIO()
    pages = [Image.fromarray(scene(seed=i)) for i in range(3)]
    pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:])
    with remarks() as odd:
        decode(file.getvalue())
    assert [one.check for one in odd] == ["pages"]
    with remarks() as odd:
        decode(encoded(pages[0], "TIFF"))
    assert odd == []


def test_a_smaller_copy_in_a_tiff_is_no_page() -> None:
    file = io.BytesIO()
    first = Image.fromarray(scene())
    with TiffImagePlugin.AppendingTiffWriter(file) as out:
        first.save(out, "TIFF")
        out.newFrame()
        first.resize((6, 4)).save(out, "TIFF", tiffinfo={254: 1})
    with remarks() as odd:
        assert np.array_equal(decode(file.getvalue()), scene())
    assert odd == []


def test_remarks_are_kept_apart() -> None:
    remark("pages", "nobody asks")
    with remarks() as outer:
        remark("pages", "one")
        with remarks() as inner:
            remark("pages", "two")
        remark("pages", "three")
    assert [one.line for one in outer] == ["one", "three"]
    assert [one.line for one in inner] == ["two"]


def dim(bits: int, size: tuple[int, int] = (12, 8)) -> bytes:
    values = np.linspace(0, 2**bits - 1, size[0] * size[1]).astype(np.uint16)
    return encoded(Image.fromarray(values.reshape(size)))


def as_folder(root: Path) -> str:
    write_folder(root, {"ant": 3, "bee": 3}, ".png")
    for i, bits in enumerate((12, 11)):
        (root / "bee" / f"dim{i}.png").write_bytes(dim(bits))
    return str(root)


def as_table(root: Path) -> str:
    as_folder(root)
    files = sorted(p.relative_to(root).as_posix() for p in root.rglob("*.png"))
    lines = ["path,label", *(f"{file},{file[:3]}" for file in files)]
    (root / "labels.csv").write_text("\n".join(lines))
    return str(root / "labels.csv")


def as_tars(root: Path) -> str:
    as_folder(root)
    with tarfile.open(root / "a-000.tar", "w") as tar:
        for number, file in enumerate(sorted(root.rglob("*.png"))):
            for name, data in (
                (f"{number}-{file.stem}.png", file.read_bytes()),
                (f"{number}-{file.stem}.cls", b"%d" % (file.parent.name == "bee")),
            ):
                about = tarfile.TarInfo(name)
                about.size = len(data)
                tar.addfile(about, io.BytesIO(data))
    return f"webdataset:{root}"


def as_masks(root: Path) -> str:
    for i in range(4):
        write_picture(root / "images" / f"{i}.png", size=(8, 12))
        (root / "masks").mkdir(exist_ok=True)
        (root / "masks" / f"{i}.png").write_bytes(encoded(random(12, 8, most=3)))
    for i, bits in enumerate((12, 11)):
        (root / "images" / f"dim{i}.png").write_bytes(dim(bits))
        (root / "masks" / f"dim{i}.png").write_bytes(encoded(random(12, 8, most=3)))
    return f"masks:{root}"


def as_boxes(root: Path) -> str:
    for i in range(6):
        write_picture(root / "images" / f"{i}.png", size=(8, 12))
    for i, bits in enumerate((12, 11)):
        (root / "images" / f"dim{i}.png").write_bytes(dim(bits))
    for file in (root / "images").iterdir():
        (root / "labels").mkdir(exist_ok=True)
        (root / "labels" / f"{file.stem}.txt").write_text("0 .5 .5 .4 .4\n1 .5 .5 .2 .2\n")
    (root / "data.yaml").write_text("names: [ant, bee]\ntrain: images\n")
    return f"yolo:{root}"


@pytest.mark.parametrize("write", [as_folder, as_table, as_tars, as_masks, as_boxes])
def test_data_of_every_format_are_remarked_on_in_one_line(write: Any, tmp_path: Path) -> None:
    bundle = open_data(write(tmp_path), val="none")
    (line,) = [note for note in bundle.notes if "16 bits" in note]
    assert line.startswith("warning: 2 pictures (") and "dim0" in line and "dim1" in line
    assert "lower 12 of 16 bits" in line and "by 16" in line
    (found,) = [one for one in bundle.findings if one.check == "few_bits"]
    assert len(found.items) == 2 and found.text in line


def test_data_show_says_it_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = as_folder(tmp_path)
    (tmp_path / "ant" / "wide.tif").write_bytes(tiff(random(9, 7, 6)))
    assert main(["data", "show", spec, "--val", "none"]) == 0
    said = capsys.readouterr().err
    assert "lower 12 of 16 bits" in said and "ant/wide.tif: has 6 channels" in said
    assert "unless --skip-bad" in said
    assert main(["data", "show", spec, "--val", "none", "--skip-bad"]) == 0
    assert "unless --skip-bad" not in capsys.readouterr().err


def test_what_is_remarked_on_once_is_remarked_on_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Good pictures are remembered and not decoded again; these are."""
    monkeypatch.setattr(verify, "REMEMBERED", 4)
    monkeypatch.setenv("XFER_CACHE", str(tmp_path / "cache"))
    source = open_data(as_folder(tmp_path / "photos"), val="none", check=False).splits["train"]
    for _ in range(3):
        looked = look_at(source)
        assert [source.ids[i] for i, _ in looked.remarks] == ["bee/dim0.png", "bee/dim1.png"]
        assert looked.bad == []
    assert len(verify._remembered()) == 6


def test_findings_count_and_name() -> None:
    few = [(f"{i}.png", Remark("few_bits", f"{i} bits", i)) for i in range(12)]
    one, two = odd_pictures([*few, ("x.tif", Remark("pages", "of several pages the first"))])
    assert one.text == "12 pictures (0.png, 1.png, 2.png, 3.png, 4.png and 7 more): 11 bits"
    assert two.text == "1 picture (x.tif): of several pages the first"
    assert len(one.items) == 12 and two.items == (("x.tif",),)


def test_features_and_packs_of_such_pictures_say_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XFER_CACHE", str(tmp_path / "cache"))
    spec = as_folder(tmp_path / "photos")
    net = ["--backbone", "tiny_nets:tiny", "--weights", "none", "--device", "cpu", "-l", "conv2"]
    for _ in range(2):  # the second goes on with what the first has packed
        assert main(["data", "pack", spec, "-o", str(tmp_path / "pack")]) == 0
        said = capsys.readouterr().err
        assert "warning: 2 pictures (" in said and "lower 12 of 16 bits" in said
    for words in ([], ["--skip-bad", "--no-cache"]):
        out = ["-o", str(tmp_path / f"{len(words)}.npz")]
        assert main(["features", "--data", spec, *net, *out, *words]) == 0
        said = capsys.readouterr().err
        assert said.count("warning: 2 pictures (") == 1 and "lower 12 of 16 bits" in said


def test_the_doctor_says_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = as_folder(tmp_path)
    assert main(["data", "check", spec, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["findings"]
    (few,) = [one for one in found if one["check"] == "few_bits"]
    assert len(few["items"]) == 2 and "lower 12 of 16 bits" in few["text"]
