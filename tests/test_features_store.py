"""The features file: numpy reads it, xfer reads it layer by layer, damaged ones are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xfer.errors import DataError
from xfer.extraction import Features, read_features, write_features
from xfer.extraction.store import Spool, spool_folder


def made(count: int = 6, **changes: Any) -> Features:
    rng = np.random.default_rng(0)
    parts: dict[str, Any] = {
        "layers": {
            "pool5": rng.random((count, 8), np.float32),
            "fc7": rng.random((count, 4), np.float32).astype(np.float16),
        },
        "y": np.arange(count) % 3 - 1,
        "ids": np.array([f"ä/{i}.jpg" for i in range(count)], np.str_),
        "classes": np.array(["ant", "bee"], np.str_),
        "splits": np.array(["train"] * (count - 2) + ["val", "test"], np.str_),
        "meta": {"backbone": "alexnet"},
    }
    return Features(**{**parts, **changes})


def test_what_is_written_is_read_to_the_bit(tmp_path: Path) -> None:
    whole = made()
    write_features(tmp_path / "f.npz", whole)
    found = read_features(tmp_path / "f.npz")
    assert len(found) == 6
    assert list(found.layers) == ["pool5", "fc7"]
    for name, values in whole.layers.items():
        assert found.layers[name].dtype == values.dtype
        assert np.array_equal(found.layers[name], values)
    for name in ("y", "ids", "classes", "splits"):
        assert np.array_equal(getattr(found, name), getattr(whole, name))
    assert found.meta["backbone"] == "alexnet"


def test_numpy_alone_reads_the_file(tmp_path: Path) -> None:
    write_features(tmp_path / "f.npz", made())
    with np.load(tmp_path / "f.npz", allow_pickle=False) as found:
        assert set(found) == {"pool5", "fc7", "y", "ids", "classes", "splits", "meta"}
        assert found["y"].dtype == np.int64
        assert json.loads(str(found["meta"]))["schema"] == 1


def test_rows_in_any_order_from_several_writers_make_the_same_file(tmp_path: Path) -> None:
    whole = made()
    out = tmp_path / "new" / "f.npz"
    with spool_folder(out) as folder:
        first, second = (Spool(out, folder, 6) for _ in range(2))
        for spool, rows in ((first, [4, 0, 1]), (second, [5, 3]), (first, [2])):
            spool.write(rows, {name: values[rows] for name, values in whole.layers.items()})
        first.close()
        second.close()
        first.finish(list(whole.layers), made(layers={}))
    assert [file.name for file in out.parent.iterdir()] == ["f.npz"]
    found = read_features(out)
    for name, values in whole.layers.items():
        assert np.array_equal(found.layers[name], values)


def test_what_killed_processes_left_is_removed_and_a_living_one_is_not_disturbed(
    tmp_path: Path,
) -> None:
    out = tmp_path / "f.npz"
    for name in (".f.npz.host-123.parts", ".f.npz.parts"):  # an older version's, and ours
        (tmp_path / name).mkdir()
        (tmp_path / name / "pool5.npy").touch()
    (tmp_path / ".f.npz.0a1b2c3d.tmp").touch()
    (tmp_path / ".g.npz.parts").mkdir()
    with spool_folder(out) as folder:
        assert not list(folder.iterdir())
        (folder / "pool5.npy").touch()
        with (
            pytest.raises(DataError, match="has been writing into it since"),
            spool_folder(out),
        ):
            pass
        assert list(folder.iterdir())
    assert [file.name for file in tmp_path.iterdir()] == [".g.npz.parts"]


def test_multilabel_and_no_pictures(tmp_path: Path) -> None:
    y = np.array([[1, 0], [0, -1]], np.int8)
    write_features(tmp_path / "m.npz", made(2, y=y))
    assert np.array_equal(read_features(tmp_path / "m.npz").y, y)
    layers = {"pool5": np.empty((0, 8), np.float32)}
    none = np.array([], np.str_)
    empty = Features(layers, np.empty(0, np.int64), none, none, none, {})
    write_features(tmp_path / "e.npz", empty)
    assert read_features(tmp_path / "e.npz").layers["pool5"].shape == (0, 8)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_file_that_is_cut_off_is_named(tmp_path: Path, share: float) -> None:
    path = tmp_path / "f.npz"
    write_features(path, made(60))
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError, match=r"f\.npz: (cut off|not an \.npz)"):
        read_features(path)


def test_files_of_other_programs_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.npz"
    np.savez(other, X=np.zeros((3, 2)), y=np.zeros(3))
    with pytest.raises(DataError, match=r"not written by `xfer features`.*ids"):
        read_features(other)
    columns = {n: np.array("{}") for n in ("y", "ids", "classes", "splits", "meta")}
    np.savez(other, **columns)  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match="not written by `xfer features`"):
        read_features(other)
    other.write_text("hello")
    with pytest.raises(DataError, match=r"not an \.npz"):
        read_features(other)
    with pytest.raises(DataError, match="no such"):
        read_features(tmp_path / "none.npz")


def test_pickles_are_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "f.npz"
    columns = {n: np.array(["a"]) for n in ("y", "classes", "splits", "meta")}
    ids = np.array([{"a": 1}], object)
    np.savez(path, ids=ids, **columns)  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match="damaged"):
        read_features(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"y": np.zeros(5, np.int64)}, "y has 5 rows"),
        ({"layers": {}}, "has no layer"),
        ({"layers": {"a": np.zeros((6, 2, 2), np.float32)}}, r"not float \(N, D\)"),
        ({"layers": {"a": np.zeros((6, 2), np.int32)}}, "a is int32"),
    ],
)
def test_arrays_that_do_not_belong_together(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    write_features(tmp_path / "f.npz", made(**changes))
    with pytest.raises(DataError, match=said):
        read_features(tmp_path / "f.npz")


def test_a_file_from_the_future(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xfer.extraction.store.SCHEMA", 99)
    write_features(tmp_path / "f.npz", made())
    monkeypatch.undo()
    with pytest.raises(DataError, match="newer"):
        read_features(tmp_path / "f.npz")
