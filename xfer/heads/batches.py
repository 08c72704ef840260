"""Batches that several heads share: one set of pictures, each head's targets under its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from xfer.types import Batch

# pixels of pictures that pass the backbone together at test: no head parts so few again
MOST_PIXELS = 2**22


def joined(lead: str, batches: Mapping[str, Batch]) -> Batch:
    """One batch with the pictures of the head that cuts them; targets are HEAD.key."""
    targets = {
        f"{head}.{key}": value
        for head, batch in batches.items() for key, value in batch.targets.items()
    }  # fmt: skip
    return replace(batches[lead], targets=targets)


def of_head(batch: Batch, head: str) -> Batch:
    """The batch as one head alone knows it."""
    start = f"{head}."
    targets = {
        key.removeprefix(start): value
        for key, value in batch.targets.items() if key.startswith(start)
    }  # fmt: skip
    return replace(batch, targets=targets)


def alike(batch: Batch, sizes: Tensor | None) -> Iterator[tuple[list[int], Batch]]:
    """The batch in parts whose pictures all have one size, without padding, and their places in it:
    a head that reads a whole picture must not read what pads it.

    Args: sizes: int64 (N, 2), H and W of each picture; None: nothing is padded.
    """
    if sizes is None:
        yield list(range(len(batch))), batch
        return
    groups: dict[tuple[int, int], list[int]] = {}
    for n, (height, width) in enumerate(sizes.tolist()):
        groups.setdefault((height, width), []).append(n)
    for (height, width), places in groups.items():
        most = max(1, MOST_PIXELS // (height * width))
        for start in range(0, len(places), most):
            some = places[start : start + most]
            yield some, _chosen(batch, some, height, width)


def _chosen(batch: Batch, places: Sequence[int], height: int, width: int) -> Batch:
    whole = len(places) == len(batch)

    def cut(value: Any) -> Any:
        if whole or not hasattr(value, "__len__") or len(value) != len(batch):
            return value
        if isinstance(value, torch.Tensor):
            return value[list(places)]
        return [value[n] for n in places]

    images = batch.images if whole else batch.images[list(places)]
    targets = {key: cut(value) for key, value in batch.targets.items()}
    return Batch(images[:, :, :height, :width], tuple(batch.ids[n] for n in places), targets)
