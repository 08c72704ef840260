"""Fully connected layers and their equivalent convolutions (Long et al. 2015, sec. 3.1)."""

from __future__ import annotations

import torch
from torch import nn

from xfer.errors import XferError


def linear_to_conv(linear: nn.Linear, channels: int, height: int, width: int) -> nn.Conv2d:
    """The convolution without padding that equals `linear` on a flattened (C, h, w) map.

    Args:
        linear: takes channels * height * width features in C, h, w order.
        channels, height, width: the map that was flattened; (C, 1, 1) for a vector.

    Returns: a convolution with a copy of the weights, height x width kernel.
    Raises: XferError if the sizes don't multiply to the layer's inputs.
    """
    if linear.in_features != channels * height * width:
        raise XferError(
            f"a layer with {linear.in_features} inputs can't take a {channels}x{height}x{width} map"
        )
    conv = nn.Conv2d(
        channels,
        linear.out_features,
        (height, width),
        bias=linear.bias is not None,
        device=linear.weight.device,
        dtype=linear.weight.dtype,
    )
    with torch.no_grad():
        conv.weight.copy_(linear.weight.view_as(conv.weight))
        if conv.bias is not None:
            conv.bias.copy_(linear.bias)
    return conv.train(linear.training)


def conv_to_linear(conv: nn.Conv2d) -> nn.Linear:
    """The fully connected layer that equals `conv` on a map of its kernel's size.

    Returns: a layer with a copy of the weights; inputs in C, h, w order.
    Raises: XferError if the convolution is padded or grouped.
    """
    if conv.groups != 1 or any(p != 0 for p in conv.padding):
        raise XferError("only a convolution without padding and groups equals a linear layer")
    linear = nn.Linear(
        conv.weight[0].numel(),
        conv.out_channels,
        bias=conv.bias is not None,
        device=conv.weight.device,
        dtype=conv.weight.dtype,
    )
    with torch.no_grad():
        linear.weight.copy_(conv.weight.flatten(1))
        if conv.bias is not None:
            linear.bias.copy_(conv.bias)
    return linear.train(conv.training)
