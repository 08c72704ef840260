"""Tensors of fixed shape on a device, where a result's size would make the host wait for it.

On a CPU, where nothing waits, the rows that count are picked out, which saves work; on a device all
rows are kept beside a mask of those that are real. Whoever uses these functions writes one formula.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


def fixed(like: Tensor) -> bool:
    """Whether shapes are to be fixed on the device of this tensor."""
    return like.device.type != "cpu"


def marked(mask: Tensor) -> Tensor | slice:
    """What to index rows by to work on the marked ones: their numbers, or on a device all rows, so
    that results are still to be masked by `mask[rows]`.

    Shapes: bool (R,).
    """
    return slice(None) if fixed(mask) else torch.nonzero(mask).flatten()


def constants(values: Sequence[float], like: Tensor) -> Tensor:
    """The numbers as a tensor of the type and on the device of another, without a copy from the
    host: (K,)."""
    if not fixed(like):
        return like.new_tensor(values)
    return torch.stack([like.new_full((), value) for value in values])


def integers(values: Tensor, device: torch.device | str) -> Tensor:
    """A small table of integers of the CPU on a device, without waiting: through pinned memory."""
    if torch.device(device).type == "cpu":
        return values
    return values.pin_memory().to(device, non_blocking=True)


def padded(rows: Sequence[Tensor], value: float = 0) -> Tensor:
    """N tensors (R_n, ...) as one (N, R, ...), the shorter ones filled up."""
    return pad_sequence(list(rows), batch_first=True, padding_value=value)


def to_host(tensors: Sequence[Tensor]) -> list[NDArray[Any]]:
    """The tensors as arrays: from a device by one copy of them all."""
    if not tensors or not fixed(tensors[0]):
        return [tensor.numpy() for tensor in tensors]
    # numbers of 8 bytes first, so that each part begins at a multiple of its item's size
    order = sorted(range(len(tensors)), key=lambda k: -tensors[k].element_size())
    flat = [tensors[k].contiguous().flatten() for k in order]
    whole = torch.cat([one.view(torch.uint8) for one in flat])
    host = torch.empty(whole.shape, dtype=torch.uint8, pin_memory=True)
    host.copy_(whole)
    arrays: dict[int, NDArray[Any]] = {}
    parts = host.split([one.numel() * one.element_size() for one in flat])
    for k, part in zip(order, parts, strict=True):
        arrays[k] = part.view(tensors[k].dtype).view(tensors[k].shape).numpy()
    return [arrays[k] for k in range(len(tensors))]
