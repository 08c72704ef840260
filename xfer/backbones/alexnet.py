"""The AlexNet family: Krizhevsky's net of 2012, its two Caffe versions, torchvision's, and with BN.

Layer rows: Krizhevsky et al. 2012, sec. 3.5. `convN` is the map after its ReLU, `normN` and
`poolN` those after normalisation and pooling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import nn

from xfer.backbones.base import SequentialBackbone, backbones
from xfer.backbones.tail import WIDTHS, Tail, checked_widths
from xfer.errors import XferError, nearest
from xfer.nn.init import initialise
from xfer.nn.lrn import LocalResponseNorm, SpatialResponseNorm
from xfer.types import Preprocess

IMAGENET_MEAN = (123.68, 116.779, 103.939)
PIXELS_RGB = Preprocess(IMAGENET_MEAN, (1.0, 1.0, 1.0), "rgb", 1.0, 227, 256)
CAFFE = Preprocess((104.0, 117.0, 123.0), (1.0, 1.0, 1.0), "bgr", 1.0, 227, 256)
CAFFE_NAMES = {f"{n}.": f"trunk.{n}." for n in ("conv1", "conv2", "conv3", "conv4", "conv5")} | {
    "fc6.": "tail.fc6.",
    "fc7.": "tail.fc7.",
    "fc8.": "classifier.",
}
# Standard deviation of the training pictures' pixel values, 0..255
PIXEL_STD = 58.0


def with_mean(preprocess: Preprocess, mean: Sequence[float]) -> Preprocess:
    """The preprocessing with another mean colour, in its channel order: published nets that were
    fine-tuned by different authors differ by it.

    Raises: XferError unless there are three numbers.
    """
    numbers = [float(m) for m in mean if isinstance(m, int | float)]
    if len(numbers) != 3 or len(mean) != 3:
        raise XferError(f"mean={mean!r}: not a colour", "three numbers, such as [104, 117, 123]")
    return replace(preprocess, mean=(numbers[0], numbers[1], numbers[2]))


@dataclass(frozen=True, slots=True)
class Row:
    """One convolution and what follows it."""

    name: str
    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    pool: bool = False


ROWS_2012 = (
    Row("conv1", 96, 11, 4, 0, 1, True),
    Row("conv2", 256, 5, 1, 2, 2, True),
    Row("conv3", 384, 3, 1, 1, 1),
    Row("conv4", 384, 3, 1, 1, 2),
    Row("conv5", 256, 3, 1, 1, 2, True),
)
ROWS_2014 = (
    Row("conv1", 64, 11, 4, 2, 1, True),
    Row("conv2", 192, 5, 1, 2, 1, True),
    Row("conv3", 384, 3, 1, 1),
    Row("conv4", 256, 3, 1, 1),
    Row("conv5", 256, 3, 1, 1, 1, True),
)


class Chain:
    """Collects modules by name and the index of each named map."""

    def __init__(self) -> None:
        self.trunk = nn.Sequential()
        self.taps: dict[str, int] = {}

    def add(self, name: str, module: nn.Module, tap: str | None = None) -> None:
        self.trunk.add_module(name, module)
        if tap is not None:
            self.tap(tap)

    def tap(self, name: str) -> None:
        self.taps[name] = len(self.trunk) - 1


Norm = Literal["none", "batch", "relu-lrn-pool", "relu-pool-lrn", "authors"]


def _trunk(
    rows: tuple[Row, ...],
    norm: Norm,
    lrn: dict[str, float],
    conv1_padding: int | None,
    pool_padding: int,
    ceil: bool,
    map_norm: bool = False,
) -> Chain:
    chain = Chain()
    channels = 3
    for index, row in enumerate(rows, start=1):
        padding = conv1_padding if index == 1 and conv1_padding is not None else row.padding
        conv = nn.Conv2d(
            channels, row.channels, row.kernel, row.stride, padding, groups=row.groups,
            bias=norm != "batch",
        )  # fmt: skip
        channels = row.channels
        chain.add(row.name, conv)
        if norm == "batch":
            chain.add(f"bn{index}", nn.BatchNorm2d(channels))
        normed = index <= 2 and norm in ("relu-lrn-pool", "relu-pool-lrn", "authors")
        groups = 2 if norm == "authors" else 1
        response = LocalResponseNorm(channels, 5, groups=groups, **lrn) if normed else None
        early = norm == "authors" and index == 1
        if response is not None and early:
            chain.add(f"norm{index}", response)
        chain.add(f"relu{index}", nn.ReLU(inplace=not early), row.name)
        if early:
            chain.tap(f"norm{index}")
        pool = nn.MaxPool2d(3, 2, pool_padding, ceil_mode=ceil)
        if response is not None and norm == "relu-pool-lrn":
            chain.add(f"pool{index}", pool, f"pool{index}")
            chain.add(f"norm{index}", response, f"norm{index}")
            continue
        if response is not None and not early:
            chain.add(f"norm{index}", response)
            if map_norm:
                chain.add("map_norm2", SpatialResponseNorm(5, 1e-3, 0.75, 1.0))
            chain.tap(f"norm{index}")
        if row.pool:
            chain.add(f"pool{index}", pool, f"pool{index}")
    return chain


def _finish(
    name: str,
    preprocess: Preprocess,
    chain: Chain,
    classifier: bool,
    init: str,
    dropout: float,
    aliases: dict[str, str],
    dropout_first: bool = False,
    tail_widths: Sequence[int] = WIDTHS,
) -> SequentialBackbone:
    widths = checked_widths(tail_widths)
    tail = Tail((256, 6, 6), widths, dropout, dropout_first)
    net = SequentialBackbone(
        name,
        preprocess,
        chain.trunk,
        chain.taps,
        tail=tail,
        classifier=nn.Linear(widths[-1], 1000) if classifier else None,
        aliases=aliases,
    )
    initialise(net, init, PIXEL_STD if preprocess.scale == 1 else 1.0)
    return net


@backbones.register("alexnet")
def alexnet(
    name: str = "alexnet",
    classifier: bool = False,
    init: str = "modern",
    conv1_padding: int | None = None,
    pool_padding: int = 0,
    dropout: float = 0.5,
) -> SequentialBackbone:
    """torchvision's one-tower AlexNet of 2014: 64-192-384-256-256, no LRN, dropout before fc6.

    Source: Krizhevsky 2014, "One weird trick", sec. 5; torchvision.models.alexnet.
    """
    convs = {0: "conv1", 3: "conv2", 6: "conv3", 8: "conv4", 10: "conv5"}
    aliases = {f"features.{i}.": f"trunk.{n}." for i, n in convs.items()}
    aliases |= {"classifier.1.": "tail.fc6.", "classifier.4.": "tail.fc7."}
    aliases |= {"classifier.6.": "classifier."}
    chain = _trunk(ROWS_2014, "none", {}, conv1_padding, pool_padding, False)
    return _finish(name, Preprocess(), chain, classifier, init, dropout, aliases, True)


@backbones.register("alexnet_2012")
def alexnet_2012(
    name: str = "alexnet_2012",
    classifier: bool = False,
    lrn: str = "code",
    init: str = "modern",
    conv1_padding: int | None = None,
    pool_padding: int = 0,
    dropout: float = 0.5,
    map_norm: bool = False,
) -> SequentialBackbone:
    """Krizhevsky's net of 2012: 227 px, groups in conv2, conv4 and conv5, LRN, overlapping pooling.

    lrn="code", the default, is what reached the published 37.5 %: alpha divided by n, sums within a
    tower (48 or 128 channels), and in conv1 the normalisation before the ReLU, so conv1 and norm1
    name the same map. lrn="paper" is the formula as printed (sec. 3.3: k=2, n=5, alpha=1e-4 without
    the division, beta=0.75) over all channels, after the ReLU.

    Source: Krizhevsky et al. 2012, sec. 3; computerhistory/AlexNet-Source-Code, layers-145.cfg.
    Differs: 227 px instead of 224 with overhanging windows; the mean is per channel, not per pixel.
    The code has a second norm, within each map, after conv2's, which the paper does not mention:
    map_norm=True adds it (lrn="code" only).
    """
    if lrn not in ("code", "paper"):
        raise XferError(f"unknown lrn {lrn!r}", nearest(lrn, ("code", "paper")))
    if map_norm and lrn == "paper":
        raise XferError("map_norm is in the authors' code, not in the paper", 'use lrn="code"')
    order: Norm = "authors" if lrn == "code" else "relu-lrn-pool"
    constants = {"alpha": 1e-4 if lrn == "code" else 5e-4, "beta": 0.75, "k": 2.0}
    chain = _trunk(ROWS_2012, order, constants, conv1_padding, pool_padding, True, map_norm)
    return _finish(name, PIXELS_RGB, chain, classifier, init, dropout, CAFFE_NAMES)


@backbones.register("bvlc_alexnet")
def bvlc_alexnet(
    name: str = "bvlc_alexnet",
    classifier: bool = False,
    init: str = "modern",
    conv1_padding: int | None = None,
    pool_padding: int = 0,
    dropout: float = 0.5,
    mean: Sequence[float] = CAFFE.mean,
    tail_widths: Sequence[int] = WIDTHS,
) -> SequentialBackbone:
    """Caffe's AlexNet: as in the paper, with LRN(5, 1e-4, .75) and k = 1; BGR 0..255.

    mean is that colour, B, G, R; tail_widths the units of fc6 and fc7.

    Source: BVLC/caffe, models/bvlc_alexnet.
    """
    constants = {"alpha": 1e-4, "beta": 0.75, "k": 1.0}
    chain = _trunk(ROWS_2012, "relu-lrn-pool", constants, conv1_padding, pool_padding, True)
    return _finish(
        name, with_mean(CAFFE, mean), chain, classifier, init, dropout, CAFFE_NAMES,
        tail_widths=tail_widths,
    )  # fmt: skip


@backbones.register("caffenet")
def caffenet(
    name: str = "caffenet",
    classifier: bool = False,
    init: str = "modern",
    conv1_padding: int | None = None,
    pool_padding: int = 0,
    dropout: float = 0.5,
    mean: Sequence[float] = CAFFE.mean,
    tail_widths: Sequence[int] = WIDTHS,
) -> SequentialBackbone:
    """Caffe's reference net, model S of Fast R-CNN: AlexNet, but pooling before LRN; BGR 0..255.

    mean is that colour, B, G, R; tail_widths the units of fc6 and fc7.

    Source: BVLC/caffe, models/bvlc_reference_caffenet.
    """
    constants = {"alpha": 1e-4, "beta": 0.75, "k": 1.0}
    chain = _trunk(ROWS_2012, "relu-pool-lrn", constants, conv1_padding, pool_padding, True)
    return _finish(
        name, with_mean(CAFFE, mean), chain, classifier, init, dropout, CAFFE_NAMES,
        tail_widths=tail_widths,
    )  # fmt: skip


@backbones.register("alexnet_bn")
def alexnet_bn(
    name: str = "alexnet_bn",
    classifier: bool = False,
    init: str = "modern",
    conv1_padding: int | None = None,
    pool_padding: int = 0,
    dropout: float = 0.5,
) -> SequentialBackbone:
    """The 2012 net with batch norm before each convolution's ReLU, without LRN and groups.

    Source: the idea of NVIDIA/caffe, models/alexnet_bn.  Differs: no groups, RGB normalised.
    """
    rows = tuple(
        Row(r.name, r.channels, r.kernel, r.stride, r.padding, 1, r.pool) for r in ROWS_2012
    )
    chain = _trunk(rows, "batch", {}, conv1_padding, pool_padding, True)
    preprocess = Preprocess(size=227, resize=256)
    return _finish(name, preprocess, chain, classifier, init, dropout, CAFFE_NAMES)
