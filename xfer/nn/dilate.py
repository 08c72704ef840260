"""Finer maps from the same weights: strides become dilations (Chen et al. 2015, "a trous")."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from xfer.errors import XferError

STRIDED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def dilate(
    net: nn.Module, run: Callable[[Tensor], Any], side: int, stride: int, name: str = "net"
) -> None:
    """Changes a net in place so that no map is coarser than `stride`.

    Layers that would exceed it no longer stride; the layers after them are dilated to read cells as
    far apart as before. At every second (fourth) cell the maps are unchanged, except for the
    padding at the picture's edge.

    Args:
        net: changed in place; run: passes images (1, 3, side, side) through all of it.
        stride: maximum of input pixels per cell, a power of two; name: for messages.

    Raises: XferError if a layer can't be dilated.
    """
    strides: dict[nn.Module, int] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        # strides are powers of two, but maps lose or gain a cell at their edges
        strides[module] = 2 ** max(0, math.floor(math.log2(side / inputs[0].shape[-1]) + 0.25))

    layers = [m for m in net.modules() if isinstance(m, STRIDED)]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    was_training = net.training
    net.eval()
    try:
        with torch.no_grad():
            run(torch.zeros(1, 3, side, side))
    finally:
        for hook in hooks:
            hook.remove()
        net.train(was_training)
    for layer, before in strides.items():
        _change(layer, before, stride, name)


def dilate_backbone(backbone: Any, stride: int) -> None:
    """`dilate` for a Backbone. Also raises XferError if a map stays coarser, and for a stride
    that is not a power of two."""
    if stride & (stride - 1):
        raise XferError(f"task.dilate={stride} is not a power of two", "task.dilate=8 or 16")
    last, side = (backbone.last,), backbone.preprocess.size
    dilate(backbone, lambda images: backbone(images, want=last), side, stride, backbone.name)
    coarsest = max(spec.stride for spec in backbone.specs.values())
    if coarsest > stride:
        raise XferError(
            f"task.dilate={stride}: {backbone.name} still has maps of stride {coarsest}",
            "for timm's nets set backbone.output_stride instead",
        )


def _change(layer: Any, before: int, stride: int, name: str) -> None:
    steps = _pair(layer.stride)
    if before * max(steps) <= stride:
        return
    dilation = max(1, before // stride)  # how far apart this layer's cells are now
    layer.stride = tuple(max(1, min(step, stride // before)) for step in steps)
    kernel = _pair(layer.kernel_size)
    if dilation == 1 or max(kernel) == 1:
        return
    if not hasattr(layer, "dilation") or isinstance(layer.padding, str):
        raise XferError(f"{name} has a layer that can't be dilated: {layer}", "task.dilate=0")
    layer.dilation = tuple(dilation * d for d in _pair(layer.dilation))
    layer.padding = tuple(dilation * p for p in _pair(layer.padding))
    if hasattr(layer, "_reversed_padding_repeated_twice"):
        rows, columns = layer.padding
        layer._reversed_padding_repeated_twice = [columns, columns, rows, rows]
