"""Single-stage detection on a pyramid, where all cells learn with the focal loss."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from xfer.detectors.contract import Maps, Truth
from xfer.detectors.one_stage import Cells, OneStage, inside
from xfer.detectors.options import DetectorOptions
from xfer.detectors.pyramid import Pyramid
from xfer.detectors.towers import Towers, focal_loss
from xfer.ops.fixed import fixed, marked
from xfer.ops.sampling import ignored
from xfer.types import FeatureSpec


class FocalDetector(OneStage):
    """The common part of FCOS and RetinaNet: cells of a pyramid that score each class by itself.

    Args: specs: maps of the pyramid, finest first; options: resolved; classes: how many.
    """

    def __init__(
        self, specs: Sequence[FeatureSpec], options: DetectorOptions, classes: int, starts: int,
        numbers: int,
    ) -> None:  # fmt: skip
        super().__init__(options, classes)
        self.names = tuple(spec.name for spec in specs)
        self.pyramid = Pyramid(specs, options.width, options.max_stride)
        self.towers = Towers(options.width, options.towers, classes, starts, numbers)

    @abstractmethod
    def starts_of(self, level: int, grid: tuple[int, int]) -> Tensor:
        """The boxes (h * w * K, 4) that a level's cells start from."""

    @abstractmethod
    def assign(self, cells: Cells, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Which of a picture's true boxes (G, 4) each start learns, int64 (A,), -1 for background,
        and which starts are neither, bool (A,)."""

    @abstractmethod
    def box_losses(self, numbers: Tensor, starts: Tensor, goals: Tensor) -> dict[str, Tensor]:
        """The losses of P starts with the true box of each, (P, 4): tensors (P,)."""

    def read(self, maps: Maps) -> Cells:
        """What the cells say of the backbone's maps."""
        logits: list[Tensor] = []
        numbers: list[Tensor] = []
        starts: list[Tensor] = []
        for k, level in enumerate(self.pyramid(maps)):
            own, boxes = self.towers(level)
            logits.append(own)
            numbers.append(boxes)
            starts.append(self.starts_of(k, (level.shape[2], level.shape[3])))
        counts = tuple(own.shape[0] for own in starts)
        return Cells(torch.cat(logits, 1), torch.cat(numbers, 1), torch.cat(starts), counts)

    def losses(self, maps: Maps, truth: Truth) -> dict[str, Tensor]:
        """Focal loss of all cells and the box losses of those that learn an object, divided by the
        number of these in each picture, then averaged over the pictures.

        Differs from torchvision's FCOS, which divides by their number in the batch: here a batch's
        loss is the mean of its pictures' losses, however it is split. Cells in the padding and in
        crowds are left out.
        """
        cells = self.read(maps)
        alpha, gamma = self.options.focal
        sums: dict[str, Tensor] = {}
        seen = inside(cells.starts, truth.sizes)
        for n, boxes in enumerate(truth.boxes):
            index, neither = self.assign(cells, boxes)
            positive = (index >= 0) & seen[n]
            left_out = neither | ~seen[n] | ignored(cells.starts, truth.crowds[n])
            wanted = torch.zeros_like(cells.logits[n])
            rows = marked(positive)
            is_object, which = positive[rows], index[rows].clamp(min=0)
            own: dict[str, Tensor] = {}
            if len(boxes):
                labels = truth.labels[n][which][:, None]
                wanted[rows] = wanted[rows].scatter(1, labels, is_object[:, None].to(wanted.dtype))
                goals, starts = boxes[which], cells.starts[rows]
            else:
                goals = starts = cells.starts[rows]
            scores = focal_loss(cells.logits[n], wanted, alpha, gamma).sum(1)
            own["cls"] = scores.masked_fill(left_out & ~positive, 0).sum()
            each = self.box_losses(cells.numbers[n][rows], starts, goals)
            own |= {name: value.where(is_object, 0).sum() for name, value in each.items()}
            count = positive.sum().clamp(min=1) if fixed(positive) else max(1, len(which))
            share = 1 / (count * len(truth.boxes))
            for name, value in own.items():
                sums[name] = sums.get(name, 0) + value * share
        return {**sums, "box": sums["box"] * self.options.box_weight}
