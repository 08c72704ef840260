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

At test: `merged` (pixels/merge.py) makes segments of both decoders' maps, scored by
PanopticQuality (metrics/panoptic.py).

With task.objects=masks Mask R-CNN takes the place of the second decoder, and the first one knows
classes of stuff and a single one for all things:

    boxes and masks of the things in the cut | ObjectMasks.teach    pixels/object_masks.py
    losses of Mask R-CNN                     | MaskRCNN.losses      detectors/mask_rcnn.py
    at test: objects laid over stuff         | merged_masks         pixels/merge_masks.py
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from xfer.data.transforms.cut import Cut
from xfer.data.transforms.masks import MaskStatistics
from xfer.data.transforms.segments import SegmentItem, SegmentTransform
from xfer.detectors.contract import Seen
from xfer.detectors.mask_rcnn import MaskRCNN
from xfer.explain.contract import Target
from xfer.exporting.segments import ExportedSegments
from xfer.metrics.panoptic import PanopticQuality
from xfer.nn.decoder import Decoder
from xfer.nn.levels import coarse_to_fine, decoder_levels
from xfer.nn.pixel_loss import pixel_cross_entropy, pixel_weight
from xfer.nn.upsample import at_pixels
from xfer.nn.views import View
from xfer.objects.segments import Segments
from xfer.ops.fixed import fixed
from xfer.pixels.centres import CentreBatch, CentreTargets, centre_losses, centre_targets
from xfer.pixels.merge import Rules, merged
from xfer.pixels.merge_on_device import merged_on_device
from xfer.pixels.object_masks import ObjectMasks, ObjectTargets, class_channels, collapsed
from xfer.pixels.panoptic_options import Options
from xfer.pixels.pixel_task import PixelTask
from xfer.types import (
    IGNORE,
    Batch,
    DataInfo,
    FeatureSpec,
    MaskPrediction,
    PanopticPrediction,
    Sample,
)

if TYPE_CHECKING:
    from xfer.backbones.base import Backbone
    from xfer.data.sources.base import Bundle
    from xfer.recipe.tables import DataTable

LONG = 5 / 3  # most of long side / short side


class Taught(NamedTuple):
    """A training picture, and what the head of objects is to say of it."""

    item: SegmentItem
    aims: CentreTargets | ObjectTargets

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


class Panoptic(PixelTask):
    """Two decoders on one trunk, merged to segments (after Cheng et al. 2020, Panoptic-DeepLab); or
    a decoder and Mask R-CNN (after Kirillov et al. 2019, Panoptic FPN).

    Shapes: batch.images uint8 (N, 3, H, W), padded right and below; batch.targets:

    sizes      | int64 (N, 2)         | H, W of each picture in the batch, without padding
    originals  | int64 (N, 2)         | H, W of the picture itself
    maps       | N int16 (H, W)       | training: the segment of each pixel, -1 void
    map_labels | N int64 (S,)         | training: the segments' classes
    heat ...   | float32 (N, h, w)    | training: `CentreTargets`, stacked: heat, offsets, inside,
               |                      | known
    boxes ...  | with task.objects=masks instead: those of `tasks.instance`
    segments   | N Segments           | evaluation: in the picture's own size, for the metric

    Differs from the papers: the backbone is not dilated; centres and offsets are learnt at every
    `loss_step`-th pixel; the decoder is `nn.decoder.Decoder`; Mask R-CNN reads merged maps, not a
    pyramid.
    """

    kinds: ClassVar[tuple[str, ...]] = ("panoptic",)
    Options = Options
    exports = ExportedSegments
    cuts = ("crop", "scales")
    most_crop = 480
    size_words = "pictures are scaled to this long side, and padded"
    views: ClassVar[dict[str, str]] = {
        "none": "one view",
        "flip": "picture and mirror image, probabilities, centres and ways to them averaged",
    }

    def __init__(
        self, backbone: Backbone, info: DataInfo, options: Options, data: DataTable
    ) -> None:
        super().__init__(backbone, info, options, data)
        specs = coarse_to_fine(
            backbone.specs, options.levels or decoder_levels(backbone.specs), backbone.name
        )
        self.options = replace(self.options, levels=tuple(spec.name for spec in specs))
        backbone.tail = None  # its parameters would neither train nor be used
        count = len(info.classes)
        self.things = np.array([name in info.things for name in info.classes], bool)
        self.masks = ObjectMasks(self.things, self.options) if options.objects == "masks" else None
        channels = class_channels(self.things) if self.masks else np.arange(count)
        classes = Decoder(specs, int(channels.max()) + 1, options.width, options.dropout)
        objects: nn.Module
        if self.masks is None:
            objects = Decoder(specs, 3, max(16, options.width // 2), options.dropout)
        else:
            objects = self.masks.build(backbone, self._short)
        self.head = nn.ModuleDict({"classes": classes, "objects": objects})
        known = torch.from_numpy(channels) if self.masks else None
        self.register_buffer("channel_of", known, persistent=False)
        self.read_maps()

    channel_of: Tensor | None

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
            if self.masks is not None:
                return Taught(item, self.masks.teach(item.segments))
            aims = centre_targets(item.segments, self.things, options.deviation, options.loss_step)
            return Taught(item, aims)

        return _Teaching(cut, teach)

    def collate(self, items: list[Any]) -> Batch:
        taught = isinstance(items[0], tuple)
        shown: list[SegmentItem] = [one[0] for one in items] if taught else items
        targets: dict[str, Any] = {}
        known = [item.segments for item in shown if item.segments is not None]
        if taught:
            targets["maps"] = [torch.from_numpy(one.map.astype(np.int16)) for one in known]
            targets["map_labels"] = [torch.from_numpy(one.labels) for one in known]
            if self.masks is not None:
                targets |= self.masks.collate([aims for _, aims in items])
            for name in () if self.masks else ("heat", "offsets", "inside", "known"):
                stacked = np.stack([getattr(aims, name) for _, aims in items])
                targets[name] = torch.from_numpy(stacked)
        elif len(known) == len(shown):
            targets["segments"] = known
        return self.batch_of(shown, targets)

    def scores(self, images: Tensor, sizes: Tensor | None = None) -> Tensor:
        """(N, C + 3, h, w) of normalised images, on the grid of `spec`: scores of the classes
        before softmax, then centre, way down and way right; with masks (N, K, h, w), the scores of
        stuff and of `other`."""
        maps = self.backbone(self.reaching(images), want=self.options.levels)
        if self.masks is not None:
            return self.head["classes"](maps, sizes)
        return torch.cat([decoder(maps, sizes) for decoder in self.head.values()], 1)

    @property
    def reads(self) -> tuple[str, ...]:
        """The maps that either head reads."""
        own = self.options.levels
        return own if self.masks is None else tuple(dict.fromkeys((*own, *self._masked.names)))

    @property
    def _masked(self) -> MaskRCNN:
        head: Any = self.head["objects"]
        return head

    def fit_data(self, bundle: Bundle) -> None:
        """Also fits the anchors of Mask R-CNN to the training objects."""
        super().fit_data(bundle)
        if self.masks is not None:
            train = bundle.splits["train"]
            fitted = self.masks.fit(self._masked, train, self._short, self.long_side)
            self.options = replace(self.options, **fitted)

    def grouped(self, statistics: MaskStatistics) -> MaskStatistics:
        return statistics if self.masks is None else collapsed(statistics, self.things)

    @property
    def spec(self) -> FeatureSpec:
        decoder: Any = self.head["classes"]
        return decoder.spec

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        options, targets = self.options, batch.targets
        count, labels = len(self.info.classes), self._labels(batch)
        height, width = labels.shape[1:]
        if self.masks is not None:
            maps = self._maps(self.backbone.normalise(batch.images))
            scores = self.head["classes"](maps, targets["sizes"])
            values = at_pixels(scores, self.spec, height, width, options.loss_step)
            return {
                "classes": pixel_cross_entropy(values, labels, self.class_weight),
                **self.masks.losses(self._masked, maps, batch),
            }
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
            F.pad(self._channels(own), (0, 1), value=IGNORE)[own_map[::step, ::step].long()]
            for own, own_map in zip(labels, batch.targets["maps"], strict=True)
        ]  # -1 is the last
        return torch.stack(each)

    def _channels(self, labels: Tensor) -> Tensor:
        """The channels of classes in the decoder's scores."""
        return labels if self.channel_of is None else self.channel_of[labels]

    def _maps(self, images: Tensor) -> dict[str, Tensor]:
        return self.backbone(self.reaching(images), want=self.reads)

    def loss_weights(self, batch: Batch) -> dict[str, Tensor]:
        targets = batch.targets
        if self.masks is not None:  # Mask R-CNN's losses are means over the pictures
            return {"classes": pixel_weight(self._labels(batch), self.class_weight)}
        return {
            "classes": pixel_weight(self._labels(batch), self.class_weight),
            "centres": targets["known"].sum(), "offsets": targets["inside"].sum(),
        }  # fmt: skip

    @torch.no_grad()
    def predict(self, batch: Batch, tta: str = "none") -> list[PanopticPrediction]:
        """Segments in the pictures' own sizes; they are merged at the size that the net saw."""
        images = self.backbone.normalise(batch.images)
        views = [View(images, batch.targets["sizes"], on_host=batch.read("sizes"))]
        if tta == "flip":
            views.append(views[0].mirrored())
        if self.masks is not None:
            seen = [Seen(view, self._maps(view.images)) for view in views]
            decoder = self.head["classes"]
            own = [decoder(one.maps, one.view.sizes) for one in seen]
            found = self.masks.merged(self._masked, own, seen, self.spec, batch)
            return self._predictions(found, batch)
        scores = [(self.scores(view.images, view.sizes), view) for view in views]
        return self.segments_of(scores, batch)

    @property
    def rules(self) -> Rules:
        """How the decoders' maps are merged."""
        options = self.options
        return Rules(options.least_centre, options.centre_window, options.least_stuff,
                     options.least_thing)  # fmt: skip

    def segments_of(
        self, scores: list[tuple[Tensor, View]], batch: Batch
    ) -> list[PanopticPrediction]:
        """The predictions for a batch, from `scores` of one or several views of it."""
        sizes = batch.read("sizes").tolist()
        if fixed(scores[0][0]):
            found = merged_on_device(scores, self.spec, sizes, self.things, self.rules)
        else:
            found = [
                merged(scores, self.spec, n, tuple(size), self.things, self.rules)
                for n, size in enumerate(sizes)
            ]
        return self._predictions(found, batch)

    def _predictions(
        self, found: Sequence[tuple[Segments, NDArray[np.float32]]], batch: Batch
    ) -> list[PanopticPrediction]:
        """The segments of each picture of a batch, in its own size."""
        predictions: list[PanopticPrediction] = []
        each = zip(batch.ids, batch.read("originals").tolist(), found, strict=True)
        for name, (height, width), (segments, sure) in each:
            if segments.size != (height, width):
                whole: Any = cv2.resize(
                    segments.map.astype(np.float32), (width, height),
                    interpolation=cv2.INTER_NEAREST_EXACT,
                )  # fmt: skip
                segments = segments.mapped(whole.astype(np.int32))
            predictions.append(PanopticPrediction(name, segments, sure))
        return predictions

    def target_of(self, prediction: Any, label: int | None) -> Target:
        """A class over all its segments, or with masks over the largest; by default the thing that
        covers most."""
        segments = prediction.segments
        classes = MaskPrediction(prediction.id, segments.classes(), prediction.size)
        counts = np.bincount(classes.mask.ravel(), minlength=len(self.things))
        things = np.where(self.things, counts[: len(self.things)], 0)
        if label is None and things.any():
            label = int(things.argmax())
        target = super().target_of(classes, label)
        if self.masks is None or not self.things[target.label]:
            return target
        sizes = np.where(segments.labels == target.label, segments.areas(), 0)
        return replace(target, region=segments.map == sizes.argmax())

    def score_of(self, batch: Batch, target: Target) -> Tensor:
        """With masks, that of a thing is Mask R-CNN's at the box around the target's pixels."""
        if self.masks is None:
            return super().score_of(batch, target)
        if not self.things[target.label]:
            assert self.channel_of is not None
            return super().score_of(
                batch, replace(target, label=int(self.channel_of[target.label]))
            )
        h, w = batch.targets["sizes"][0].tolist()
        rows, columns = torch.nonzero(target.inside(h, w), as_tuple=True)
        edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        images = self.reaching(self.backbone.normalise(batch.images))
        maps = self.backbone(images, want=self._masked.names)
        box = torch.stack(edges).to(batch.images.device, torch.float32)
        return self._masked.class_scores(maps, box, int(self.masks.index[target.label]))

    def metric(self) -> PanopticQuality:
        return PanopticQuality(self.info.classes, self.info.things)

    def view_protocol(self, tta: str) -> str:
        """A description of how the pictures were shown."""
        return (
            f"{self.views[tta]}, short side {self._short} px, long side at most {self.long_side} "
            "px, scored at the pictures' own size"
        )
