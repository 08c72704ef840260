"""Weight files that are damaged or mean harm: nothing in them runs, and each ends in one line."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import os
import pickle
import random
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn

from xfer.backbones.files import open_weights, read_weights
from xfer.backbones.pickled import Global, Made, read_pickle
from xfer.backbones.weights import fill
from xfer.cli.app import main
from xfer.errors import DataError, XferError

STATE = {"conv.weight": torch.rand(4, 3, 3, 3), "conv.bias": torch.rand(4), "n": torch.tensor(3)}


def _saved(thing: Any, legacy: bool = False) -> bytes:
    out = io.BytesIO()
    torch.save(thing, out, _use_new_zipfile_serialization=not legacy)
    return out.getvalue()


def _arrays(write: Callable[..., None]) -> bytes:
    out = io.BytesIO()
    write(out, **{k: v.numpy() for k, v in STATE.items()})
    return out.getvalue()


FILES = {
    "torch": _saved({"model": STATE, "epoch": 3}),
    "legacy": _saved({"model": STATE, "epoch": 3}, legacy=True),
    "whole": _saved(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))),
    "pickle": pickle.dumps(STATE),
    "arrays": pickle.dumps({k: v.numpy() for k, v in STATE.items()}, protocol=5),
    "npz": _arrays(np.savez),
    "compressed": _arrays(np.savez_compressed),
    "safetensors": save(STATE),
}


class _Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.target}",)


class _Sly(_Evil):
    """Runs it by an attribute's setter, an iterator or a state, beside the call itself."""

    def __reduce__(self) -> tuple[Any, ...]:
        run = _Evil(self.target)
        return dict, (), run, iter([run]), iter([("k", run)])


@pytest.mark.parametrize("evil", [_Evil, _Sly])
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_nothing_in_a_file_runs(evil: type[_Evil], protocol: int, tmp_path: Path) -> None:
    owned, file = tmp_path / "owned", tmp_path / "w"
    bad = evil(owned)
    for thing in (bad, {"state_dict": bad}, {"args": bad, "model": STATE}, [bad, STATE]):
        files = [pickle.dumps(thing, protocol=protocol)]
        if protocol == 2:
            files += [_saved(thing), _saved(thing, legacy=True)]
        for data in files:
            file.write_bytes(data)
            with contextlib.suppress(DataError):
                read_weights(file)
            main(["models", "import", str(file), "-o", str(tmp_path / "o.safetensors")])
            (tmp_path / "o.safetensors").unlink(missing_ok=True)
            assert not owned.exists()
    arrays = io.BytesIO()
    np.savez(arrays, a=np.array([bad], dtype=object), b=np.zeros((2, 2)))
    file.write_bytes(arrays.getvalue())
    assert set(read_weights(file)) == {"b"} and not owned.exists()


def test_the_weights_beside_a_harmful_object_are_read(tmp_path: Path) -> None:
    torch.save({"args": _Evil(tmp_path / "owned"), "model": STATE}, tmp_path / "w.pth")
    found = read_weights(tmp_path / "w.pth")
    assert all(torch.equal(found[name], STATE[name]) for name in STATE)
    assert not (tmp_path / "owned").exists()


def test_a_call_is_noted_and_no_name_is_looked_up() -> None:
    made = read_pickle(io.BytesIO(b"cno.such.module\nthing\n(S'a'\nK\x07tR."))
    assert isinstance(made, Made)
    assert made.what == Global("no.such.module", "thing") and made.args == ("a", 7)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6)
    | st.binary(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner)
    | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=200)
@given(PLAIN, st.integers(2, 5))
def test_plain_values_come_out_as_pickle_reads_them(value: Any, protocol: int) -> None:
    assert read_pickle(io.BytesIO(pickle.dumps(value, protocol))) == value


def test_a_stray_backslash_is_no_warning() -> None:
    assert read_pickle(io.BytesIO(b"S'a\\qb'\n.")) == "a\\qb"


DTYPES = st.sampled_from(
    [
        torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8,
        torch.bool, torch.complex64, torch.uint16, torch.float8_e4m3fn,
    ]
)  # fmt: skip


class _Own(torch.Tensor):
    """A class of tensors of somebody's own."""


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    """Whole tensors, views, repeats, parameters and a subclass, of any numbers."""
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    count = torch.Size(shape).numel()
    made = (torch.arange(count) % 7).reshape(shape).to(draw(DTYPES))
    kind = draw(st.sampled_from(["whole", "turned", "part", "repeated", "parameter", "own"]))
    if kind == "turned":
        return made.permute(tuple(reversed(range(made.ndim))))
    if kind == "part" and made.ndim:
        return made[..., made.shape[-1] // 2 :]
    if kind == "repeated":
        return made.unsqueeze(0).expand(3, *made.shape)
    if kind == "parameter" and made.is_floating_point():
        parameter = nn.Parameter(made)
        parameter.note = "kept"  # pyright: ignore[reportAttributeAccessIssue]
        return parameter
    return made.as_subclass(_Own) if kind == "own" and made.dtype == torch.float32 else made


@settings(max_examples=150, deadline=None)
@given(st.lists(tensors(), min_size=1, max_size=5), st.sampled_from(["zip", "legacy", "pickle"]))
def test_tensors_come_out_as_torch_reads_them(
    tmp_path_factory: Any, given: list[torch.Tensor], kind: str
) -> None:
    state = {f"a.{i}": tensor for i, tensor in enumerate(given)}
    file = tmp_path_factory.getbasetemp() / "tensors"
    file.write_bytes(pickle.dumps(state) if kind == "pickle" else _saved(state, kind == "legacy"))
    found = read_weights(file)
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert found[name].dtype == tensor.dtype and found[name].shape == tensor.shape
        mine, theirs = found[name].contiguous(), tensor.detach().contiguous()
        assert torch.equal(mine.view(-1).view(torch.uint8), theirs.view(-1).view(torch.uint8))


def _mutated(data: bytes, draw: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(draw.choice([1, 1, 2, 5])):
        at = draw.randrange(len(out)) if draw.random() < 0.5 else int(draw.expovariate(1 / 60))
        at = min(at, len(out) - 1)
        what = draw.random()
        if what < 0.4:
            out[at] = draw.randrange(256)
        elif what < 0.6 and len(out) > 20:
            del out[at : at + draw.randrange(1, 8)]
        elif what < 0.9:
            out[at:at] = out[at : at + draw.randrange(40)]
        elif at:
            del out[at:]
    return bytes(out)


def _packed_again(data: bytes, draw: random.Random) -> bytes:
    """A zip archive one of whose members is mutated, its checksum right again."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        hit = draw.choice([name for name in names if old.getinfo(name).file_size])
        for name in names:
            content = old.read(name)
            new.writestr(name, _mutated(content, draw) if name == hit else content)
    return out.getvalue()


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(sorted(FILES)), st.integers(0, 2**32), st.booleans())
def test_damaged_files_raise_nothing_but_one_line(
    tmp_path_factory: Any, kind: str, seed: int, inside: bool
) -> None:
    draw = random.Random(seed)
    file = tmp_path_factory.getbasetemp() / "damaged"
    zipped = FILES[kind][:2] == b"PK"
    file.write_bytes((_packed_again if inside and zipped else _mutated)(FILES[kind], draw))
    try:
        read_weights(file)
    except XferError as error:
        assert str(file) in error.message and "\n" not in error.message


@pytest.mark.parametrize("kind", sorted(FILES))
def test_a_cut_off_file_is_called_so(kind: str, tmp_path: Path) -> None:
    for share in (0.5, 0.9):
        file = tmp_path / "cut"
        file.write_bytes(FILES[kind][: int(share * len(FILES[kind]))])
        with pytest.raises(DataError, match="cut off") as caught:
            read_weights(file)
        assert "again" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"), (gzip.compress(FILES["torch"]), "gzip"),
        (bz2.compress(FILES["torch"]), "bzip2"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "Git LFS"),
        (b"\n<!DOCTYPE html>\n<html><head>", "web page"), (b"\x08\x07\x12\x07pytorch\x1a", "ONNX"),
        (b"a,b\n1,2\n", "text"), (bytes(range(200, 256)) * 9, "unknown weight file"),
    ],
)  # fmt: skip
def test_other_files_are_called_what_they_are(data: bytes, what: str, tmp_path: Path) -> None:
    for name in ("w.pth", "w.caffemodel.txt", "w"):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DataError, match=what) as caught:
            open_weights(tmp_path / name)
        assert name in caught.value.message and "cut off" not in str(caught.value)


def test_a_folder_is_asked_for_the_file_in_it(tmp_path: Path) -> None:
    for file, hint in (("config.json", "run:DIR"), ("model.bin", "name a file in it: model.bin"),
                       ("best.safetensors", f"run:{tmp_path}")):  # fmt: skip
        (tmp_path / file).write_bytes(b"{}")
        with pytest.raises(DataError, match="is a folder") as caught:
            open_weights(tmp_path)
        assert hint in (caught.value.hint or "")


def test_an_archive_that_holds_a_weight_file_names_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("best/model.pth", FILES["torch"])
    with pytest.raises(DataError, match=r"zip archive of best/model\.pth"):
        open_weights(tmp_path / "a.zip")


def _header(text: str, size: int = 16) -> bytes:
    head = text.encode() + b"\n"
    array = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(size)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.npy", array)
    return out.getvalue()


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (", "", "(" * 500,
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (16777216, 16777216), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (5,), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (2,), }",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }",
        "__import__('os').system('touch owned')",
    ],
)  # fmt: skip
def test_odd_headers_of_arrays_end_in_a_line(header: str, tmp_path: Path) -> None:
    (tmp_path / "w.npz").write_bytes(_header(header))
    with pytest.raises(DataError, match=r"w\.npz"):
        read_weights(tmp_path / "w.npz")
    good = _header("{'shape': (2L, 2L), \"descr\": '>f4', 'fortran_order': True}")
    (tmp_path / "w.npz").write_bytes(good)
    assert read_weights(tmp_path / "w.npz")["a"].shape == (2, 2)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
        np.arange(5, dtype=">f4"), np.float16(3), np.zeros((0, 3)), np.arange(4, dtype=">c8"),
        np.arange(3) > 1,
    ],
)  # fmt: skip
def test_arrays_come_out_as_numpy_reads_them(array: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=array)
    pickled = [pickle.dumps({"a": array}, protocol) for protocol in (2, 3, 4, 5)]
    for data in ((tmp_path / "a.npz").read_bytes(), *pickled):
        if np.ndim(array) == 0 and data[:2] != b"PK":
            continue  # numpy pickles a single number as no array
        (tmp_path / "w").write_bytes(data)
        found = read_weights(tmp_path / "w")["a"]
        assert found.shape == np.shape(array) and np.array_equal(found.numpy(), array)


CALL = b"q\x000ctorch._utils\n_rebuild_parameter\nh\x00\x85R"
PAIRS = b"q\x000" + b"ccollections\nOrderedDict\nh\x00\x85R" * 500


@pytest.mark.parametrize(
    "bomb",
    [
        b"]r\xff\xff\xff\x7f.",
        b"]" * 100_000 + b"a" * 99_999 + b".",
        b")" + b"\x85" * 100_000 + b".",
        b"}(" + b")" + b"2\x86" * 60 + b"K\x01u.",
        b"N" + CALL * 20_000 + b".",
        b"]q\x00" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(200)) + b".",
        b"](" + b"K\x01K\x02\x86" * 50_000 + b"e" + PAIRS + b".",
    ],
)  # fmt: skip
def test_small_files_that_would_grow_without_end_do_not(bomb: bytes, tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(b"\x80\x02" + bomb)
    start = time.perf_counter()
    with pytest.raises(DataError, match="bomb"):
        read_weights(tmp_path / "bomb")
    assert time.perf_counter() - start < 20


def test_a_small_file_that_claims_terabytes_writes_none(tmp_path: Path) -> None:
    huge = torch.zeros(1).expand(10**12)
    torch.save({"a.weight": huge, "trunk.conv1.weight": torch.rand(4, 3, 3, 3)}, tmp_path / "w.pth")
    with pytest.raises(DataError, match=r"w\.pth.*repeat"):
        read_weights(tmp_path / "w.pth")
    from xfer.backbones.base import SequentialBackbone
    from xfer.types import Preprocess

    trunk = nn.Sequential()
    trunk.add_module("conv1", nn.Conv2d(3, 4, 3))
    net = SequentialBackbone("small", Preprocess(size=8), trunk, {"conv1": 0})
    assert fill(net, open_weights(tmp_path / "w.pth"), "w.pth").matched == ["trunk.conv1.weight"]


def test_tensors_beyond_their_numbers_are_refused(tmp_path: Path) -> None:
    data = FILES["torch"]
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content[:8] if name.endswith("data/0") else content)
    (tmp_path / "w.pth").write_bytes(out.getvalue())
    with pytest.raises(DataError, match=r"conv\.weight.*cut off"):
        read_weights(tmp_path / "w.pth")
    views = {"w": torch.rand(5, 7).t()[1:, ::2], "one": torch.rand(9)[4]}
    torch.save(views, tmp_path / "views.pth")
    found = read_weights(tmp_path / "views.pth")
    assert all(torch.equal(found[name], views[name]) for name in views)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    at = FILES["torch"].index(STATE["conv.weight"].numpy().tobytes())
    flipped = bytearray(FILES["torch"])
    flipped[at + 33] ^= 16
    (tmp_path / "w.pth").write_bytes(flipped)
    with pytest.raises(DataError, match=r"conv\.weight.*checksum"):
        read_weights(tmp_path / "w.pth")
