"""Panoptic segmentation: every pixel's class, and for things which object it belongs to.

Two light decoders read the maps of one trunk: one gives the class of each pixel, the other where
the centres of objects are and, for each pixel, the way to its centre. The pixels of things go to
the centre nearest to where they point; an object takes the class that is likeliest over its pixels.

The path of a training batch, step by step, with the file under xfer/ for each step:

    picture and segments cut, scaled         | SegmentTransform    data/transforms/segments.py
    centres, and each pixel's way to its own | centre_targets      nn/centres.py
    normalised, through the backbone         | Backbone.forward    backbones/base.py
    classes of pixels; centres and ways      | Decoder, twice      nn/decoder.py
    losses                                   | pixel_cross_entropy, centre_losses

At test: `merged` (nn/panoptic_merge.py) makes segments of both decoders' maps, scored by
PanopticQuality (metrics/panoptic.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfer.data.loading.collate import stack_padded
from xfer.data.transforms.cut import Cut
from xfer.data.transforms.masks import class_weights, mask_statistics
from xfer.data.transforms.segments import SegmentItem, SegmentTransform
from xfer.metrics.panoptic import PanopticQuality
from xfer.nn.centres import CentreBatch, CentreTargets, centre_losses, centre_targets
from xfer.nn.decoder import Decoder
from xfer.nn.levels import coarse_to_fine, decoder_levels, least_side
from xfer.nn.panoptic_merge import Rules, merged
from xfer.nn.pixel_loss import pixel_cross_entropy, pixel_weight
from xfer.nn.upsample import at_pixels
from xfer.nn.views import View
from xfer.recipe.option import When
from xfer.task import NO_CHANCE, Stage, Task, option
from xfer.types import IGNORE, Batch, DataInfo, PanopticPrediction, Preprocess, Sample

if TYPE_CHECKING:
    from xfer.backbones.base import Backbone
    from xfer.data.sources.base import Bundle
    from xfer.recipe.tables import DataTable

SHORT, CROP = 480, 480  # largest default short side and crop, pixels
ENLARGED = 4 / 3  # small pictures are enlarged by this
LONG = 5 / 3  # most of long side / short side


@dataclass(frozen=True, slots=True)
class Options:
    """The [task] table of a panoptic recipe."""

    levels: tuple[str, ...] = option(
        (), "maps that the decoders read, one per stride; empty: the deepest of each stride from 4 "
        "to 32",
    )  # fmt: skip
    width: int = option(128, "channels of the decoder of classes; that of objects has half", min=16)
    dropout: float = option(0.1, "fraction of the decoders' channels dropped", min=0, below=1)
    crop: int = option(0, "side of training crops, pixels; 0: at most 480 and the short side",
                       min=0)  # fmt: skip
    scales: tuple[float, float] = option(
        (0.8, 1.25), "range of scales of training pictures", above=0, rising=True
    )
    class_balance: float = option(
        0.5, "power of the pixel frequencies by which rare classes weigh more; 0: all alike",
        min=0, max=1,
    )  # fmt: skip
    loss_step: int = option(2, "use every Nth row and column in the losses", min=1)
    deviation: float = option(
        4.0, "of the Gaussian around an object's centre, pixels of the net's input", above=0
    )
    centre_weight: float = option(60.0, "weight of the loss of centres", min=0)
    offset_weight: float = option(3.0, "weight of the loss of the ways to them", min=0)
    least_centre: float = option(0.15, "lowest value of a centre", above=0, max=1)
    centre_window: int = option(
        5, "a centre is the largest value in a window of this side, cells of the finest map; odd",
        min=1,
    )  # fmt: skip
    least_stuff: float = option(
        0.01, "smaller regions of stuff are left void, share of the picture", min=0, max=1
    )
    least_thing: float = option(
        0.0005, "smaller objects are left void, share of the picture", min=0, max=1
    )


class Taught(NamedTuple):
    """A training picture, and what the decoder of objects is to say of it."""

    item: SegmentItem
    aims: CentreTargets

    @property
    def cut(self) -> Cut:
        return self.item.cut


@dataclass(frozen=True, slots=True)
class _Teaching:
    """A transform whose items are taught."""

    transform: SegmentTransform
    teach: Callable[[SegmentItem], Taught]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Taught:
        return self.teach(self.transform(sample, rng))

    def follow(self, sample: Sample, cut: Cut) -> Taught:
        return self.teach(self.transform.follow(sample, cut))


class Panoptic(Task):
    """Two decoders on one trunk, merged to segments (after Cheng et al. 2020, Panoptic-DeepLab).

    Shapes: batch.images uint8 (N, 3, H, W), padded right and below; batch.targets:

    sizes      | int64 (N, 2)         | H, W of each picture in the batch, without padding
    originals  | int64 (N, 2)         | H, W of the picture itself
    maps       | N int16 (H, W)       | training: the segment of each pixel, -1 void
    map_labels | N int64 (S,)         | training: the segments' classes
    heat ...   | float32 (N, h, w)    | training: `CentreTargets`, stacked: heat, offsets, inside,
               |                      | known
    segments   | N Segments           | evaluation: in the picture's own size, for the metric

    Differs from the paper: the backbone is not dilated; centres and offsets are learnt at every
    `loss_step`-th pixel; the decoder is `nn.decoder.Decoder`.
    """

    kinds: ClassVar[tuple[str, ...]] = ("panoptic",)
    Options = Options
    cuts = ("crop", "scales")
    counts_when: ClassVar[Mapping[str, When | str]] = {
        "data.crop_area": "task.crop and task.scales determine the crops",
        **NO_CHANCE,
    }
    any_shape = True
    size_words = "pictures are scaled to this long side, and padded"
    views: ClassVar[dict[str, str]] = {
        "none": "one view",
        "flip": "picture and mirror image, probabilities, centres and ways to them averaged",
    }

    class_weight: Tensor | None

    def __init__(
        self, backbone: Backbone, info: DataInfo, options: Options, data: DataTable
    ) -> None:
        self._short = data.size or min(SHORT, backbone.preprocess.size)
        super().__init__(backbone, info, options, data)
        if backbone.fixed_side:
            options = replace(options, crop=min(self.crop, backbone.fixed_side))
        specs = coarse_to_fine(
            backbone.specs, options.levels or decoder_levels(backbone.specs), backbone.name
        )
        self.options = replace(options, levels=tuple(spec.name for spec in specs))
        backbone.tail = None  # its parameters would neither train nor be used
        count = len(info.classes)
        self.things = np.array([name in info.things for name in info.classes], bool)
        self.head = nn.ModuleDict({
            "classes": Decoder(specs, count, options.width, options.dropout),
            "objects": Decoder(specs, 3, max(16, options.width // 2), options.dropout),
        })  # fmt: skip
        names = [name for name in backbone.map_names if name in self.options.levels]
        backbone.check_side(2 * backbone.preprocess.size, names[-1])
        self._stages = backbone.stages_to(names[-1])
        self.register_buffer("class_weight", None, persistent=False)
        self._least = 0
        self.eval()
        self._least = least_side(self.scores)
        self.train()

    def fit_data(self, bundle: Bundle) -> None:
        """Computes the picture size and class weights from the training segments."""
        options = self.options
        if self.data.size and not options.class_balance:
            return
        statistics = mask_statistics(bundle.splits["train"])
        if not self.data.size:
            self._short = min(SHORT, round(statistics.short * ENLARGED))
        if options.class_balance:
            self.class_weight = torch.from_numpy(class_weights(statistics, options.class_balance))

    @property
    def reads(self) -> tuple[str, ...]:
        return self.options.levels

    @property
    def preprocess(self) -> Preprocess:
        return self.backbone.preprocess.at(self._short)

    @property
    def picture_side(self) -> int:
        return self.crop

    @property
    def crop(self) -> int:
        """Side of a training crop, pixels."""
        return self.options.crop or max(1, min(CROP, self._short) // 32) * 32

    @property
    def long_side(self) -> int:
        """Largest long side at test, pixels."""
        return self.backbone.fixed_side or round(self._short * LONG)

    def transform(
        self, train: bool, tta: str = "none"
    ) -> Callable[[Sample, np.random.Generator], Any]:
        data, options = self.data, self.options
        if not train:
            return SegmentTransform(self._short, long=self.long_side)
        cut = SegmentTransform(
            self._short, crop=self.crop, scales=options.scales, flip=data.flip,
            augment=data.augment, colour=self.backbone.mean_colour,
        )  # fmt: skip

        def teach(item: SegmentItem) -> Taught:
            assert item.segments is not None
            aims = centre_targets(item.segments, self.things, options.deviation, options.loss_step)
            return Taught(item, aims)

        return _Teaching(cut, teach)

    def collate(self, items: list[Any]) -> Batch:
        taught = isinstance(items[0], tuple)
        shown: list[SegmentItem] = [one[0] for one in items] if taught else items
        targets: dict[str, Any] = {
            "sizes": torch.tensor([item.shown for item in shown]),
            "originals": torch.tensor([item.size for item in shown]),
        }
        known = [item.segments for item in shown if item.segments is not None]
        if taught:
            targets["maps"] = [torch.from_numpy(one.map.astype(np.int16)) for one in known]
            targets["map_labels"] = [torch.from_numpy(one.labels) for one in known]
            for name in ("heat", "offsets", "inside", "known"):
                stacked = np.stack([getattr(aims, name) for _, aims in items])
                targets[name] = torch.from_numpy(stacked)
        elif len(known) == len(shown):
            targets["segments"] = known
        images = stack_padded([item.image for item in shown], self.backbone.mean_colour)
        return Batch(images, tuple(item.id for item in shown), targets)

    @property
    def least_side(self) -> int:
        """Side of the smallest picture that reaches all maps, pixels; smaller ones are padded."""
        return self._least

    def scores(self, images: Tensor, sizes: Tensor | None = None) -> Tensor:
        """(N, C + 3, h, w) of normalised images, on the grid of `spec`: scores of the classes
        before softmax, then centre, way down and way right."""
        lacking = [max(0, self._least - side) for side in images.shape[2:]]
        if any(lacking):  # right and below, as batches are padded
            images = F.pad(images, (0, lacking[1], 0, lacking[0]))
        maps = self.backbone(images, want=self.options.levels)
        return torch.cat([decoder(maps, sizes) for decoder in self.head.values()], 1)

    @property
    def spec(self) -> Any:
        """Geometry of `scores`."""
        decoder: Any = self.head["classes"]
        return decoder.spec

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        options, targets = self.options, batch.targets
        count, labels = len(self.info.classes), self._labels(batch)
        height, width = labels.shape[1:]
        scores = self.scores(self.backbone.normalise(batch.images), targets["sizes"])
        values = at_pixels(scores, self.spec, height, width, options.loss_step)
        aims = CentreBatch(*(targets[name] for name in ("heat", "offsets", "inside", "known")))
        centre, offset = centre_losses(values[:, count], values[:, count + 1 :], aims)
        return {
            "classes": pixel_cross_entropy(values[:, :count], labels, self.class_weight),
            "centres": options.centre_weight * centre,
            "offsets": options.offset_weight * offset,
        }

    def _labels(self, batch: Batch) -> Tensor:
        """The classes of the pixels in the loss, int64 (N, h, w)."""
        step, labels = self.options.loss_step, batch.targets["map_labels"]
        each = [
            F.pad(own, (0, 1), value=IGNORE)[own_map[::step, ::step].long()]  # -1 is the last
            for own, own_map in zip(labels, batch.targets["maps"], strict=True)
        ]
        return torch.stack(each)

    def loss_weights(self, batch: Batch) -> dict[str, Tensor]:
        targets = batch.targets
        return {
            "classes": pixel_weight(self._labels(batch), self.class_weight),
            "centres": targets["known"].sum(), "offsets": targets["inside"].sum(),
        }  # fmt: skip

    @torch.no_grad()
    def predict(self, batch: Batch, tta: str = "none") -> list[PanopticPrediction]:
        """Segments in the pictures' own sizes; they are merged at the size that the net saw."""
        options, targets = self.options, batch.targets
        views = [View(self.backbone.normalise(batch.images), targets["sizes"])]
        if tta == "flip":
            views.append(views[0].mirrored())
        scores = [(self.scores(view.images, view.sizes), view) for view in views]
        rules = Rules(options.least_centre, options.centre_window, options.least_stuff,
                      options.least_thing)  # fmt: skip
        predictions: list[PanopticPrediction] = []
        each = zip(batch.ids, targets["sizes"].tolist(), targets["originals"].tolist(), strict=True)
        for n, (name, shown, (height, width)) in enumerate(each):
            segments, sure = merged(scores, self.spec, n, tuple(shown), self.things, rules)
            if segments.size != (height, width):
                whole: Any = cv2.resize(
                    segments.map.astype(np.float32), (width, height),
                    interpolation=cv2.INTER_NEAREST_EXACT,
                )  # fmt: skip
                segments = segments.mapped(whole.astype(np.int32))
            predictions.append(PanopticPrediction(name, segments, sure))
        return predictions

    def metric(self) -> PanopticQuality:
        return PanopticQuality(self.info.classes, self.info.things)

    def stages(self) -> list[Stage]:
        used = [Stage(name, module) for name, module in self._stages]
        return [*used, Stage("head", self.head, "head")]

    def view_protocol(self, tta: str) -> str:
        """A description of how the pictures were shown."""
        return (
            f"{self.views[tta]}, short side {self._short} px, long side at most {self.long_side} "
            "px, scored at the pictures' own size"
        )
