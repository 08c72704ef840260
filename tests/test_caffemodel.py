"""The caffemodel reader, and Caffe's nets against an engine that is not ours."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import xfer
from xfer.backbones.base import SequentialBackbone
from xfer.backbones.caffemodel import fields, parse, read_caffemodel, read_varint
from xfer.backbones.weights import load_weights
from xfer.errors import DataError
from xfer.types import Preprocess

GOLDEN = Path(__file__).parent / "golden"


def _golden() -> ModuleType:
    spec = importlib.util.spec_from_file_location("caffe_golden", GOLDEN / "make_caffe_golden.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


caffe = _golden()


@pytest.mark.parametrize(
    "net, name, options",
    [
        ("bvlc_alexnet", "bvlc_alexnet", {}),
        ("caffenet", "caffenet", {}),
        ("alexnet_2012_paper", "alexnet_2012", {"lrn": "paper"}),
        ("alexnet_2012_code", "alexnet_2012", {"lrn": "code"}),
    ],
)
def test_every_layer_equals_opencv(
    net: str, name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    full = net == "caffenet"
    file = tmp_path / "net.caffemodel"
    file.write_bytes(caffe.caffemodel(net, caffe.weights(net, full), old=net == "bvlc_alexnet"))
    ours = xfer.create_backbone(name, weights=str(file), classifier=full, **options).eval()
    report = ours.weight_report
    assert report is not None and report.has_tail is full and not report.skipped
    images = torch.from_numpy(caffe.picture(net))
    with np.load(GOLDEN / "caffe_golden.npz") as golden, torch.no_grad():
        wanted = {k.partition("/")[2]: golden[k] for k in golden.files if k.startswith(net + "/")}
        got = ours(images, want=[n for n in wanted if n != "fc8"])
        if full:
            got["fc8"] = ours.logits(images)
    assert len(wanted) == {"caffenet": 13, "alexnet_2012_code": 9}.get(net, 10)
    for layer, numbers in wanted.items():
        mine = caffe.sample(got[layer].numpy())
        assert np.abs(mine - numbers).max() <= 2e-5 * np.abs(numbers).max(), layer


def test_old_layers_with_unpacked_floats_read_as_new_ones() -> None:
    layers = {
        "conv1": [np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2), np.ones(2, np.float32)],
        "fc6": [np.arange(12, dtype=np.float32).reshape(3, 4), np.zeros(3, np.float32)],
    }
    for old in (True, False):
        read = {x.name: x.blobs for x in parse(memoryview(caffe.caffemodel("n", layers, old)))}
        assert list(read) == ["conv1", "fc6"]
        for name, blobs in layers.items():
            for mine, theirs in zip(read[name], blobs, strict=True):
                assert np.array_equal(mine.reshape(theirs.shape), theirs)
        assert read["fc6"][0].shape == ((1, 1, 3, 4) if old else (3, 4))


@given(st.integers(0, 2**64 - 1), st.binary(max_size=5))
def test_varints_round_trip(value: int, after: bytes) -> None:
    coded = caffe.varint(value)
    assert read_varint(memoryview(coded + after), 0) == (value, len(coded))


@given(st.lists(st.tuples(st.integers(1, 2**29 - 1), st.binary(max_size=40)), max_size=6))
def test_nested_fields_round_trip(messages: list[tuple[int, bytes]]) -> None:
    coded = b"".join(caffe.nested(number, body) for number, body in messages)
    read = [(n, bytes(v)) for n, _, v in fields(memoryview(coded)) if not isinstance(v, int)]
    assert read == messages


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_data_errors(junk: bytes) -> None:
    for number in (None, 2, 100):
        data = junk if number is None else caffe.nested(number, junk)
        with contextlib.suppress(DataError):
            parse(memoryview(data))


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_model_raises_nothing_but_data_errors(data: st.DataObject) -> None:
    layers = {"conv1": [np.ones((2, 1, 2, 2), np.float32), np.ones(2, np.float32)]}
    whole = bytearray(caffe.caffemodel("n", layers, data.draw(st.booleans())))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DataError):
        parse(memoryview(whole))


@pytest.mark.parametrize("keep", [0, 1, 30, -1])
def test_a_cut_off_file_is_a_data_error_that_names_it(keep: int, tmp_path: Path) -> None:
    layers = {"conv1": [np.ones((2, 3, 4, 4), np.float32), np.ones(2, np.float32)]}
    file = tmp_path / "cut.caffemodel"
    file.write_bytes(caffe.caffemodel("n", layers, False)[:keep])
    with pytest.raises(DataError, match=r"cut\.caffemodel"):
        read_caffemodel(file)


def test_a_model_without_weights_is_a_data_error(tmp_path: Path) -> None:
    file = tmp_path / "bare.caffemodel"
    file.write_bytes(caffe.caffemodel("n", {"conv1": []}, False))
    with pytest.raises(DataError, match="no layer with weights"):
        read_caffemodel(file)


def test_caffes_weights_in_a_net_of_rgb_are_warned_of(tmp_path: Path) -> None:
    trunk = torch.nn.Sequential()
    trunk.add_module("conv1", torch.nn.Conv2d(3, 2, 4))
    file = tmp_path / "net.weights"  # its bytes say what it is
    layers = {"conv1": [np.ones((2, 3, 4, 4), np.float32), np.ones(2, np.float32)]}
    file.write_bytes(caffe.caffemodel("n", layers, False))
    for channels in ("rgb", "bgr"):
        net = SequentialBackbone("n", Preprocess(size=8, channels=channels), trunk, {"conv1": 0})
        line = load_weights(net, str(file), net="n").line()
        assert "2 matched" in line and ("takes BGR" in line) == (channels == "rgb")
