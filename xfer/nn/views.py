"""Scaled and mirrored versions of a batch, and conversion of boxes to them and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from xfer.ops.fixed import constants


@dataclass(frozen=True)
class View:
    """One view of a batch in test-time augmentation, with conversion of boxes there and back.

    images (N, 3, H, W), normalised; sizes (N, 2) of the pictures in it; factor (2,): x, y.
    on_host | the sizes on the CPU; None: they are copied from the device where they are needed
    """

    images: Tensor
    sizes: Tensor
    factor: tuple[float, float] = (1.0, 1.0)
    flipped: bool = False
    on_host: Tensor | None = None

    @property
    def shown(self) -> list[list[int]]:
        """H, W of each picture, as numbers."""
        return (self.sizes if self.on_host is None else self.on_host).tolist()

    def scaled(self, by: float) -> View:
        if by == 1:
            return self
        height, width = (max(1, round(side * by)) for side in self.images.shape[2:])
        images = F.interpolate(
            self.images.float(), (height, width), mode="bilinear", antialias=True
        ).to(self.images.dtype)
        images = images.contiguous(memory_format=torch.channels_last)
        factor = (width / self.images.shape[3], height / self.images.shape[2])

        def scaled(sizes: Tensor) -> Tensor:
            by = constants(factor[::-1], sizes.new_empty(0, dtype=torch.float32))
            return (sizes * by).round().long()

        on_host = None if self.on_host is None else scaled(self.on_host)
        return View(images, scaled(self.sizes), factor, on_host=on_host)

    def mirrored(self) -> View:
        """Mirrors each picture within its own width: the padding stays on the right."""
        images = self.images.clone()
        for n, (_, width) in enumerate(self.shown):
            images[n, :, :, :width] = images[n, :, :, :width].flip(-1)
        return View(images, self.sizes, self.factor, True, self.on_host)

    def to(self, n: int, boxes: Tensor) -> Tensor:
        if self.factor != (1.0, 1.0):
            boxes = boxes * constants([*self.factor, *self.factor], boxes)
        return self._mirror(n, boxes)

    def back(self, n: int, boxes: Tensor) -> Tensor:
        boxes = self._mirror(n, boxes)
        if self.factor == (1.0, 1.0):
            return boxes
        return boxes / constants([*self.factor, *self.factor], boxes)

    def _mirror(self, n: int, boxes: Tensor) -> Tensor:
        if not self.flipped:
            return boxes
        width = self.sizes[n, 1]
        x1, y1, x2, y2 = boxes.unbind(1)
        return torch.stack([width - x2, y1, width - x1, y2], 1)
