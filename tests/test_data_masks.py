"""Pictures and masks: layouts, what values mean, what is ignored, and what can't be used."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_sets import SIZE, make_mask, mask_of, write_mask, write_picture, write_set
from PIL import Image

from xfer.data.images.decode import DecodeError
from xfer.data.images.mask_file import read_mask_file
from xfer.data.open import open_data, show
from xfer.data.readers.masks.class_table import is_ignored, read_table
from xfer.data.sources.base import subset
from xfer.errors import DataError, XferError
from xfer.kinds.pixel_counts import pixel_counts
from xfer.testing.source import check_source

PALETTE = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]


def opened(root: Path, **options):
    return open_data(root, cut=False, **options)


LAYOUTS = {
    "flat": ("images/{}.jpg", "masks/{}.png"),
    "splits below": ("images/train/{}.jpg", "masks/train/{}.png"),
    "splits above": ("train/images/{}.jpg", "train/masks/{}.png"),
    "capitals": ("Images/{}.png", "Labels/{}.png"),
    "ade's names": ("Images/{}.jpg", "Annotations/{}.png"),
    "voc's names": ("JPEGImages/{}.jpg", "SegmentationClass/{}.png"),
    "penn-fudan's names": ("PNGImages/{}.png", "PedMasks/{}_mask.png"),
    "suffix": ("images/{}.png", "masks/{}_L.png"),
    "prefix": ("imgs/{}.png", "gt/mask_{}.png"),
    "both called": ("image/image_{}.png", "label/label_{}.png"),
    "sisters": ("train/{}.png", "train_labels/{}_L.png"),
    "annot": ("train/{}.png", "trainannot/{}.png"),
    "beside": ("train/{}.jpg", "train/{}_mask.png"),
    "beside, no split": ("{}.jpg", "{}-mask.png"),
    "beside, both called": ("train/{}_sat.jpg", "train/{}_mask.png"),
    "beside, a folder a patient": ("patient 1/{}.png", "patient 1/{}_mask.png"),
    "sisters, both called": ("train_images/{}.jpg", "train_masks/{}.png"),
    "deep": ("images/x/{}.png", "masks/x/{}.png"),
    "pets' names": ("images/{}.jpg", "annotations/trimaps/{}.png"),
    "extension kept": ("img/{}.jpg", "masks_machine/{}.jpg.png"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("spec", ["{}", "masks:{}"])
def test_layouts_are_recognised(tmp_path: Path, layout: str, spec: str) -> None:
    masks = write_set(tmp_path, *LAYOUTS[layout])
    found = open_data(spec.format(tmp_path), cut=False)
    assert (found.kind, found.format, found.classes) == ("segment", "masks", ("0", "1", "2"))
    source = found.splits["train"]
    check_source(source)
    for i in range(3):
        name = re.sub("^image_|_sat$", "", Path(source.ids[i]).stem)
        assert np.array_equal(mask_of(source, i), masks[name])


def test_the_user_may_name_splits(tmp_path: Path) -> None:
    for split in ("fold1", "fold2"):
        write_set(tmp_path, f"images/{split}/{{}}.png", f"masks/{split}/{{}}.png")
    found = opened(tmp_path, train="fold1", val="fold2")
    assert {role: len(s) for role, s in found.splits.items()} == {"train": 3, "val": 3}


def test_valid_fits_val_and_a_test_without_masks_is_not_scored(tmp_path: Path) -> None:
    write_set(tmp_path, "images/train/{}.png", "masks/train/{}.png")
    write_set(tmp_path, "images/valid/{}.png", "masks/val/{}.png")
    write_picture(tmp_path / "images/test/t.png")
    found = opened(tmp_path)
    assert list(found.splits) == ["train", "val"]
    assert any("test: no labels" in note for note in found.notes)


def test_a_val_split_is_cut_seeded(tmp_path: Path) -> None:
    write_set(tmp_path, names=[f"p{i}" for i in range(10)])
    first, again = (open_data(tmp_path, seed=3) for _ in range(2))
    assert len(first.splits["val"]) == 2
    assert first.split_json() == again.split_json()
    assert first.split_json() != open_data(tmp_path, seed=4).split_json()


# what masks' values mean


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("classes.txt", "sky\nroad\nVoid\n"),
        ("classes.txt", "0 sky\n1 road\n2 Void\n"),
        ("class_names.txt", "# mine\n0: sky\n1: road\n2: Void\n"),
        ("labels.csv", "value,name\n0,sky\n1,road\n2,Void\n"),
        ("_classes.csv", "Pixel Value, Class\n0, sky\n1, road\n2, Void\n"),
        ("classes.json", '["sky", "road", "Void"]'),
        ("classes.json", '{"sky": 0, "road": 1, "Void": 2}'),
        ("classes.json", '{"0": "sky", "1": "road", "2": "Void"}'),
        ("labels.json", '{"labels": [{"id": 2, "name": "Void"}, {"id": 0, "name": "sky"}, '
         '{"id": 1, "name": "road"}]}'),
    ],
)  # fmt: skip
def test_tables_name_values_and_void_is_ignored(tmp_path: Path, table: str, text: str) -> None:
    masks = write_set(tmp_path)
    (tmp_path / table).write_text(text)
    found = opened(tmp_path)
    assert found.classes == ("sky", "road")
    assert any("ignored: 2 Void (by name), 255" in note for note in found.notes)
    expected = np.where(masks["a"] == 2, 255, masks["a"])
    assert np.array_equal(mask_of(found.splits["train"]), expected)


COLOUR_TABLES = {
    "label_colors.txt": "0 0 0\t\tVoid\n128 0 0\tsky\n0 128 0\troad lane\n128 128 0\tcar\n",
    "classes.txt": "Void 0 0 0\nsky 128 0 0\nroad lane 0 128 0\ncar 128 128 0\n",
    "class_dict.csv": "name,r,g,b\nVoid,0,0,0\nsky,128,0,0\nroad lane,0,128,0\ncar,128,128,0\n",
    "labelmap.txt": "# label:color_rgb:parts:actions\nVoid:0,0,0::\nsky:128,0,0::\n"
    "road lane:0,128,0::\ncar:128,128,0::\n",
    "classes.json": json.dumps(
        {"Void": [0, 0, 0], "sky": [128, 0, 0], "road lane": [0, 128, 0], "car": [128, 128, 0]}
    ),
    "meta.json": json.dumps(
        {"classes": [{"title": n, "color": c, "id": 900 + i} for i, (n, c) in enumerate(
            [("Void", "#000000"), ("sky", "#800000"), ("road lane", "#008000"),
             ("car", "#808000")])]}
    ),
}  # fmt: skip


@pytest.mark.parametrize("table", COLOUR_TABLES)
@pytest.mark.parametrize("how", ["rgb", "palette in another order", "numbers"])
def test_colours_are_read_by_the_table(tmp_path: Path, table: str, how: str) -> None:
    (tmp_path / table).write_text(COLOUR_TABLES[table])
    write_picture(tmp_path / "images/a.png")
    indices = make_mask((0, 1, 2, 3))
    path = tmp_path / "masks/a.png"
    if how == "rgb":
        write_mask(path, np.array(PALETTE, np.uint8)[indices])
    elif how == "numbers":
        write_mask(path, indices)
    else:
        write_mask(path, 3 - indices, PALETTE[::-1])
    found = opened(tmp_path)
    assert found.classes == ("sky", "road lane", "car")
    assert np.array_equal(mask_of(found.splits["train"]), np.array([255, 0, 1, 2])[indices])


def test_roboflows_export_is_read(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        masks = write_set(tmp_path, f"{split}/{{}}.jpg", f"{split}/{{}}_mask.png")
        (tmp_path / split / "_classes.csv").write_text(
            "Pixel Value, Class\n0, background\n1, cat\n2, dog\n"
        )
    found = opened(tmp_path)
    assert found.classes == ("background", "cat", "dog")
    assert np.array_equal(mask_of(found.splits["val"]), masks["a"])


@pytest.mark.parametrize(
    ("name", "text"),
    [("labels.csv", "file,label\na.png,cat\nb.png,cat\n"), ("meta.json", '{"author": "me"}')],
)
def test_files_about_something_else_are_no_class_tables(
    tmp_path: Path, name: str, text: str
) -> None:
    write_set(tmp_path)
    (tmp_path / name).write_text(text)
    assert open_data(f"masks:{tmp_path}", cut=False).classes == ("0", "1", "2")


def test_a_palette_without_a_table_is_read_as_indices(tmp_path: Path) -> None:
    write_picture(tmp_path / "images/a.png")
    indices = make_mask((0, 1, 255))
    write_mask(tmp_path / "masks/a.png", indices, PALETTE)
    found = opened(tmp_path)
    assert found.classes == ("0", "1")
    assert np.array_equal(mask_of(found.splits["train"]), indices)


@pytest.mark.parametrize(
    ("table", "classes"),
    [("", ("background", "foreground")), ("cat", ("background", "cat")), ("floor\ncat", None)],
)
@pytest.mark.parametrize("colour", [False, True])
def test_0_and_255_are_two_classes(
    tmp_path: Path, table: str, classes: tuple[str, ...] | None, colour: bool
) -> None:
    mask = make_mask((0, 255))
    write_picture(tmp_path / "images/a.png")
    write_mask(tmp_path / "masks/a.png", np.stack([mask] * 3, 2) if colour else mask)
    if table:
        (tmp_path / "classes.txt").write_text(table)
    found = opened(tmp_path)
    assert found.classes == (classes or ("floor", "cat"))
    assert np.array_equal(mask_of(found.splits["train"]), mask // 255)


@pytest.mark.parametrize("value", [1, "1", "road", "ROAD", "road, 2"])
def test_the_user_says_what_is_ignored(tmp_path: Path, value: object) -> None:
    masks = write_set(tmp_path, values=(0, 1, 2, 3))
    (tmp_path / "classes.txt").write_text("sky\nroad\ncar\nvoid")
    found = opened(tmp_path, ignore=str(value))
    gone = (1, 2) if "," in str(value) else (1,)
    kept = [name for i, name in enumerate(("sky", "road", "car", "void")) if i not in gone]
    assert found.classes == tuple(kept)
    assert np.array_equal(mask_of(found.splits["train"]) == 255, np.isin(masks["a"], gone))
    assert opened(tmp_path, ignore="none").classes == ("sky", "road", "car", "void")


def test_data_ignore_is_a_key_of_recipes_and_takes_a_number() -> None:
    from xfer.recipe.tables import DataTable, checked

    field = next(f for f in DataTable.__dataclass_fields__.values() if f.name == "ignore")
    assert checked("data.ignore", 11, field) == "11"
    assert checked("data.ignore", "void", field) == "void"
    with pytest.raises(XferError, match=r"data\.ignore"):
        checked("data.ignore", 1.5, field)


def test_what_has_no_masks_can_not_ignore(tmp_path: Path) -> None:
    for name in ("x", "y"):
        write_picture(tmp_path / name / "a.png")
    with pytest.raises(XferError, match=r"data\.ignore=void"):
        open_data(tmp_path, ignore="void")
    with pytest.raises(XferError, match=r"data\.ignore=3"):
        open_data("digits", ignore="3")


@pytest.mark.parametrize(
    ("name", "ignored"),
    [("Unlabelled", True), ("un-labeled", True), ("VOID", True), ("don't care", True),
     ("ignore region", True), ("background", False), ("avoidance", False), ("unknown", False)],
)  # fmt: skip
def test_names_that_are_ignored(name: str, ignored: bool) -> None:
    assert is_ignored(name) == ignored


def test_bits_of_grey_are_not_stretched(tmp_path: Path) -> None:
    indices = make_mask((0, 1, 2, 3))
    for bits in (2, 4):
        path = tmp_path / f"{bits}.png"
        image = Image.fromarray(indices)
        image.putpalette([v for c in range(2**bits) for v in [c * 255 // (2**bits - 1)] * 3])
        image.save(path, bits=bits)
        data = bytearray(path.read_bytes())
        assert data[24] == bits
        # the same pixels as grey: colour type 0 and no palette
        _as_grey(path)
        assert np.array_equal(read_mask_file(path).values, indices)
    Image.fromarray(indices > 0).save(tmp_path / "1.png")
    assert np.array_equal(read_mask_file(tmp_path / "1.png").values, indices > 0)


def _as_grey(path: Path) -> None:
    import struct
    import zlib

    data, at, out = path.read_bytes(), 8, path.read_bytes()[:8]
    while at < len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            body = body[:9] + b"\0" + body[10:]
        if kind != b"PLTE":
            out += struct.pack(">I", len(body)) + kind + body
            out += struct.pack(">I", zlib.crc32(kind + body))
        at += 12 + length
    path.write_bytes(out)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 65535), min_size=1, max_size=12, unique=True), st.integers(0, 9))
def test_numbers_of_16_bits_and_palettes_survive(values: list[int], seed: int) -> None:
    import tempfile

    rng = np.random.default_rng(seed)
    wide = np.array(values, np.uint16)[rng.integers(0, len(values), (5, 7))]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.png"
        Image.fromarray(wide).save(path)
        assert np.array_equal(read_mask_file(path).values, wide)
        small = (wide % 256).astype(np.uint8)
        image = Image.fromarray(small)
        image.putpalette(rng.integers(0, 256, 768, np.uint8).tolist())
        image.save(path)
        found = read_mask_file(path)
        assert found.palette is not None
        assert np.array_equal(found.values, small)


# what can't be used


def bad_cases(root: Path) -> dict[str, str]:
    """Damages one picture or mask of a set a way -> what the message must say."""
    write_mask(root / "size/masks/b.png", make_mask((0, 1, 2), size=(6, 8)))
    write_mask(root / "value/masks/b.png", make_mask((0, 7)))
    write_mask(root / "colour/masks/b.png", np.full((*SIZE, 3), (9, 8, 7), np.uint8))
    Image.fromarray(make_mask((0, 1))).save(root / "jpeg/masks/b.png", "JPEG")
    (root / "cut/masks/b.png").write_bytes((root / "cut/masks/b.png").read_bytes()[:60])
    (root / "html/masks/b.png").write_bytes(b"<!doctype html>")
    (root / "missing/masks/b.png").unlink()
    return {
        "size": r"images/b\.png \(the mask is 8 x 6, the picture 16 x 12\)",
        "value": r"masks/b\.png: the mask holds value 7 that no class has",
        "colour": r"masks/b\.png: the mask holds colours",
        "jpeg": r"masks/b\.png: is JPEG, which blurs",
        "cut": r"masks/b\.png: cut off",
        "html": r"masks/b\.png: is HTML",
        "missing": r"images/b\.png \(no mask\)",
    }


CASES = ("size", "value", "colour", "jpeg", "cut", "html", "missing")


@pytest.mark.parametrize("case", CASES)
def test_bad_files_are_named_before_training_or_left_out(tmp_path: Path, case: str) -> None:
    for name in CASES:
        write_set(tmp_path / name)
        (tmp_path / name / "classes.txt").write_text("x\ny\nz")
    expected = bad_cases(tmp_path)[case]
    with pytest.raises(DataError, match=expected) as caught:
        opened(tmp_path / case)
    assert "data.skip_bad" in str(caught.value.hint)
    found = opened(tmp_path / case, skip_bad=True)
    assert found.splits["train"].ids == ("images/a.png", "images/c.png")
    assert found.skipped[0][0] == "images/b.png"


def test_colours_without_a_table_are_refused(tmp_path: Path) -> None:
    write_picture(tmp_path / "images/a.png")
    write_mask(tmp_path / "masks/a.png", np.array(PALETTE, np.uint8)[make_mask((1, 2))])
    with pytest.raises(DataError, match=r"coloured .*no table") as caught:
        opened(tmp_path)
    assert "classes.txt" in str(caught.value.hint)
    (tmp_path / "classes.txt").write_text("a\nb")
    with pytest.raises(DataError, match=r"classes\.txt has no colours"):
        opened(tmp_path)


def test_numbered_objects_and_empty_masks_are_no_classes(tmp_path: Path) -> None:
    write_picture(tmp_path / "images/a.png")
    path = tmp_path / "masks/a.png"
    path.parent.mkdir()
    Image.fromarray(np.full(SIZE, 1000, np.uint16)).save(path)
    with pytest.raises(DataError, match="up to 1000"):
        opened(tmp_path)
    write_mask(path, make_mask((0,)))
    with pytest.raises(DataError, match="all masks hold 0"):
        opened(tmp_path)


@pytest.mark.parametrize("values", [(0, 254, 255), (0, 127, 255), (3, 90, 200, 255)])
def test_greys_between_black_and_white_are_asked_about(
    tmp_path: Path, values: tuple[int, ...]
) -> None:
    write_set(tmp_path, values=values)
    with pytest.raises(DataError, match="is 255 a class") as caught:
        opened(tmp_path)
    assert "classes.txt" in str(caught.value.hint)
    found = opened(tmp_path, ignore="255")
    assert found.classes == tuple(str(v) for v in values[:-1])


def test_classes_by_number_with_an_ignored_255_need_no_table(tmp_path: Path) -> None:
    write_set(tmp_path, values=(0, 7, 20, 255))
    assert opened(tmp_path).classes == ("0", "7", "20")


def test_masks_of_which_none_can_be_read_say_why(tmp_path: Path) -> None:
    write_set(tmp_path, "images/{}.jpg", "masks/{}.jpg")
    with pytest.raises(DataError, match=r"masks/a\.jpg: is JPEG, which blurs"):
        open_data(tmp_path)


def test_a_reason_that_all_masks_share_is_told_once(tmp_path: Path) -> None:
    names = [f"p{n}" for n in range(12)]
    write_set(tmp_path, names=names)
    (tmp_path / "classes.txt").write_text("x\ny\nz")
    for name in names:
        Image.fromarray(make_mask((0, 1))).save(tmp_path / f"masks/{name}.png", "JPEG")
    with pytest.raises(DataError, match=r"12 of 12 .*; and 2 more") as caught:
        opened(tmp_path)
    assert str(caught.value).count("is JPEG") == 1 and str(caught.value).count("likewise") == 9


def test_two_masks_for_a_picture_are_an_error(tmp_path: Path) -> None:
    write_set(tmp_path, masks="masks/{}_mask.png")
    write_mask(tmp_path / "masks/a_gt.png", make_mask((0, 1)))
    with pytest.raises(DataError, match=r"a\.png: its mask may be a_gt\.png or a_mask\.png"):
        opened(tmp_path)


@pytest.mark.parametrize(("masks", "words"), [
    ("", r"masks/ next to images/ holds no pictures\n"),
    ("masks/{}.npy", r"masks/ next to images/ holds no pictures, but \.npy files"),
    ("masks/m{}.png", r"no mask has the name of a picture \(images/0\.jpg, masks/m0\.png\)"),
])  # fmt: skip
@pytest.mark.parametrize("form", ["", "masks:"])
def test_masks_that_fit_no_picture_are_told_apart(
    tmp_path: Path, masks: str, words: str, form: str
) -> None:
    (tmp_path / "masks").mkdir()
    for n in range(3):
        write_picture(tmp_path / f"images/{n}.jpg")
        if masks.endswith(".png"):
            write_mask(tmp_path / masks.format(n), make_mask((0, 1)))
        elif masks:
            (tmp_path / masks.format(n)).write_bytes(b"x")
    with pytest.raises(DataError, match=words):
        open_data(f"{form}{tmp_path}", kind="segment")


def test_masks_alone_are_told(tmp_path: Path) -> None:
    write_set(tmp_path)
    write_mask(tmp_path / "masks/z.png", make_mask((0, 1)))
    assert any("1 masks without a picture" in note for note in opened(tmp_path).notes)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("classes.txt", "a\na\n", "class a occurs twice"),
        ("classes.txt", "a 1 2 3\nb 1 2 3\n", "colour .* occurs twice"),
        ("classes.txt", "a 1 2 3\nb\n", "'b' has no colour"),
        ("classes.txt", "a 1 2 300\n", "0 to 255"),
        ("classes.csv", "name,r,g,b\na,x,2,3\n", "line 2: no numbers"),
        ("classes.json", "{", "no class table in it"),
        ("classes.json", '{"a": 1.5}', "no class table in it"),
    ],
)
def test_wrong_tables_say_where(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_table(tmp_path / name)


_NAME = st.text("abcxyz -_", min_size=1).map(str.strip).filter(
    lambda s: s and not s.startswith(("-", "_"))
)  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(_NAME, st.tuples(*[st.integers(0, 255)] * 3)),
        min_size=1, max_size=6, unique_by=(lambda row: row[0], lambda row: row[1]),
    )
)  # fmt: skip
def test_every_way_to_write_a_colour_table_reads_the_same(rows: list) -> None:
    import tempfile

    texts = {
        "a.txt": "\n".join(f"{n} {r} {g} {b}" for n, (r, g, b) in rows),
        "b.txt": "\n".join(f"{r} {g} {b}\t{n}" for n, (r, g, b) in rows),
        "c.csv": "name,r,g,b\n" + "\n".join(f"{n},{r},{g},{b}" for n, (r, g, b) in rows),
        "d.json": json.dumps(dict(rows)),
        "e.txt": "\n".join(f"{n}:{r},{g},{b}::" for n, (r, g, b) in rows),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts.items():
            path = Path(folder) / name
            path.write_text(text)
            found = [(row.name, row.colour, row.value) for row in read_table(path)]
            assert found == [(n, c, None) for n, c in rows], name


# what is counted


def test_pixels_are_counted_once_for_all_and_absent_classes_named(tmp_path: Path) -> None:
    masks = write_set(tmp_path, values=(0, 1, 3, 255))
    (tmp_path / "classes.txt").write_text("a\nb\nc\nd")
    found = opened(tmp_path)
    assert any("no mask of train holds c" in note for note in found.notes)
    source = found.splits["train"]
    for path in (tmp_path / "masks").iterdir():
        path.unlink()  # looked at already
    counts = pixel_counts(source)
    expected = [[np.sum(masks[n] == v) for v in (0, 1, 2, 3, 255)] for n in "abc"]
    assert np.array_equal(counts, expected)
    assert np.array_equal(pixel_counts(subset(source, [2, 0])), counts[[2, 0]])
    told = show(found, items=True)["splits"]["train"]
    labelled = counts[:, :4].sum()
    assert told["pixels"]["b"] == pytest.approx(counts[:, 1].sum() / labelled, abs=1e-6)
    assert told["ignored"] == pytest.approx(counts[:, 4].sum() / counts.sum(), abs=1e-6)
    assert told["items"][0] == ["images/a.png", ["a", "b", "d"]]


def test_masks_turn_with_their_picture(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "images/a.jpg", exif=exif)
    stored = make_mask((0, 1))
    write_mask(tmp_path / "masks/a.png", stored)
    sample = opened(tmp_path).splits["train"][0]
    assert sample.mask is not None
    assert sample.image.shape[:2] == sample.mask.shape == SIZE[::-1]
    assert np.array_equal(sample.mask, np.rot90(stored, -1))
    write_mask(tmp_path / "masks/a.png", np.rot90(stored, -1).copy())
    assert np.array_equal(mask_of(opened(tmp_path).splits["train"]), sample.mask)


def test_the_fingerprint_changes_with_a_mask_and_with_what_is_ignored(tmp_path: Path) -> None:
    write_set(tmp_path)
    first = opened(tmp_path).fingerprint()
    assert first == opened(tmp_path).fingerprint()
    assert first != opened(tmp_path, ignore="2").fingerprint()
    write_mask(tmp_path / "masks/a.png", make_mask((0, 1), 9, SIZE)[::-1].copy())
    import os

    os.utime(tmp_path / "masks/a.png", (1, 1))
    assert first != opened(tmp_path).fingerprint()


def test_camvid_is_read(picture_data: Path) -> None:
    found = open_data(picture_data / "camvid", check=False)
    assert found.kind == "segment"
    assert len(found.classes) == 11
    assert {r: len(s) for r, s in found.splits.items()} == {"train": 367, "val": 101, "test": 233}
    assert any("ignored: 11 Unlabelled (by name), 255" in note for note in found.notes)
    sample = found.splits["val"][7]
    assert sample.mask is not None
    raw = np.asarray(Image.open(picture_data / "camvid/masks/val" / f"{Path(sample.id).stem}.png"))
    assert np.array_equal(sample.mask, np.where(raw == 11, 255, raw))
    check_source(found.splits["test"], samples=4)


def test_a_decode_error_can_be_pickled() -> None:
    import pickle

    error = DecodeError("mask m.png: cut off", "a.png")
    assert pickle.loads(pickle.dumps(error)).reason == error.reason


@pytest.mark.parametrize(("values", "held"), [((0,), "sky"), ((255,), "only ignored pixels")])
def test_masks_of_one_class_alone_stop_a_run(
    tmp_path: Path, values: tuple[int, ...], held: str
) -> None:
    write_set(tmp_path, values=values)
    (tmp_path / "classes.txt").write_text("sky\nroad\ncar\n")
    with pytest.raises(DataError, match=f"the masks of train hold {held}"):
        open_data(tmp_path, val="none")
    assert opened(tmp_path).classes == ("sky", "road", "car")  # to be looked at, or scored
