"""Initial weights of the AlexNet family: the paper's, the two Caffe nets', and a modern rule.

Each takes a net in which the last part of layer names is conv1 ... conv5, fc6, fc7, fc8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn

from xfer.errors import XferError, nearest

Layer = nn.Conv2d | nn.Linear


def _layers(net: nn.Module) -> Iterator[tuple[str, Layer]]:
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            yield name.rpartition(".")[2], module


def _gaussian(net: nn.Module, std: Mapping[str, float], bias: Mapping[str, float]) -> None:
    for name, layer in _layers(net):
        nn.init.normal_(layer.weight, std=std.get(name, 0.01))
        if layer.bias is not None:
            nn.init.constant_(layer.bias, bias.get(name, 0.0))


def _biased(value: float) -> dict[str, float]:
    return dict.fromkeys(("conv2", "conv4", "conv5", "fc6", "fc7"), value)


def paper(net: nn.Module, input_std: float = 1.0) -> None:
    """N(0, .01) everywhere; biases 1 in conv2, conv4, conv5 and the hidden layers, else 0.

    Source: Krizhevsky et al. 2012, sec. 5.  Differs: none; the authors' code has .03 in conv3-5.
    Training may stay on a flat loss: use warm-up, or "bvlc".
    """
    _gaussian(net, {}, _biased(1.0))


def code(net: nn.Module, input_std: float = 1.0) -> None:
    """As `paper`, with N(0, .03) in conv3, conv4 and conv5.

    Source: computerhistory/AlexNet-Source-Code, layers-145.cfg.
    """
    _gaussian(net, dict.fromkeys(("conv3", "conv4", "conv5"), 0.03), _biased(1.0))


def bvlc(net: nn.Module, input_std: float = 1.0) -> None:
    """N(0, .01), .005 in fc6 and fc7; biases .1 where the paper's are 1.

    Source: BVLC/caffe, models/bvlc_alexnet/train_val.prototxt.
    """
    _gaussian(net, {"fc6": 0.005, "fc7": 0.005}, _biased(0.1))


def caffenet(net: nn.Module, input_std: float = 1.0) -> None:
    """N(0, .01), .005 in fc6 and fc7; biases 1 as in the paper.

    Source: BVLC/caffe, models/bvlc_reference_caffenet/train_val.prototxt.
    """
    _gaussian(net, {"fc6": 0.005, "fc7": 0.005}, _biased(1.0))


def modern(net: nn.Module, input_std: float = 1.0) -> None:
    """Variance-preserving for ReLU: N(0, 2 / fan-in), biases 0, N(0, .01) in the classifier.

    Args:
        input_std: standard deviation of the net's input; conv1 is divided by it, so that a net
            for 0..255 starts with the same activations as one for normalised pixels.

    Source: He et al. 2015, sec. 2.2.
    """
    for name, layer in _layers(net):
        if name in ("fc8", "classifier"):
            nn.init.normal_(layer.weight, std=0.01)
        else:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if name in ("conv1", "conv1_1"):
            with torch.no_grad():
                layer.weight.div_(input_std)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


INITS: dict[str, Callable[[nn.Module, float], None]] = {
    "modern": modern,
    "paper": paper,
    "code": code,
    "bvlc": bvlc,
    "caffenet": caffenet,
}


def initialise(net: nn.Module, name: str, input_std: float = 1.0) -> None:
    """Initialises all convolutions and linear layers of `net` in place, by the named rule.

    Raises: XferError if the name is not in INITS.
    """
    if name not in INITS:
        raise XferError(f"unknown init {name!r}", nearest(name, INITS))
    INITS[name](net, input_std)
