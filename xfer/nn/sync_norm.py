"""Batch norms that take their statistics over all processes, whatever class they are of."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.modules.batchnorm import (
    _BatchNorm,  # pyright: ignore[reportPrivateUsage]
)

from xfer.device import Place
from xfer.errors import XferError


class SyncBatchNormAct(nn.SyncBatchNorm):
    """A SyncBatchNorm with the dropout and activation of timm's BatchNormAct2d, after it."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(input)))


def sync_batch_norms(module: nn.Module, place: Place) -> nn.Module:
    """The module with its batch norms synchronised over all processes; unchanged for one process.

    Raises: XferError on a device other than CUDA, where torch does not support it, and for a norm
        that can't become one.
    """
    if place.world == 1:
        return module
    if place.device.type != "cuda":
        raise XferError(
            f"run.sync_bn needs GPUs: torch does not support it on {place.device.type}",
            "run.sync_bn=false, with a larger --batch, or a backbone without batch norm",
        )
    synchronise(module)
    return module


def synchronise(module: nn.Module) -> None:
    """Makes every batch norm in a module one over all processes, in place.

    The norms stay the same objects, with their weights, names, statistics and hooks, so that
    whatever refers to one (a stage, a hook that picks up its map) refers to the new one; torch's
    converter makes new objects, and leaves out what subclasses add.

    Raises: XferError for a batch norm that computes something else, before any is changed.
    """
    norms = [
        (name, norm)
        for name, norm in module.named_modules()
        if isinstance(norm, _BatchNorm) and not isinstance(norm, nn.SyncBatchNorm)
    ]
    kinds = [_kind_of(name, norm) for name, norm in norms]
    for (_, norm), kind in zip(norms, kinds, strict=True):
        norm.__class__ = kind
        norm.process_group = None  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]


def _kind_of(name: str, norm: _BatchNorm) -> type[nn.SyncBatchNorm]:
    own = next(c for c in type(norm).__mro__ if "forward" in vars(c))  # the class that computes
    if own is _BatchNorm:
        return nn.SyncBatchNorm
    if own.__name__ == "BatchNormAct2d" and own.__module__.startswith("timm."):
        return SyncBatchNormAct
    raise XferError(
        f"run.sync_bn: {name} is a {own.__module__}.{own.__qualname__}, which computes more than a "
        "batch norm",
        "run.sync_bn=false, or another backbone",
    )
