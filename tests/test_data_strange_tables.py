"""Tables and other files beside pictures that are not what they look like at first."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pictures import write_folder, write_picture

from xfer.data.open import open_data
from xfer.errors import DataError, XferError


def write_rows(file: Path, rows: Sequence[Sequence[object]], delimiter: str = ",") -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter=delimiter).writerows(rows)


def write_pictures(folder: Path, count: int) -> list[str]:
    names = [f"{k:03d}.png" for k in range(count)]
    for name in names:
        write_picture(folder / name)
    return names


def test_minus_one_is_no_where_nothing_is_nought(tmp_path: Path) -> None:
    names = write_pictures(tmp_path, 12)
    rows = [(n, (-1, 1)[k % 2], (1, -1)[k % 3 > 0]) for k, n in enumerate(names)]
    write_rows(tmp_path / "attributes.csv", [("image_id", "Bald", "Young"), *rows])
    bundle = open_data(tmp_path, val="none")
    values = np.asarray(bundle.splits["train"].labels())
    assert values.tolist() == [[int(a > 0), int(b > 0)] for _, a, b in rows]
    assert any("-1 is read as no" in note for note in bundle.notes)
    rows[0] = (names[0], 0, 1)  # with a nought, -1 is unknown as elsewhere
    write_rows(tmp_path / "attributes.csv", [("image_id", "Bald", "Young"), *rows])
    values = np.asarray(open_data(tmp_path, val="none").splits["train"].labels())
    assert values.tolist() == [[a, b] for _, a, b in rows]


def test_numbers_with_a_decimal_comma_are_measured(tmp_path: Path) -> None:
    names = write_pictures(tmp_path, 12)
    rows = [(n, ("Käfer", "Biene")[k % 2], f"{k % 5},{k % 4}5") for k, n in enumerate(names)]
    write_rows(tmp_path / "t.csv", [("Bild", "Art", "Gewicht"), *rows], ";")
    assert open_data(tmp_path, val="none").classes == ("Biene", "Käfer")
    write_rows(tmp_path / "t.csv", [("Bild", "Gewicht"), *((a, c) for a, _, c in rows)], ";")
    with pytest.raises(XferError, match="'0,05' in column 'Gewicht' decimal numbers") as asked:
        open_data(tmp_path, val="none")
    assert "data.label=Gewicht" in str(asked.value)
    bundle = open_data(tmp_path, val="none", label="Gewicht")
    assert set(bundle.classes) == {c for _, _, c in rows}
    assert any("holds decimal numbers" in note for note in bundle.notes)


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        (("id", "name"), [(0, "ant"), (1, "bee")]),
        (("folder", "latin", "pictures"), [("bee", "Apis", 6), ("ant", "Formica", 6)]),
        (("epoch", "loss", "accuracy"), [(0, 1.5, 0.4), (1, 1.25, 0.5), (2, 1.125, 0.75)]),
    ],
)
def test_a_table_of_other_things_beside_class_folders(
    tmp_path: Path, header: tuple[str, ...], rows: list[tuple[object, ...]]
) -> None:
    for name in ("ant", "bee"):
        for k in range(6):
            write_picture(tmp_path / name / f"{k}.png")
    write_rows(tmp_path / "about.csv", [header, *rows])
    bundle = open_data(tmp_path, val="none")
    assert (bundle.format, bundle.classes) == ("folder", ("ant", "bee"))
    assert any("about.csv is not read" in note for note in bundle.notes)


def test_a_table_that_may_be_of_the_pictures_in_folders_is_asked_about(tmp_path: Path) -> None:
    for k in range(12):
        write_picture(tmp_path / f"part{k % 2}" / f"{k}.png")
    write_rows(tmp_path / "t.csv", [("id", "kind"), *((k, "ab"[k // 6]) for k in range(12))])
    with pytest.raises(XferError, match="csv"):
        open_data(tmp_path)


def test_a_table_of_pairs_is_no_table_of_labels(tmp_path: Path) -> None:
    write_folder(tmp_path, {"ann": 4, "bob": 4, "eve": 4})
    names = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.*"))
    rows = [(a, b, int(a[:3] == b[:3])) for a in names[:8] for b in names[4:] if a != b]
    write_rows(tmp_path / "pairs.csv", [("left", "right", "match"), *rows])
    bundle = open_data(tmp_path, val="none")
    assert (bundle.format, bundle.classes) == ("folder", ("ann", "bob", "eve"))
    with pytest.raises(DataError, match=r"a table of pairs of pictures \(left, right\)"):
        open_data(tmp_path / "pairs.csv")
    # a picture and one made from it, once each: not pairs
    rows = [(a, names[(k + 1) % len(names)], "xy"[k % 2]) for k, a in enumerate(names)]
    write_rows(tmp_path / "pairs.csv", [("image", "before", "label"), *rows])
    with pytest.raises(XferError, match="pairs") as asked:
        open_data(tmp_path)
    assert "a table of pairs" not in str(asked.value)


def test_a_folder_of_arrays_is_not_recognised(tmp_path: Path) -> None:
    write_rows(tmp_path / "classes.tsv", [(k, f"n{k:08d}", f"thing {k}") for k in range(9)], "\t")
    np.savez(tmp_path / "train.npz", x=np.zeros(3))
    with pytest.raises(DataError, match=r"not recognised .* no pictures in it.*1 \.npz, 1 \.tsv"):
        open_data(tmp_path)


def test_why_a_table_is_not_read(tmp_path: Path) -> None:
    write_pictures(tmp_path, 3)
    for content, why in (
        (b"path;label\n000.png;K\xe4fer\n", "t.csv is not read: not UTF-8 text"),
        (b"path,label\n000.png,a\n001.png,a,b\n", "t.csv is not read: line 3: 3 columns"),
    ):
        (tmp_path / "t.csv").write_bytes(content)
        assert any(why in note for note in open_data(tmp_path, val="none").notes)


def test_spreadsheets_are_named(tmp_path: Path) -> None:
    write_pictures(tmp_path, 3)
    for name in ("labels.xlsx", "~$labels.xlsx", "more.ods"):
        (tmp_path / name).write_bytes(b"PK\x03\x04")
    notes = open_data(tmp_path, val="none").notes
    assert any("not read: labels.xlsx, more.ods; save a spreadsheet as csv" in n for n in notes)
    with pytest.raises(DataError, match="a spreadsheet, which is not read") as caught:
        open_data(tmp_path / "more.ods")
    assert "csv" in str(caught.value)
