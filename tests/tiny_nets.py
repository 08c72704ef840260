"""A net small enough to train in a test, named as `tiny_nets:tiny`."""

from __future__ import annotations

from torch import nn

from xfer.backbones.base import Backbone, SequentialBackbone
from xfer.backbones.tail import Tail
from xfer.types import Preprocess


def tiny(batch_norm: bool = True, leak: float = 0.0) -> Backbone:
    """Two convolutions of stride 2 for 32 px; `leak` changes their function, not their weights."""
    norm = [nn.BatchNorm2d(8)] if batch_norm else []
    trunk = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), *norm, nn.LeakyReLU(leak) if leak else nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(),
    )  # fmt: skip
    last = len(trunk) - 1
    return SequentialBackbone(
        "tiny", Preprocess(size=32, resize=32), trunk, {"conv1": last - 2, "conv2": last}
    )


def tailed() -> Backbone:
    """The same with fc6 and fc7, which take 3 x 3 cells of the last map."""
    net = tiny(batch_norm=False)
    net.tail = Tail((16, 3, 3), (12, 12))
    return net


def narrow() -> Backbone:
    """A net whose last map is a single cell for 32 px, with batch norms."""
    layers = nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.ReLU()
    trunk = nn.Sequential(*layers, nn.Conv2d(8, 12, 8, 8), nn.BatchNorm2d(12), nn.ReLU())
    maps = {"wide": 2, "cell": 5}
    return SequentialBackbone("narrow", Preprocess(size=32, resize=32), trunk, maps)
