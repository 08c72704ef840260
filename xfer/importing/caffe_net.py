"""A Caffe net: its layers, its weights, and which backbone its convolutions are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xfer.backbones.base import Backbone, SequentialBackbone
from xfer.backbones.build import make_backbone
from xfer.errors import DataError
from xfer.importing.prototxt import Layer
from xfer.nn.lrn import LocalResponseNorm, SpatialResponseNorm

TRUNK = ("convolution", "relu", "pooling", "lrn")


@dataclass(frozen=True)
class CaffeNet:
    """A net of two files.

    prototxt, model | the files, for messages
    layers          | of the prototxt, in its order
    weights         | of the caffemodel: "conv1.weight" -> an array
    used            | names of the weights that were taken, filled by `tensor`
    """

    prototxt: Path
    model: Path
    layers: tuple[Layer, ...]
    weights: Mapping[str, NDArray[np.float32]]
    used: set[str]

    def layer(self, *names: str) -> Layer | None:
        """The layer with one of these names."""
        return next((one for name in names for one in self.layers if one.name == name), None)

    def need(self, *names: str) -> Layer:
        """The same. Raises DataError if there is none."""
        layer = self.layer(*names)
        if layer is None:
            raise DataError(f"{self.prototxt}: no layer is called {' or '.join(names)}")
        return layer

    def source(self, layer: Layer) -> Layer | None:
        """The layer with weights whose output another one reads, through ReLU and dropout."""
        blob = layer.bottoms[0] if layer.bottoms else ""
        before = self.layers[: self.layers.index(layer)]
        for one in reversed(before):
            if blob in one.tops:
                if one.kind not in ("relu", "dropout"):
                    return one
                blob = one.bottoms[0] if one.bottoms else ""
        return None

    def tensor(self, name: str, shape: Sequence[int]) -> Tensor:
        """Weights such as "conv1.weight", in the shape that they have here: old files pad shapes
        with ones. Raises DataError if they are missing, have other numbers, or aren't finite."""
        array = self.weights.get(name)
        if array is None:
            raise DataError(
                f"{self.model}: no weights {name}", f"is it the model of {self.prototxt.name}?"
            )
        size = int(np.prod(shape))
        if array.size != size or [n for n in array.shape if n > 1] != [n for n in shape if n > 1]:
            raise DataError(f"{self.model}: {name} is {array.shape}, where {tuple(shape)} is due")
        if not np.isfinite(array).all():
            raise DataError(f"{self.model}: {name} has NaN or infinite numbers")
        self.used.add(name)
        return torch.from_numpy(array.reshape(tuple(shape)))

    def kept(self, layer: str) -> float:
        """What a dropout layer multiplies a layer's output with at test: 1, but 1 - ratio for nets
        that were trained with dropout that doesn't scale (scale_train: false)."""
        for one in self.layers:
            unscaled = one.value("dropout_param", "scale_train", True) is False
            if one.kind == "dropout" and unscaled and self.source(one) == self.layer(layer):
                return 1 - one.number("dropout_param", "dropout_ratio", 0.5)
        return 1.0


@dataclass(frozen=True, slots=True)
class Row:
    """One layer of a trunk in words that can be compared: its name ("" for a ReLU or a norm, which
    are called differently everywhere), its kind and its numbers."""

    name: str
    kind: str
    numbers: tuple[tuple[str, float | str], ...] = ()

    def differs(self, other: Row) -> str:
        """How another row differs from this one, in words."""
        if (self.name, self.kind) != (other.name, other.kind):
            return f"{other.kind} {other.name}".rstrip()
        mine = dict(self.numbers)
        return ", ".join(f"{key} {v:g}" if isinstance(v, int | float) else f"{key} {v}"
                         for key, v in other.numbers if mine.get(key) != v)  # fmt: skip


def row_of_layer(layer: Layer) -> Row:
    """A layer of a prototxt as a row."""
    if layer.kind == "convolution":
        group = "convolution_param"
        numbers = (
            ("outputs", layer.count(group, "num_output", 0)),
            ("kernel", layer.count(group, "kernel_size", 0)),
            ("stride", layer.count(group, "stride", 1)),
            ("pad", layer.count(group, "pad", 0)),
            ("group", layer.count(group, "group", 1)),
            ("dilation", layer.count(group, "dilation", 1)),
        )
        return Row(layer.name, layer.kind, numbers)
    if layer.kind == "pooling":
        group = "pooling_param"
        numbers = (
            ("pool", str(layer.value(group, "pool", "MAX"))),
            ("kernel", layer.count(group, "kernel_size", 0)),
            ("stride", layer.count(group, "stride", 1)),
            ("pad", layer.count(group, "pad", 0)),
        )
        return Row(layer.name, layer.kind, numbers)
    if layer.kind == "lrn":
        group = "lrn_param"
        numbers = (
            ("region", str(layer.value(group, "norm_region", "ACROSS_CHANNELS"))),
            ("size", layer.count(group, "local_size", 5)),
            ("alpha", _rounded(layer.number(group, "alpha", 1.0))),
            ("beta", _rounded(layer.number(group, "beta", 0.75))),
            ("k", _rounded(layer.number(group, "k", 1.0))),
        )
        return Row("", layer.kind, numbers)
    return Row("", layer.kind)


def row_of_module(name: str, module: nn.Module) -> Row:
    """A module of a backbone's trunk as a row."""
    if isinstance(module, nn.Conv2d):
        numbers = (
            ("outputs", module.out_channels), ("kernel", module.kernel_size[0]),
            ("stride", module.stride[0]), ("pad", _side(module.padding)),
            ("group", module.groups), ("dilation", module.dilation[0]),
        )  # fmt: skip
        return Row(name, "convolution", numbers)
    if isinstance(module, nn.MaxPool2d):
        pad, kernel, stride = (
            _side(v) for v in (module.padding, module.kernel_size, module.stride)
        )
        return Row(name, "pooling", (
            ("pool", "MAX"), ("kernel", kernel), ("stride", stride), ("pad", pad),
        ))  # fmt: skip
    if isinstance(module, LocalResponseNorm | SpatialResponseNorm):
        across = isinstance(module, LocalResponseNorm)
        return Row("", "lrn", (
            ("region", "ACROSS_CHANNELS" if across else "WITHIN_CHANNEL"), ("size", module.size),
            ("alpha", _rounded(module.alpha)), ("beta", _rounded(module.beta)),
            ("k", _rounded(module.k)),
        ))  # fmt: skip
    return Row("", "relu" if isinstance(module, nn.ReLU) else type(module).__name__)


def _side(value: Any) -> int:
    """A module's number for both axes."""
    return int(value[0]) if isinstance(value, tuple) else int(value)


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _alexnets(rows: Mapping[str, Row]) -> dict[str, Any]:
    return {"conv1_padding": _pad(rows, "conv1"), "pool_padding": _pad(rows, "pool1")}


def _zf(rows: Mapping[str, Row]) -> dict[str, Any]:
    second = _pad(rows, "conv2")
    return {**_alexnets(rows), "padding": "faster_rcnn" if second else "spp"}


def _vgg(rows: Mapping[str, Row]) -> dict[str, Any]:
    return {"conv1_padding": _pad(rows, "conv1_1")}


def _pad(rows: Mapping[str, Row], name: str) -> int:
    return int(dict(rows[name].numbers)["pad"]) if name in rows else 0


# backbone -> its options, from the prototxt's rows by name
KNOWN: Mapping[str, Callable[[Mapping[str, Row]], dict[str, Any]]] = {
    "caffenet": _alexnets, "bvlc_alexnet": _alexnets, "zfnet": _zf, "vgg16_caffe": _vgg,
    "vgg_cnn_m_1024": lambda rows: {},
}  # fmt: skip


def trunk_of(net: CaffeNet) -> tuple[str, dict[str, Any]]:
    """The backbone whose layers are those of the net up to its heads, and its options.

    Raises: DataError if no known backbone matches, naming the layer in which the nearest differs.
    """
    theirs: list[Row] = []
    for layer in net.layers:
        if layer.kind in ("roipooling", "innerproduct") or layer.name == "fc6":
            break
        if layer.name.startswith("rpn"):
            break
        if layer.kind in TRUNK:
            theirs.append(row_of_layer(layer))
    named = {row.name: row for row in theirs if row.name}
    best, why = -1, ""
    for name, options_of in KNOWN.items():
        options = options_of(named)
        with torch.device("meta"):
            ours = _rows(make_backbone(name, **options))
        same = next((i for i, pair in enumerate(zip(theirs, ours, strict=False))
                     if pair[0] != pair[1]), min(len(theirs), len(ours)))  # fmt: skip
        if same == len(theirs) and all(row.kind == "pooling" for row in ours[same:]):
            return name, options
        if same > best:
            best, why = same, _difference(name, theirs[same:], ours[same:])
    raise DataError(
        f"{net.prototxt}: its convolutions are of no net that is known; {why}",
        f"known: {', '.join(KNOWN)}",
    )


def _rows(backbone: Backbone) -> list[Row]:
    assert isinstance(backbone, SequentialBackbone)
    return [row_of_module(name, module) for name, module in backbone.trunk.named_children()]


def _difference(name: str, theirs: Sequence[Row], ours: Sequence[Row]) -> str:
    if not theirs:
        return f"{name} goes on with {ours[0].kind} {ours[0].name}".rstrip()
    if not ours:
        return f"{name} ends before {theirs[0].name or theirs[0].kind}"
    layer = theirs[0].name or theirs[0].kind
    there, here = ours[0].differs(theirs[0]), theirs[0].differs(ours[0])
    return f"{layer} has {there} where {name} has {here}"


def trunk_tensors(net: CaffeNet, backbone: Backbone) -> dict[str, Tensor]:
    """The weights of a backbone's convolutions, by their names in it."""
    assert isinstance(backbone, SequentialBackbone)
    state = {name: t.shape for name, t in backbone.trunk.named_parameters()}
    return {f"trunk.{name}": net.tensor(name, shape) for name, shape in state.items()}


def widths_of(net: CaffeNet) -> tuple[int, int]:
    """The units of fc6 and fc7, fully connected or as convolutions."""
    units: list[int] = []
    for layer in (net.need("fc6"), net.need("fc7")):
        group = "inner_product_param" if layer.kind == "innerproduct" else "convolution_param"
        units.append(layer.count(group, "num_output", 0))
    return units[0], units[1]
