"""SSD: default boxes of several shapes on maps of many scales, each map with outputs of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfer.detectors.contract import Maps, Truth
from xfer.detectors.one_stage import Cells, OneStage, inside
from xfer.detectors.options import DetectorOptions
from xfer.detectors.towers import by_cell
from xfer.nn.precision import exact
from xfer.ops.anchors import grid_anchors
from xfer.ops.boxes import decode, encode, iou_xyxy
from xfer.ops.fixed import fixed, marked
from xfer.ops.sampling import ignored
from xfer.types import FeatureSpec

NORM = 20.0  # length of a cell's channels that training starts from (sec. 3.1)
# width / height of boxes that are not square, each also upright; the finest level and the two
# coarsest have the few (sec. 2.2, 3.1)
FEW, MANY = (2.0,), (2.0, 3.0)


class SSD(OneStage):
    """Single shot multibox detection (Liu et al. 2016).

    Args:
        specs: maps of the net, finest first; coarser levels, up to `max_stride`, are convolutions
            on the last.
        options: resolved; classes: how many, without background.
        side: short side of the pictures, pixels, by which default boxes are measured.

    Source: Liu et al. 2016, sec. 2 and 3.1. Assignments are torchvision's: of two objects that
        claim one default box, the later has it.
    Differs: all maps of the net are normalised, not only the finest; coarser levels see 4 x 4 cells
        of the one before, without atrous fc6 and fc7; default boxes are centred where their cells
        see; cells in the padding and in crowds are left out; a picture without objects learns its
        hardest boxes of background, as many as with one.
    """

    def __init__(
        self, specs: Sequence[FeatureSpec], options: DetectorOptions, classes: int, side: int
    ) -> None:
        super().__init__(options, classes)
        self.names = tuple(spec.name for spec in specs)
        self.norms = nn.ModuleList(UnitLength(spec.channels) for spec in specs)
        self.halvings = nn.ModuleList()
        levels = list(specs)
        while levels[-1].stride * 2 <= options.max_stride:
            self.halvings.append(halving(levels[-1].channels, options.width))
            levels.append(halved(levels[-1], options.width))
        self.specs = tuple(levels)
        scales = level_scales(len(levels), *options.box_scales)
        shapes: list[list[tuple[float, float]]] = []
        for k in range(len(levels)):
            ratios = FEW if k in (0, len(levels) - 2, len(levels) - 1) else MANY
            shapes.append(default_shapes(scales[k], scales[k + 1], ratios))
        self.counts = [len(own) for own in shapes]
        self.cls_logits = nn.ModuleList()
        self.box_numbers = nn.ModuleList()
        for spec, count in zip(levels, self.counts, strict=True):
            self.cls_logits.append(_output(spec.channels, count * (classes + 1)))
            self.box_numbers.append(_output(spec.channels, count * 4))
        sides = torch.tensor([shape for own in shapes for shape in own]) * side
        self.register_buffer("sides", sides, persistent=False)
        self.register_buffer("std", torch.tensor(options.box_std), persistent=False)

    sides: Tensor
    std: Tensor

    def read(self, maps: Maps) -> Cells:
        levels = [norm(maps[name]) for norm, name in zip(self.norms, self.names, strict=True)]
        for halve in self.halvings:
            levels.append(halve(levels[-1]))
        logits: list[Tensor] = []
        numbers: list[Tensor] = []
        starts: list[Tensor] = []
        each = zip(levels, self.specs, self.cls_logits, self.box_numbers, strict=True)
        for sides, (level, spec, cls_logits, box_numbers) in zip(
            self.sides.split(self.counts), each, strict=True
        ):
            with exact(level):  # as in `Towers`
                own = level.float()
                logits.append(by_cell(cls_logits(own), self.classes + 1))
                numbers.append(by_cell(box_numbers(own), 4))
            starts.append(grid_anchors(spec, (level.shape[2], level.shape[3]), sides))
        counts = tuple(own.shape[0] for own in starts)
        return Cells(torch.cat(logits, 1), torch.cat(numbers, 1), torch.cat(starts), counts)

    def decode(self, numbers: Tensor, starts: Tensor) -> Tensor:
        return decode(numbers, starts, self.std)

    def scores(self, logits: Tensor, numbers: Tensor) -> Tensor:
        return logits.softmax(-1)[..., :-1]

    def losses(self, maps: Maps, truth: Truth) -> dict[str, Tensor]:
        """Cross-entropy of the boxes that learn an object and of the hardest others, smooth L1 of
        the former, divided by their number in each picture, then averaged over the pictures.

        Differs from torchvision's, which divides by their number in the batch.
        """
        options, cells = self.options, self.read(maps)
        seen = inside(cells.starts, truth.sizes)
        cls, box = cells.logits.new_zeros(()), cells.logits.new_zeros(())
        for n, boxes in enumerate(truth.boxes):
            logits, numbers = cells.logits[n], cells.numbers[n]
            index = claimed(cells.starts, boxes, seen[n], options.object_iou)
            is_object = index >= 0
            positive = marked(is_object)
            which = index[positive].clamp(min=0)
            labels = torch.full_like(index, self.classes)
            if len(boxes):
                labels[positive] = torch.where(
                    is_object[positive], truth.labels[n][which], self.classes
                )
            each = F.cross_entropy(logits, labels, reduction="none")
            rest = seen[n] & (index < 0) & ~ignored(cells.starts, truth.crowds[n])
            background = each.masked_fill(~rest, 0)
            if fixed(each):
                count = is_object.sum().clamp(min=1)
                falling = background.sort(descending=True).values
                rank = torch.arange(len(each), device=each.device)
                hardest = falling.where(rank < (options.negatives * count).ceil(), 0)
            else:
                count = max(1, len(which))
                hard = min(math.ceil(options.negatives * count), len(each))
                hardest = background.topk(hard).values
            starts = cells.starts[positive]
            goals = encode(boxes[which] if len(boxes) else starts, starts, self.std)
            errors = F.smooth_l1_loss(
                numbers[positive], goals, reduction="none", beta=options.box_beta
            )
            learnt = is_object[positive]
            share = 1 / (count * len(truth.boxes))
            cls = cls + (each[positive].where(learnt, 0).sum() + hardest.sum()) * share
            box = box + share * errors.where(learnt[:, None], 0).sum()
        return {"cls": cls, "box": box * options.box_weight}


def claimed(starts: Tensor, boxes: Tensor, seen: Tensor, least: float) -> Tensor:
    """The true box that each default box learns, int64 (A,), -1: background.

    It is the one that it overlaps most, by at least `least`; and each true box has the default box
    that overlaps it most, unless no other touches it.

    Args: starts (A, 4), boxes (G, 4), seen: bool (A,), those that may learn one.
    Source: Liu et al. 2016, sec. 2.2, "Matching strategy".
    """
    if len(boxes) == 0:
        return torch.full((len(starts),), -1, dtype=torch.int64, device=starts.device)
    overlap = (iou_xyxy(starts, boxes).T * seen).contiguous()
    iou, index = overlap.max(0)
    index = torch.where((iou >= least) & (iou > 0), index, -1)
    most, best = overlap.max(1)
    objects = torch.arange(len(boxes), device=starts.device)
    own = torch.full_like(index, -1)
    own.scatter_reduce_(0, best, torch.where(most > 0, objects, -1), "amax")
    return torch.where(own >= 0, own, index)


def level_scales(levels: int, low: float, high: float) -> list[float]:
    """Sides of square boxes on each level, finest first, and of one level more, as parts of the
    picture: half of `low`, then from `low` to `high` in equal steps, and a step beyond.

    Source: Liu et al. 2016, sec. 2.2 (equation 4) and 3.1 (.1 on the finest).
    """
    step = (high - low) / max(1, levels - 2)
    steps = [low + step * k for k in range(levels)]
    return [low / 2, *steps]


def default_shapes(
    scale: float, following: float, ratios: Sequence[float]
) -> list[tuple[float, float]]:
    """Width and height of a cell's boxes: a square of the level's scale, one between it and the
    following level's, and for each ratio one lying and one upright (sec. 2.2)."""
    between = (scale * following) ** 0.5
    shapes = [(scale, scale), (between, between)]
    for ratio in ratios:
        wide, narrow = scale * ratio**0.5, scale / ratio**0.5
        shapes += [(wide, narrow), (narrow, wide)]
    return shapes


def halving(channels: int, width: int) -> nn.Sequential:
    """Two convolutions to a map of half the size, rounded up."""
    layers = nn.Sequential(
        nn.Conv2d(channels, max(1, width // 2), 1), nn.ReLU(inplace=True),
        nn.ZeroPad2d((1, 2, 1, 2)),  # one more at the ends, where a map has an odd side
        nn.Conv2d(max(1, width // 2), width, 4, 2), nn.ReLU(inplace=True),
    )  # fmt: skip
    for layer in (layers[0], layers[3]):
        assert isinstance(layer, nn.Conv2d) and layer.bias is not None
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return layers


def halved(spec: FeatureSpec, width: int) -> FeatureSpec:
    """The geometry of such a map."""
    return FeatureSpec(
        f"{spec.name}_halved", width, spec.stride * 2,
        spec.receptive_field + 3 * spec.stride, spec.offset + spec.stride / 2,
    )  # fmt: skip


def _output(channels: int, numbers: int) -> nn.Conv2d:
    layer = nn.Conv2d(channels, numbers, 3, 1, 1)
    assert layer.bias is not None
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


class UnitLength(nn.Module):
    """Scales the channels of each cell to a length that is learned per channel.

    Shapes: (N, C, h, w) -> the same.
    Source: Liu et al. 2015 (ParseNet), sec. 3.3, as in SSD, sec. 3.1.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), NORM))

    def forward(self, map: Tensor) -> Tensor:
        return F.normalize(map) * self.scale[:, None, None]
