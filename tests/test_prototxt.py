"""The reader of prototxts: every form that Caffe's nets are written in, and nothing else."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfer.errors import DataError
from xfer.importing.prototxt import Layer, read_prototxt

TEXT = """
name: "net"  # a comment { with marks }
input: "data" input_shape { dim: 1 dim: 3 dim: -1 }
layer {
  name: 'conv1' type: "Convolution" bottom: "data" top: "conv1"
  param { lr_mult: 0 }
  convolution_param { num_output: 96, kernel_size: 11; stride: 4 bias_filler < value: .1e-1f > }
}
layer { name: "loss" type: "SoftmaxWithLoss" include { phase: TRAIN } }
layer { name: "drop" type: "Dropout" dropout_param { dropout_ratio: 0.5 scale_train: false } }
layer { name: "py" type: "Python" python_param { param_str: "\\"a\\": 'b'" } }
"""


def read(folder: Path, text: str) -> tuple[Layer, ...]:
    file = folder / "net.prototxt"
    file.write_text(text)
    return read_prototxt(file)


def test_layers_are_read_in_order_without_those_of_training(tmp_path: Path) -> None:
    conv, drop, python = read(tmp_path, TEXT)
    assert (conv.name, conv.kind, conv.bottoms, conv.tops) == (
        "conv1", "convolution", ("data",), ("conv1",),
    )  # fmt: skip
    assert conv.count("convolution_param", "kernel_size", 0) == 11
    assert conv.count("convolution_param", "pad", 0) == 0
    filler = conv.value("convolution_param", "bias_filler", {})
    assert filler == {"value": [0.01]}
    assert drop.value("dropout_param", "scale_train", True) is False
    assert python.value("python_param", "param_str", "") == "\"a\": 'b'"


def test_old_files_have_other_words_for_the_same(tmp_path: Path) -> None:
    old = TEXT.replace("layer {", "layers {").replace('"Convolution"', "CONVOLUTION")
    assert [layer.kind for layer in read(tmp_path, old)] == ["convolution", "dropout", "python"]


def test_sizes_of_both_axes_are_one_number(tmp_path: Path) -> None:
    text = 'layer {{ name: "a" type: "Pooling" pooling_param {{ {} }} }}'
    (both,) = read(tmp_path, text.format("kernel_h: 3 kernel_w: 3"))
    assert both.count("pooling_param", "kernel_size", 0) == 3
    for odd in ("kernel_h: 3 kernel_w: 2", "kernel_size: 3 kernel_size: 2", "kernel_size: 2.5",
                "kernel_size: -1", "kernel_size: true"):  # fmt: skip
        (layer,) = read(tmp_path, text.format(odd))
        with pytest.raises(DataError, match="layer a: kernel_size"):
            layer.count("pooling_param", "kernel_size", 0)


@pytest.mark.parametrize(
    "text, why",
    [
        ("", "no layers"), ('layer { name: "a"', "cut off"), ("layer", "cut off"),
        ('layer { name: "a }', "unexpected"), ("layer { } }", "where a field's name is due"),
        ("layer { name: } }", "where a value is due"), ("layer {" * 200, "nested too deeply"),
        ('name: "net"', "no layers"), ("layer { dim: [1, 2", "cut off"), ("\x00\x01", "unexpected"),
    ],
)  # fmt: skip
def test_what_is_no_net_is_said_with_its_name(text: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"net\.prototxt.*{why}"):
        read(tmp_path, text)


@settings(max_examples=150)
@given(data=st.data())
def test_a_damaged_file_raises_nothing_but_data_errors(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    at = data.draw(st.integers(0, len(TEXT)))
    junk = data.draw(st.text("{}<>:,;[]\"'#\\ax1.-\n", max_size=6))
    with contextlib.suppress(DataError):
        read(tmp_path_factory.getbasetemp(), TEXT[:at] + junk + TEXT[at + len(junk) :])
