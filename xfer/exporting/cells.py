"""The candidates of a single-stage detector as tensors of fixed shapes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from xfer.detectors.one_stage import OneStage, inside
from xfer.exporting.contract import Choices
from xfer.exporting.regions import Candidates, inside_pictures
from xfer.exporting.suppress import kept


class Cells(nn.Module):
    """Reads the best candidates of each level; see `OneStage.candidates`."""

    def __init__(self, head: OneStage, choices: Choices) -> None:
        super().__init__()
        self.head, self.for_onnx = head, choices.for_onnx

    def forward(
        self, maps: Mapping[str, Tensor], sizes: Tensor, proposals: Tensor | None
    ) -> Candidates:
        head, options = self.head, self.head.options
        logits, numbers, starts, counts = head.read(maps)
        scores = head.scores(logits, numbers) * inside(starts, sizes)[..., None]
        scores = torch.where(scores >= options.least_score, scores, 0.0)
        most, classes = options.candidates, head.classes
        best: list[Tensor] = []
        places: list[Tensor] = []
        first = 0
        for count in counts:
            own = scores[:, first : first + count].flatten(1)
            # small pictures have fewer cells than `candidates`
            own = torch.cat([own, own.new_zeros(own.shape[0], most)], 1)
            score, index = own.topk(most, 1)
            best.append(score)
            places.append(torch.where(score > 0, index + first * classes, 0))
            first += count
        score, place = torch.cat(best, 1), torch.cat(places, 1)
        start, label = place // classes, place % classes
        width = numbers.shape[2]
        own = numbers.gather(1, start[..., None].expand(-1, -1, width))
        boxes = inside_pictures(head.decode(own, starts[start]), sizes)
        score = torch.where((boxes[..., 2:] > boxes[..., :2]).all(2), score, 0.0)
        # classes lie apart, so that none suppresses another
        apart = boxes + (label * (sizes.max() + 1)).to(boxes.dtype)[..., None]
        return Candidates(boxes, score, label, kept(apart, score, options.nms, self.for_onnx))

    def voters(self, found: Candidates, label: Tensor) -> tuple[Tensor, Tensor]:
        """All candidates (N, K, R, 4); those of other classes have the weight 0, (N, K, R)."""
        own = label[..., None] == found.labels[:, None]
        weight = found.scores[:, None] * own
        return found.boxes[:, None].expand(-1, label.shape[1], -1, -1), weight
