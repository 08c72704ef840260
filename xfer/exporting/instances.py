"""Instances as tensors: the detections of `ExportedBoxes`, and a mask on a grid over each box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import roi_align

from xfer.detectors.mask_branch import CELLS, SIDE
from xfer.exporting.boxes import ExportedBoxes
from xfer.exporting.contract import BATCH, Choices
from xfer.objects.mask import as_column
from xfer.objects.paste import paste
from xfer.objects.rle import ious
from xfer.types import Batch, InstancePrediction


class ExportedInstances(ExportedBoxes):
    """Mask R-CNN.

    Shapes: as ExportedBoxes, and

    masks | float32 (N, K, 28, 28) | out: the probability of each part of a box; pixels of the
          |                        | picture are read from it, see `xfer.objects.paste`
    """

    script: ClassVar[str] = "objects"

    def __init__(self, task: Any, choices: Choices) -> None:
        super().__init__(task, choices)
        self.outputs = (*self.outputs, "masks")
        self.axes = {**self.axes, "masks": (BATCH, None, None, None)}

    def forward(
        self, images: Tensor, sizes: Tensor, proposals: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        head = self.task.head
        maps = self.task.backbone(self.normalised(images), want=head.names)
        boxes, scores, labels = self.found(maps, sizes, proposals)
        return boxes, scores, labels, self._masks(maps, boxes, labels)

    def _masks(self, maps: Any, boxes: Tensor, labels: Tensor) -> Tensor:
        """(N, K, 28, 28); see `MaskBranch`, whose kernel for a CPU no file has."""
        branch, (count, most) = self.task.head.branch, boxes.shape[:2]
        map = maps[branch.names[0]] if branch.merge is None else branch.merge(maps)
        picture = torch.arange(count, device=boxes.device, dtype=boxes.dtype)
        picture = picture[:, None].expand(count, most).reshape(-1, 1)
        spec = branch.spec
        shift = spec.stride / 2 - spec.offset - 0.5
        rois = torch.cat([picture, boxes.reshape(-1, 4) + shift], 1)
        masks = branch.read(roi_align(map, rois, CELLS, 1 / spec.stride, 2, True)).sigmoid()
        if masks.shape[1] > 1:
            own = labels.reshape(-1, 1, 1, 1).clamp(min=0).expand(-1, 1, SIDE, SIDE)
            masks = masks.gather(1, own)
        return masks.view(count, most, SIDE, SIDE)

    def read(self, outputs: Sequence[Tensor], batch: Batch) -> list[InstancePrediction]:
        predictions: list[InstancePrediction] = []
        each = zip(super().read(outputs, batch), outputs[1], outputs[3], strict=True)
        for one, scores, masks in each:
            own = masks[scores > 0].numpy()
            predictions.append(
                InstancePrediction(
                    one.id, one.boxes, one.scores, one.labels, one.size,
                    as_column(paste(own, one.boxes, one.size)),
                )
            )  # fmt: skip
        return predictions

    def difference(self, one: InstancePrediction, two: InstancePrediction) -> float:
        """The larger of what differs in the boxes, see ExportedBoxes, and in the masks of the same
        rank: 1 - IoU, a mean weighted by the scores. Ranks that differ count in the boxes."""
        apart, total = 0.0, 0.0
        for k in range(min(len(one.scores), len(two.scores))):
            same = one.labels[k] == two.labels[k] and np.allclose(
                one.boxes[k], two.boxes[k], atol=1
            )
            if not same:
                continue
            pair = ious([one.masks[k]], [two.masks[k]], np.array([False]))[0, 0]
            empty = not (one.masks[k].pixels().any() or two.masks[k].pixels().any())
            apart += float(one.scores[k]) * (0.0 if empty else 1 - float(pair))
            total += float(one.scores[k])
        return max(super().difference(one, two), apart / max(total, 1e-9))
