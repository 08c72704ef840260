"""Chooses the maps that a segmentation head reads, by their strides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from xfer.errors import XferError
from xfer.types import FeatureSpec

Specs = Mapping[str, FeatureSpec]  # shallow to deep
# strides between which a decoder's maps lie
FINEST, COARSEST = 4, 32


def decoder_levels(specs: Specs) -> list[str]:
    """The deepest map of each stride from 4 to 32, except maps that only pool another one."""
    chosen: dict[int, str] = {}
    for name, spec in specs.items():
        if FINEST <= spec.stride <= COARSEST and not name.startswith("pool"):
            chosen[spec.stride] = name
    return list(chosen.values()) or [list(specs)[-1]]


def fcn_levels(specs: Specs, skips: int, net: str) -> list[str]:
    """The last map, and for each skip one of half the stride: the paper's pool4 and pool3 if the
    net has them at that stride, else the deepest.

    Raises: XferError if there is no such map; `net` is the net's name.
    """
    last = list(specs)[-1]
    levels = [last]
    for skip in range(skips):
        stride = specs[last].stride // 2 ** (skip + 1)
        fitting = [name for name, spec in specs.items() if spec.stride == stride]
        if not fitting:
            raise XferError(
                f"fcn{32 // 2**skips}s: {net} has no map of stride {stride}",
                "task.head=fcn32s or decoder, or name the maps: task.levels",
            )
        pooled = f"pool{4 - skip}"
        levels.append(pooled if pooled in fitting else fitting[-1])
    return levels


def named_levels(specs: Specs, names: Sequence[str], net: str) -> list[FeatureSpec]:
    """The maps with these names, each once.

    Args: names: the net's own names; or stride8: the deepest map with a stride of at most 8 pixels,
        or the finest if there is none, so that a recipe can name maps of any net.
    Raises: XferError for a name that the net does not have.
    """
    chosen: dict[str, FeatureSpec] = {}
    for name in names:
        number = name.removeprefix("stride")
        if name not in specs and number != name and number.isdecimal():
            finest = min(spec.stride for spec in specs.values())
            fine = [s for s in specs.values() if s.stride <= max(finest, int(number))]
            chosen[fine[-1].name] = fine[-1]
        elif name in specs:
            chosen[name] = specs[name]
        else:
            raise XferError(
                f"task.levels: {net} has no map {name!r}",
                f"choose from {', '.join(specs)}, or by stride: stride8",
            )
    return list(chosen.values())


def coarse_to_fine(specs: Specs, names: Sequence[str], net: str) -> list[FeatureSpec]:
    """The named maps, coarse to fine. Raises XferError for unknown names and equal strides."""
    levels = sorted(named_levels(specs, names, net), key=lambda spec: -spec.stride)
    if len({spec.stride for spec in levels}) < len(levels):
        listed = ", ".join(f"{spec.name} {spec.stride}" for spec in levels)
        raise XferError("task.levels: choose one map per stride", f"strides: {listed}")
    return levels


def least_side(run: Callable[[Tensor], Any]) -> int:
    """The smallest side, a multiple of 32 pixels, for which all maps of a net have a cell.

    Args: run: passes pictures (1, 3, side, side) through the whole net.
    """
    for side in range(32, 257, 32):
        try:
            with torch.no_grad():
                run(torch.zeros(1, 3, side, side))
            return side
        except (RuntimeError, ValueError, AssertionError):
            continue  # a kernel larger than its map, or a net with a fixed size
    return 32
