"""Tables and other files beside pictures that are not what they look like at first."""

from __future__ import annotations

import csv
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from pictures import write_folder, write_picture

from xfer.data.open import open_data
from xfer.data.readers.table.reader import Csv
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
    assert "data__label='Gewicht'" in str(asked.value)
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


def test_a_first_row_that_names_a_bare_picture_is_no_header(tmp_path: Path) -> None:
    names = [n.removesuffix(".png") for n in write_pictures(tmp_path / "images", 10)]
    write_rows(tmp_path / "t.csv", [(n, "ab"[k % 2]) for k, n in enumerate(names)])
    bundle = open_data(tmp_path / "t.csv", val="none")
    assert len(bundle.splits["train"]) == 10
    write_picture(tmp_path / "images" / "scan.png")  # a header that is a picture's name by chance
    write_rows(
        tmp_path / "t.csv", [("scan", "kind"), *((n, "ab"[k % 2]) for k, n in enumerate(names))]
    )
    assert len(open_data(tmp_path / "t.csv", val="none").splits["train"]) == 10


@pytest.mark.parametrize(
    ("lines", "classes"),
    [
        (["image\tspecies", "{}\tred fox", "{}\twolf"], ("red fox", "wolf")),
        (["{}\tred fox", "{}\twolf"], ("red fox", "wolf")),
        (["file;label", "{};x y", "{};z"], ("x y", "z")),
        (["{},0", "{},1"], ("0", "1")),
        (["{}, 0", "{}, 1"], ("0", "1")),
    ],
)
def test_lists_with_names_of_columns_and_with_signs_between_them(
    tmp_path: Path, lines: list[str], classes: tuple[str, ...]
) -> None:
    names = write_pictures(tmp_path / "pics", 10)
    head = [line for line in lines if "{}" not in line]
    rows = [line for line in lines if "{}" in line]
    text = [*head, *(rows[k % 2].format(f"pics/{n}") for k, n in enumerate(names))]
    (tmp_path / "train_list.txt").write_text("\ufeff" + "\n".join(text) + "\n")
    bundle = open_data(tmp_path, val="none")
    assert bundle.classes == classes
    assert bundle.splits["train"].labels().tolist() == [k % 2 for k in range(10)]


def test_a_list_with_a_count_and_names_before_its_rows(tmp_path: Path) -> None:
    names = write_pictures(tmp_path / "pics", 10)
    rows = [f"{n}  {(-1, 1)[k % 2]:2d} {(1, -1)[k % 3 > 0]:2d}" for k, n in enumerate(names)]
    (tmp_path / "list_attr.txt").write_text("\n".join(["10", "Bald Young", *rows]) + "\n")
    bundle = open_data(tmp_path, val="none")
    assert bundle.classes == ("Bald", "Young")
    expected = [[k % 2, int(k % 3 == 0)] for k in range(10)]
    assert bundle.splits["train"].labels().tolist() == expected


def test_words_before_a_list_are_not_names_of_columns(tmp_path: Path) -> None:
    names = write_pictures(tmp_path, 4)
    text = ["these pictures were taken in may", *(f"{n} a" for n in names)]
    (tmp_path / "notes.txt").write_text("\n".join(text))
    assert open_data(tmp_path, val="none").format == "images"


def write_variants(folder: Path) -> None:
    names = [n.removesuffix(".png") for n in write_pictures(folder / "images", 12)]
    for split, part in (("train", names[:8]), ("val", names[8:10]), ("test", names[10:])):
        for kind, labels in (("make", ("Alfa", "De Soto")), ("type", ("T 1", "T2"))):
            lines = [f"{n} {labels[int(n) % 2]}" for n in part]
            (folder / f"images_{kind}_{split}.txt").write_text("\n".join(lines))


def test_lists_of_ids_of_several_kinds_of_label(tmp_path: Path) -> None:
    write_variants(tmp_path)
    with pytest.raises(XferError, match="which lists hold the labels") as asked:
        open_data(tmp_path)
    assert "data__label='make' or data__label='type'" in str(asked.value)
    bundle = open_data(tmp_path, label="make")
    assert bundle.classes == ("Alfa", "De Soto")
    assert {name: len(part) for name, part in bundle.splits.items()} == {
        "train": 8, "val": 2, "test": 2,
    }  # fmt: skip
    for file in tmp_path.glob("images_make*"):
        file.unlink()
    assert open_data(tmp_path).classes == ("T 1", "T2")


def test_texts_of_single_pictures_are_no_lists_of_ids(tmp_path: Path) -> None:
    for k in range(4):
        write_picture(tmp_path / f"{k}.png")
        (tmp_path / f"{k}.txt").write_text("0 0.5 0.5 0.2 0.2\n1 0.5 0.5 0.1 0.1\n2 x\n3 y\n")
    (tmp_path / "points.txt").write_text("0 1 2\n1 2 3\n2 3 4\n3 4 5\n")
    assert "csv" not in open_data("images:" + str(tmp_path), val="none").format
    assert Csv().recognise(tmp_path) is None


def test_labels_as_text_in_tars_are_told(tmp_path: Path) -> None:
    write_picture(tmp_path / "x.jpg")
    with tarfile.open(tmp_path / "s-000000.tar", "w") as tar:
        for k in range(4):
            tar.add(tmp_path / "x.jpg", f"{k}.jpg")
            (tmp_path / "x.caption").write_text("cat")
            tar.add(tmp_path / "x.caption", f"{k}.txt")
    bundle = open_data(f"webdataset:{tmp_path}", val="none")
    assert any("no labels" in note and "not read: .txt" in note for note in bundle.notes)


def test_remarks_before_the_header_are_no_rows(tmp_path: Path) -> None:
    names = write_pictures(tmp_path, 6)
    rows = "".join(f"{n},{'ab'[k % 2]}\n" for k, n in enumerate(names))
    (tmp_path / "t.csv").write_text("# made in May\n#\npath,label\n" + rows)
    assert open_data(tmp_path, val="none").classes == ("a", "b")
    (tmp_path / "t.csv").write_text("# path,label\n" + rows)  # a header
    assert open_data(tmp_path, val="none").classes == ("a", "b")
    (tmp_path / "t.csv").write_text("# made in May\npath,label\n" + rows + "x.png\n")
    with pytest.raises(DataError, match="line 9: 1 columns"):
        open_data(tmp_path / "t.csv")


def test_a_json_beside_pictures_without_labels_is_named(tmp_path: Path) -> None:
    write_pictures(tmp_path, 3)
    (tmp_path / "about.json").write_text('{"000.png": "cat"}')
    assert any("not read: about.json" in n for n in open_data(tmp_path, val="none").notes)


def test_addresses_with_a_query_name_pictures_beside_the_table(tmp_path: Path) -> None:
    names = write_pictures(tmp_path, 8)
    rows = [(f"https://x.org/photos/{n}?w=200", "ab"[k % 2]) for k, n in enumerate(names)]
    write_rows(tmp_path / "t.csv", [("image_url", "label"), *rows])
    bundle = open_data(tmp_path, val="none")
    assert (bundle.format, bundle.classes) == ("csv", ("a", "b"))
    assert not any("warning: t.csv" in note for note in bundle.notes)


def test_what_excel_leaves_beside_an_open_table_is_junk(tmp_path: Path) -> None:
    names = write_pictures(tmp_path, 8)
    write_rows(tmp_path / "t.csv", [("p", "label"), *((n, n < "004") for n in names)])
    (tmp_path / "~$t.csv").write_bytes(b"me")
    assert open_data(tmp_path, val="none").format == "csv"


def test_a_table_of_labels_without_pictures_is_named(tmp_path: Path) -> None:
    write_rows(tmp_path / "t.csv", [("who", "label"), *((f"x{k}", "ab"[k % 2]) for k in range(8))])
    with pytest.raises(DataError, match=r"t\.csv: no column names pictures"):
        open_data(tmp_path)
