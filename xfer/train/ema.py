"""The moving average of a model's weights while it trains (Polyak & Juditsky 1992)."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class MovingAverage(AveragedModel):
    """AveragedModel, buffers included, that updates only what training changes.

    Update number n + 1 keeps min(decay, (1 + n) / (10 + n)) of the average, so that it reaches
    back over at most a ninth of the steps so far: a short run forgets its random start as
    thoroughly as a long one.

    Args: model: the model in training; decay: most of the old average that a step keeps, 0..1.
    Source: the warm-up of TensorFlow's ExponentialMovingAverage(num_updates).
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, use_buffers=True)
        self.decay = decay
        self._pairs: list[tuple[list[Tensor], list[Tensor]]] = []

    def forget(self) -> None:
        """Call this when the set of frozen parts has changed."""
        self._pairs = []

    def kept(self) -> float:
        """The share of the average that the next update keeps."""
        count = int(self.n_averaged)  # a CPU tensor, saved with the average: no device sync
        return min(self.decay, (1 + count) / (10 + count))

    def update(self, model: nn.Module) -> None:
        """Moves the average towards the current weights; frozen ones are equal already."""
        if self.n_averaged == 0:
            self.update_parameters(model)  # a copy of everything
            return
        if not self._pairs:
            self._pairs = self._moving(model)
        kept = self.kept()
        with torch.no_grad():
            for averaged, current in self._pairs:
                _move(averaged, current, kept)
            self.n_averaged += 1

    def _moving(self, model: nn.Module) -> list[tuple[list[Tensor], list[Tensor]]]:
        """The averaged and the current tensors that training changes, grouped by dtype."""
        kinds: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
        still = {id(t) for t in model.parameters() if not t.requires_grad}
        for module in model.modules():
            if not module.training:
                still.update(id(b) for b in module.buffers(recurse=False))
        pairs = zip(
            itertools.chain(self.module.parameters(), self.module.buffers()),
            itertools.chain(model.parameters(), model.buffers()), strict=True,
        )  # fmt: skip
        for averaged, current in pairs:
            if id(current) not in still:
                both = kinds.setdefault(current.dtype, ([], []))
                both[0].append(averaged)
                both[1].append(current)
        return list(kinds.values())


def _move(averaged: list[Tensor], current: list[Tensor], kept: float) -> None:
    """Moves tensors of one dtype; integers, which count batches, are copied."""
    if averaged[0].is_floating_point():
        torch._foreach_lerp_(averaged, current, 1 - kept)  # pyright: ignore[reportPrivateImportUsage]
        return
    torch._foreach_copy_(averaged, current)  # pyright: ignore[reportPrivateImportUsage]
