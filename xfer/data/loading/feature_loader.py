"""Batches of vectors in place of pictures: what a head on a frozen backbone reads."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from xfer.data.loading.loader import Loader
from xfer.types import Batch


class FeatureLoader:
    """A loader whose batches carry `targets["features"]` instead of pictures.

    Args:
        loader: decides which pictures a batch holds, in which order.
        rows: K arrays (pictures, V, D), one per epoch in turn; V views are averaged in evaluation.
        labels: labels of all pictures, as the task's collate gives them.

    waited | seconds spent waiting for pictures: always 0
    """

    waited = 0.0

    def __init__(self, loader: Loader, rows: list[Tensor], labels: Tensor) -> None:
        self.loader, self.rows, self.labels = loader, rows, labels

    def __len__(self) -> int:
        return len(self.loader)

    def batches(self, epoch: int, start: int = 0) -> Generator[Batch, None, None]:
        """The epoch's batches from number `start` on; `images` is (N, 0), a row per picture."""
        table, ids = self.rows[epoch % len(self.rows)], self.loader.source.ids
        for places in self.loader.plan(epoch)[start:]:
            if not places:
                continue
            index = torch.tensor([place[0] for place in places])
            targets = {
                "label": self.labels[index],
                "features": table[index].float(),
                "views": table.shape[1],
            }
            yield Batch(torch.empty(len(index), 0), tuple(ids[int(i)] for i in index), targets)
