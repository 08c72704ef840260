"""Kinds of data: one of one's own works everywhere, and nobody else compares their names."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from test_imports import parsed

from xfer import kinds
from xfer.boxes import Boxes
from xfer.errors import XferError
from xfer.objects.segments import Segments
from xfer.types import ClassPrediction, Sample

NAMES = {"classify", "multilabel", "detect", "instance", "segment", "panoptic", "images"}


def test_no_module_but_the_kinds_compares_a_kinds_name() -> None:
    """Whoever asks `kind == "detect"` leaves out the kinds that come later."""
    wrong: list[str] = []
    for file, module, tree in parsed():
        if module.startswith("xfer.kinds"):
            continue
        for node in ast.walk(tree):
            if not isinstance(node, ast.Compare):
                continue
            sides = [node.left, *node.comparators]
            texts = {c.value for side in sides for c in ast.walk(side)
                     if isinstance(c, ast.Constant) and isinstance(c.value, str)}  # fmt: skip
            asked = any("kind" in ast.unparse(side).split(".")[-1] for side in sides)
            if asked and texts & NAMES:
                wrong.append(f"{file}:{node.lineno}: {ast.unparse(node)}")
    assert not wrong


def test_all_kinds_are_known_by_name_and_say_what_they_hold() -> None:
    assert set(kinds.KINDS.names()) >= NAMES
    for name in NAMES:
        kind = kinds.get(name)
        assert kind.name == name and kind.holds
        assert set(kind.also) <= set(kinds.KINDS.names())
        assert not kind.labelled or kind.needs
    with pytest.raises(XferError, match="unknown kind of data 'detekt'"):
        kinds.get("detekt")


@pytest.mark.parametrize("name", sorted(NAMES - {"images"}))
def test_relabelling_moves_labels_and_samples_alike(name: str) -> None:
    """Classes a, b of a file are the model's 2, 0; its 1 is not known to the file."""
    kind, table = kinds.get(name), np.array([2, 0])
    image = np.zeros((2, 3, 3), np.uint8)
    boxes, mask = Boxes.of(np.zeros((2, 4)), [0, 1]), np.array([[0, 1, 255], [1, 0, 0]], np.uint8)
    segments = Segments.of([[0, 1, -1], [1, 0, 0]], [0, 1])
    rows = {
        "classify": (np.array([1]), Sample("x", image, 1), np.array([0])),
        "multilabel": (np.array([[1, 0]], np.int8), Sample("x", image, np.array([1, 0], np.int8)),
                       np.array([[0, -1, 1]])),
        "detect": (np.array([[1, 1]], np.int8),
                   Sample("x", image, boxes=boxes),
                   np.array([[1, 0, 1]])),
        "instance": (np.array([[1, 1]], np.int8),
                     Sample("x", image, boxes=boxes),
                     np.array([[1, 0, 1]])),
        "segment": (np.array([[-1, 1]], np.int8), Sample("x", image, mask=mask),
                    np.array([[1, -1, -1]])),
        "panoptic": (np.array([[-1, 1]], np.int8), Sample("x", image, segments=segments),
                     np.array([[1, -1, -1]])),
    }  # fmt: skip
    labels, sample, expected = rows[name]
    assert np.array_equal(kind.relabel_labels(labels, table, 3), expected)
    moved = kind.relabel(sample, table, 3)
    if name == "classify":
        assert moved.label == 0
    if name == "multilabel":
        assert np.array_equal(moved.label, expected[0])
    if name in ("detect", "instance"):
        assert moved.boxes is not None and moved.boxes.labels.tolist() == [2, 0]
    if name == "segment":
        assert moved.mask is not None and moved.mask.tolist() == [[2, 0, 255], [0, 2, 2]]
    if name == "panoptic":
        assert moved.segments is not None
        assert moved.segments.classes().tolist() == [[2, 0, 255], [0, 2, 2]]


def test_a_prediction_is_a_row_a_line_of_a_table_and_csv() -> None:
    said = ClassPrediction("a.jpg", np.array([0.2, 0.7, 0.1], np.float32))
    names = ["x", "y", "z"]
    one, several = kinds.get("classify"), kinds.get("multilabel")
    row = one.describe(said, names)
    assert row["label"] == "y" and list(row["scores"]) == ["y", "x", "z"]
    assert "scores" not in one.table_row(said, names)
    columns, lines = one.csv_rows([said], names)
    assert columns == ["id", "label", "score", "score:x", "score:y", "score:z"]
    assert lines[0]["score:x"] == "0.200000"
    assert several.describe(said, names)["labels"] == ["y"]
    with pytest.raises(XferError, match="for boxes"):
        one.at_least(said, 0.5)
    with pytest.raises(XferError, match="one label per picture"):
        one.coco_results([said], [1, 2, 3])


def test_a_kind_registered_twice_under_one_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kinds.KINDS.names()  # loads them
    monkeypatch.setattr(kinds.KINDS, "_things", {**kinds.KINDS._things})

    class Other(kinds.Kind):
        name = "detect"
        holds = "something else"

    with pytest.raises(XferError, match="registered twice"):
        kinds.register(Other)


def test_data_of_another_kind_than_a_task_of_ones_own_learns_from_are_refused_in_words() -> None:
    """The task's module alone is known, not the one that registers its kind."""
    assert kinds.words("detect") == "boxes"
    assert kinds.words("spectra") == "'spectra' data"
