"""Dropout whose random numbers are cheap on a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_PARTS = 2**16


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Like torch's dropout, but on a CPU four elements share one random 64-bit number.

    torch draws one number per element there, which takes longer than a linear layer on the same
    9,216 features. p is rounded to a multiple of 1/65,536, and kept elements are scaled to match.

    Shapes: any -> the same, of the same dtype.
    Source: Srivastava et al. 2014, with the scale applied in training.
    """
    kept = round((1 - p) * _PARTS)
    if x.device.type != "cpu" or not training or kept in (0, _PARTS):
        return F.dropout(x, p, training)
    count = x.numel()
    drawn = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    mask = drawn.view(torch.int16)[:count].view(x.shape) < kept - _PARTS // 2
    return x * mask * (_PARTS / kept)


class Dropout(nn.Dropout):
    """`dropout` as a module."""

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p, self.training)
