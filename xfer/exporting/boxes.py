"""Detection as tensors: decoding and suppression are in the file, shapes are fixed.

The same maps, proposals and boxes as `Detect.predict` with one view, without lists: what may be of
any number there is a table with empty rows here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import roi_align, roi_pool

from xfer.errors import XferError
from xfer.exporting.contract import (
    BATCH,
    MULTIPLE,
    SIZE,
    Choices,
    Exportable,
    padded_to,
    up_to_multiple,
)
from xfer.exporting.suppress import kept
from xfer.ops.boxes import area, clip, decode
from xfer.types import Batch, BoxPrediction

NOWHERE = -1e30  # the score of an anchor outside the picture
ALIKE = 0.9  # IoU from which two boxes are taken for one


class ExportedBoxes(Exportable):
    """Fast and Faster R-CNN.

    Shapes:

    images    | (N, 3, H, W)          | padded right and below to multiples of 32
    sizes     | int64 (N, 2)          | H, W of each picture without padding
    proposals | float32 (N, P, 4)     | only without an rpn: xyxy in pixels of `images`; rows
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
        self.own_proposals = task.head.rpn is not None
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
        return self.found(task.head.map_of(maps), sizes, proposals)

    def found(
        self, maps: Tensor, sizes: Tensor, proposals: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, scores and labels, from the map that regions are pooled from."""
        options, head = self.task.options, self.task.head
        regions = self._proposed(maps, sizes) if proposals is None else proposals
        real = (regions[..., 2:] > regions[..., :2]).all(2)  # (N, P)
        logits, offsets = head.outputs(head.layers(self._pooled(maps, regions)))
        count, per = regions.shape[:2]
        classes = logits.shape[1] - 1
        scores = logits.softmax(1)[:, :-1].view(count, per, classes)
        boxes = decode(offsets, regions.reshape(-1, 1, 4), head.box_std)
        boxes = _inside(boxes.view(count, -1, 4), sizes).view(count, per, -1, 4)
        boxes = boxes.expand(-1, -1, classes, -1)  # one box for all classes, or one for each
        good = (scores >= options.least_score) & (boxes[..., 2:] > boxes[..., :2]).all(3)
        scores = torch.where(good & real[..., None], scores, 0.0)
        stays = kept(
            boxes.transpose(1, 2).reshape(-1, per, 4), scores.transpose(1, 2).reshape(-1, per),
            options.nms, self.choices.for_onnx,
        ).view(count, classes, per).transpose(1, 2)  # fmt: skip
        # as many empty rows as there may be boxes, so that there are always enough
        most = options.most_boxes
        ranked = torch.where(stays, scores, 0.0).reshape(count, -1)
        best, index = torch.cat([ranked, ranked.new_zeros(count, most)], 1).topk(most, 1)
        found = best > 0
        index = torch.where(found, index, 0)
        label = index % classes
        where = boxes.reshape(count, -1, 4).gather(1, index[..., None].expand(-1, -1, 4))
        if options.vote > 0:
            where = self._voted(where, label, boxes, scores)
        return (
            torch.where(found[..., None], where, 0.0),
            best,
            torch.where(found, label, -1),
        )

    def _proposed(self, maps: Tensor, sizes: Tensor) -> Tensor:
        """The rpn's best boxes, (N, P, 4), empty rows of zeros; see `RegionProposalNet.propose`."""
        rpn, (before, after) = self.task.head.rpn, self.task.options.rpn_test
        logits, offsets, anchors = rpn(maps)
        centres = (anchors[:, :2] + anchors[:, 2:]) / 2
        inside = (centres[None] < sizes.flip(1)[:, None].to(centres.dtype)).all(2)
        logits = torch.where(inside, logits, NOWHERE)
        count = logits.shape[0]
        # small pictures have fewer anchors than `before`
        logits = torch.cat([logits, logits.new_full((count, before), NOWHERE)], 1)
        offsets = torch.cat([offsets, offsets.new_zeros(count, before, 4)], 1)
        anchors = torch.cat([anchors, anchors.new_zeros(before, 4)])
        scores, index = logits.topk(before, 1)
        picked = offsets.gather(1, index[..., None].expand(-1, -1, 4))
        boxes = _inside(decode(picked, anchors[index], rpn.std), sizes)
        good = ((boxes[..., 2:] - boxes[..., :2]) >= 1).all(2) & (scores > NOWHERE / 2)
        # suppression needs positive scores, and only their order matters
        order = torch.arange(before, 0, -1, device=boxes.device, dtype=boxes.dtype)
        ranks = torch.where(good, order, 0.0)
        stays = kept(boxes, ranks, rpn.rules.nms, self.choices.for_onnx)
        ranks, index = torch.where(stays, ranks, 0.0).topk(min(after, before), 1)
        boxes = boxes.gather(1, index[..., None].expand(-1, -1, 4))
        return torch.where((ranks > 0)[..., None], boxes, 0.0)

    def _pooled(self, maps: Tensor, regions: Tensor) -> Tensor:
        """(N * P, C, size, size); see `xfer.nn.roi_pool`, whose kernels for a CPU no file has."""
        head, (count, per) = self.task.head, regions.shape[:2]
        picture = torch.arange(count, device=maps.device, dtype=regions.dtype)
        picture = picture[:, None].expand(count, per).reshape(-1, 1)
        flat, spec = regions.reshape(-1, 4), head.pooled_from
        if head.pool == "max":
            shift = torch.tensor([0.0, 0.0, -1.0, -1.0], device=maps.device) - spec.offset
            rois = torch.cat([picture, flat + shift], 1)
            return roi_pool(maps, rois, (head.pool_size, head.pool_size), 1 / spec.stride)
        shift = spec.stride / 2 - spec.offset - 0.5
        rois = torch.cat([picture, flat + shift], 1)
        return roi_align(maps, rois, head.pool_size, 1 / spec.stride, 2, True)

    def _voted(self, where: Tensor, label: Tensor, boxes: Tensor, scores: Tensor) -> Tensor:
        """Each box as the mean of those of its class that overlap it, as in `best_boxes`."""
        per = boxes.shape[1]
        own = label[..., None].expand(-1, -1, per)  # (N, K, P)
        voters = boxes.transpose(1, 2).gather(1, own[..., None].expand(-1, -1, -1, 4))
        weight = scores.transpose(1, 2).gather(1, own)
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


def _inside(boxes: Tensor, sizes: Tensor) -> Tensor:
    """The parts of boxes (N, R, 4) inside their pictures; sizes (N, 2): H, W."""
    bounds = sizes.flip(1).repeat(1, 2)[:, None].to(boxes.dtype)
    return torch.minimum(boxes.clamp(min=0), bounds)


def _overlap(box: Any, boxes: Any) -> Any:
    """IoU of one box with each of several, numpy."""
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    both = np.clip(high - low, 0, None).prod(1)
    areas = [(b[..., 2:] - b[..., :2]).prod(-1) for b in (box, boxes)]
    return both / np.maximum(areas[0] + areas[1] - both, 1e-9)
