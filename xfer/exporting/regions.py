"""The candidates of Fast and Faster R-CNN as tensors of fixed shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align, roi_pool

from xfer.detectors.two_stage import TwoStage, likeliest
from xfer.exporting.contract import Choices
from xfer.exporting.suppress import kept
from xfer.ops.boxes import decode

NOWHERE = -1e30  # the score of an anchor outside the picture


class Candidates(NamedTuple):
    """All boxes of all classes, R per picture.

    boxes (N, R, 4) in the pictures; scores (N, R), 0: an empty row; labels int64 (N, R); stay bool
    (N, R): not suppressed.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    stay: Tensor


class Regions(nn.Module):
    """Reads the candidates of a two-stage detector: P regions x C classes per picture."""

    def __init__(self, head: TwoStage, choices: Choices) -> None:
        super().__init__()
        self.head, self.for_onnx = head, choices.for_onnx

    def forward(
        self, maps: Mapping[str, Tensor], sizes: Tensor, proposals: Tensor | None
    ) -> Candidates:
        options = self.head.options
        map = self.head.map_of(maps)
        regions = self._proposed(map, sizes) if proposals is None else proposals
        rounds = [self._round(map, regions, sizes)]
        for _ in range(options.rounds - 1):
            rounds.append(self._round(map, likeliest(*rounds[-1][:2]), sizes))
        scores, boxes, good = (torch.cat(parts, 1) for parts in zip(*rounds, strict=True))
        scores = torch.where(good, scores, 0.0)
        count, per, classes = scores.shape
        boxes = boxes.expand(-1, -1, classes, -1)  # one box for all classes, or one for each
        stay = kept(
            boxes.transpose(1, 2).reshape(-1, per, 4), scores.transpose(1, 2).reshape(-1, per),
            options.nms, self.for_onnx,
        ).view(count, classes, per).transpose(1, 2)  # fmt: skip
        flat = scores.reshape(count, -1)
        labels = torch.arange(flat.shape[1], device=flat.device) % classes
        return Candidates(
            boxes.reshape(count, -1, 4), flat, labels.expand(count, -1), stay.reshape(count, -1)
        )

    def _round(self, map: Tensor, regions: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores (N, P, C) and boxes (N, P, C or 1, 4) of regions, and which count, (N, P, C)."""
        head = self.head
        real = (regions[..., 2:] > regions[..., :2]).all(2)  # (N, P)
        logits, offsets = head.outputs(head.layers(self._pooled(map, regions)))
        count, per = regions.shape[:2]
        classes = logits.shape[1] - 1
        scores = logits.softmax(1)[:, :-1].view(count, per, classes)
        boxes = decode(offsets, regions.reshape(-1, 1, 4), head.box_std, head.box_mean)
        boxes = inside_pictures(boxes.view(count, -1, 4), sizes).view(count, per, -1, 4)
        good = (scores >= head.options.least_score) & (boxes[..., 2:] > boxes[..., :2]).all(3)
        return scores, boxes, good & real[..., None]

    def voters(self, found: Candidates, label: Tensor) -> tuple[Tensor, Tensor]:
        """The boxes (N, K, P, 4) of the classes (N, K), and their scores (N, K, P)."""
        count, classes = label.shape[0], self.head.classes
        boxes = found.boxes.view(count, -1, classes, 4)
        own = label[..., None].expand(-1, -1, boxes.shape[1])
        voters = boxes.transpose(1, 2).gather(1, own[..., None].expand(-1, -1, -1, 4))
        return voters, found.scores.view(count, -1, classes).transpose(1, 2).gather(1, own)

    def _proposed(self, map: Tensor, sizes: Tensor) -> Tensor:
        """The rpn's best boxes, (N, P, 4), empty rows of zeros; see `RegionProposalNet.propose`."""
        rpn, (before, after) = self.head.rpn, self.head.options.rpn_test
        assert rpn is not None
        logits, offsets, anchors = rpn(map)
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
        boxes = inside_pictures(decode(picked, anchors[index], rpn.std), sizes)
        good = ((boxes[..., 2:] - boxes[..., :2]) >= 1).all(2) & (scores > NOWHERE / 2)
        # suppression needs positive scores, and only their order matters
        order = torch.arange(before, 0, -1, device=boxes.device, dtype=boxes.dtype)
        ranks = torch.where(good, order, 0.0)
        stays = kept(boxes, ranks, rpn.rules.nms, self.for_onnx)
        ranks, index = torch.where(stays, ranks, 0.0).topk(min(after, before), 1)
        boxes = boxes.gather(1, index[..., None].expand(-1, -1, 4))
        return torch.where((ranks > 0)[..., None], boxes, 0.0)

    def _pooled(self, map: Tensor, regions: Tensor) -> Tensor:
        """(N * P, C, size, size); see `xfer.nn.roi_pool`, whose kernels for a CPU no file has."""
        head, (count, per) = self.head, regions.shape[:2]
        picture = torch.arange(count, device=map.device, dtype=regions.dtype)
        picture = picture[:, None].expand(count, per).reshape(-1, 1)
        flat, spec = regions.reshape(-1, 4), head.pooled_from
        if head.pool == "max":
            shift = torch.tensor([0.0, 0.0, -1.0, -1.0], device=map.device) - spec.offset
            rois = torch.cat([picture, flat + shift], 1)
            return roi_pool(map, rois, (head.pool_size, head.pool_size), 1 / spec.stride)
        shift = spec.stride / 2 - spec.offset - 0.5
        rois = torch.cat([picture, flat + shift], 1)
        return roi_align(map, rois, head.pool_size, 1 / spec.stride, 2, True)


def inside_pictures(boxes: Tensor, sizes: Tensor) -> Tensor:
    """The parts of boxes (N, R, 4) inside their pictures; sizes (N, 2): H, W."""
    bounds = sizes.flip(1).repeat(1, 2)[:, None].to(boxes.dtype)
    return torch.minimum(boxes.clamp(min=0), bounds)
