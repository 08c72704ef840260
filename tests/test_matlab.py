"""Our reader of .mat files: what SciPy writes comes back, and damage ends in a line."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat
from scipy.sparse import csc_array

from xfer.data.readers.matlab import Cell, Struct, read_matlab, variables
from xfer.errors import DataError

DTYPES = ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]


def saved(packed: bool = True, **content: Any) -> bytes:
    file = io.BytesIO()
    savemat(file, content, do_compression=packed)
    return file.getvalue()


def cells(*values: Any) -> Any:
    array = np.empty((1, len(values)), object)
    for k, value in enumerate(values):
        array[0, k] = value
    return array


numbers = st.tuples(
    st.sampled_from(DTYPES), st.lists(st.integers(0, 4), min_size=2, max_size=3), st.integers(0, 9)
).map(
    lambda drawn: (np.random.default_rng(drawn[2]).random(drawn[1]) * 99).astype(drawn[0])
)  # fmt: skip
texts = st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=1, max_size=9)
values: Any = st.recursive(
    numbers | texts,
    lambda inner: st.lists(inner, min_size=1, max_size=3) | st.fixed_dictionaries(
        {"a": inner, "bc": inner}
    ),
    max_leaves=6,
)  # fmt: skip


def written(value: Any) -> Any:
    """The value as SciPy takes it."""
    if isinstance(value, list):
        return cells(*map(written, value))
    return {k: written(v) for k, v in value.items()} if isinstance(value, dict) else value


def equal(got: Any, value: Any) -> bool:
    if isinstance(value, list):
        assert isinstance(got, Cell)
        assert got.shape == (1, len(value))
        return all(map(equal, got.items, value))
    if isinstance(value, dict):
        assert isinstance(got, Struct)
        return all(equal(got.fields[name][0], one) for name, one in value.items())
    if isinstance(value, str):
        return got == value
    return got.dtype == value.dtype and got.shape == value.shape and np.array_equal(got, value)


@settings(max_examples=60, deadline=None)
@given(values, st.booleans())
def test_what_scipy_writes_is_read_as_it_was(value: Any, packed: bool) -> None:
    data = saved(packed, other=np.arange(9), x=written(value))
    assert equal(variables(data, ["x", "absent"], "f")["x"], value)


def test_a_struct_array_and_kinds_that_are_not_read(tmp_path: Path) -> None:
    rows = np.array([(1, "n01", 3), (2, "", 0)], [("id", "O"), ("w", "O"), ("n", "O")])
    (tmp_path / "a.mat").write_bytes(saved(s=rows.reshape(2, 1), z=csc_array(np.eye(3)), c=1j))
    content = read_matlab(tmp_path / "a.mat", ["s", "z", "c"])
    assert content["s"].shape == (2, 1)
    assert [v.item() for v in content["s"].fields["id"]] == [1, 2]
    assert content["s"].fields["w"][0] == "n01"
    assert content["z"] is None
    assert content["c"] is None


def element(kind: int, body: bytes, order: str) -> bytes:
    return struct.pack(f"{order}II", kind, len(body)) + body + bytes(-len(body) % 8)


def big_endian() -> bytes:
    body = b"".join((
        element(6, struct.pack(">II", 6, 0), ">"), element(5, struct.pack(">ii", 1, 2), ">"),
        struct.pack(">HH", 1, 1) + b"x\0\0\0", element(3, struct.pack(">hh", -2, 300), ">"),
    ))  # fmt: skip
    return b"MATLAB 5.0".ljust(124) + b"\x01\x00MI" + element(14, body, ">")


def test_the_other_order_of_bytes() -> None:
    found = variables(big_endian(), ["x"], "f")["x"]
    assert found.dtype == np.float64
    assert found.tolist() == [[-2, 300]]


@pytest.mark.parametrize("packed", [True, False])
def test_damage_ends_in_a_line(packed: bool) -> None:
    data = saved(packed, x=cells("a", np.eye(3), cells(1, "b")), y={"a": np.ones(3), "b": "t"})
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        bad = bytearray(data)
        for _ in range(rng.integers(1, 4)):
            bad[rng.integers(128, len(bad))] = (0, 1, 14, 127, 255, int(rng.integers(256)))[
                rng.integers(6)
            ]
        try:
            variables(bytes(bad[: rng.integers(100, 2 * len(bad))]), ["x", "y"], "f.mat")
        except DataError as error:
            assert error.message.startswith("f.mat")
            refused += 1
    assert refused > 100


def test_sizes_that_are_stated_are_not_believed() -> None:
    def matrix(kind: int, shape: tuple[int, int], rest: bytes) -> bytes:
        parts = (
            element(6, struct.pack("<II", kind, 0), "<"),
            element(5, struct.pack("<ii", *shape), "<"),
        )
        return element(14, b"".join((*parts, struct.pack("<HH", 1, 1) + b"x\0\0\0", rest)), "<")

    head = b"MATLAB 5.0".ljust(124) + b"\0\x01IM"
    for bad, line in (
        (matrix(6, (1 << 30, 1 << 30), element(9, bytes(8), "<")), "1 numbers for a shape"),
        (matrix(1, (1 << 30, 1 << 30), b""), "items in"),
        (matrix(6, (-1, 2), b""), "a matrix of shape"),
        (matrix(4, (1 << 30, 0), element(16, b"", "<")), "0 characters for a shape"),
        (struct.pack("<II", 14, 1 << 31), "some are missing"),
    ):
        with pytest.raises(DataError, match=line):
            variables(head + bad, ["x"], "f")
    bomb = matrix(9, (1 << 28, 1), element(2, bytes(1 << 28), "<"))
    packed = zlib.compress(bomb, 1)
    with pytest.raises(DataError, match=r"bytes packed in"):
        variables(head + struct.pack("<II", 15, len(packed)) + packed, ["x"], "f")
    deep: Any = "a"
    for _ in range(50):
        deep = cells(deep)
    with pytest.raises(DataError, match="nested deeper than 32"):
        variables(saved(x=deep), ["x"], "f")


def test_other_versions_are_named() -> None:
    for data, line in (
        (b"MATLAB 7.3 MAT-file".ljust(600), "7.3"),
        (struct.pack("<IIIII", 0, 1, 1, 0, 2) + bytes(200), "MATLAB 4"),
        (b"GIF89a" * 100, "no MATLAB file"),
        (b"", "no MATLAB file"),
    ):
        with pytest.raises(DataError, match=line):
            variables(data, ["x"], "f")
