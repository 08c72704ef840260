"""torch.autocast for the pretended GPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.utils._pytree import tree_map


class Autocast:
    """torch.autocast on the pretended card: torch's own has no rules for the device below it.

    Differs: what promotes to the widest type of its arguments is left to torch's own rules.
    """

    current: torch.dtype | None = None

    def __new__(cls, device_type: str, *args: Any, **kwargs: Any) -> Any:
        return (
            super().__new__(cls) if device_type == "cuda" else _TORCHS(device_type, *args, **kwargs)
        )

    def __init__(
        self, device_type: str, dtype: torch.dtype | None = None, enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:  # fmt: skip
        self._wanted = (dtype or torch.float16) if enabled else None
        self._before: list[torch.dtype | None] = []

    @classmethod
    def cast(cls, func: Any, values: Any, kind: type[torch.Tensor]) -> Any:
        """The arguments of a function of torch, those of that kind as it wants them."""
        low = cls.current
        if low is None or (func not in _LOWER and func not in _FULL):
            return values
        old, new = (torch.float32, low) if func in _LOWER else (low, torch.float32)
        return tree_map(
            lambda x: x.to(new) if isinstance(x, kind) and x.dtype == old else x, values
        )

    def __enter__(self) -> None:
        self._before.append(Autocast.current)
        Autocast.current = self._wanted

    def __exit__(self, *error: object) -> None:
        Autocast.current = self._before.pop()


_TORCHS = torch.autocast
# torch/aten/src/ATen/autocast_mode.h, as far as nets use them
_LOWER = frozenset({
    F.conv1d, F.conv2d, F.conv3d, F.conv_transpose2d, F.linear, F.scaled_dot_product_attention,
    F.multi_head_attention_forward, torch.conv1d, torch.conv2d, torch.conv_transpose2d,
    torch.matmul, torch.mm, torch.bmm, torch.addmm, torch.baddbmm, torch.mv, torch.einsum,
    torch.Tensor.matmul, torch.Tensor.__matmul__, torch.Tensor.__rmatmul__, torch.Tensor.mm,
    torch.Tensor.bmm,
})  # fmt: skip
_FULL = frozenset({
    F.softmax, F.log_softmax, F.layer_norm, F.group_norm, F.cross_entropy, F.nll_loss, F.mse_loss,
    F.l1_loss, F.smooth_l1_loss, F.binary_cross_entropy_with_logits, F.softplus, F.normalize,
    torch.softmax, torch.log_softmax, torch.Tensor.softmax, torch.Tensor.log_softmax, torch.exp,
    torch.Tensor.exp, torch.log, torch.Tensor.log, torch.pow, torch.Tensor.pow, torch.sum,
    torch.Tensor.sum, torch.prod, torch.Tensor.prod, torch.cumsum, torch.Tensor.cumsum,
    torch.norm, torch.Tensor.norm, torch.rsqrt, torch.Tensor.rsqrt,
})  # fmt: skip
