"""Computes in the tensors' own dtype inside a pass of lower precision."""

from __future__ import annotations

import torch
from torch import Tensor


def exact(like: Tensor) -> torch.autocast:
    """A context without autocast, on the device of `like`."""
    kind = like.device.type
    return torch.autocast("cpu" if kind == "meta" else kind, enabled=False)
