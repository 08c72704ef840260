"""The picture that a name in a file means: forms of names, their ends, folders that contradict."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import write_picture

from xfer.data.readers.table.locate import Locator, forms
from xfer.errors import DataError


def locator(root: Path, *names: str, folders: tuple[str, ...] = ("", "images")) -> Locator:
    for name in names:
        write_picture(root / name)
    return Locator(root / "labels.json", folders)


@pytest.mark.parametrize(
    "cell",
    ["a b (1).jpg", "a%20b%20(1).jpg", "http://host:8080/data/upload/3/a%20b%20(1).jpg",
     "/data/local-files/?d=some/a%20b%20(1).jpg", "a b (1).jpg?width=400", "C:\\pics\\a b (1).jpg",
     "file:///home/me/a%20b%20(1).jpg", "/data/local-files/?d=a+b+(1).jpg", "A B (1).JPG"],
)  # fmt: skip
def test_every_form_of_a_name(tmp_path: Path, cell: str) -> None:
    found = locator(tmp_path, "images/a b (1).jpg").find_all([cell])
    assert [place and place.name for place in found.places] == ["a b (1).jpg"]


def test_a_name_is_taken_as_written_first(tmp_path: Path) -> None:
    own = locator(tmp_path, "images/a%20b.jpg", "images/a b.jpg")
    places = own.find_all(["a%20b.jpg", "a b.jpg"]).places
    assert [place and place.name for place in places] == ["a%20b.jpg", "a b.jpg"]


NAMES = st.text("abc %?#é中()+&=", min_size=1, max_size=8).map(lambda text: f"x{text}x.jpg")


@given(name=NAMES)
def test_a_quoted_name_is_among_its_forms(name: str) -> None:
    cell = f"https://host/some/{quote(name)}?v=1"
    assert f"/some/{name}" in list(forms(cell))
    assert next(forms(name)) == name


def test_the_longest_end_decides(tmp_path: Path) -> None:
    own = locator(tmp_path, "images/a/x/0.jpg", "images/b/x/0.jpg", "images/b/y/0.jpg")
    cells = ["/content/set/b/x/0.jpg", "D:\\old\\a\\x\\0.jpg", "../up/b/y/0.jpg"]
    found = own.find_all(cells)
    assert [str(p) for p in found.places] == [
        "images/b/x/0.jpg", "images/a/x/0.jpg", "images/b/y/0.jpg"]  # fmt: skip
    assert found.notes(cells) == []
    with pytest.raises(DataError, match="may be"):
        own.find_all(["x/0.jpg"])


def test_a_folder_that_is_not_there_is_not_another_one(tmp_path: Path) -> None:
    """Frames have the same names in every folder, and one folder is missing."""
    own = locator(tmp_path, "images/right/0.jpg", "images/right/1.jpg")
    cells = ["right/0.jpg", "left/0.jpg", "left/1.jpg"]
    found = own.find_all(cells)
    assert [p is not None for p in found.places] == [True, False, False]
    assert [cell for cell, _ in found.lost(cells)] == ["left/0.jpg", "left/1.jpg"]
    (line,) = found.notes(cells)
    assert line.startswith("warning: 2 pictures are not there") and "left/0.jpg" in line


def test_two_names_of_one_file_by_its_last_part_are_neither(tmp_path: Path) -> None:
    own = locator(tmp_path, "images/0.jpg", "images/1.jpg")
    cells = ["left/0.jpg", "right/0.jpg", "left/1.jpg"]
    found = own.find_all(cells)
    assert [p is not None for p in found.places] == [False, False, True]


def test_a_folder_of_elsewhere_is_told_if_the_picture_is_in_another(tmp_path: Path) -> None:
    own = locator(tmp_path, "images/right/0.jpg", "images/1.jpg")
    cells = ["left/0.jpg", "upload/7/1.jpg"]
    found = own.find_all(cells)
    assert all(found.places)
    (line,) = found.notes(cells)
    assert "left/0.jpg is images/right/0.jpg" in line


def test_entries_that_differ_and_mean_one_file_are_told(tmp_path: Path) -> None:
    own = locator(tmp_path, "images/0.jpg", "images/1.jpg")
    cells = ["0.jpg", "images/0.jpg", "0", "1.jpg", "1.jpg"]
    (line,) = own.find_all(cells).notes(cells)
    assert line == "warning: 1 files are named by several entries: 0.jpg and images/0.jpg and 0"


def test_a_picture_of_another_split_is_not_meant(tmp_path: Path) -> None:
    for folder in ("train_set", "val_set"):
        write_picture(tmp_path / "pics" / folder / "0.jpg")
    for role in ("train", "val"):
        own = Locator(tmp_path / "x.json", ["pics"], role)
        assert own.find_all(["0.jpg"]).places == [Path(f"pics/{role}_set/0.jpg")]
    with pytest.raises(DataError, match="may be"):
        Locator(tmp_path / "x.json", ["pics"]).find_all(["0.jpg"])
    # where there is no other, it is
    own = Locator(tmp_path / "x.json", ["pics/val_set"], "train")
    assert own.find_all(["a/0.jpg"]).places == [Path("pics/val_set/0.jpg")]
