"""Tables of pictures: however they are written, and what is wrong with them in words."""

from __future__ import annotations

import csv
import io
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import write_picture

from xfer.data.open import open_data, show
from xfer.data.readers.table.text import DELIMITERS, parse_table
from xfer.errors import DataError, XferError
from xfer.testing.source import check_source


def table(
    folder: Path, text: str | bytes, name: str = "labels.csv", pictures: str = "abcd"
) -> Path:
    """Writes a table, and pictures a.jpg, b.jpg ... beside it."""
    for k, letter in enumerate(pictures):
        write_picture(folder / f"{letter}.jpg", seed=k)
    file = folder / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def read(file: Path, **options: Any) -> Any:
    return open_data(str(file), val="none", **options)


def items(bundle: Any) -> list[Any]:
    return show(bundle, items=True)["splits"]["train"]["items"]


PLAIN = "path,label\na.jpg,cat\nb.jpg,dog\nc.jpg,cat\nd.jpg,dog\n"


def test_path_and_label(tmp_path: Path) -> None:
    bundle = read(table(tmp_path, PLAIN))
    assert (bundle.format, bundle.kind, bundle.classes) == ("csv", "classify", ("cat", "dog"))
    assert items(bundle)[:2] == [["a.jpg", "cat"], ["b.jpg", "dog"]]
    check_source(bundle.splits["train"])


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiters_marks_and_line_ends(
    delimiter: str, encoding: str, end: str, tmp_path: Path
) -> None:
    text = PLAIN.replace(",", delimiter).replace("\n", end)
    assert read(table(tmp_path, text.encode(encoding))).classes == ("cat", "dog")


def test_ids_keep_their_zeros_and_are_found_in_folders_near(
    tmp_path: Path,
) -> None:
    for folder in ("labels", "images", "train"):
        place = tmp_path / folder
        for k in (1, 2, 3, 10):
            write_picture(place / folder / f"{k:05d}.jpg", seed=k)
        file = table(place, "label,id\n0,00001\n1,00002\n1,00003\n0,00010\n", "labels.csv", "")
        bundle = read(file)
        assert items(bundle)[0] == [f"{folder}/00001.jpg", "0"] and bundle.classes == ("0", "1")


def test_a_number_that_is_also_a_pictures_name_is_still_a_label(tmp_path: Path) -> None:
    for k in range(4):
        write_picture(tmp_path / f"{k}.png", seed=k)
    bundle = read(table(tmp_path, "label,id\n0,0\n1,1\n1,2\n0,3\n", pictures=""))
    assert items(bundle) == [["0.png", "0"], ["1.png", "1"], ["2.png", "1"], ["3.png", "0"]]


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("labels", ["x y", "z", "", "y"]), ("label", ["x|y", "z", "", "y"]),
        ("tags", ["x; y", "z", "", "y"]), ("label", ['"x, y"', "z", "", "y"]),
        ("whatever", ["x y", "x", "y", "x y"]),
    ],
)  # fmt: skip
def test_several_labels_in_a_cell(header: str, cells: list[str], tmp_path: Path) -> None:
    rows = [f"{name}.jpg,{cell}" for name, cell in zip("abcd", cells, strict=True)]
    bundle = read(table(tmp_path, "\n".join([f"path,{header}", *rows])))
    assert bundle.kind == "multilabel"
    first = bundle.splits["train"].labels()
    assert first.dtype == np.int8 and items(bundle)[0] == ["a.jpg", ["x", "y"]]
    check_source(bundle.splits["train"])


def test_names_of_several_words_are_one_label(tmp_path: Path) -> None:
    text = (
        "path,breed\na.jpg,golden retriever\nb.jpg,beagle\nc.jpg,flat coated terrier\nd.jpg,beagle"
    )
    bundle = read(table(tmp_path, text))
    assert bundle.classes == ("beagle", "flat coated terrier", "golden retriever")


def test_one_label_or_several_is_asked_where_both_are_possible(tmp_path: Path) -> None:
    for name in "efgh":
        write_picture(tmp_path / f"{name}.jpg")
    pairs = [f"{c} {v}" for c in ("red", "blue", "green") for v in ("car", "bus")] + ["red car"] * 2
    rows = [f"{name}.jpg,{cell}" for name, cell in zip("abcdefgh", pairs, strict=True)]
    with pytest.raises(XferError, match="one label or several") as caught:
        read(table(tmp_path, "\n".join(["path,y", *rows])))
    assert caught.value.code == 2 and "`labels`" in str(caught.value)
    assert len(read(table(tmp_path, "\n".join(["path,label", *rows]))).classes) == 6
    assert len(read(table(tmp_path, "\n".join(["path,labels", *rows]))).classes) == 5


def test_a_column_a_class(tmp_path: Path) -> None:
    text = "id,zebra,ant,bee\na,1,0,1\nb,0,0,0\nc,1,-1,0\nd,0,1,0\n"
    bundle = read(table(tmp_path, text))
    assert bundle.kind == "multilabel" and bundle.classes == ("zebra", "ant", "bee")
    assert bundle.splits["train"].labels().tolist() == [[1, 0, 1], [0, 0, 0], [1, -1, 0], [0, 1, 0]]
    assert show(bundle)["splits"]["train"]["classes"] == {"zebra": 2, "ant": 1, "bee": 1}
    check_source(bundle.splits["train"])


def test_a_column_a_class_with_one_each_is_one_label(tmp_path: Path) -> None:
    bundle = read(table(tmp_path, "id,zebra,ant\na,1.0,0.0\nb,0,1\nc,1,0\nd,0,1\n"))
    assert bundle.kind == "classify" and bundle.classes == ("ant", "zebra")
    assert items(bundle)[:2] == [["a.jpg", "zebra"], ["b.jpg", "ant"]]


def test_a_column_of_splits(tmp_path: Path) -> None:
    text = "path,label,split\na.jpg,x,train\nb.jpg,y,train\nc.jpg,y,valid\nd.jpg,x,test\n"
    bundle = open_data(str(table(tmp_path, text)))
    assert bundle.split_json() == {"train": ["a.jpg", "b.jpg"], "val": ["c.jpg"], "test": ["d.jpg"]}
    other = table(tmp_path, text.replace("valid", "fold2").replace("train", "fold1"))
    assert open_data(str(other), train="fold1", val="fold2").split_json()["val"] == ["c.jpg"]
    strange = table(tmp_path, text.replace("d.jpg,x", "d.jpg,new"))
    with pytest.raises(DataError, match="does not have: new"):
        open_data(str(strange))


def test_a_folder_with_a_table_a_split(tmp_path: Path) -> None:
    table(tmp_path, "path,label\na.jpg,x\nb.jpg,y\n", "train.csv")
    table(tmp_path, "path,label\nc.jpg,y\n", "val.csv")
    table(tmp_path, "path,note\nd.jpg,y\n", "extra.csv")
    bundle = open_data(str(tmp_path))
    assert bundle.split_json() == {"train": ["a.jpg", "b.jpg"], "val": ["c.jpg"]}
    assert bundle.splits["val"].labels().tolist() == [1]


def test_kaggles_folder_with_train_csv_and_flat_pictures(tmp_path: Path) -> None:
    for k in range(10):
        write_picture(tmp_path / "train" / f"{k:03d}.jpg", seed=k)
        write_picture(tmp_path / "test" / f"{k:03d}.jpg", seed=k)
    rows = [f"{k:03d},{'yes' if k % 2 else 'no'}" for k in range(10)]
    table(tmp_path, "\n".join(["image_id,label", *rows]), "train.csv", "")
    table(tmp_path, "image_id,label\n000,no\n", "sample_submission.csv", "")
    bundle = open_data(str(tmp_path))
    assert bundle.format == "csv" and bundle.classes == ("no", "yes")
    assert len(bundle.splits["train"]) == 8 and len(bundle.splits["val"]) == 2


def test_a_table_without_header(tmp_path: Path) -> None:
    bundle = read(table(tmp_path, "a.jpg,x\nb.jpg,y\nc.jpg,x\n"))
    assert len(bundle.splits["train"]) == 3 and bundle.classes == ("x", "y")


def test_names_written_otherwise_are_found(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(f, "Käfer é.jpg") for f in ("NFC", "NFD"))
    write_picture(tmp_path / "pics" / decomposed)
    write_picture(tmp_path / "pics" / "B 2.JPG")
    text = f"path,label\npics/{composed},x\npics\\b 2.jpg,y\n"
    bundle = read(table(tmp_path, text, pictures=""))
    assert [i for i, _ in items(bundle)] == [f"pics/{decomposed}", "pics/B 2.JPG"]


def test_pictures_that_are_not_there_are_named_or_left_out(tmp_path: Path) -> None:
    file = table(tmp_path, PLAIN + "".join(f"gone{k}.jpg,cat\n" for k in range(12)))
    with pytest.raises(DataError, match=r"12 of 16 pictures are not there: 'gone0\.jpg'") as caught:
        read(file)
    assert "and 2 more" in str(caught.value) and "gone10" not in str(caught.value)
    bundle = read(file, skip_bad=True)
    assert len(bundle.splits["train"]) == 4 and len(bundle.skipped) == 12


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"), ("path\na.jpg\n", "one column"), ("path,label\n", "no rows"),
        ("path,label\na.jpg,x\nb.jpg,y,z\n", "line 3: 3 columns"),
        ("path,label\na.jpg,x\na.jpg,y\n", "different labels"),
        ("path,label\na.jpg,x\nb.jpg,\n", "1 rows have no label, first 'b.jpg'"),
        ("path,label\nq.jpg,x\n", "no column names pictures"),
        ("id,x,x\na,1,1\nb,0,1\n", "same name"), (b"\xff\xfe\xff,\x00", "UTF-8"),
        (b"path,label\na.jpg,caf\xe9\n", "UTF-8"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_table_is_said(text: str | bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said) as caught:
        read(table(tmp_path, text))
    assert "labels.csv" in str(caught.value)


def test_a_label_that_could_be_in_several_columns_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(XferError, match="'size', 'shape'") as caught:
        read(table(tmp_path, "path,size,shape\na.jpg,big,round\nb.jpg,small,flat\n"))
    assert caught.value.code == 2
    assert read(table(tmp_path, "path,size,label\na.jpg,big,r\nb.jpg,small,f\n")).classes == (
        "f",
        "r",
    )


def test_a_stem_of_two_files_is_ambiguous(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.jpg or a\.png"):
        read(table(tmp_path, "id,label\na,x\nb,y\n"))


def test_repeated_rows_are_read_once(tmp_path: Path) -> None:
    bundle = read(table(tmp_path, PLAIN + "a.jpg,cat\n"))
    assert len(bundle.splits["train"]) == 4 and any("1 repeated rows" in n for n in bundle.notes)


CELL = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=8).map(
    lambda text: text.replace("\x00", "").strip()
)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(2, 4).flatmap(
        lambda n: st.lists(st.lists(CELL, min_size=n, max_size=n), min_size=1, max_size=8)
    ),
    st.sampled_from(DELIMITERS),
    st.sampled_from(["utf-8", "utf-8-sig"]),
)
def test_a_table_that_was_quoted_comes_back(
    rows: list[list[str]], delimiter: str, encoding: str
) -> None:
    width = len(rows[0])
    header = [f"name{k}" for k in range(width)]
    rows = [row for row in rows if any(row)]
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([header, *rows])
    found = parse_table(Path("t.csv"), text.getvalue().encode(encoding))
    assert found.header == header and found.rows == rows


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_a_data_error(data: bytes) -> None:
    try:
        found = parse_table(Path("t.csv"), data)
    except DataError as error:
        assert "t.csv" in str(error)
    else:
        assert all(len(row) == len(found.header) >= 2 for row in found.rows)
