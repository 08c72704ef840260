"""Files of proposals: each form is read as its makers mean it, and none runs code."""

from __future__ import annotations

import json
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy.io import savemat

from xfer.data.sources.base import ArraySource
from xfer.errors import DataError
from xfer.proposals.files import FileBoxes, read_proposals, write_proposals
from xfer.proposals.match import match_entries
from xfer.proposals.pickles import plain, read_numbers
from xfer.types import DataInfo

ONE = np.array([[10, 20, 110, 220], [0, 0, 5, 5]], np.float32)
TWO = np.array([[1, 2, 3, 4]], np.float32)


def pictures(*ids: str) -> ArraySource:
    info = DataInfo("pictures", "images", ())
    images = np.zeros((len(ids), 300, 200, 3), np.uint8)
    return ArraySource(info, images, np.full(len(ids), -1, np.int64), ids)


def written(path: Path, value: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


def lists(found: tuple[NDArray[np.float32], ...]) -> list[list[list[float]]]:
    return [one.tolist() for one in found]


@given(
    st.lists(
        st.integers(0, 6).flatmap(
            lambda n: arrays.arrays(np.float32, (n, 4), elements=st.floats(0, 500, width=32))
        ),
        max_size=6,
    )
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_back(tmp_path: Path, boxes: list[NDArray[np.float32]]) -> None:
    boxes = [one + np.array([0, 0, 501, 501], np.float32) for one in boxes]
    path = tmp_path / "p.npz"
    write_proposals(path, [f"a/{i}.jpg" for i in range(len(boxes))], boxes, {"method": "grid"})
    found = read_proposals(path)
    assert found.ids == tuple(f"a/{i}.jpg" for i in range(len(boxes)))
    assert lists(found.boxes) == [one.tolist() for one in boxes]


def test_coco_results_are_sorted_by_score_and_turned_into_corners(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    rows = [
        {"image_id": 7, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.1},
        {"image_id": 3, "category_id": 1, "bbox": [1, 2, 2, 2], "score": 0.5},
        {"image_id": 7, "category_id": 1, "bbox": [10, 20, 100, 200], "score": 0.9},
    ]
    path.write_text(json.dumps(rows))
    found = read_proposals(path)
    assert found.ids == (7, 3) and found.coco
    assert lists(found.boxes) == [ONE.tolist(), TWO.tolist()]


def cells(values: list[Any]) -> NDArray[Any]:
    made = np.empty((1, len(values)), object)
    made[0] = values
    return made


def test_girshicks_mat_counts_from_one_and_names_y_first(tmp_path: Path) -> None:
    boxes = [np.array([[21.0, 11, 220, 110], [1, 1, 5, 5]]), np.array([[3.0, 2, 4, 3]])]
    path = tmp_path / "p.mat"
    savemat(path, {"boxes": cells(boxes), "images": cells(["000005", "000007"]).T})
    found = read_proposals(path)
    assert found.ids == ("000005", "000007")
    assert lists(found.boxes) == [ONE.tolist(), TWO.tolist()]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("names", [("indexes", "scores"), ("ids", "objectness_logits")])
def test_detectrons_pickle_is_read_in_every_protocol(
    tmp_path: Path, names: tuple[str, str], protocol: int
) -> None:
    content: OrderedDict[str, Any] = OrderedDict(boxes=[ONE[::-1].copy(), TWO])
    content[names[0]] = [np.int64(7), 3]
    content[names[1]] = [np.array([0.1, 0.9]), np.array([0.5], np.float32)]
    found = read_proposals(written(tmp_path / "p.pkl", content, protocol))
    assert found.ids == (7, 3)
    assert lists(found.boxes) == [ONE.tolist(), TWO.tolist()]


def test_detectron2s_width_and_height_are_understood(tmp_path: Path) -> None:
    content = {"boxes": [np.array([[10, 20, 100, 200]])], "ids": ["x"], "bbox_mode": 1}
    found = read_proposals(written(tmp_path / "p.pkl", content))
    assert lists(found.boxes) == [ONE[:1].tolist()]


@given(
    arrays.arrays(
        st.sampled_from(["<f4", ">f8", "i1", "<i8", "u2", "?"]), st.tuples(*[st.integers(0, 4)] * 2)
    ),
    st.integers(0, 5),
    st.booleans(),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_arrays_come_out_of_pickles_to_the_bit(
    tmp_path: Path, array: NDArray[Any], protocol: int, by_column: bool
) -> None:
    array = np.asfortranarray(array) if by_column else array
    found = plain(read_numbers(written(tmp_path / "a.pkl", array, protocol)))
    assert found.shape == array.shape and found.dtype == array.dtype
    assert found.tobytes() == array.tobytes()


class _Evil:
    """What its pickle would run."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.parts = call, arguments

    def __reduce__(self) -> Any:
        return self.parts


def test_a_pickle_that_would_run_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    for evil in (
        _Evil(os.mkdir, str(mark)),
        _Evil(exec, f"open({str(mark)!r}, 'w')"),
        _Evil(getattr, "text", "upper"),
        _Evil(np.load, str(mark)),
    ):
        for content in (evil, {"boxes": [evil], "ids": [1]}, [np.ones(3), evil]):
            path = written(tmp_path / "evil.pkl", content)
            with pytest.raises(DataError, match="more than numbers"):
                read_proposals(path)
            assert not mark.exists()


def test_an_object_array_hides_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    array = np.empty(1, object)
    array[0] = _Evil(os.mkdir, str(mark))
    with pytest.raises(DataError, match="more than numbers"):
        read_numbers(written(tmp_path / "evil.pkl", array))
    assert not mark.exists()
    ragged = np.empty(2, object)
    ragged[:] = [ONE, TWO]
    found = read_proposals(written(tmp_path / "p.pkl", {"boxes": ragged, "ids": np.array([7, 3])}))
    assert lists(found.boxes) == [ONE.tolist(), TWO.tolist()]


@given(st.integers(0, 400), st.binary(max_size=6))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_pickle_is_an_error_or_harmless(tmp_path: Path, at: int, junk: bytes) -> None:
    whole = pickle.dumps({"boxes": [ONE, TWO], "ids": [1, 2]})
    path = tmp_path / "p.pkl"
    path.write_bytes(whole[:at] + junk + whole[at + len(junk) :])
    try:
        found = read_proposals(path)
    except DataError:
        return
    assert len(found.ids) == len(found.boxes)


NAN = np.array([[0, 0, np.nan, 1]])
FLAT = np.array([[50, 60, 20, 30], [50, 60, 10, 10], [0, 0, 4, 4]])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "a list"),
        ({"boxes": [ONE]}, "boxes or ids are missing"),
        ({"boxes": [ONE], "ids": [1, 2]}, "differ in number"),
        ({"boxes": [ONE], "ids": [None]}, "neither a number nor a text"),
        ({"boxes": [ONE[:, :3]], "ids": [1]}, "not numbers"),
        ({"boxes": ["text"], "ids": [1]}, "not numbers"),
        ({"boxes": [NAN], "ids": [1]}, "not finite"),
        ({"boxes": [FLAT], "ids": [1]}, "no area"),
        ({"boxes": [ONE], "ids": [1], "scores": [np.ones(3)]}, "finite scores"),
        ({"boxes": [ONE], "ids": [1], "scores": [[None, None]]}, "finite scores"),
        ({"boxes": [ONE], "ids": [1], "bbox_mode": 5}, "bbox_mode 5"),
    ],
)
def test_wrong_pickles_are_told_apart(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_proposals(written(tmp_path / "p.pkl", content))


@pytest.mark.parametrize(
    "columns",
    [
        {"ids": ["a"], "boxes": ONE, "offsets": [0, 1]},
        {"ids": ["a", "b"], "boxes": ONE, "offsets": [0, 2]},
        {"ids": ["a", "b"], "boxes": ONE, "offsets": [0, 3, 2]},
        {"ids": ["a"], "boxes": ONE[:, :3], "offsets": [0, 2]},
        {"ids": [1.5], "boxes": ONE, "offsets": [0, 2]},
        {"ids": ["a"], "boxes": ONE},
    ],
)
def test_an_npz_that_does_not_fit_together_is_an_error(
    tmp_path: Path, columns: dict[str, Any]
) -> None:
    path = tmp_path / "p.npz"
    made: dict[str, Any] = {name: np.asarray(value) for name, value in columns.items()}
    np.savez(path, **made)
    with pytest.raises(DataError):
        read_proposals(path)


@pytest.mark.parametrize("ending", [".npz", ".json", ".mat", ".pkl"])
@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"PK\x03\x04cut", b"MATLAB 5.0"])
def test_what_is_no_such_file_is_an_error(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"p{ending}"
    path.write_bytes(content)
    with pytest.raises(DataError):
        read_proposals(path)
    path.unlink()
    with pytest.raises(DataError, match="no such file"):
        read_proposals(path)


def test_an_unknown_ending_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_proposals(tmp_path / "p.txt")
    assert ".npz, .json, .mat, .pkl" in str(caught.value)


def matched(names: list[int | str], *ids: str) -> list[int]:
    return match_entries(FileBoxes(tuple(names), (TWO,) * len(names)), pictures(*ids), "p.npz")


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["b.jpg", "a.jpg"], ["a.jpg", "b.jpg"]),
        (["b", "a"], ["sub/a.jpg", "sub/b.jpg"]),
        (["x/b.png", "x/a.png"], ["a.jpg", "b.jpg"]),
        ([42, 7], ["COCO_val2014_000000000007.jpg", "COCO_val2014_000000000042.jpg"]),
        (["000042", "000007"], ["7.jpg", "42.jpg"]),
    ],
)
def test_entries_are_matched_by_id_name_stem_or_number(
    names: list[int | str], ids: list[str]
) -> None:
    assert matched(names, *ids) == [1, 0]


def test_pictures_without_an_entry_are_named() -> None:
    with pytest.raises(DataError) as caught:
        matched(["a", "b"], "a.jpg", "c.jpg", "d.jpg")
    assert "2 of 3 pictures: c.jpg, d.jpg" in str(caught.value)
    assert "it has 2 pictures: a, b" in str(caught.value)


def test_an_entry_that_two_pictures_might_mean_is_for_neither() -> None:
    with pytest.raises(DataError, match=r"2 of 2 pictures is not clear.*: x/1\.jpg, y/1\.jpg"):
        matched(["1"], "x/1.jpg", "y/1.jpg")
    assert matched(["y/1.jpg", "x/1.jpg"], "x/1.jpg", "y/1.jpg") == [1, 0]
