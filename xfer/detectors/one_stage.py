"""Single-stage detection: every cell of several maps gives a class and a box."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from xfer.detectors.contract import Detector, Found, Maps, Seen
from xfer.detectors.options import DetectorOptions
from xfer.ops.boxes import clip, iou_xyxy
from xfer.ops.fixed import fixed
from xfer.ops.nms import nms, suppressed
from xfer.ops.suppress import best_of_batch

SAME = 0.5  # IoU from which a cell's box is taken for a given one
PROPOSAL_NMS = 0.7  # IoU above which the worse of two proposals is suppressed


class Cells(NamedTuple):
    """What all cells of all levels say, A starts in all.

    logits  | float32 (N, A, C)
    numbers | float32 (N, A, 4 or more), of which a box is decoded
    starts  | float32 (A, 4), the boxes that they start from, xyxy in pixels
    counts  | starts of each level
    """

    logits: Tensor
    numbers: Tensor
    starts: Tensor
    counts: tuple[int, ...]


class OneStage(Detector):
    """Reads boxes off cells: what FCOS, RetinaNet and SSD have in common.

    What a detector of one stage must have, besides `names` and `losses`
        read(maps)              | what its cells say
        decode(numbers, starts) | their boxes
        scores(logits, numbers) | by which boxes are ranked

    Args: options: resolved; classes: how many.
    """

    def __init__(self, options: DetectorOptions, classes: int) -> None:
        super().__init__()
        self.options, self.classes = options, classes

    @abstractmethod
    def read(self, maps: Maps) -> Cells:
        """What the cells say of the backbone's maps."""

    @abstractmethod
    def decode(self, numbers: Tensor, starts: Tensor) -> Tensor:
        """Boxes (..., 4) from what their cells say (..., 4 or more)."""

    @abstractmethod
    def scores(self, logits: Tensor, numbers: Tensor) -> Tensor:
        """Scores (..., C) in 0..1 by which boxes are ranked."""

    def detect(
        self, views: Sequence[Seen], sizes: Tensor, proposals: Sequence[Tensor] | None = None
    ) -> list[Found]:
        options = self.options
        if fixed(sizes):
            return self._detect_fixed(views, sizes)
        per_view = [self.candidates(seen.maps, seen.view.sizes) for seen in views]
        found: list[Found] = []
        for n, size in enumerate(sizes):
            parts = [own[n] for own in per_view]
            boxes = torch.cat([s.view.back(n, p.boxes) for s, p in zip(views, parts, strict=True)])
            scores = torch.cat([part.scores for part in parts])
            labels = torch.cat([part.labels for part in parts])
            found.append(Found(*suppressed(
                clip(boxes, size), scores, labels, options.suppression
            )))  # fmt: skip
        return found

    def _detect_fixed(self, views: Sequence[Seen], sizes: Tensor) -> list[Found]:
        """The same for all pictures at once, from a fixed number of candidates."""
        parts = [self.candidates_fixed(seen) for seen in views]
        boxes, scores, labels = (torch.cat(own, 1) for own in zip(*parts, strict=True))
        clipped = torch.stack([clip(*one) for one in zip(boxes, sizes, strict=True)])
        best = best_of_batch(clipped, scores, labels, self.options.suppression)
        return [Found(*own) for own in zip(*best, strict=True)]

    def candidates_fixed(self, seen: Seen) -> tuple[Tensor, Tensor, Tensor]:
        """The best boxes of each level, in pixels of the batch: boxes (N, R, 4), scores (N, R),
        labels (N, R); in the padding scores are -1."""
        cells = self.read(seen.maps)
        scores = self.scores(cells.logits, cells.numbers)
        scores = scores.masked_fill(~inside(cells.starts, seen.view.sizes)[..., None], -1)
        rows: list[Tensor] = []
        first = 0
        for count in cells.counts:
            own = scores[:, first : first + count].flatten(1)
            best = own.topk(min(self.options.candidates, own.shape[1]), 1).indices
            rows.append(best + first * self.classes)
            first += count
        chosen = torch.cat(rows, 1)
        start = chosen // self.classes
        numbers = cells.numbers.gather(1, start[..., None].expand(-1, -1, cells.numbers.shape[2]))
        boxes = self.decode(numbers, cells.starts[start])
        back = torch.stack([seen.view.back(n, own) for n, own in enumerate(boxes)])
        return back, scores.flatten(1).gather(1, chosen), chosen % self.classes

    def candidates(self, maps: Maps, sizes: Tensor) -> list[Found]:
        """The best boxes of each level in each picture, before suppression."""
        options, cells = self.options, self.read(maps)
        seen = inside(cells.starts, sizes)
        found: list[Found] = []
        for n in range(len(sizes)):
            scores = self.scores(cells.logits[n], cells.numbers[n])
            scores = scores.masked_fill(~seen[n, :, None], 0)
            rows: list[Tensor] = []
            first = 0
            for count in cells.counts:
                own = scores[first : first + count].flatten()
                good = torch.nonzero(own >= options.least_score).flatten()
                if len(good) > options.candidates:
                    good = good[own[good].topk(options.candidates).indices]
                rows.append(good + first * self.classes)
                first += count
            chosen = torch.cat(rows)
            start, label = chosen // self.classes, chosen % self.classes
            boxes = self.decode(cells.numbers[n, start], cells.starts[start])
            found.append(Found(boxes, scores.flatten()[chosen], label))
        return found

    def class_scores(self, maps: Maps, box: Tensor, label: int) -> Tensor:
        """The highest score among cells whose box is about the given one, or the nearest's."""
        cells = self.read(maps)
        boxes = self.decode(cells.numbers, cells.starts)
        overlap = torch.stack([iou_xyxy(own.detach(), box[None])[:, 0] for own in boxes])
        alike = overlap >= torch.minimum(overlap.amax(1, keepdim=True), overlap.new_tensor(SAME))
        return cells.logits[..., label].masked_fill(~alike, -torch.inf).amax(1)

    def propose(self, maps: Maps, sizes: Tensor, max_boxes: int) -> list[Tensor]:
        """The best boxes of any class, of each picture, in pixels of the batch."""
        cells = self.read(maps)
        seen = inside(cells.starts, sizes)
        proposals: list[Tensor] = []
        for n, size in enumerate(sizes):
            scores = self.scores(cells.logits[n], cells.numbers[n]).amax(1).masked_fill(~seen[n], 0)
            scores, index = scores.topk(min(3 * max_boxes, len(scores)))
            boxes = clip(self.decode(cells.numbers[n, index], cells.starts[index]), size)
            good = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(1) & (scores > 0)
            boxes, scores = boxes[good], scores[good]
            proposals.append(boxes[nms(boxes, scores, PROPOSAL_NMS, max_boxes)])
        return proposals


def inside(starts: Tensor, sizes: Tensor) -> Tensor:
    """Whether a start's centre is within each picture, not in its padding: bool (N, A)."""
    centres = (starts[:, :2] + starts[:, 2:]) / 2
    bounds = sizes.flip(1).to(centres.dtype)  # W, H
    return (centres[None] < bounds[:, None]).all(2)
