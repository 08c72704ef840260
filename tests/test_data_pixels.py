"""Tables that hold the pixels of their pictures: FER2013's, and Kaggle's MNIST."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path

import numpy as np
import pytest

from xfer.cli import main
from xfer.data.open import open_data
from xfer.errors import DataError
from xfer.testing import check_source


def fer(path: Path, count: int = 20, side: int = 12) -> np.ndarray:
    """A table as FER2013 has it; returns its pictures."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (count, side, side))
    usage = ["Training"] * (count - 8) + ["PublicTest"] * 4 + ["PrivateTest"] * 4
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["emotion", "pixels", "Usage"])
        for i in range(count):
            writer.writerow([i % 2, " ".join(map(str, values[i].ravel())), usage[i]])
    return values.astype(np.uint8)


def mnist(path: Path, labelled: bool = True, count: int = 12, side: int = 8) -> np.ndarray:
    """A table as Kaggle's digit recognizer has it."""
    values = np.random.default_rng(1).integers(0, 256, (count, side * side))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        names = [f"pixel{k}" for k in range(side * side)]
        writer.writerow(["label", *names] if labelled else names)
        writer.writerows([[i % 3, *row] if labelled else row for i, row in enumerate(values)])
    return values.reshape(count, side, side).astype(np.uint8)


def test_a_column_of_pixels_with_splits_in_words(tmp_path: Path) -> None:
    values = fer(tmp_path / "fer2013.csv")
    for spec in (tmp_path, tmp_path / "fer2013.csv"):
        bundle = open_data(str(spec))
        assert bundle.format == "pixels" and bundle.classes == ("0", "1")
        assert {role: len(s) for role, s in bundle.splits.items()} == {
            "train": 12, "val": 4, "test": 4,
        }  # fmt: skip
    val = bundle.splits["val"]
    assert val.ids == ("12", "13", "14", "15") and val.labels().tolist() == [0, 1, 0, 1]
    assert np.array_equal(val[1].image, np.repeat(values[13][:, :, None], 3, axis=2))
    check_source(val)
    again = pickle.loads(pickle.dumps(val))
    assert np.array_equal(again[0].image, val[0].image)


def test_a_column_per_pixel(tmp_path: Path) -> None:
    values = mnist(tmp_path / "train.csv")
    mnist(tmp_path / "test.csv", labelled=False)
    bundle = open_data(str(tmp_path), val="none")
    assert bundle.classes == ("0", "1", "2") and set(bundle.splits) == {"train"}
    assert "test: no labels, so it is not scored" in bundle.notes
    assert np.array_equal(bundle.splits["train"][5].image[:, :, 1], values[5])


def test_the_columns_can_be_named(tmp_path: Path) -> None:
    fer(tmp_path / "faces.csv")
    text = (tmp_path / "faces.csv").read_text().replace("emotion", "feeling")
    (tmp_path / "faces.csv").write_text(text)
    bundle = open_data(str(tmp_path), label="feeling", split="none")
    assert [len(source) for source in bundle.splits.values()] == [16, 4]
    assert any("Usage" in note for note in bundle.notes)


@pytest.mark.parametrize("cell", ["0 1 2", "300 " * 143 + "1", "-1 " + "1 " * 143, "x " * 144])
def test_rows_of_other_values_are_named(tmp_path: Path, cell: str) -> None:
    fer(tmp_path / "f.csv")
    with (tmp_path / "f.csv").open("a") as file:
        file.write(f"1,{cell},Training\n")
    with pytest.raises(DataError, match=r"f\.csv, row 20: not 144 pixels of 0 to 255"):
        open_data(str(tmp_path))


def test_a_text_of_numbers_that_is_no_square_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("label,values\n" + f"a,{'1 ' * 150}\n" * 4)
    with pytest.raises(DataError):
        open_data(str(tmp_path / "t.csv"))


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fer(tmp_path / "fer2013.csv")
    assert main(["data", "show", str(tmp_path / "fer2013.csv")]) == 0
    assert "20 pictures of 12 x 12 pixels" in capsys.readouterr().err
    words = ["--data", str(tmp_path / "fer2013.csv"), "--backbone", "alexnet", "--weights", "none"]
    assert main(["finetune", *words, "data.size=64", "--dry-run", "-q"]) == 0
