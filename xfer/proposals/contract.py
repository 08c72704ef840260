"""What a task may be besides a `Task`: one that proposes regions."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from xfer.types import Batch


class Proposes(ABC):
    """For a task that proposes regions: `xfer data proposals --method run:DIR` measures them."""

    @abstractmethod
    def propose(self, batch: Batch, max_boxes: int) -> list[Tensor]:
        """Proposals: N tensors (R, 4), R <= max_boxes, best first, xyxy in each picture's pixels.
        Raises XferError if its options give it no proposals of its own."""
