"""The VGG group's nets as they were published for Caffe: BGR 0..255, pooling that rounds up."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from xfer.backbones.alexnet import PIXEL_STD, Chain, with_mean
from xfer.backbones.base import SequentialBackbone, backbones
from xfer.backbones.tail import WIDTHS, Tail, checked_widths
from xfer.nn.init import initialise
from xfer.nn.lrn import LocalResponseNorm
from xfer.types import Preprocess

PREPROCESS = Preprocess((103.939, 116.779, 123.68), (1.0, 1.0, 1.0), "bgr", 1.0, 224, 256)
# convolutions of each block, and their channels
BLOCKS_16 = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))


@backbones.register("vgg16_caffe")
def vgg16_caffe(
    name: str = "vgg16_caffe",
    classifier: bool = False,
    init: str = "modern",
    conv1_padding: int = 1,
    dropout: float = 0.5,
    mean: Sequence[float] = PREPROCESS.mean,
    tail_widths: Sequence[int] = WIDTHS,
) -> SequentialBackbone:
    """VGG-16 as Caffe runs it: BGR 0..255, and maps of odd sides are pooled to the larger half.

    Equal to vgg16 for pictures whose sides are multiples of 32. conv1_padding=100 is the padding
    of the FCN nets; mean is B, G, R; tail_widths the units of fc6 and fc7.

    Source: Simonyan and Zisserman 2015, Table 1, D; VGG_ILSVRC_16_layers of Caffe's model zoo.
    """
    chain, channels = Chain(), 3
    for block, (count, width) in enumerate(BLOCKS_16, 1):
        for number in range(1, count + 1):
            layer = f"{block}_{number}"
            padding = conv1_padding if layer == "1_1" else 1
            chain.add(f"conv{layer}", nn.Conv2d(channels, width, 3, padding=padding))
            chain.add(f"relu{layer}", nn.ReLU(inplace=True), f"conv{layer}")
            channels = width
        chain.add(f"pool{block}", nn.MaxPool2d(2, 2, ceil_mode=True), f"pool{block}")
    return _finish(name, chain, (512, 7, 7), classifier, init, dropout, mean, tail_widths)


@backbones.register("vgg_cnn_m_1024")
def vgg_cnn_m_1024(
    name: str = "vgg_cnn_m_1024",
    classifier: bool = False,
    init: str = "modern",
    dropout: float = 0.5,
    mean: Sequence[float] = PREPROCESS.mean,
    tail_widths: Sequence[int] = (4096, 1024),
) -> SequentialBackbone:
    """VGG's medium net of 2014 with 1024 units in fc7, model M of Fast R-CNN; BGR 0..255.

    7x7 and 5x5 kernels of stride 2 as ZF-5, LRN(5, 5e-4, .75, 2) across channels. tail_widths
    makes its relatives: (4096, 128), (4096, 2048), (4096, 4096).

    Source: Chatfield et al. 2014, Table 1, CNN-M; fast-rcnn, models/VGG_CNN_M_1024.
    """
    chain, channels = Chain(), 3
    for index, (width, kernel, stride, pad) in enumerate(
        ((96, 7, 2, 0), (256, 5, 2, 1), (512, 3, 1, 1), (512, 3, 1, 1), (512, 3, 1, 1)), 1
    ):
        chain.add(f"conv{index}", nn.Conv2d(channels, width, kernel, stride, pad))
        chain.add(f"relu{index}", nn.ReLU(inplace=True), f"conv{index}")
        channels = width
        if index <= 2:
            norm = LocalResponseNorm(width, 5, 5e-4, 0.75, 2.0)
            chain.add(f"norm{index}", norm, f"norm{index}")
            chain.add(f"pool{index}", nn.MaxPool2d(3, 2, ceil_mode=True), f"pool{index}")
    chain.add("pool5", nn.MaxPool2d(3, 2, ceil_mode=True), "pool5")
    return _finish(name, chain, (512, 6, 6), classifier, init, dropout, mean, tail_widths)


def _finish(
    name: str, chain: Chain, pooled: tuple[int, int, int], classifier: bool, init: str,
    dropout: float, mean: Sequence[float], tail_widths: Sequence[int],
) -> SequentialBackbone:  # fmt: skip
    widths = checked_widths(tail_widths)
    layers = [key for key, module in chain.trunk.named_children() if isinstance(module, nn.Conv2d)]
    aliases = {f"{layer}.": f"trunk.{layer}." for layer in layers}
    aliases |= {"fc6.": "tail.fc6.", "fc7.": "tail.fc7.", "fc8.": "classifier."}
    net = SequentialBackbone(
        name, with_mean(PREPROCESS, mean), chain.trunk, chain.taps,
        tail=Tail(pooled, widths, dropout),
        classifier=nn.Linear(widths[-1], 1000) if classifier else None, aliases=aliases,
    )  # fmt: skip
    initialise(net, init, PIXEL_STD)
    return net
