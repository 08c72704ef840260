"""Detection: locates and classifies objects, by Fast and Faster R-CNN on any backbone.

Regions of the picture (proposals, computed from it or by a network trained jointly) are pooled from
a feature map; the backbone's own fc6 and fc7, or fresh layers, then predict class and box of each.

The path of a training batch, step by step, with the file under xfer/ for each step:

    picture and boxes cut, scaled, mirrored | BoxTransform             data/transforms/boxes.py
    pictures padded to one size             | stack_padded             data/loading/collate.py
    normalised, through the backbone        | Backbone.forward         backbones/base.py
    several maps merged to one              | MergedMap                nn/merge.py
    proposals from a file or the picture    | ProposalsBySource        proposals/by_source.py
      or learned: scores, offsets of anchors| RegionProposalNet        nn/rpn.py
      its losses, on sampled anchors        | its losses()             nn/rpn.py
      its best boxes after suppression      | its propose(), nms       nn/rpn.py, ops/nms.py
    matched to true boxes, drawn by quota   | sample_batch             ops/sampling.py
    cells of each region                    | pool_regions             nn/roi_pool.py
    fc6, fc7: fresh, or the backbone's own  | HiddenLayers or Tail     nn/box_head, backbones/tail
    class scores and box offsets            | BoxOutputs               nn/box_head.py
    true boxes as offsets                   | encode                   ops/boxes.py
    cross-entropy and smooth L1             | box_losses               nn/box_head.py

At test: the same maps and proposals, then `decode`, `best_boxes` (suppression per class, voting;
ops/nms.py), scaled back to the picture's own pixels: `Detect.predict`, scored by DetectionAP
(metrics/detection.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from xfer.data.loading.collate import stack_padded
from xfer.data.transforms.boxes import BoxItem, BoxTransform, box_sizes
from xfer.errors import XferError
from xfer.explain.contract import ExplainsBoxes
from xfer.exporting.boxes import ExportedBoxes
from xfer.metrics.detection import PRIMARIES, DetectionAP, usual_primary
from xfer.nn.box_head import box_losses
from xfer.nn.detector import DetectorHead
from xfer.nn.levels import named_levels
from xfer.nn.rpn import RPNRules
from xfer.nn.views import View
from xfer.ops.anchors import fit_sizes, plain_sizes
from xfer.ops.boxes import clip, decode, encode
from xfer.ops.nms import best_boxes
from xfer.ops.sampling import RegionRules, equal_shares, sample_batch
from xfer.proposals.by_source import ProposalsBySource
from xfer.proposals.propose import check_method
from xfer.recipe.option import none_of, one_of, several, unset
from xfer.recipe.tables import AUGMENTED
from xfer.task import NO_CHANCE, Proposes, Stage, Task, option
from xfer.types import Batch, BoxPrediction, DataInfo, FeatureSpec, Sample

if TYPE_CHECKING:
    from xfer.backbones.base import Backbone
    from xfer.data.sources.base import Bundle
    from xfer.recipe.tables import DataTable
    from xfer.types import Source

SHORT, LONG = 480, 5 / 3  # default short side, pixels, and most of long side / short side
MULTISCALE = (0.75, 1.0, 1.25)
DEEPEST = "stride16"  # the deepest map that is fine enough for regions
FINEST_ANCHORS = 8  # distance of anchors with task.rpn_step=0 on finer maps, pixels
# pixels processed together at test: VGG-16's first maps of this many take a gigabyte
MOST_PIXELS = 4 * 800 * 1344
RPN = {"task.proposals": one_of("rpn")}


@dataclass(frozen=True, slots=True)
class Options:
    """The [task] table of a detection recipe."""

    proposals: str = option("rpn", "rpn (trained jointly), selective_search, grid, or file:PATH")
    levels: tuple[str, ...] = option(
        (), "maps that regions are pooled from; several are merged on the grid of the finest; "
        "stride8: the deepest map with a stride of at most 8 pixels, whatever its name; "
        "empty: stride16",
    )  # fmt: skip
    width: int = option(256, "channels of merged levels", min=1, when={"task.levels": several()})
    pool: str = option(
        "align", "max: maxima with Caffe's rounding; align: bilinear", choices=("max", "align")
    )
    pool_size: int = option(0, "side of a pooled region, cells; 0: what fc6 reads, else 7", min=0)
    head: str = option(
        "auto", "tail: the net's own fc6-fc7; fc: two fresh layers; auto: tail if the weights "
        "have it", choices=("auto", "tail", "fc"),
    )  # fmt: skip
    head_width: int = option(1024, "units of fresh layers", min=1, when={"task.head": one_of("fc")})
    agnostic: bool = option(False, "one box per region for all classes, instead of one per class")
    regions: int = option(128, "regions sampled from each training picture", min=1)
    object_share: float = option(0.25, "largest part of these that are objects", above=0, max=1)
    object_iou: float = option(0.5, "IoU from which a region is an object", min=0, max=1)
    background_iou: tuple[float, float] = option(
        (0.0, 0.5), "IoU range in which a region is background", min=0, max=1, rising=True
    )
    box_std: tuple[float, float, float, float] = option(
        (0.1, 0.1, 0.2, 0.2), "units of the box offsets that are learned", above=0
    )
    box_beta: float = option(1.0, "error at which the box loss turns linear", above=0)
    box_weight: float = option(1.0, "weight of the box loss", min=0)
    anchors: tuple[float, ...] = option(
        (), "width, height, width, height ... of the rpn's anchors, in pixels of the net's input; "
        "empty: fitted to the training boxes", above=0, when=RPN,
    )  # fmt: skip
    anchor_count: int = option(9, "anchors to fit", min=1, when={**RPN, "task.anchors": unset()})
    rpn_width: int = option(256, "channels of the rpn's convolution", min=1, when=RPN)
    rpn_step: int = option(
        1, "stride of the rpn's convolution, cells of the level; 0: anchors are 8 pixels apart, "
        "or one cell on a coarser level", min=0, when=RPN,
    )  # fmt: skip
    rpn_batch: int = option(256, "anchors sampled per training picture", min=1, when=RPN)
    rpn_iou: tuple[float, float] = option(
        (0.3, 0.7), "an anchor is background below the first IoU, an object from the second", min=0,
        max=1, rising=True, when=RPN,
    )  # fmt: skip
    rpn_nms: float = option(
        0.7, "IoU above which the worse of two proposals is suppressed", min=0, max=1, when=RPN
    )
    rpn_train: tuple[int, int] = option(
        (2000, 1000), "proposals before and after suppression, in training", min=1, when=RPN
    )
    rpn_test: tuple[int, int] = option((1000, 300), "the same at test", min=1, when=RPN)
    most_proposals: int = option(
        2000, "most proposals per picture", min=1, when={"task.proposals": none_of("rpn")}
    )
    scales: tuple[float, float] = option(
        (1.0, 1.0), "range of scales of training pictures", above=0, rising=True, when=AUGMENTED
    )
    long_side: int = option(0, "largest long side, pixels; 0: 5/3 of data.size", min=0)
    nms: float = option(0.3, "IoU above which the worse detection is suppressed", min=0, max=1)
    vote: float = option(
        0.0, "box voting: detections are averaged with those of at least this IoU; 0: none",
        min=0, max=1,
    )  # fmt: skip
    least_score: float = option(0.01, "lowest score of a detection", min=0, max=1)
    most_boxes: int = option(100, "most detections per picture", min=1)
    primary: str = option(
        "auto", "the score that chooses the best step; auto: voc_ap50_area for VOC's format, "
        "voc_ap50_11pt for VOC 2007, else coco_ap", choices=("auto", *PRIMARIES),
    )  # fmt: skip


class Detect(Task, Proposes, ExplainsBoxes):
    """Fast R-CNN (Girshick 2015), with selective search or with Faster R-CNN's proposals.

    Shapes: batch.images uint8 (N, 3, H, W), padded right and below; batch.targets:

    sizes       | int64 (N, 2)          | H, W of each picture in the batch, without padding
    originals   | float32 (N, 2)        | H, W of the picture itself
    boxes       | N float32 (R, 4)      | true boxes, xyxy in pixels of batch.images
    labels      | N int64 (R,)          | their classes
    crowds      | N float32 (M, 4)      | regions that are neither object nor background
    proposals   | N float32 (P, 4)      | absent with an rpn
    annotations | N Annotation          | all boxes in the picture's own pixels, for the metric

    Raises XferError for options that don't fit the backbone.
    """

    kinds: ClassVar[tuple[str, ...]] = ("detect",)
    Options = Options
    exports = ExportedBoxes
    counts_when = NO_CHANCE
    any_shape = True
    size_words = "pictures are scaled to this long side, and padded"
    views: ClassVar[dict[str, str]] = {
        "none": "one view",
        "flip": "picture and mirror image, scores and boxes of shared regions averaged",
        "multiscale": f"scales {', '.join(map(str, MULTISCALE))} with mirror images, scores and "
        "boxes of shared regions averaged",
    }

    def __init__(
        self, backbone: Backbone, info: DataInfo, options: Options, data: DataTable
    ) -> None:
        super().__init__(backbone, info, options, data)
        if options.proposals != "rpn":
            check_method(options.proposals)
        specs = named_levels(backbone.specs, options.levels or (DEEPEST,), backbone.name)
        specs.sort(key=lambda spec: spec.stride)
        backbone.check_side(self.preprocess.size, specs[-1].name)
        kind = self._choose_head(options.head, specs)
        self.options = replace(
            options, head=kind, levels=tuple(spec.name for spec in specs),
            rpn_step=options.rpn_step or max(1, FINEST_ANCHORS // specs[0].stride),
        )  # fmt: skip
        self._stages = backbone.stages_to(specs[-1].name)
        if kind == "tail":
            assert backbone.tail is not None
            self._stages += backbone.tail.stages()
            width, side = backbone.tail.out_features, backbone.tail.in_size[1]
            if options.pool_size not in (0, side):
                raise XferError(
                    f"task.pool_size={options.pool_size}: fc6 of {backbone.name} reads {side} x "
                    f"{side} cells",
                    "leave it out, or task.head=fc",
                )
        else:
            backbone.tail = None  # its parameters would neither train nor be used
            width, side = options.head_width, options.pool_size or 7
        self.head = DetectorHead(specs, options.width, options.pool, side)
        self.head.add_outputs(width, kind == "fc", len(info.classes), options.agnostic)
        self.register_buffer("box_std", torch.tensor(options.box_std), persistent=False)
        if options.proposals == "rpn":
            self._add_rpn(options.anchors)
        self._proposals = ProposalsBySource(options.proposals, options.most_proposals)

    box_std: Tensor

    def _add_rpn(self, anchors: Sequence[float]) -> None:
        options = self.options
        if len(anchors) % 2:
            raise XferError(f"task.anchors: {len(anchors)} numbers", "width, height, width, height")
        sizes = np.array(anchors or plain_sizes(self.preprocess.size, options.anchor_count))
        rules = RPNRules(
            options.rpn_batch, low=options.rpn_iou[0], high=options.rpn_iou[1], nms=options.rpn_nms
        )
        anchor_sizes = torch.tensor(sizes.reshape(-1, 2), dtype=torch.float32)
        self.head.add_rpn(options.rpn_width, anchor_sizes, rules, options.rpn_step)

    def _choose_head(self, head: str, specs: Sequence[FeatureSpec]) -> str:
        """tail or fc. The tail reads the map that feeds its net's last pooling."""
        tail, report = self.backbone.tail, self.backbone.weight_report
        fits = tail is not None and len(specs) == 1 and specs[0].channels == tail.in_size[0]
        if head == "auto":
            return "tail" if fits and (report is None or report.has_tail) else "fc"
        if head == "tail" and not fits:
            names = " and ".join(spec.name for spec in specs)
            raise XferError(
                f"task.head=tail: {self.backbone.name} has no fc6, fc7 that read {names}",
                "task.head=fc",
            )
        return head

    @property
    def picture_side(self) -> int:
        return self.data.size or SHORT

    @property
    def long_side(self) -> int:
        """Largest long side, pixels."""
        return self.backbone.fixed_side or self.options.long_side or round(self.picture_side * LONG)

    def fit_data(self, bundle: Bundle) -> None:
        """Fits anchors to the training boxes, and chooses the primary score for the data set."""
        options = self.options
        if options.primary == "auto":
            self.options = options = replace(
                options, primary=usual_primary(bundle.format, bundle.name)
            )
        if options.proposals != "rpn" or options.anchors:
            return
        sizes = box_sizes(bundle.splits["train"], self.preprocess.size, self.long_side)
        fitted = fit_sizes(sizes, options.anchor_count) if len(sizes) else sizes
        # a set with fewer distinct boxes than anchors gets default ones as well
        extra = plain_sizes(self.preprocess.size, options.anchor_count - len(fitted))
        anchors = np.concatenate([fitted, extra]).round(1)
        self.options = replace(options, anchors=tuple(anchors.ravel().tolist()))
        assert self.head.rpn is not None
        self.head.rpn.sizes = torch.tensor(anchors, dtype=torch.float32)

    def prepare(self, source: Source, say: Callable[[str], None] | None = None) -> None:
        """Computes or reads the proposals of a source, before `transform` is called."""
        if self.options.proposals != "rpn":
            self._proposals.prepare(source, say)

    def transform(
        self, train: bool, tta: str = "none"
    ) -> Callable[[Sample, np.random.Generator], Any]:
        data, options, short = self.data, self.options, self.preprocess.size
        lookup = None if options.proposals == "rpn" else self._proposals.lookup()
        if train:
            return BoxTransform(
                short, self.long_side, train=True, flip=data.flip, augment=data.augment,
                area=data.crop_area, scales=options.scales, propose=lookup,
            )  # fmt: skip
        scale = max(MULTISCALE) if tta == "multiscale" else 1
        return BoxTransform(round(short * scale), round(self.long_side * scale), propose=lookup)

    def collate(self, items: list[BoxItem]) -> Batch:
        targets: dict[str, Any] = {
            "sizes": torch.tensor([item.image.shape[:2] for item in items]),
            "originals": torch.tensor([item.size for item in items], dtype=torch.float32),
            "boxes": [torch.from_numpy(item.boxes) for item in items],
            "labels": [torch.from_numpy(item.labels) for item in items],
            "crowds": [torch.from_numpy(item.crowds) for item in items],
        }
        if items[0].proposals is not None:
            targets["proposals"] = [torch.from_numpy(item.proposals) for item in items]
        if items[0].annotation is not None:
            targets["annotations"] = [item.annotation for item in items]
        images = stack_padded([item.image for item in items], self.backbone.mean_colour)
        return Batch(images, tuple(item.id for item in items), targets)

    def _map(self, images: Tensor) -> Tensor:
        """The map of normalised images from which regions are pooled."""
        return self.head.map_of(self.backbone(images, want=self.options.levels))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        options, targets = self.options, batch.targets
        maps = self._map(self.backbone.normalise(batch.images))
        losses: dict[str, Tensor] = {}
        rpn = self.head.rpn
        if rpn is not None:
            outputs = rpn(maps)
            sizes = targets["sizes"]
            losses = rpn.losses(outputs, sizes, targets["boxes"], targets["crowds"])
            proposals = rpn.propose(outputs, sizes, *options.rpn_train)
        else:
            proposals = targets["proposals"]
        rules = RegionRules(
            options.regions, options.object_share, options.object_iou, options.background_iou
        )
        regions, labels, goals = sample_batch(
            proposals, targets["boxes"], targets["labels"], targets["crowds"],
            rules, len(self.info.classes),
        )  # fmt: skip
        logits, offsets = self.head(maps, regions, self.backbone.tail)
        goals = encode(goals, torch.cat(regions), self.box_std)
        shares = equal_shares([len(one) for one in regions], logits.device)
        own = box_losses(logits, offsets, labels, goals, options.box_beta, shares)
        return {**losses, "cls": own["cls"], "box": own["box"] * options.box_weight}

    @torch.no_grad()
    def predict(self, batch: Batch, tta: str = "none") -> list[BoxPrediction]:
        """Boxes per picture; scores and boxes of shared regions are averaged over the views."""
        max_images = max(1, MOST_PIXELS // batch.images[0, 0].numel())
        if len(batch) > max_images:
            starts = range(0, len(batch), max_images)
            parts = [batch.part(n, min(n + max_images, len(batch))) for n in starts]
            return [one for part in parts for one in self.predict(part, tta)]
        targets = batch.targets
        images = self.backbone.normalise(batch.images)
        sizes: Tensor = targets["sizes"]
        views = [View(images, sizes)]
        if tta == "multiscale":
            views = [views[0].scaled(s / max(MULTISCALE)) for s in MULTISCALE]
        if tta in ("flip", "multiscale"):
            views = [turned for view in views for turned in (view, view.mirrored())]
        maps = [self._map(view.images) for view in views]
        regions = targets.get("proposals") or self._common(views, maps)
        scores, boxes = 0, 0
        for view, own in zip(views, maps, strict=True):
            seen = [view.to(n, one) for n, one in enumerate(regions)]
            logits, offsets = self.head(own, seen, self.backbone.tail)
            counts = [len(one) for one in regions]
            scores = scores + logits.softmax(1) / len(views)
            decoded = decode(offsets, torch.cat(seen)[:, None], self.box_std).split(counts)
            back = [view.back(n, b.reshape(-1, 4)).view(b.shape) for n, b in enumerate(decoded)]
            boxes = boxes + torch.cat(back) / len(views)
        return self._best(batch, regions, scores, boxes)  # pyright: ignore[reportArgumentType]

    def _common(self, views: Sequence[View], maps: Sequence[Tensor]) -> list[Tensor]:
        """The rpn's best proposals of each view, all in pixels of the batch."""
        rpn, (before, after) = self.head.rpn, self.options.rpn_test
        assert rpn is not None
        per_view: list[list[Tensor]] = []
        for view, own in zip(views, maps, strict=True):
            proposals = rpn.propose(rpn(own), view.sizes, before, max(1, after // len(views)))
            per_view.append([view.back(n, boxes) for n, boxes in enumerate(proposals)])
        return [torch.cat(each) for each in zip(*per_view, strict=True)]

    @torch.no_grad()
    def propose(self, batch: Batch, max_boxes: int) -> list[Tensor]:
        """The rpn's best boxes of each picture, from one view, in the picture's own pixels."""
        rpn, sizes = self.head.rpn, batch.targets["sizes"]
        if rpn is None:
            raise XferError(
                f"this detector uses proposals from {self.options.proposals}",
                "it makes none of its own",
            )
        outputs = rpn(self._map(self.backbone.normalise(batch.images)))
        before = max(self.options.rpn_test[0], 3 * max_boxes)  # suppression leaves about a third
        proposals = rpn.propose(outputs, sizes, before, max_boxes)
        each = zip(proposals, sizes, batch.targets["originals"], strict=True)
        return [clip(own * (full / size).flip(0).repeat(2), full) for own, size, full in each]

    def _best(
        self, batch: Batch, regions: Sequence[Tensor], scores: Tensor, boxes: Tensor
    ) -> list[BoxPrediction]:
        """The final detections from all regions' scores (R, C + 1) and boxes (R, C or 1, 4)."""
        options, counts = self.options, [len(one) for one in regions]
        predictions: list[BoxPrediction] = []
        sizes, originals = batch.targets["sizes"], batch.targets["originals"]
        own_parts = (scores.split(counts), boxes.split(counts))
        each = zip(batch.ids, sizes, originals, *own_parts, strict=True)
        for name, size, original, own, where in each:
            where = clip(where.reshape(-1, 4), size).view(where.shape)
            min_score, max_boxes = options.least_score, options.most_boxes
            best = best_boxes(where, own[:, :-1], options.nms, min_score, max_boxes, options.vote)
            kept, score, label = (t.cpu() for t in best)
            kept = clip(kept * (original / size).cpu().flip(0).repeat(2), original.cpu())
            height, width = (int(v) for v in original.tolist())
            predictions.append(
                BoxPrediction(name, kept.numpy(), score.numpy(), label.numpy(), (height, width))
            )
        return predictions

    def metric(self) -> DetectionAP:
        primary = self.options.primary
        return DetectionAP(self.info.classes, "coco_ap" if primary == "auto" else primary)

    def stages(self) -> list[Stage]:
        used = (Stage(name, module) for name, module in self._stages)
        return [*used, Stage("head", self.head, "head")]

    def resolved_options(self) -> dict[str, Any]:
        chosen = super().resolved_options()
        return {**chosen, "primary": self.metric().primary}

    def view_protocol(self, tta: str) -> str:
        """A description of how the pictures were shown."""
        size = self.preprocess.size
        return f"{self.views[tta]}, short side {size} px, long side at most {self.long_side} px"
