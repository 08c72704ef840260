"""Scaled and mirrored versions of a batch, and conversion of boxes to them and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class View:
    """One view of a batch in test-time augmentation, with conversion of boxes there and back.

    images (N, 3, H, W), normalised; sizes (N, 2) of the pictures in it; factor (2,): x, y.
    """

    images: Tensor
    sizes: Tensor
    factor: tuple[float, float] = (1.0, 1.0)
    flipped: bool = False

    def scaled(self, by: float) -> View:
        if by == 1:
            return self
        height, width = (max(1, round(side * by)) for side in self.images.shape[2:])
        images = F.interpolate(
            self.images.float(), (height, width), mode="bilinear", antialias=True
        ).to(self.images.dtype)
        images = images.contiguous(memory_format=torch.channels_last)
        factor = (width / self.images.shape[3], height / self.images.shape[2])
        sizes = (self.sizes * torch.tensor(factor[::-1], device=self.sizes.device)).round().long()
        return View(images, sizes, factor)

    def mirrored(self) -> View:
        """Mirrors each picture within its own width: the padding stays on the right."""
        images = self.images.clone()
        for n, width in enumerate(self.sizes[:, 1].tolist()):
            images[n, :, :, :width] = images[n, :, :, :width].flip(-1)
        return View(images, self.sizes, self.factor, True)

    def to(self, n: int, boxes: Tensor) -> Tensor:
        boxes = boxes * boxes.new_tensor([*self.factor, *self.factor])
        return self._mirror(n, boxes)

    def back(self, n: int, boxes: Tensor) -> Tensor:
        return self._mirror(n, boxes) / boxes.new_tensor([*self.factor, *self.factor])

    def _mirror(self, n: int, boxes: Tensor) -> Tensor:
        if not self.flipped:
            return boxes
        width = self.sizes[n, 1]
        x1, y1, x2, y2 = boxes.unbind(1)
        return torch.stack([width - x2, y1, width - x1, y2], 1)
