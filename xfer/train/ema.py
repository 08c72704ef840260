"""The moving average of a model's weights while it trains (Polyak & Juditsky 1992)."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class MovingAverage(AveragedModel):
    """AveragedModel, buffers included, that touches only what training changes.

    Args: model: what is trained; decay: share of the old average that each step keeps, 0..1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        move = get_ema_multi_avg_fn(decay)
        super().__init__(model, multi_avg_fn=move, use_buffers=True)
        self._move = move
        self._pairs: list[tuple[list[Tensor], list[Tensor]]] = []

    def forget(self) -> None:
        """To be called when other parts are frozen than before."""
        self._pairs = []

    def update(self, model: nn.Module) -> None:
        """Moves the average towards the present weights; frozen ones are equal already."""
        if self.n_averaged == 0:
            self.update_parameters(model)  # a copy of everything
            return
        if not self._pairs:
            self._pairs = self._moving(model)
        with torch.no_grad():
            for averaged, current in self._pairs:
                self._move(averaged, current, self.n_averaged)
            self.n_averaged += 1

    def _moving(self, model: nn.Module) -> list[tuple[list[Tensor], list[Tensor]]]:
        """Averaged and present tensors that training changes, by type."""
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
