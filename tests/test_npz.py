"""Arrays of .npz archives: numpy's come back, and sizes that they state are not believed."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xfer.data.npz import read_npz
from xfer.errors import DataError


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes_is_read(tmp_path: Path, save: Any) -> None:
    arrays = {
        "a": np.arange(12, dtype=np.float16).reshape(3, 4), "t": np.array(["ab", "ü"]),
        "f": np.asfortranarray(np.arange(6).reshape(2, 3)), "n": np.array(7), "e": np.empty((0, 4)),
        "big": np.arange(3, dtype=">i4"), "large": np.zeros(300_000),
    }  # fmt: skip
    save(tmp_path / "a.npz", **arrays)
    found = read_npz(tmp_path / "a.npz")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert np.array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    assert list(read_npz(tmp_path / "a.npz", ["n", "absent"])) == ["n"]
    found["a"][0] = 1  # it may be written to


def archive(path: Path, head: str, body: bytes = b"", packing: int = zipfile.ZIP_STORED) -> Path:
    text = head.encode().ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w", packing) as file:
        file.writestr("x.npy", b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text + body)
    return path


def head(descr: str = "<f8", shape: str = "(2,)") -> str:
    return f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (head(shape="(1000000000000,)"), "not the 8,000,000,000,000 of float64"),
        (head(shape="(1000000000000, 1000000000000, 1000000000000)"), "not the"),
        (head(shape="(-1,)"), "an array of float64"),
        (head(shape="(1,)"), "16 bytes, not the 8"),
        (head("|O"), "an array of object"),
        ("(" * 100, "can't be read"),
        (head("<f8", "(9" + "9" * 60 + ",)"), "x has 16 bytes"),
        ("{", "can't be read"),
        ("[1, 2]", "can't be read"),
    ],
)
def test_an_array_that_is_not_as_it_says(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(DataError, match=line) as caught:
        read_npz(archive(tmp_path / "a.npz", text, bytes(16)))
    assert caught.value.message.startswith(str(tmp_path / "a.npz"))


def test_what_unpacks_to_far_more_is_refused(tmp_path: Path) -> None:
    count = 12 << 20
    body, text = bytes(8 * count), head(shape=f"({count},)")
    with pytest.raises(DataError, match=r"bytes packed in"):
        read_npz(archive(tmp_path / "a.npz", text, body, zipfile.ZIP_DEFLATED))
    with pytest.raises(DataError, match=r"numpy does not write"):
        read_npz(archive(tmp_path / "b.npz", head(), bytes(16), zipfile.ZIP_BZIP2))


def test_damage_is_named(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.savez(file, x=np.arange(1000))
    data = bytearray(file.getvalue())
    data[500] ^= 1
    (tmp_path / "a.npz").write_bytes(data)
    (tmp_path / "b.npz").write_bytes(data[:3000])
    for name in ("a.npz", "b.npz"):
        with pytest.raises(DataError, match=rf"{name}: damaged"):
            read_npz(tmp_path / name)


@pytest.mark.parametrize("order", "<>")
def test_letters_that_no_text_has(tmp_path: Path, order: str) -> None:
    """Python would take them, and fail wherever the text is used."""
    file = tmp_path / "a.npz"
    np.savez(file, t=np.array([0x61, 0x110000], f"{order}u4").view(f"{order}U1"))
    with pytest.raises(DataError, match=r"a\.npz.*letters that no text has"):
        read_npz(file)
    rows = np.zeros(2, [("n", "i4"), ("t", f"{order}U2")])
    np.savez(file, t=rows)
    assert np.array_equal(read_npz(file)["t"], rows)
    rows["t"] = np.array([0x110000, 0, 0, 0], f"{order}u4").view(f"{order}U2")
    np.savez(file, t=rows)
    with pytest.raises(DataError, match="letters that no text has"):
        read_npz(file)
