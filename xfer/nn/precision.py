"""Computes in the tensors' own dtype inside a pass of lower precision."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor


def exact(like: Tensor) -> contextlib.AbstractContextManager[object]:
    """A context without autocast, on the device of `like`; exported nets have none to begin with,
    and formats that have no word for it."""
    if torch.compiler.is_exporting():
        return contextlib.nullcontext()
    kind = like.device.type
    return torch.autocast("cpu" if kind == "meta" else kind, enabled=False)
