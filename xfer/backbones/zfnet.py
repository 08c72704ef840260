"""ZF-5, the smaller net of Zeiler and Fergus, as SPPnet and Faster R-CNN use it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from xfer.backbones.alexnet import CAFFE_NAMES, PIXEL_STD, Chain, with_mean
from xfer.backbones.base import SequentialBackbone, backbones
from xfer.backbones.tail import WIDTHS, Tail, checked_widths
from xfer.errors import XferError, nearest
from xfer.nn.init import initialise
from xfer.nn.lrn import SpatialResponseNorm
from xfer.types import Preprocess

PREPROCESS = Preprocess(
    (102.9801, 115.9465, 122.7717), (1.0, 1.0, 1.0), "bgr", scale=1.0, size=224, resize=256
)
# conv1, conv2 and the pools after them
PADDINGS = {"spp": (1, 0, 0), "faster_rcnn": (3, 2, 1)}


@backbones.register("zfnet")
def zfnet(
    name: str = "zfnet",
    classifier: bool = False,
    padding: str = "spp",
    init: str = "modern",
    conv1_padding: int | None = None,
    pool_padding: int | None = None,
    dropout: float = 0.5,
    mean: Sequence[float] = PREPROCESS.mean,
    tail_widths: Sequence[int] = WIDTHS,
) -> SequentialBackbone:
    """ZF-5: 7x7 and 5x5 kernels of stride 2, no groups, LRN within each map; BGR 0..255.

    padding="spp" is the classification net (conv5 is 13x13 at 224 px), "faster_rcnn" the
    detector's; conv1_padding and pool_padding override either. pool5 is the 3/2 pooling that gives
    the tail its 6x6; the detectors put RoI pooling there. mean is B, G, R; tail_widths the units of
    fc6 and fc7.

    Source: SPP_net, models/Zeiler_conv5; py-faster-rcnn, models/pascal_voc/ZF.
    """
    if padding not in PADDINGS:
        raise XferError(f"unknown padding {padding!r}", nearest(padding, PADDINGS))
    conv1, conv2, pool = PADDINGS[padding]
    conv1 = conv1 if conv1_padding is None else conv1_padding
    pool = pool if pool_padding is None else pool_padding
    widths = checked_widths(tail_widths)
    chain = Chain()
    channels = 3
    for index, (width, kernel, stride, pad) in enumerate(
        ((96, 7, 2, conv1), (256, 5, 2, conv2), (384, 3, 1, 1), (384, 3, 1, 1), (256, 3, 1, 1)), 1
    ):
        chain.add(f"conv{index}", nn.Conv2d(channels, width, kernel, stride, pad))
        chain.add(f"relu{index}", nn.ReLU(inplace=True), f"conv{index}")
        channels = width
        if index <= 2:
            chain.add(f"norm{index}", SpatialResponseNorm(3, 5e-5, 0.75, 1.0), f"norm{index}")
            chain.add(f"pool{index}", nn.MaxPool2d(3, 2, pool, ceil_mode=True), f"pool{index}")
    chain.add("pool5", nn.MaxPool2d(3, 2, ceil_mode=True), "pool5")
    net = SequentialBackbone(
        name,
        with_mean(PREPROCESS, mean),
        chain.trunk,
        chain.taps,
        tail=Tail((256, 6, 6), widths, dropout),
        classifier=nn.Linear(widths[-1], 1000) if classifier else None,
        aliases=CAFFE_NAMES,
    )
    initialise(net, init, PIXEL_STD)
    return net
