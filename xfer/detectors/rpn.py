"""The region proposal network of Faster R-CNN: scored boxes from a feature map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfer.nn.precision import exact
from xfer.ops.anchors import grid_anchors
from xfer.ops.boxes import clip, decode, encode
from xfer.ops.fixed import fixed, marked
from xfer.ops.nms import nms
from xfer.ops.sampling import draw, ignored, match, shares_of
from xfer.ops.suppress import suppress
from xfer.types import FeatureSpec


@dataclass(frozen=True, slots=True)
class RPNRules:
    """How proposals are trained and chosen.

    batch, share | anchors drawn per picture, and the maximum fraction of objects among them
    low, high    | IoU below which an anchor is background, and from which it is an object
    nms          | IoU above which the lower-scored of two proposals is removed
    """

    batch: int = 256
    share: float = 0.5
    low: float = 0.3
    high: float = 0.7
    nms: float = 0.7


class RPNOutput(NamedTuple):
    """The net's output for a batch: logits (N, A), offsets (N, A, 4), anchors (A, 4)."""

    logits: Tensor
    offsets: Tensor
    anchors: Tensor


class Proposals(NamedTuple):
    """The best boxes of N pictures: N tensors (P, 4), by falling score.

    real | None, or N tensors bool (P,): on a device all have the same P, the last ones are not real
         | where a picture has fewer
    """

    boxes: list[Tensor]
    real: list[Tensor] | None = None


class RegionProposalNet(nn.Module):
    """A 3 x 3 convolution, then for every cell and anchor a score and four offsets.

    Args:
        spec: the map that it reads; width: channels of the convolution.
        sizes: (K, 2) width and height of the anchors, pixels of the net's input.
        step: the convolution's stride, in cells.

    Shapes: maps (N, C, h, w) -> RPNOutput.
    Source: Ren et al. 2015, sec. 3.1; layers N(0, .01) as in py-faster-rcnn.
    Differs: one score per anchor (sigmoid), not two (softmax); anchors whose centre is outside
        the picture are ignored, not all that cross its border.
    """

    def __init__(
        self, spec: FeatureSpec, width: int, sizes: Tensor, rules: RPNRules, step: int = 1
    ):
        super().__init__()
        self.spec = FeatureSpec(
            "rpn", width, spec.stride * step, spec.receptive_field + 2 * spec.stride, spec.offset
        )
        self.rules = rules
        self.conv = nn.Conv2d(spec.channels, width, 3, step, 1)
        self.score = nn.Linear(width, len(sizes))
        self.offset = nn.Linear(width, 4 * len(sizes))
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.01)
            else:
                nn.init.zeros_(parameter)
        self.register_buffer("sizes", sizes, persistent=False)
        self.register_buffer("std", torch.ones(4), persistent=False)

    sizes: Tensor
    std: Tensor

    def forward(self, maps: Tensor) -> RPNOutput:
        hidden = F.relu(self.conv(maps), inplace=True)
        with exact(hidden):  # bf16 would give many proposals one score
            cells = hidden.permute(0, 2, 3, 1).float()
            logits = self.score(cells).flatten(1)
            # not len(): an exported net may take any number of pictures
            offsets = self.offset(cells).view(maps.shape[0], -1, 4)
        grid = (hidden.shape[2], hidden.shape[3])
        return RPNOutput(logits, offsets, grid_anchors(self.spec, grid, self.sizes))

    @torch.no_grad()
    def propose(
        self,
        output: RPNOutput,
        sizes: Tensor,
        before: int,
        after: int,
    ) -> Proposals:
        """The best boxes of each picture.

        Args:
            sizes: (N, 2) H, W of the pictures without padding.
            before, after: maximum number of boxes per picture before and after suppression.
        """
        logits, offsets, anchors = output
        seen = _inside(anchors, sizes)
        scores = logits.masked_fill(~seen, -torch.inf)
        scores, index = scores.topk(min(before, scores.shape[1]), 1)
        picked = offsets.gather(1, index[..., None].expand(-1, -1, 4))
        boxes = decode(picked, anchors[index], self.std)
        if fixed(boxes):
            clipped = torch.stack([clip(*one) for one in zip(boxes, sizes, strict=True)])
            real = ((clipped[..., 2:] - clipped[..., :2]) >= 1).all(2) & scores.isfinite()
            kept = suppress(clipped, real, None, self.rules.nms, after)
            best = clipped.gather(1, kept.index[..., None].expand(-1, -1, 4))
            return Proposals(list(best.unbind(0)), list(kept.real.unbind(0)))
        proposals: list[Tensor] = []
        for n, size in enumerate(sizes):
            kept = clip(boxes[n], size)
            good = ((kept[:, 2:] - kept[:, :2]) >= 1).all(1) & scores[n].isfinite()
            kept, score = kept[good], scores[n][good]
            proposals.append(kept[nms(kept, score, self.rules.nms, after)])
        return Proposals(proposals)

    def losses(
        self,
        output: RPNOutput,
        sizes: Tensor,
        truth: Sequence[Tensor],
        crowds: Sequence[Tensor],
    ) -> dict[str, Tensor]:
        """Binary cross-entropy and smooth L1 (sigma 3), the mean over each picture's drawn anchors,
        then over the pictures.

        Args: truth, crowds: each picture's true boxes, and the regions that are ignored.
        """
        rules = self.rules
        logits, offsets, anchors = output
        seen = _inside(anchors, sizes)
        places: list[Tensor] = []
        wanted: list[Tensor] = []
        targets: list[Tensor] = []
        objects: list[Tensor] = []
        reals: list[Tensor] = []
        firsts: list[int] = []
        for n, boxes in enumerate(truth):
            # a box's best anchor is chosen among those in its picture, not in the padding
            here = marked(seen[n])
            visible, real = anchors[here], seen[n][here]
            matches = match(visible, boxes, real if fixed(anchors) else None)
            object_ = ((matches.iou >= rules.high) | matches.best) & real
            other = (matches.iou < rules.low) & ~object_ & ~ignored(visible, crowds[n]) & real
            drawn = draw(object_, other, rules.batch, rules.share)
            first = drawn.first if len(boxes) else 0
            start = n * len(anchors)
            rows = drawn.index if isinstance(here, slice) else here[drawn.index]
            places.append(rows + start)
            wanted.append(drawn.foreground.to(logits.dtype))
            objects.append(rows[:first] + start)
            reals.append(drawn.real)
            firsts.append(first)
            if len(boxes):
                own = drawn.index[:first]
                targets.append(encode(boxes[matches.index[own]], visible[own], self.std))
        shares = shares_of(reals)
        score = F.binary_cross_entropy_with_logits(
            logits.flatten()[torch.cat(places)], torch.cat(wanted), shares, reduction="sum"
        )
        moved = offsets.view(-1, 4)[torch.cat(objects)]
        goals = torch.cat(targets) if targets else moved.new_zeros(0, 4)
        box = F.smooth_l1_loss(moved, goals, reduction="none", beta=1 / 9).sum(1)
        # what is drawn of a picture begins with its objects
        parts = zip(
            (shares * torch.cat(wanted)).split([len(r) for r in reals]), firsts, strict=True
        )
        object_shares = torch.cat([part[:first] for part, first in parts])
        return {"rpn_score": score, "rpn_box": (box * object_shares).sum()}


def _inside(anchors: Tensor, sizes: Tensor) -> Tensor:
    """Whether an anchor's centre is within each picture: bool (N, A)."""
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    bounds = sizes.flip(1).to(centres.dtype)  # W, H
    return (centres[None] < bounds[:, None]).all(2)
