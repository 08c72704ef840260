"""Fast and Faster R-CNN: regions pooled from a map, then the class and the box of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xfer.detectors.box_head import BoxOutputs, HiddenLayers, box_losses, region_losses
from xfer.detectors.contract import Detector, Found, Maps, Seen, Truth
from xfer.detectors.offset_stats import Proposed, offset_stats, units_of
from xfer.detectors.options import DetectorOptions
from xfer.detectors.rpn import Proposals, RegionProposalNet, RPNRules
from xfer.errors import XferError
from xfer.nn.merge import MergedMap
from xfer.nn.roi_pool import pool_regions
from xfer.ops.anchors import fit_sizes, plain_sizes
from xfer.ops.boxes import clip, decode, encode
from xfer.ops.fixed import fixed, padded
from xfer.ops.nms import best_boxes
from xfer.ops.sampling import RegionRules, Sampled, hardest_regions, sample_batch, shares_of
from xfer.ops.suppress import best_of_batch
from xfer.types import FeatureSpec

ALL = 10**9  # more regions than any picture has


class Learnt(NamedTuple):
    """A training pass: the losses, the map that regions were pooled from, the sampled regions."""

    losses: dict[str, Tensor]
    map: Tensor
    sampled: Sampled


def grids(spec: FeatureSpec, options: DetectorOptions) -> tuple[FeatureSpec, FeatureSpec]:
    """The geometry by which regions are pooled from a map, and that of the anchors on it.

    Source: task.geometry=caffe: roi_pooling_layer.cpp (a region's edges are rounded to cells of
        which the first is at pixel 0) and generate_anchors.py (the first anchors are centred on
        the middle of the first `stride` pixels), whatever the net's paddings. Bilinear pooling has
        the anchors' geometry, as in torchvision.
    """
    if options.geometry == "seen":
        return spec, spec
    middle = replace(spec, offset=(spec.stride - 1) / 2)
    return replace(spec, offset=0.0) if options.pool == "max" else middle, middle


def likeliest(scores: Tensor, boxes: Tensor) -> Tensor:
    """The box of each region's best class.

    Shapes: scores (..., R, C), boxes (..., R, C or 1, 4) -> (..., R, 4).
    """
    if boxes.shape[-2] == 1:
        return boxes[..., 0, :]
    best = scores.argmax(-1)[..., None, None]
    return boxes.gather(-2, best.expand(*best.shape[:-1], 4))[..., 0, :]


class TwoStage(Detector):
    """Fast R-CNN (Girshick 2015), with proposals of others or of Faster R-CNN's network (Ren 2015).

    Args:
        specs: maps that regions are pooled from, finest first.
        options: resolved: `head` is tail or fc, `proposals` is not auto.
        classes: how many, without background.
        tail: the backbone's fc6 and fc7 if head is tail; they stay the backbone's own.
        cells: side of a pooled region, cells; units: of the vector that the outputs read.
        short: short side of the pictures, pixels, for anchors that are not fitted.

    merge   | merges several maps into one, or None
    hidden  | fresh fc6 and fc7, or None if the backbone's own are used
    outputs | classes and boxes
    rpn     | the proposal network, or None
    box_std, box_mean | units of the offsets, (1 or C, 4); no mean: 0
    spec    | geometry of the map that regions are pooled from
    pooled_from, anchored_on | the same with the cells where task.geometry has them
    """

    merging: ClassVar[str] = "scores and boxes of shared regions averaged"

    def __init__(
        self, specs: Sequence[FeatureSpec], options: DetectorOptions, classes: int,
        tail: nn.Module | None, cells: int, units: int, short: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.options, self.classes, self.short = options, classes, short
        self.names = tuple(spec.name for spec in specs)
        self.merge = MergedMap(specs, options.width) if len(specs) > 1 else None
        self.spec = specs[0] if self.merge is None else self.merge.spec
        self.pool, self.pool_size = options.pool, cells
        self.pooled_from, self.anchored_on = grids(self.spec, options)
        self._tail = (tail,)  # in a tuple: its parameters are the backbone's
        self.hidden: HiddenLayers | None = None
        if tail is None:
            self.hidden = HiddenLayers(self.spec.channels, cells, units)
        self.outputs = BoxOutputs(units, classes, options.agnostic)
        self.register_buffer("box_mean", None, persistent=False)
        self.register_buffer("box_std", torch.tensor([options.box_std]), persistent=False)
        if options.fits_offsets and options.box_units:
            self._use_units(options.box_units)
        self.rpn: RegionProposalNet | None = None
        if options.proposals == "rpn":
            self._add_rpn(options.anchors)

    box_mean: Tensor | None
    box_std: Tensor

    def _add_rpn(self, anchors: Sequence[float]) -> None:
        options = self.options
        if len(anchors) % 2:
            raise XferError(f"task.anchors: {len(anchors)} numbers", "width, height, width, height")
        sizes = np.array(anchors or plain_sizes(self.short, options.anchor_count))
        rules = RPNRules(
            options.rpn_batch, low=options.rpn_iou[0], high=options.rpn_iou[1], nms=options.rpn_nms
        )
        anchor_sizes = torch.tensor(sizes.reshape(-1, 2), dtype=torch.float32)
        self.rpn = RegionProposalNet(
            self.anchored_on, options.rpn_width, anchor_sizes, rules, options.rpn_step
        )

    @property
    def layers(self) -> nn.Module:
        """fc6 and fc7: fresh, or the backbone's own."""
        layers = self.hidden or self._tail[0]
        assert layers is not None
        return layers

    def fit(
        self,
        sizes: Callable[[], NDArray[np.float64]],
        pictures: Callable[[], Iterable[Proposed]],
        mirrored: bool,
    ) -> dict[str, Any]:
        """Fits the units of the offsets, and the anchors of the proposal network, unless they were
        given."""
        options = self.options
        if options.fits_offsets and not options.box_units:
            units = offset_stats(pictures(), self.outputs.boxes, options.object_iou, mirrored)
            if units:
                self._use_units(units)
            return {"box_units": units}
        if self.rpn is None or options.anchors:
            return {}
        count, boxes = self.options.anchor_count, sizes()
        fitted = fit_sizes(boxes, count) if len(boxes) else boxes
        # a set with fewer distinct boxes than anchors gets default ones as well
        extra = plain_sizes(self.short, count - len(fitted))
        anchors = np.concatenate([fitted, extra]).round(1)
        self.rpn.sizes = torch.tensor(anchors, dtype=torch.float32)
        return {"anchors": tuple(anchors.ravel().tolist())}

    def _use_units(self, numbers: tuple[float, ...]) -> None:
        self.box_mean, self.box_std = units_of(numbers, self.outputs.boxes)

    def map_of(self, maps: Maps) -> Tensor:
        """The map that regions are pooled from, made from the backbone's maps."""
        return maps[self.names[0]] if self.merge is None else self.merge(maps)

    def pooled(self, map: Tensor, regions: Sequence[Tensor], cells: int = 0) -> Tensor:
        """Regions, N tensors (R_n, 4), pooled from `map_of(maps)`: (R, C, cells, cells).

        Args: cells: the side; 0: what the box branch reads.
        """
        return pool_regions(map, regions, self.pooled_from, cells or self.pool_size, self.pool)

    def read(self, map: Tensor, regions: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Scores (R, C + 1) and box offsets (R, C or 1, 4) of all pictures' regions."""
        return self.outputs(self.layers(self.pooled(map, regions)))

    def losses(self, maps: Maps, truth: Truth) -> dict[str, Tensor]:
        return self.learn(maps, truth).losses

    def learn(self, maps: Maps, truth: Truth) -> Learnt:
        """The losses, with the regions that they were computed on, for further branches."""
        options, rpn = self.options, self.rpn
        map = self.map_of(maps)
        losses: dict[str, Tensor] = {}
        if rpn is not None:
            outputs = rpn(map)
            losses = rpn.losses(outputs, truth.sizes, truth.boxes, truth.crowds)
            proposals = rpn.propose(outputs, truth.sizes, *options.rpn_train)
        else:
            assert truth.proposals is not None
            proposals = Proposals(list(truth.proposals))
        count, share = (ALL, 1.0) if options.ohem else (options.regions, options.object_share)
        rules = RegionRules(count, share, options.object_iou, options.background_iou)
        sampled = sample_batch(
            proposals.boxes, truth.boxes, truth.labels, truth.crowds, rules, self.classes,
            proposals.real,
        )  # fmt: skip
        if options.ohem:
            sampled = self._hardest(map, sampled)
        regions: list[Tensor] = sampled.regions
        logits, offsets = self.read(map, regions)
        goals = self._goals(sampled)
        shares = shares_of(sampled.real)
        own = box_losses(logits, offsets, sampled.labels, goals, options.box_beta, shares)
        losses = {**losses, "cls": own["cls"], "box": own["box"] * options.box_weight}
        return Learnt(losses, map, sampled)

    def _goals(self, sampled: Sampled) -> Tensor:
        """The offsets of each region's true box, (R, 4), in the units of its class."""
        rows = sampled.labels.clamp(max=len(self.box_std) - 1)
        mean = None if self.box_mean is None else self.box_mean[rows]
        return encode(sampled.goals, torch.cat(sampled.regions), self.box_std[rows], mean)

    @torch.no_grad()
    def _hardest(self, map: Tensor, sampled: Sampled) -> Sampled:
        """The regions with the highest losses in each picture (Shrivastava et al. 2016)."""
        options = self.options
        logits, offsets = self.read(map, sampled.regions)
        goals = self._goals(sampled)
        losses = region_losses(
            logits, offsets, sampled.labels, goals, options.box_beta, options.box_weight
        )
        return hardest_regions(sampled, losses, options.regions)

    def detect(
        self, views: Sequence[Seen], sizes: Tensor, proposals: Sequence[Tensor] | None = None
    ) -> list[Found]:
        """Scores and boxes of shared regions are averaged over the views."""
        own_maps = [self.map_of(seen.maps) for seen in views]
        given = Proposals(list(proposals)) if proposals else self._common(views, own_maps)
        regions: Sequence[Tensor] = given.boxes
        rounds = [self._round(views, own_maps, regions, sizes)]
        for _ in range(self.options.rounds - 1):  # Gidaris & Komodakis 2015, sec. 5
            regions = [likeliest(*one) for one in rounds[-1]]
            rounds.append(self._round(views, own_maps, regions, sizes))
        scores: list[Tensor] = []
        boxes: list[Tensor] = []
        for each in zip(*rounds, strict=True):
            scores.append(torch.cat([own for own, _ in each]))
            boxes.append(torch.cat([own for _, own in each]))
        if fixed(boxes[0]):
            real = given.real and [torch.cat([own] * len(rounds)) for own in given.real]
            return self._best_of_all(scores, boxes, real)
        each = zip(boxes, scores, strict=True)
        return [Found(*best_boxes(own, table, self.options.suppression)) for own, table in each]

    def _round(
        self, views: Sequence[Seen], maps: Sequence[Tensor], regions: Sequence[Tensor],
        sizes: Tensor,
    ) -> list[tuple[Tensor, Tensor]]:  # fmt: skip
        """Scores (R, C) and boxes (R, C or 1, 4) of each picture's regions, means over views."""
        counts = [len(one) for one in regions]
        scores, boxes = 0, 0
        for seen, own in zip(views, maps, strict=True):
            view = seen.view
            there = [view.to(n, one) for n, one in enumerate(regions)]
            logits, offsets = self.read(own, there)
            scores = scores + logits.softmax(1) / len(views)
            moved = decode(offsets, torch.cat(there)[:, None], self.box_std, self.box_mean)
            own_boxes = enumerate(moved.split(counts))
            back = [view.back(n, b.reshape(-1, 4)).view(b.shape) for n, b in own_boxes]
            boxes = boxes + torch.cat(back) / len(views)
        assert isinstance(scores, Tensor) and isinstance(boxes, Tensor)
        each = zip(sizes, scores.split(counts), boxes.split(counts), strict=True)
        return [
            (own[:, :-1], clip(box.reshape(-1, 4), size).view(box.shape)) for size, own, box in each
        ]

    def _best_of_all(
        self, scores: Sequence[Tensor], boxes: Sequence[Tensor], real: Sequence[Tensor] | None
    ) -> list[Found]:
        """The detections of N pictures at once, from their regions' scores (R, C) and boxes
        (R, C or 1, 4); real: bool (R,), the regions that are some; None: all."""
        if real is not None:
            each = zip(scores, real, strict=True)
            scores = [own.masked_fill(~there[:, None], -1) for own, there in each]
        table, places = padded(scores, -1), padded(boxes)
        count, rows, classes = table.shape
        labels = torch.arange(classes, device=table.device).expand(count, rows, classes)
        best = best_of_batch(
            places.expand(-1, -1, classes, -1).reshape(count, -1, 4), table.flatten(1),
            labels.flatten(1), self.options.suppression,
        )  # fmt: skip
        return [Found(*own) for own in zip(*best, strict=True)]

    def _common(self, views: Sequence[Seen], maps: Sequence[Tensor]) -> Proposals:
        """The rpn's best proposals of each view, all in pixels of the batch."""
        rpn, (before, after) = self.rpn, self.options.rpn_test
        assert rpn is not None
        per_view: list[list[Tensor]] = []
        real: list[list[Tensor]] = []
        for seen, own in zip(views, maps, strict=True):
            view = seen.view
            proposals = rpn.propose(rpn(own), view.sizes, before, max(1, after // len(views)))
            per_view.append([view.back(n, boxes) for n, boxes in enumerate(proposals.boxes)])
            real.append(proposals.real or [])
        return Proposals(
            [torch.cat(each) for each in zip(*per_view, strict=True)],
            [torch.cat(each) for each in zip(*real, strict=True)] or None,
        )

    def class_scores(self, maps: Maps, box: Tensor, label: int) -> Tensor:
        map = self.map_of(maps)
        scores, _ = self.read(map, [box[None]] * len(map))
        return scores[:, label]

    def propose(self, maps: Maps, sizes: Tensor, max_boxes: int) -> list[Tensor]:
        """The rpn's best boxes of each picture, in pixels of the batch."""
        rpn = self.rpn
        if rpn is None:
            raise XferError(
                f"this detector uses proposals from {self.options.proposals}",
                "it makes none of its own",
            )
        outputs = rpn(self.map_of(maps))
        before = max(self.options.rpn_test[0], 3 * max_boxes)  # suppression leaves about a third
        found = rpn.propose(outputs, sizes, before, max_boxes)
        if found.real is None:
            return found.boxes
        return [boxes[real] for boxes, real in zip(found.boxes, found.real, strict=True)]
