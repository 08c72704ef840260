"""Names the net that a weight file is of, where it does not fit the one that was asked for."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from xfer import registry
from xfer.backbones.base import Backbone, backbones
from xfer.backbones.match import Net, match, net_of
from xfer.backbones.stored import Stored
from xfer.errors import XferError

# timm's nets that are met most; those named like the asked one are tried too
_TIMM = (
    "vit_tiny_patch16_224", "vit_small_patch16_224", "vit_base_patch16_224",
    "vit_small_patch14_dinov2", "vit_base_patch14_dinov2", "vit_large_patch16_224",
    "convnext_tiny", "convnext_small", "convnext_base", "efficientnet_b0", "efficientnet_b1",
    "efficientnet_b2", "tf_efficientnetv2_s", "efficientnet_lite0", "mobilenetv3_small_100",
    "mobilenetv3_large_100", "mobilenetv2_100", "swin_tiny_patch4_window7_224",
    "regnety_016", "regnety_032", "resnetv2_50", "resnet26d", "resnet50d", "seresnet50",
)  # fmt: skip
_MOST_OF_FAMILY = 12


@dataclass(frozen=True, slots=True)
class Guess:
    """A net that a file fits.

    used, count | tensors of the file that have a place in it, and all of them
    filled      | layers of its trunk that the file fills
    """

    name: str
    used: int
    count: int
    filled: int


def guess(
    tensors: Mapping[str, Stored], but: str, *, used: int, ordered: bool = True, arch: str = ""
) -> Guess | None:
    """The net whose trunk a file fills, and which uses most of the file's weights.

    Args:
        tensors: the file's.
        but: the net that was asked for.
        used: weights of layers that it uses; a net must use more, or be filled by fewer.
        arch: the net that the file says it is of.

    Returns: None if no known net is filled by the file.
    """
    best: Guess | None = None
    for name in _candidates(but, arch, tensors):
        net = _net(name)
        if net is None or name == but or not net.main:
            continue
        found = match(tensors, net, ordered)
        filled = found.filled(net.main)
        grey = net.main[0] not in found.names.values()  # one channel, or five
        if filled + grey < len(net.main) or filled < used:
            continue
        if best is None or (filled, len(found.names)) > (best.filled, best.used):
            inside = [n for n in tensors if n.startswith(found.scope)]
            best = Guess(name, len(found.names), len(inside), filled)
            if best.used == best.count:
                break
    return best


def is_known(name: str) -> bool:
    """Whether a net is ours, torchvision's or timm's: one whose files have its layers alone."""
    if ":" in name:
        return name.startswith(("timm:", "torchvision:"))
    return name in backbones.names() and backbones.origin(name) == registry.OURS


def _candidates(but: str, arch: str, tensors: Mapping[str, Stored]) -> list[str]:
    """Names of nets that are tried, the likeliest first."""
    from xfer.backbones import timm, torchvision

    ours = [name for name in backbones.names() if backbones.origin(name) == registry.OURS]
    theirs = [f"torchvision:{name}" for name in torchvision.names() if name not in ours]
    scheme, _, rest = but.partition(":")
    of_timm: list[str] = []
    if scheme == "timm":
        known = timm.names()
        of_timm = difflib.get_close_matches(rest.partition(".")[0], known, _MOST_OF_FAMILY, 0.5)
        of_timm += [name for name in ours if name in known]
    if of_timm or any(re.search(r"\b(blocks|stages|layers)\.", name) for name in tensors):
        of_timm += _TIMM
    said = [arch, f"torchvision:{arch}", f"timm:{arch}"] if arch else []
    of_timm = [f"timm:{name}" for name in of_timm]
    both = [*of_timm, *ours, *theirs] if scheme == "timm" else [*ours, *theirs, *of_timm]
    return list(dict.fromkeys([*said, *both]))


@functools.lru_cache(maxsize=256)
def _net(name: str) -> Net | None:
    """A net's tensors, without memory for them; None if there is no such net."""
    try:
        with torch.device("meta"):
            return net_of(_build(name))
    except (XferError, RuntimeError, NotImplementedError, TypeError, ValueError, KeyError):
        return None  # some nets compute with their numbers as they are made


def _build(name: str) -> Backbone:
    scheme, colon, rest = name.partition(":")
    if not colon:
        return backbones.get(name)(name=name, classifier=True)
    if scheme == "timm":
        from xfer.backbones.timm import from_timm

        return from_timm(name, rest, True)
    from xfer.backbones.torchvision import from_torchvision

    return from_torchvision(name, rest, None, True)
