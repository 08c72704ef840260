"""Masks as run lengths in tables: found by content, drawn as they were written, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_sets import SIZE, mask_of, write_picture
from numpy.typing import NDArray

from xfer.data.open import open_data
from xfer.data.readers.masks.run_lengths import (
    draw_runs,
    parse_runs,
    run_length_column,
    write_runs,
)
from xfer.data.readers.table.text import Table
from xfer.errors import DataError, XferError
from xfer.testing.source import check_source


def shape(seed: int, size: tuple[int, int] = SIZE) -> NDArray[np.bool_]:
    """A box of a mask, away from the borders."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(size, bool)
    top, left = rng.integers(1, size[0] // 2), rng.integers(1, size[1] // 2)
    mask[top : top + size[0] // 3, left : left + size[1] // 3] = True
    return mask


def write_table(root: Path, name: str, text: str, pictures: str, count: int = 6) -> None:
    for i in range(count):
        write_picture(root / pictures.format(i), i)
    (root / name).write_text(text)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.data())
def test_run_lengths_come_back_as_they_were(height: int, width: int, data: st.DataObject) -> None:
    bits = data.draw(st.lists(st.booleans(), min_size=height * width, max_size=height * width))
    mask = np.array(bits).reshape(height, width)
    cell = write_runs(mask)
    assert np.array_equal(draw_runs(parse_runs(cell), height, width), mask)
    assert np.array_equal(draw_runs(parse_runs(cell), width, height, by_rows=True), mask.T)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-2, 200), max_size=9))
def test_any_cell_is_drawn_or_refused(numbers: list[int]) -> None:
    try:
        drawn = draw_runs(parse_runs(" ".join(map(str, numbers))), 10, 12)
    except DataError:
        return
    runs = np.array(numbers[: len(numbers) // 2 * 2]).reshape(-1, 2)
    expected = {p for start, length in runs for p in range(start, start + length)}
    assert numbers == [-1] or drawn.sum() == len(expected)


@pytest.mark.parametrize(
    ("head", "cells", "found"),
    [
        ("EncodedPixels", ["", "1 3 10 2"], True),
        ("rle_mask", ["1 1"], True),
        ("encoded_pixels", ["5 2", "-1"], True),
        ("runs", ["1 2 9 3 20 4", "4 2 10 1 30 2"], True),
        ("tags", ["1 2", "3 4"], False),  # labels by number
        ("Target", ["16 0", "7 1 2 0", "5"], False),
        ("pixels", ["70 80 82 72", "30 24 23 24"], False),  # a picture's greys
        ("bbox", ["10 5 80 40 90 100", "3 4 50 60 70 80"], False),
        ("EncodedPixels", ["", ""], False),
    ],
)
def test_a_column_of_run_lengths_is_told_by_its_cells(
    head: str, cells: list[str], found: bool
) -> None:
    table = Table(Path("t.csv"), ["id", head], [[f"{i}.jpg", c] for i, c in enumerate(cells)])
    assert run_length_column(table) == (1 if found else None)


@pytest.mark.parametrize("ending", ["", ".jpg"])
@pytest.mark.parametrize("head", ["ImageId,EncodedPixels", "img,rle_mask", "id,rle"])
@pytest.mark.parametrize("spec", ["{}", "{}/ships.csv", "rle:{}"])
def test_several_rows_make_one_mask(tmp_path: Path, ending: str, head: str, spec: str) -> None:
    first, second = shape(0), np.zeros(SIZE, bool)
    second[-1, -2:] = True
    rows = [f"p0{ending},{write_runs(first)}", f"p0{ending},{write_runs(second)}"]
    rows += [f"p{i}{ending},{write_runs(shape(i))}" for i in range(1, 5)] + [f"p5{ending},"]
    write_table(tmp_path, "ships.csv", "\n".join([head, *rows]), "train_v2/p{}.jpg")
    found = open_data(spec.format(tmp_path), val="none")
    assert (found.kind, found.format) == ("segment", "rle")
    assert found.classes == ("background", "foreground")
    source = found.splits["train"]
    check_source(source)
    assert np.array_equal(mask_of(source, 0), first | second)
    assert not mask_of(source, 5).any()
    assert any("1 pictures without an object" in note for note in found.notes)


def test_classes_of_rows_and_overlaps(tmp_path: Path) -> None:
    big, small = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    big[2:8, 2:9], small[3:5, 3:5] = True, True
    rows = [f"x{i}.jpg,{k},{write_runs(m)}" for i in range(3) for k, m in ((10, small), (2, big))]
    write_table(tmp_path, "t.csv", "\n".join(["ImageId,ClassId,EncodedPixels", *rows]),
                "pics/x{}.jpg", 4)  # fmt: skip
    found = open_data(tmp_path, val="none")
    assert found.classes == ("background", "2", "10")
    assert np.array_equal(mask_of(found.splits["train"]), np.where(small, 2, big))
    assert any("in 3 pictures masks of two classes overlap" in note for note in found.notes)
    assert any("1 picture that no row names (x3.jpg)" in note for note in found.notes)
    assert open_data(tmp_path, val="none", ignore="10").classes == ("background", "2")


def test_the_class_may_be_written_behind_the_picture(tmp_path: Path) -> None:
    rows = [f"c_{i}.jpg_{name},{write_runs(shape(i)) if i % 2 else ''}"
            for i in range(4) for name in ("Fish", "Sugar")]  # fmt: skip
    write_table(tmp_path, "train.csv", "\n".join(["Image_Label,EncodedPixels", *rows]),
                "train_images/c_{}.jpg", 4)  # fmt: skip
    found = open_data(tmp_path, val="none")
    assert found.classes == ("background", "Fish", "Sugar")
    assert set(np.unique(mask_of(found.splits["train"], 1)).tolist()) == {0, 2}


def test_the_columns_may_be_named(tmp_path: Path) -> None:
    rows = [f"p{i}.jpg,p{(i + 1) % 4}.jpg,{'ab'[i % 2]},{write_runs(shape(i))}" for i in range(4)]
    write_table(tmp_path, "m.csv", "\n".join(["left,right,kind,rle", *rows]), "p{}.jpg", 4)
    with pytest.raises(XferError, match="which column names the pictures") as caught:
        open_data(tmp_path, val="none")
    assert "data.path=left or data.path=right" in str(caught.value.hint)
    found = open_data(tmp_path, val="none", path="right", label="kind")
    assert found.classes == ("background", "a", "b")
    assert found.splits["train"].ids[0] == "p1.jpg"
    assert any("not used: 1 column (left)" in note for note in found.notes)


def test_a_start_at_nought_numbers_pixels_from_nought(tmp_path: Path) -> None:
    rows = ["p0.jpg,0 2", "p1.jpg,191 1", "p2.jpg,5 3"]
    write_table(tmp_path, "m.csv", "\n".join(["img,rle_mask", *rows]), "p{}.jpg", 3)
    source = open_data(tmp_path, val="none").splits["train"]
    assert mask_of(source, 0)[:3, 0].tolist() == [1, 1, 0]
    assert mask_of(source, 1)[-1, -1] == 1


def test_runs_along_the_rows_are_told_by_their_distance(tmp_path: Path) -> None:
    rows: list[str] = []
    for i in range(6):
        write_picture(tmp_path / f"p{i}.png", i, (24, 48))
        rows.append(f"p{i},{write_runs(shape(i, (24, 48)).T)}")
    (tmp_path / "m.csv").write_text("\n".join(["id,rle", *rows]))
    found = open_data(tmp_path, val="none")
    assert np.array_equal(mask_of(found.splits["train"], 2), shape(2, (24, 48)))
    assert any("along the rows" in note and note.startswith("warning") for note in found.notes)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["p0.jpg,1 2 3"], "3 numbers"),
        (["p0.jpg,190 9"], "leaves the picture"),
        ([f"p0.jpg,{2**62} {2**62}"], "leaves the picture"),
        (["p0.jpg,50 2 7 3", "p1.jpg,60 2 8 3"], "from the end of the run before"),
        (["gone.jpg,5 2"], "gone.jpg"),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, rows: list[str], message: str) -> None:
    good = [f"p{i}.jpg,3 2" for i in range(2, 5)]
    write_table(tmp_path, "m.csv", "\n".join(["img,rle_mask", *good, *rows]), "p{}.jpg")
    with pytest.raises(DataError, match=message):
        open_data(f"rle:{tmp_path}/m.csv", val="none")


def test_a_table_of_run_lengths_is_no_table_of_labels(tmp_path: Path) -> None:
    rows = [f"p{i}.jpg,{write_runs(shape(i))}" for i in range(6)]
    write_table(tmp_path, "m.csv", "\n".join(["img,rle_mask", *rows]), "imgs/p{}.jpg")
    with pytest.raises(DataError, match=r"'rle_mask' holds masks as run lengths") as caught:
        open_data(f"csv:{tmp_path}/m.csv")
    assert "rle:" in str(caught.value.hint)


def test_tables_of_two_splits_and_a_question_about_two_tables(tmp_path: Path) -> None:
    rows = [f"p{i}.jpg,{write_runs(shape(i))}" for i in range(6)]
    write_table(tmp_path, "train.csv", "\n".join(["img,rle_mask", *rows[:4]]), "imgs/p{}.jpg")
    (tmp_path / "val.csv").write_text("\n".join(["img,rle_mask", *rows[4:]]))
    (tmp_path / "sample_submission.csv").write_text("img,rle_mask\np0.jpg,1 1")
    found = open_data(tmp_path)
    assert {role: len(s) for role, s in found.splits.items()} == {"train": 4, "val": 2}
    (tmp_path / "val.csv").rename(tmp_path / "second.csv")
    with pytest.raises(XferError, match=r"second\.csv and train\.csv") as caught:
        open_data(tmp_path)
    assert "rle:" in str(caught.value.hint)


def test_a_name_in_another_folder_is_not_the_picture(tmp_path: Path) -> None:
    for i in range(3):
        write_picture(tmp_path / f"cam2/{i}.jpg", i)
    rows = [f"cam{k}/{i}.jpg,{write_runs(shape(i))}" for k in (1, 2) for i in range(3)]
    (tmp_path / "m.csv").write_text("\n".join(["img,rle", *rows]))
    with pytest.raises(DataError, match=r"3 pictures are not there: cam1/0\.jpg"):
        open_data(tmp_path, kind="segment", val="none")
    for i in range(3):
        write_picture(tmp_path / f"cam1/{i}.jpg", i + 5)
    assert len(open_data(tmp_path, val="none").splits["train"]) == 6


def test_pictures_of_equal_names_in_two_folders_are_asked_about(tmp_path: Path) -> None:
    for i in range(3):
        write_picture(tmp_path / f"left/{i}.jpg", i)
        write_picture(tmp_path / f"right/{i}.jpg", i + 5)
    rows = [f"{i}.jpg,{write_runs(shape(i))}" for i in range(3)]
    (tmp_path / "m.csv").write_text("\n".join(["img,rle", *rows]))
    with pytest.raises(DataError, match=r"'0\.jpg' may be") as caught:
        open_data(tmp_path, kind="segment", val="none")
    assert "data.images=FOLDER" in str(caught.value.hint)
    found = open_data(tmp_path, kind="segment", val="none", images=str(tmp_path / "right"))
    assert found.splits["train"].ids == ("right/0.jpg", "right/1.jpg", "right/2.jpg")
