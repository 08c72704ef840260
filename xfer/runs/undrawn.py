"""Layers made without drawing their random weights, because a file's replace all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

_DRAWS = ("uniform_", "normal_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_",
          "xavier_uniform_", "xavier_normal_")  # fmt: skip


class Undrawn(TorchFunctionMode):
    """Context in which parameters that a layer would draw are zero: drawing takes a third to two
    thirds of the time of making a net.

    Only parameters: a file of weights holds all of them. A buffer that is not saved keeps its draw.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        named = kwargs or {}
        if getattr(func, "__name__", "") in _DRAWS:
            target = args[0] if args else named.get("tensor")
            if isinstance(target, nn.Parameter):
                with torch.no_grad():
                    return target.zero_()
        return func(*args, **named)
