"""Detection as tensors: decoding and suppression are in the file, shapes are fixed.

The same boxes as `Detect.predict` with one view, without lists: what may be of any number there is
a table with empty rows here. How candidates are read off the maps depends on the detector:
`regions` for two stages, `cells` for one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from xfer.detectors.one_stage import OneStage
from xfer.errors import XferError
from xfer.exporting.cells import Cells
from xfer.exporting.contract import (
    BATCH,
    MULTIPLE,
    SIZE,
    Choices,
    Exportable,
    padded_to,
    up_to_multiple,
)
from xfer.exporting.regions import Regions
from xfer.ops.boxes import area, clip
from xfer.types import Batch, BoxPrediction

ALIKE = 0.9  # IoU from which two boxes are taken for one


class ExportedBoxes(Exportable):
    """Any detector.

    Shapes:

    images    | (N, 3, H, W)          | padded right and below to multiples of 32
    sizes     | int64 (N, 2)          | H, W of each picture without padding
    proposals | float32 (N, P, 4)     | only for Fast R-CNN: xyxy in pixels of `images`; rows
              |                       | without area are empty
    boxes     | float32 (N, K, 4)     | out: xyxy in pixels of `images`
    scores    | float32 (N, K)        | falling; 0: an empty row
    labels    | int64 (N, K)          | -1: an empty row
    """

    script: ClassVar[str] = "boxes"
    padded: ClassVar[bool] = True
    tolerance: ClassVar[float] = 0.02
    difference_words: ClassVar[str] = "largest part of a picture's scores that differs"

    def __init__(self, task: Any, choices: Choices) -> None:
        super().__init__(task, choices)
        self.own_proposals = task.options.detector != "fast"
        if task.options.nms_kind != "hard":
            raise XferError(
                f"task.nms_kind={task.options.nms_kind}: no file has soft-NMS",
                "train with task.nms_kind=hard",
            )
        head = task.head
        one = isinstance(head, OneStage)
        self.reader = Cells(head, choices) if one else Regions(head, choices)
        self.side = up_to_multiple(task.long_side)
        if SIZE in choices.dynamic and task.backbone.fixed_side:
            raise XferError(
                f"--dynamic size: {task.backbone.name} takes only squares of "
                f"{task.backbone.fixed_side} px",
                "--dynamic batch, or none",
            )
        sides = ("height", "width") if SIZE in choices.dynamic else (None, None)
        self.inputs = ("images", "sizes", *(() if self.own_proposals else ("proposals",)))
        self.outputs = ("boxes", "scores", "labels")
        self.axes = {
            "images": (BATCH, None, *sides), "sizes": (BATCH, None),
            "boxes": (BATCH, None, None), "scores": (BATCH, None), "labels": (BATCH, None),
        }  # fmt: skip
        if not self.own_proposals:
            self.axes["proposals"] = (BATCH, "regions", None)

    def forward(
        self, images: Tensor, sizes: Tensor, proposals: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        task = self.task
        maps = task.backbone(self.normalised(images), want=task.head.names)
        return self.found(maps, sizes, proposals)

    def found(
        self, maps: Mapping[str, Tensor], sizes: Tensor, proposals: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, scores and labels, from the backbone's maps."""
        options = self.task.options
        all_of = self.reader(maps, sizes, proposals)
        # as many empty rows as there may be boxes, so that there are always enough
        most, ranked = options.most_boxes, torch.where(all_of.stay, all_of.scores, 0.0)
        best, index = torch.cat([ranked, ranked.new_zeros(ranked.shape[0], most)], 1).topk(most, 1)
        found = best > 0
        index = torch.where(found, index, 0)
        label = all_of.labels.gather(1, index)
        where = all_of.boxes.gather(1, index[..., None].expand(-1, -1, 4))
        if options.vote > 0:
            where = self._voted(where, *self.reader.voters(all_of, label))
        return (
            torch.where(found[..., None], where, 0.0),
            best,
            torch.where(found, label, -1),
        )

    def _voted(self, where: Tensor, voters: Tensor, weight: Tensor) -> Tensor:
        """Each box (N, K, 4) as the mean of those that overlap it, as in `suppressed`; voters
        (N, K, V, 4) and their weights (N, K, V)."""
        low = torch.maximum(where[:, :, None, :2], voters[..., :2])
        high = torch.minimum(where[:, :, None, 2:], voters[..., 2:])
        both = (high - low).clamp(min=0).prod(3)
        union = area(where)[..., None] + area(voters) - both
        weight = weight * (both / union.clamp(min=1e-9) >= self.task.options.vote)
        total = weight.sum(2, keepdim=True)
        return (weight[..., None] * voters).sum(2) / total.clamp(min=1e-12)

    def framed(self, batch: Batch) -> Batch:
        if SIZE in self.choices.dynamic:
            return batch
        colour = self.task.backbone.mean_colour
        return replace(batch, images=padded_to(batch.images, self.side, self.side, colour))

    def feed(self, batch: Batch) -> tuple[Tensor, ...]:
        targets = batch.targets
        inputs = (self.shown(self.framed(batch).images), targets["sizes"])
        if self.own_proposals:
            return inputs
        most = max(1, *(len(one) for one in targets["proposals"]))
        table = torch.zeros(len(batch), most, 4)
        for row, one in zip(table, targets["proposals"], strict=True):
            row[: len(one)] = one
        return (*inputs, table)

    def read(self, outputs: Sequence[Tensor], batch: Batch) -> list[BoxPrediction]:
        predictions: list[BoxPrediction] = []
        each = zip(
            batch.ids, *outputs[:3], batch.targets["sizes"], batch.targets["originals"], strict=True
        )
        for name, boxes, scores, labels, size, original in each:
            there = scores > 0
            boxes = clip(boxes[there] * (original / size).flip(0).repeat(2), original)
            height, width = (int(v) for v in original.tolist())
            predictions.append(
                BoxPrediction(
                    name, boxes.numpy(), scores[there].numpy(), labels[there].numpy(),
                    (height, width),
                )
            )  # fmt: skip
        return predictions

    def example(self) -> tuple[Tensor, ...]:
        height = width = self.side
        if SIZE in self.choices.dynamic:  # sides that differ, so that neither is taken for fixed
            height = up_to_multiple(self.task.preprocess.size)
            width = height + MULTIPLE
        images = self.pictures(height, width)
        sizes = torch.tensor([[height, width]]).repeat(len(images), 1)
        if self.own_proposals:
            return images, sizes
        corners = torch.rand(len(images), 50, 4) * 64
        corners[..., 2:] += corners[..., :2] + 8
        return images, sizes, corners

    def view(self) -> dict[str, Any]:
        task = self.task
        return {
            "how": "fit", "short": task.preprocess.size, "long": task.long_side,
            "pad": MULTIPLE, "side": 0 if SIZE in self.choices.dynamic else self.side,
            "colour": [round(value) for value in task.backbone.mean_colour], "decode": 0,
        }  # fmt: skip

    def describe(self) -> dict[str, Any]:
        return {"proposals": self.task.options.proposals}

    def difference(self, one: BoxPrediction, two: BoxPrediction) -> float:
        """The part of the scores that differs: those of boxes without a counterpart, and the
        differences of the others', over all of them. A pair of boxes that overlap as much as
        suppression just allows may come out either way; a box of score 0.02 then counts little."""
        free, apart = np.ones(len(two.scores), bool), 0.0
        for box, score, label in zip(one.boxes, one.scores, one.labels, strict=True):
            fit = _overlap(box, two.boxes) * (free & (two.labels == label))
            # of equal boxes the one with the nearest score
            k = int((fit - 1e-3 * np.abs(two.scores - score)).argmax()) if len(fit) else -1
            if k >= 0 and fit[k] > ALIKE:
                free[k] = False
                apart += abs(float(score) - float(two.scores[k]))
            else:
                apart += float(score)
        total = float(one.scores.sum() + two.scores.sum()) / 2
        return (apart + float(two.scores[free].sum())) / max(total, 1e-9)


def _overlap(box: Any, boxes: Any) -> Any:
    """IoU of one box with each of several, numpy."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    both = np.clip(high - low, 0, None).prod(1)
    areas = [(b[..., 2:] - b[..., :2]).prod(-1) for b in (box, boxes)]
    return both / np.maximum(areas[0] + areas[1] - both, 1e-9)
