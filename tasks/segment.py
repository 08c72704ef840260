"""Segmentation: the class of every pixel, by FCN or a light decoder on any backbone.

FCN turns the net's own fc6 and fc7 into convolutions; the decoder merges finer maps into the
deepest one. Either way, the scores at a pixel follow from the positions of the maps' cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from xfer.data.transforms.masks import MaskItem, MaskTransform
from xfer.errors import XferError
from xfer.exporting.masks import ExportedMasks
from xfer.metrics.miou import MeanIoU
from xfer.nn.decoder import Decoder
from xfer.nn.dilate import dilate_backbone
from xfer.nn.fcn import FCNHead, FreshTail, after_kernel, padded, padding_for, start_from
from xfer.nn.levels import coarse_to_fine, decoder_levels, fcn_levels
from xfer.nn.pixel_loss import pixel_cross_entropy, pixel_weight, soft_dice
from xfer.nn.sliding_window import ScoreView, classes_of_pixels
from xfer.nn.upsample import at_pixels
from xfer.nn.views import View
from xfer.pixels.pixel_task import PixelTask
from xfer.recipe.option import When, above, one_of, unset
from xfer.recipe.tables import AUGMENTED
from xfer.runs.checkpoint import load_weights
from xfer.task import option
from xfer.types import Batch, DataInfo, FeatureSpec, MaskPrediction, Sample

if TYPE_CHECKING:
    from xfer.backbones.base import Backbone
    from xfer.data.sources.base import Bundle
    from xfer.recipe.tables import DataTable

FRESH = 5  # channels of fcn's fresh layer, as a multiple of task.width
MULTISCALE = (0.75, 1.0, 1.25)
SKIPS = {"fcn32s": 0, "fcn16s": 1, "fcn8s": 2}


@dataclass(frozen=True, slots=True)
class Options:
    """The [task] table of a segmentation recipe."""

    head: str = option(
        "decoder", "fcn32s, fcn16s, fcn8s: scores on the last map, and on one or two finer ones; "
        "decoder: maps of all strides from 4 on, merged from coarse to fine",
        choices=("decoder", "fcn32s", "fcn16s", "fcn8s"),
    )  # fmt: skip
    levels: tuple[str, ...] = option(
        (), "maps that the head reads; empty: fcn: the last and pool4, pool3, or the deepest of a "
        "half and a quarter of its stride; decoder: the deepest of each stride from 4 to 32",
    )  # fmt: skip
    tail: str = option(
        "auto", "fcn, before the scores: own: the net's fc6 and fc7 as convolutions; fresh: a new "
        "3x3 layer; none; auto: own if the weights have it, fresh if they lack it, none for nets "
        "without a tail", choices=("auto", "own", "fresh", "none"),
    )  # fmt: skip
    width: int = option(
        96, "channels of the decoder's two deepest levels, halved at each finer one; fcn's fresh "
        "layer has five times as many", min=16,
        when=({"task.head": one_of("decoder")}, {"task.tail": one_of("fresh")}),
    )  # fmt: skip
    dropout: float = option(
        0.1, "fraction of channels dropped before the scores", min=0, max=1,
        when={"task.head": one_of("decoder")},
    )  # fmt: skip
    skip_scales: tuple[float, ...] = option(
        (), "factors for the finer maps before they are scored; empty: 1", above=0,
        when={"task.head": one_of("fcn16s", "fcn8s")},
    )  # fmt: skip
    edges: str = option(
        "hold", "coarse scores beyond their outermost cells: hold: as there; fade: to 0, as FCN's "
        "code", choices=("hold", "fade"), when={"task.head": one_of("fcn16s", "fcn8s")},
    )  # fmt: skip
    staged: bool = option(
        False, "start the head from that of the run in `--weights run:DIR`: FCN-16s from 32s, 8s "
        "from 16s",
    )  # fmt: skip
    dilate: int = option(
        0, "coarsest stride of any map: later layers are dilated instead, with the same weights; "
        "0: leave the net as it is", min=0,
    )  # fmt: skip
    resize: bool = option(
        True, "scale pictures to a short side of data.size; false: they keep their own size"
    )
    crop: int = option(
        0, "side of a training crop, pixels; 0: the short side, up to 384, in multiples of 32",
        min=0,
    )  # fmt: skip
    scales: tuple[float, float] = option(
        (0.5, 2.0), "range of scales of training pictures", above=0, rising=True, when=AUGMENTED
    )
    most_of_one: float = option(
        1.0, "most of a training crop that one class may cover; the best of five tries is used",
        above=0, max=1, when=AUGMENTED,
    )  # fmt: skip
    class_balance: float = option(
        0.0, "class weights: (median frequency / frequency) to this power", min=0, max=1
    )
    logit_adjust: float = option(
        0.0, "part of class_balance's weights undone at prediction (Menon et al. 2021, sec. 4.1): "
        "rare classes are trained as if common, and predicted as often as they occur",
        min=0, max=1, when={"task.class_balance": above(0)},
    )  # fmt: skip
    hard_pixels: float = option(
        1.0, "fraction of the pixels used in the loss, the hardest ones (of each pass, with "
        "optim.accumulate)", above=0, max=1,
    )  # fmt: skip
    dice: float = option(
        0.0, "weight of a soft Dice loss added to cross-entropy (over each pass, with "
        "optim.accumulate)", min=0,
    )  # fmt: skip
    normalise: bool = option(
        True, "mean loss over pixels; false: their sum, averaged over pictures, as in FCN's code"
    )
    loss_step: int = option(
        1, "use every Nth row and column in the loss: 2 makes a step a fifth faster", min=1
    )
    window: int = option(
        1024, "larger pictures are predicted in overlapping windows of this side, pixels; at "
        "least 256", min=256,
    )  # fmt: skip


class Segment(PixelTask):
    """FCN (Long et al. 2015) or a light decoder.

    Shapes: batch.images uint8 (N, 3, H, W), padded right and below; batch.targets:

    sizes     | int64 (N, 2)      | H, W of each picture in the batch, without padding
    originals | int64 (N, 2)      | H, W of the picture itself
    masks     | N uint8 (h, w)    | the class of each pixel, 255 = ignore. Training: of the crop;
              |                   | evaluation: in the picture's own size, for the metric

    Raises XferError for options that don't fit the backbone.
    """

    kinds: ClassVar[tuple[str, ...]] = ("segment",)
    Options = Options
    exports = ExportedMasks
    cuts = ("crop", "scales", "resize", "most_of_one")
    counts_when: ClassVar[Mapping[str, When | str]] = {
        **PixelTask.counts_when,
        "data.size": ({"task.resize": one_of(True)}, {"task.crop": unset()}),
    }
    most_crop = 384
    size_words = "crops and windows are no larger"
    views: ClassVar[dict[str, str]] = {
        "none": "one view",
        "flip": "picture and mirror image, probabilities averaged",
        "multiscale": f"scales {', '.join(map(str, MULTISCALE))} with mirror images, probabilities "
        "averaged",
    }

    shift: Tensor | None

    def __init__(
        self, backbone: Backbone, info: DataInfo, options: Options, data: DataTable
    ) -> None:
        super().__init__(backbone, info, options, data)
        _check(options)
        if options.dilate:
            dilate_backbone(backbone, options.dilate)
        count = len(info.classes)
        self.tail: Any = None  # the net's own tail, as convolutions
        self._padding = 0
        if options.head == "decoder":
            specs = self._levels(decoder_levels(backbone.specs))
            self.options = replace(self.options, tail="none", levels=tuple(s.name for s in specs))
            backbone.tail = None  # its parameters would neither train nor be used
            self.head: Any = Decoder(specs, count, options.width, options.dropout)
        else:
            skips = SKIPS[options.head]
            specs = self._levels(options.levels or fcn_levels(backbone.specs, skips, backbone.name))
            if len(specs) != skips + 1:
                raise XferError(
                    f"task.head={options.head} reads {skips + 1} maps, but task.levels names "
                    f"{len(specs)}"
                )
            self.options = replace(
                self.options, tail=self._choose_tail(specs[0]), levels=tuple(s.name for s in specs)
            )
            scales = options.skip_scales or (1.0,) * (len(specs) - 1)
            specs[0], fresh = self._add_tail(specs[0])
            self.head = FCNHead(specs, count, scales, options.edges == "fade")
            self.head.hidden = fresh
        if options.staged:
            self._start_from_run()
            self.options = replace(self.options, staged=False)  # the weights now include it
        own = self.options.tail == "own"
        self.read_maps([(n, getattr(self.tail, n)) for n in self._tail_names] if own else [])
        # saved with the weights: at prediction there are no training masks to count
        adjusted = options.logit_adjust and options.class_balance
        self.register_buffer("shift", torch.zeros(count) if adjusted else None)

    @property
    def spec(self) -> FeatureSpec:
        return self.head.spec

    def _levels(self, usual: Sequence[str]) -> list[FeatureSpec]:
        """The maps that the head reads, coarse to fine."""
        net = self.backbone
        return coarse_to_fine(net.specs, self.options.levels or usual, net.name)

    def _choose_tail(self, last: FeatureSpec) -> str:
        kind, own, report = self.options.tail, self.backbone.tail, self.backbone.weight_report
        fits = own is not None and last.name == self.backbone.last
        if kind == "own" and not fits:
            raise XferError(
                f"task.tail=own: {self.backbone.name} has no fc6, fc7 that read {last.name}",
                "task.tail=none or fresh",
            )
        if kind != "auto" or not fits:
            return "none" if kind == "auto" else kind
        return "own" if report is not None and report.has_tail else "fresh"

    def _add_tail(self, last: FeatureSpec) -> tuple[FeatureSpec, FreshTail | None]:
        """Adds the layers between the last map and the scores: the net's own tail, or a fresh one,
        which belongs to the head. Returns the resulting geometry, and the fresh tail."""
        own, self.backbone.tail, kind = self.backbone.tail, None, self.options.tail
        fresh: FreshTail | None = None
        if kind == "none":
            return last, None
        if kind == "own":
            assert own is not None
            self._tail_names, kernel = own.names, own.in_size[1]
            self.tail = own.as_conv()
            channels = own.out_features
        else:
            channels, kernel = FRESH * self.options.width, 3
            fresh = FreshTail(last.channels, channels, 0.5)
        self._padding = padding_for(last, kernel)
        return after_kernel(last, kernel, self._padding, channels), fresh

    def _start_from_run(self) -> None:
        """Loads the head of the run that the backbone's weights came from."""
        report = self.backbone.weight_report
        if report is None or not report.source.startswith("run:"):
            raise XferError("task.staged needs the run to start from", "--weights run:DIR")
        folder = Path(report.source.removeprefix("run:")).expanduser()
        tensors = load_weights(folder / "best.safetensors")
        own = {k: v for k, v in tensors.items() if not k.startswith("backbone.")}
        filled = start_from(self, own)
        if not filled:
            raise XferError(f"task.staged: no layer of the head matches one of {report.source}")
        report.matched.extend(filled)

    def fit_data(self, bundle: Bundle) -> None:
        """Computes the picture size and class weights from the training masks."""
        super().fit_data(bundle)
        if self.class_weight is not None and self.shift is not None:
            self.shift.copy_(self.options.logit_adjust * self.class_weight.log())

    def transform(
        self, train: bool, tta: str = "none"
    ) -> Callable[[Sample, np.random.Generator], Any]:
        data, options = self.data, self.options
        short = self._short if options.resize else 0
        if not train:
            return MaskTransform(short)
        return MaskTransform(
            short, crop=self.crop, scales=options.scales, flip=data.flip, augment=data.augment,
            colour=self.backbone.mean_colour, max_share=options.most_of_one,
        )  # fmt: skip

    def collate(self, items: list[MaskItem]) -> Batch:
        targets: dict[str, Any] = {}
        masks = [item.mask for item in items if item.mask is not None]
        if len(masks) == len(items):
            targets["masks"] = [torch.from_numpy(m) for m in masks]
        return self.batch_of(items, targets)

    def scores(self, images: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Scores before softmax of normalised images, on the grid of `self.head.spec`."""
        maps = self.backbone(self.reaching(images), want=self.options.levels)
        if self.tail is not None or self._padding:
            last = self.head.specs[0].name
            wide = padded(maps[last], self._padding)
            maps[last] = wide if self.tail is None else self.tail(wide)
        return self.head(maps, sizes)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        options, targets = self.options, batch.targets
        labels = self._labels(batch)
        scores = self.scores(self.backbone.normalise(batch.images), targets["sizes"])
        step = options.loss_step
        height, width = labels.shape[1:]
        logits = at_pixels(scores, self.head.spec, height, width, step)
        loss = pixel_cross_entropy(
            logits, labels, self.class_weight, options.hard_pixels, not options.normalise
        )
        # a sum over the pixels stays one where only some of them are read
        losses = {"cross_entropy": loss if options.normalise else loss * step**2}
        if options.dice:
            losses["dice"] = options.dice * soft_dice(logits, labels)
        return losses

    def _labels(self, batch: Batch) -> Tensor:
        """The classes of the pixels in the loss, int64 (N, h, w)."""
        step = self.options.loss_step
        return torch.stack(list(batch.targets["masks"]))[:, ::step, ::step].long()

    def loss_weights(self, batch: Batch) -> dict[str, Tensor]:
        if not self.options.normalise:
            return {}
        # of hard pixels it is not known which they are: as many as are labelled, times a fraction
        weight = self.class_weight if self.options.hard_pixels == 1 else None
        return {"cross_entropy": pixel_weight(self._labels(batch), weight)}

    @torch.no_grad()
    def predict(self, batch: Batch, tta: str = "none") -> list[MaskPrediction]:
        """The class of each pixel, in the pictures' own sizes; large ones window by window."""

        def views(part: Tensor, sizes: Tensor, on_host: Tensor) -> list[ScoreView]:
            whole = View(self.backbone.normalise(part), sizes, on_host=on_host)
            return self._views(whole, tta)

        masks = classes_of_pixels(
            batch.images, batch.read("sizes"), batch.read("originals"), views, self.head.spec,
            min(self.options.window, self.backbone.fixed_side or self.options.window),
        )  # fmt: skip
        return [
            MaskPrediction(name, mask, (mask.shape[0], mask.shape[1]))
            for name, mask in zip(batch.ids, masks, strict=True)
        ]

    def _views(self, whole: View, tta: str) -> list[ScoreView]:
        """The scores for each view of normalised images."""
        views = [whole.scaled(s) for s in MULTISCALE] if tta == "multiscale" else [whole]
        if tta != "none":
            views = [turned for view in views for turned in (view, view.mirrored())]
        shift = 0 if self.shift is None else self.shift[:, None, None]
        return [ScoreView(self.scores(view.images, view.sizes) - shift, view) for view in views]

    def metric(self) -> MeanIoU:
        return MeanIoU(self.info.classes)

    def view_protocol(self, tta: str) -> str:
        """A description of how the pictures were shown."""
        size = f"short side {self._short} px" if self.options.resize else "own size"
        return f"{self.views[tta]}, {size}, scored at the pictures' own size"


def _check(options: Options) -> None:
    """Raises XferError for options that conflict with others."""
    if not options.normalise and options.hard_pixels < 1:
        raise XferError(
            "task.hard_pixels selects pixels for a mean, but task.normalise=false sums them all",
            "task.normalise=true or task.hard_pixels=1",
        )
    if options.head == "decoder":
        if options.tail in ("own", "fresh"):
            raise XferError(f"task.tail={options.tail}: the decoder uses no fc6 and fc7",
                            "task.tail=auto, or task.head=fcn32s, fcn16s or fcn8s")  # fmt: skip
        if options.skip_scales:
            raise XferError("task.skip_scales is for fcn16s and fcn8s; task.head is decoder")
