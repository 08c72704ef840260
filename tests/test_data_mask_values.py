"""What the numbers of masks mean: palettes that differ, tables without background, joined masks."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_sets import SIZE, make_mask, mask_of, write_mask, write_picture, write_set
from numpy.typing import NDArray

from xfer.data.images.decode import DecodeError
from xfer.data.images.mask_file import RawMask
from xfer.data.open import open_data
from xfer.data.sources.masks import joined
from xfer.errors import DataError

COLOURS = [(0, 0, 0), (200, 10, 10), (10, 200, 10), (10, 10, 200)]
NAMED = "".join(f"{n} {r} {g} {b}\n" for n, (r, g, b) in zip("wxyz", COLOURS, strict=True))


def write_palettes(root: Path, orders: list[list[int]]) -> list[NDArray[np.uint8]]:
    """Masks of classes 0 to 3, each file with its own order of the palette."""
    masks: list[NDArray[np.uint8]] = []
    for i, order in enumerate(orders):
        write_picture(root / f"images/{i}.jpg", i)
        classes = make_mask((0, 1, 2, 3), i)
        place = np.argsort(order).astype(np.uint8)
        write_mask(root / f"masks/{i}.png", place[classes], [COLOURS[k] for k in order])
        masks.append(classes)
    return masks


@settings(max_examples=12, deadline=None)
@given(st.lists(st.permutations(range(4)), min_size=2, max_size=4))
def test_masks_are_the_same_however_their_palettes_are_ordered(orders: list[list[int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        masks = write_palettes(root, orders)
        differ = len({tuple(order) for order in orders}) > 1
        if differ:
            with pytest.raises(
                DataError, match=r"palettes of the masks differ: index \d"
            ) as caught:
                open_data(root, cut=False)
            assert "name r g b" in str(caught.value.hint) and "200 10 10" in str(caught.value.hint)
            (root / "classes.txt").write_text("w\nx\ny\nz\n")
            with pytest.raises(DataError, match="palettes of the masks differ"):
                open_data(root, cut=False)
        (root / "classes.txt").write_text(NAMED)
        source = open_data(root, cut=False).splits["train"]
        assert all(np.array_equal(mask_of(source, i), mask) for i, mask in enumerate(masks))


def test_values_in_a_table_say_that_the_index_counts(tmp_path: Path) -> None:
    write_palettes(tmp_path, [[0, 1, 2, 3], [0, 2, 1, 3]])
    (tmp_path / "classes.txt").write_text("0 w\n1 x\n2 y\n3 z\n")
    assert open_data(tmp_path, cut=False).classes == tuple("wxyz")


def test_palettes_that_differ_where_no_pixel_is_do_not_matter(tmp_path: Path) -> None:
    for i, extra in enumerate([(1, 2, 3), (9, 9, 9), (7, 0, 7)]):
        write_picture(tmp_path / f"images/{i}.jpg", i)
        write_mask(tmp_path / f"masks/{i}.png", make_mask((0, 1), i), [*COLOURS[:2], extra])
    write_picture(tmp_path / "images/grey.jpg")
    write_mask(tmp_path / "masks/grey.png", make_mask((0, 1)), [(k, k, k) for k in range(256)])
    assert open_data(tmp_path, cut=False).classes == ("0", "1")


@pytest.mark.parametrize(
    ("names", "values", "classes"),
    [
        ("polyp", (0, 1), ("background", "polyp")),
        ("polyp", (0, 7), ("background", "polyp")),
        ("cat dog", (0, 1, 2), ("background", "cat", "dog")),
        ("cat dog", (0, 1), ("cat", "dog")),
        ("bg cat", (0, 1), ("bg", "cat")),
        ("Background cat", (0, 4), ("Background", "cat")),
        ("void cat dog", (0, 1, 2), ("cat", "dog")),
    ],
)
def test_a_table_may_leave_out_the_background(
    tmp_path: Path, names: str, values: tuple[int, ...], classes: tuple[str, ...]
) -> None:
    masks = write_set(tmp_path, values=values)
    (tmp_path / "classes.txt").write_text("\n".join(names.split()))
    found = open_data(tmp_path, cut=False)
    assert found.classes == classes
    for i, mask in enumerate(masks.values()):
        order = np.searchsorted(np.array(values), mask)
        shift = 255 if names.startswith("void") else 0
        expected = np.where(order == 0, 255, order - 1) if shift else order
        assert np.array_equal(mask_of(found.splits["train"], i), expected)
    told = any("0 is read as background" in note for note in found.notes)
    assert told == (names == "cat dog" and len(values) == 3)


def test_names_are_numbered_from_1_where_no_mask_holds_0(tmp_path: Path) -> None:
    masks = write_set(tmp_path, values=(1, 2, 3))
    (tmp_path / "classes.txt").write_text("pet\nbackground\nborder")
    found = open_data(tmp_path, cut=False)
    assert np.array_equal(mask_of(found.splits["train"]), masks["a"] - 1)
    assert any("numbered from 1" in note for note in found.notes)


def test_the_background_may_be_left_out_of_what_is_learnt(tmp_path: Path) -> None:
    masks = write_set(tmp_path, values=(0, 1, 2))
    (tmp_path / "classes.txt").write_text("cat\ndog")
    found = open_data(tmp_path, cut=False, ignore="0")
    assert found.classes == ("cat", "dog")
    assert np.array_equal(mask_of(found.splits["train"]) == 255, masks["a"] == 0)


def test_a_class_that_a_few_masks_hold_alone_is_seen(tmp_path: Path) -> None:
    names = [f"n{i:02d}" for i in range(70)]
    write_set(tmp_path, names=names, values=(0, 1))
    write_mask(tmp_path / "masks/n01.png", make_mask((0, 1, 2, 3)))
    (tmp_path / "classes.txt").write_text("cat\ndog\nbird")
    assert open_data(tmp_path, cut=False).classes == ("background", "cat", "dog", "bird")


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16), st.booleans())
def test_joined_masks_hold_what_either_holds(seed: int, coloured: bool) -> None:
    rng = np.random.default_rng(seed)
    owner = rng.integers(0, 3, SIZE)
    whole = rng.integers(1, 5, SIZE).astype(np.uint8)
    parts = [np.where(owner == k, whole, 0).astype(np.uint8) for k in (1, 2)]
    if coloured:
        parts = [np.stack([p, p * 2, p * 3], 2) for p in parts]
    both = joined(RawMask(parts[0]), RawMask(parts[1])).values
    assert np.array_equal(both, parts[0] + parts[1])
    with pytest.raises(DecodeError, match="another size"):
        joined(RawMask(parts[0]), RawMask(parts[1][1:]))


def write_labelme(root: Path, tables: list[list[str]]) -> list[NDArray[np.uint8]]:
    """labelme's folders: numbers mean what the label_names.txt next to them says."""
    masks: list[NDArray[np.uint8]] = []
    for i, names in enumerate(tables):
        folder = root / f"shot{i}_json"
        write_picture(folder / "img.png", i)
        write_picture(folder / "label_viz.png", i)
        masks.append(make_mask(range(len(names)), i))
        write_mask(folder / "label.png", masks[-1], COLOURS)
        (folder / "label_names.txt").write_text("\n".join(names))
    return masks


def test_numbers_mean_what_the_table_of_their_folder_says(tmp_path: Path) -> None:
    tables = [["_background_", "owl"], ["_background_", "bat", "owl"], ["_background_"]]
    masks = write_labelme(tmp_path, tables)
    found = open_data(tmp_path, val="none")
    assert (found.format, found.classes) == ("masks", ("_background_", "bat", "owl"))
    source = found.splits["train"]
    for i, names in enumerate(tables):
        meant = np.array([found.classes.index(name) for name in names])
        assert np.array_equal(mask_of(source, i), meant[masks[i]])
    before = found.fingerprint()
    (tmp_path / "shot0_json/label_names.txt").write_text("_background_\nbat")
    assert open_data(tmp_path, val="none").fingerprint() != before


def test_equal_tables_in_all_folders_are_one(tmp_path: Path) -> None:
    masks = write_labelme(tmp_path, [["_background_", "owl", "bat"]] * 3)
    found = open_data(tmp_path, val="none")
    assert found.classes == ("_background_", "owl", "bat")
    assert np.array_equal(mask_of(found.splits["train"], 2), masks[2])


def test_splits_whose_tables_number_the_classes_in_other_ways(tmp_path: Path) -> None:
    masks = {}
    for split, order in (("train", "cat dog"), ("valid", "dog cat")):
        masks[split] = write_set(tmp_path, f"{split}/{{}}.jpg", f"{split}/{{}}_mask.png")
        rows = "".join(f"{k}, {n}\n" for k, n in enumerate(["background", *order.split()]))
        (tmp_path / split / "_classes.csv").write_text(f"Pixel Value, Class\n{rows}")
    found = open_data(tmp_path)
    assert found.classes == ("background", "cat", "dog")
    assert np.array_equal(mask_of(found.splits["train"]), masks["train"]["a"])
    expected = np.array([0, 2, 1])[masks["valid"]["a"]]
    assert np.array_equal(mask_of(found.splits["val"]), expected)
    (tmp_path / "valid/_classes.csv").unlink()
    for name in ("a", "b", "c"):
        (tmp_path / f"valid/{name}.jpg").rename(tmp_path / f"valid/v{name}.jpg")
        (tmp_path / f"valid/{name}_mask.png").rename(tmp_path / f"valid/v{name}_mask.png")
    assert open_data(tmp_path).classes == ("background", "cat", "dog")  # the only table is of all


def test_vocs_own_tools_may_write_palettes_of_their_own(tmp_path: Path) -> None:
    for i, colours in enumerate([COLOURS, [COLOURS[0], *COLOURS[:0:-1]]]):
        write_picture(tmp_path / f"JPEGImages/{i}.jpg", i)
        write_mask(tmp_path / f"SegmentationClass/{i}.png", make_mask((0, 1, 2), i), colours)
    (tmp_path / "ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("0\n1\n")
    with pytest.raises(DataError, match="palettes of the masks differ"):
        open_data(tmp_path, val="none")
    (tmp_path / "labelmap.txt").write_text(
        "".join(f"{n}:{r},{g},{b}::\n" for n, (r, g, b) in zip("wxyz", COLOURS, strict=True))
    )
    found = open_data(tmp_path, kind="segment", val="none")
    expected = np.array([0, 3, 2])[make_mask((0, 1, 2), 1)]
    assert np.array_equal(mask_of(found.splits["train"], 1), expected)
