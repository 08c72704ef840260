"""Batch norms that are given one value per channel, which has no deviation.

A batch of one picture whose map has a single cell: torch refuses it in training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import (
    _BatchNorm,  # pyright: ignore[reportPrivateUsage]
)


def allow_lone_values(module: nn.Module, tell: Callable[[str], None]) -> None:
    """Lets the batch norms in a module normalise as in evaluation, by their running statistics,
    whenever they are given one value per channel in training. They do not count it either.

    Args: tell: called with the name of the batch norm, each time.

    Differs: a SyncBatchNorm gathers the values of all processes, and is left as it is.
    """
    for name, norm in module.named_modules():
        if isinstance(norm, _BatchNorm) and not isinstance(norm, nn.SyncBatchNorm):
            before, after = _switches(name, tell)
            norm.register_forward_pre_hook(before)
            norm.register_forward_hook(after, always_call=True)


def _switches(name: str, tell: Callable[[str], None]) -> tuple[Any, Any]:
    """Hooks that switch a batch norm to evaluation for one pass, and back."""
    switched: list[nn.Module] = []

    def before(norm: _BatchNorm, inputs: tuple[Tensor, ...]) -> None:
        values = inputs[0]
        known = norm.running_mean is not None
        if norm.training and known and values.numel() == values.shape[1]:
            tell(name)
            norm.training = False
            switched.append(norm)

    def after(norm: _BatchNorm, _: Any, __: Any) -> None:
        if switched:
            switched.clear()
            norm.training = True

    return before, after
