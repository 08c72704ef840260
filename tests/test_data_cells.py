"""Labels in the cells of a table: one or several, lists, yes and no, numbers, and those apart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pictures import write_folder, write_picture

from xfer.data.open import open_data, show
from xfer.data.readers.table.cells import (
    are_fractions,
    parse_list,
    plain_numbers,
    separator,
    split_cells,
    yes_no,
)
from xfer.data.readers.table.labels import read_labels
from xfer.data.readers.table.text import Table, parse_table
from xfer.errors import XferError

PLAIN = {"plural": False, "singular": False}


def read(cells: Sequence[str], header: str = "what") -> Any:
    table = Table(Path("t.csv"), ["path", header], [[f"{k}.png", c] for k, c in enumerate(cells)])
    return read_labels(table, [1], range(len(cells)))


@pytest.mark.parametrize("header", ["label", "class", "what", "Plant label"])
@pytest.mark.parametrize(
    "names",
    [
        ("oak, Quercus robur", "beech, Fagus sylvatica"), ("Bean, green", "Lentil"),
        ("snow owl, Bubo scandiacus", "wren"), ("a, b, c", "d, e, f"),
    ],
)  # fmt: skip
def test_a_name_with_a_comma_is_one_label(names: tuple[str, ...], header: str) -> None:
    labels = read([*names] * 5, header)
    assert labels.kind == "classify" and labels.classes == tuple(sorted(names))


@pytest.mark.parametrize(("mark", "joint"), [("|", "|"), (";", "; "), (",", ", "), (",", ",")])
@pytest.mark.parametrize("header", ["label", "what", "tags", "Seen labels"])
def test_parts_that_stand_elsewhere_too_are_labels(mark: str, joint: str, header: str) -> None:
    cells = [joint.join(c) for c in (("sun", "sea"), ("sea",), ("sun", "sand"), ("sand",))] * 3
    labels = read(cells, header)
    assert labels.kind == "multilabel" and labels.classes == ("sand", "sea", "sun")
    assert labels.values[0].tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("header", "cells", "kind"),
    [
        ("labels", ["hill|lake", "moor"], "multilabel"), ("labels", ["hill, lake", "moor"], None),
        ("label", ["hill|lake", "moor"], "classify"), ("what", ["hill|lake", "moor"], None),
        ("tags", ["hill;lake", "moor"], "multilabel"),
        ("what", ["mug, red", "mug, blue", "jar"], None),
        ("label", ["mug, red", "mug, blue", "jar"], "classify"),
    ],
)  # fmt: skip
def test_where_cells_show_nothing_the_columns_name_decides_or_it_is_asked(
    header: str, cells: list[str], kind: str | None
) -> None:
    if kind is not None:
        assert read(cells * 5, header).kind == kind
        return
    with pytest.raises(XferError, match="one label or several") as asked:
        read(cells * 5, header)
    assert "`label`" in str(asked.value) and asked.value.code == 2


def test_a_plural_alone_makes_no_several_labels() -> None:
    assert read(["oak", "elm"] * 3, "labels").kind == "classify"
    assert read(["oak", "elm", ""] * 3, "labels").kind == "multilabel"
    assert read(["a b", "b c", "c"] * 4, "tags").classes == ("a", "b", "c")
    with pytest.raises(XferError, match="'1,5' in column 'what'"):
        read(["1,5", "2", "1,5", "5"], "what")
    assert read(["1,5", "2", "1,5", "5"], "labels").classes == ("1", "2", "5")


NAME = st.text("abcdefgh é-", min_size=1, max_size=6).map(str.strip).filter(bool)
SETS = st.lists(st.lists(NAME, max_size=3, unique=True), min_size=1, max_size=8)


@settings(max_examples=200, deadline=None)
@given(SETS, st.sampled_from([repr, json.dumps, lambda v: repr(tuple(v)),
                              lambda v: f"[{' '.join(map(repr, v))}]"]))  # fmt: skip
def test_lists_come_back_however_they_are_written(sets: list[list[str]], write: Any) -> None:
    cells = [write(some) for some in sets]
    mark = separator(cells, **PLAIN)
    assert mark is not None and split_cells(cells, mark) == sets
    labels = read(cells)
    assert labels.kind == "multilabel"
    for some, row in zip(sets, labels.values, strict=True):
        assert {labels.classes[k] for k in np.flatnonzero(row)} == set(some)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from("pqrstu"), min_size=3, max_size=6, unique=True),
       st.sampled_from("|;,"), st.data())  # fmt: skip
def test_labels_that_all_stand_alone_somewhere_come_back(
    names: list[str], mark: str, data: st.DataObject
) -> None:
    sets = data.draw(st.lists(st.lists(st.sampled_from(names), min_size=1, max_size=4,
                                       unique=True), min_size=1, max_size=9))  # fmt: skip
    sets += [[name] for name in names]
    assume(any(len(some) > 1 for some in sets))
    cells = [mark.join(some) for some in sets]
    assert separator(cells, **PLAIN) == mark and split_cells(cells, mark) == sets


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(NAME, NAME), min_size=2, max_size=5, unique=True), st.integers(2, 4))
def test_names_whose_parts_are_nowhere_else_are_one_label(
    pairs: list[tuple[str, str]], times: int
) -> None:
    parts = [part for pair in pairs for part in pair]
    assume(len(set(parts)) == len(parts))
    names = [", ".join(pair) for pair in pairs]
    assert separator(names * times, **PLAIN) is None
    assert read(names * times).classes == tuple(sorted(names))


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=30))
def test_any_cell_is_a_list_or_is_not(cell: str) -> None:
    found = parse_list(cell)
    assert found is None or all(text and text == text.strip() for text in found)
    yes_no(cell)
    are_fractions([cell])


def test_what_is_a_list() -> None:
    for text, found in {
        "['it''s']": ["it", "s"], '["it\'s", "x"]': ["it's", "x"], "[]": [], "[1, 2]": ["1", "2"],
        "[a, b]": ["a", "b"], "('a',)": ["a"], "{'a'}": ["a"], "{}": [],
    }.items():  # fmt: skip
        assert parse_list(text) == found, text
    for text in ("a, b", "[a", '{"a": 1}', "[[1, 2]]", "a]", "", "["):
        assert parse_list(text) is None, text
    assert read(["[old]", "new"] * 3).classes == ("[old]", "new")


def test_yes_and_no() -> None:
    for text, value in {
        "1": 1, "1.0": 1, "+1": 1, "1.": 1, "True": 1, "0": 0, "0.00": 0, "FALSE": 0, "-0.0": 0,
        "-1": -1, "-1.0": -1, "": -1, "2": None, "01": None, "001": None, "00": None, "-": None,
        "yes": None, "0.5": None, "-2": None,
    }.items():  # fmt: skip
        assert yes_no(text) == value, text


@pytest.mark.parametrize(
    ("cells", "classes"),
    [
        (["0", "0.0", "1.0", "1"], ("0", "1")), (["001", "1", "10", "1"], ("001", "1", "10")),
        (["-1.0", "1.0", "-1", "1"], ("-1", "1")), (["1.0", "v2", "1.0", "v2"], ("1.0", "v2")),
        (["2.00", "3.", "2", "3"], ("2", "3")), (["-0.0", "0", "7.0", "7"], ("0", "7")),
        (["007", "007.0", "8", "8"], ("007", "8")),
    ],
)  # fmt: skip
def test_one_number_is_one_label_however_it_is_written(
    cells: list[str], classes: tuple[str, ...]
) -> None:
    assert read(cells, "label").classes == classes


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=20), st.data())
def test_whole_numbers_keep_their_value(numbers: list[int], data: st.DataObject) -> None:
    cells = [data.draw(st.sampled_from([str(n), f"{n}.0", f"{n}."])) for n in numbers]
    assert plain_numbers(cells) == [str(n) for n in numbers] and not are_fractions(cells)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20))
def test_fractions_are_told(numbers: list[float]) -> None:
    cells = [repr(n) for n in numbers]
    assert are_fractions(cells) == any(n % 1 for n in numbers)
    assert not are_fractions([*cells, "v1.5"])


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "sep=|", "sep=\t", "sep=,"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_excels_first_line_says_what_separates_the_cells(line: str, end: str) -> None:
    mark = line.strip('"')[-1]
    rows = [["path", "label"], ["a.jpg", "x"], ["b.jpg", "y, z" if mark == ";" else "y"]]
    text = end.join([line, *(mark.join(row) for row in rows)])
    table = parse_table(Path("t.csv"), text.encode())
    assert [table.header, *table.rows] == rows


def test_classes_that_are_spelt_alike_are_told(tmp_path: Path) -> None:
    for root, names in ((tmp_path / "a", ("red oak", "Red_Oak", "elm")),
                        (tmp_path / "b", ("Elm", "elm", "oak"))):  # fmt: skip
        write_folder(root, dict.fromkeys(names, 3))
        (alike,) = (f for f in open_data(root, val="none").findings if f.check == "alike")
        assert all(name in alike.text for name in names[:2]) and names[2] not in alike.text
    for k in range(6):
        write_picture(tmp_path / "t" / f"{k}.jpg", seed=k)
    rows = [f"{k}.jpg,{name}" for k, name in enumerate(("Elm", "elm", "ash") * 2)]
    (tmp_path / "t" / "t.csv").write_text("\n".join(["path,label", *rows]))
    assert any("'Elm' = 'elm'" in note for note in open_data(tmp_path / "t", val="none").notes)
    write_folder(tmp_path / "letters", dict.fromkeys("aAbB", 2))
    write_folder(tmp_path / "plain", dict.fromkeys(("-1", "1", "1 2", "12"), 2))
    for name in ("letters", "plain"):
        found = open_data(tmp_path / name, val="none").findings
        assert not any(finding.check == "alike" for finding in found)


def test_classes_that_a_split_lacks_are_told(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train/a": 3, "train/b": 3, "train/c": 3, "val/a": 2, "val/c": 1})
    bundle = open_data(tmp_path)
    assert any("val: 1 class has no picture: b" in note for note in bundle.notes)
    assert show(bundle)["splits"]["val"]["classes"] == {"a": 2, "b": 0, "c": 1}
