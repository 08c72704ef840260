"""Image classification: one label per picture, or several.

Loss: cross-entropy, or binary cross-entropy per class for multi-label data (labels of -1 are
ignored). Scores: softmax or sigmoid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfer import kinds
from xfer.data.loading.loader import stack_images
from xfer.data.transforms.colour import STRENGTH
from xfer.data.transforms.crops import EvalTransform, TrainTransform
from xfer.data.transforms.device_crops import Whole, crop_on, handed_over
from xfer.data.transforms.device_decode import Files, HandFiles
from xfer.errors import XferError
from xfer.explain.contract import Explains, Shown, Target
from xfer.exporting.labels import ExportedLabels
from xfer.metrics.accuracy import Accuracy
from xfer.metrics.multilabel import MultiLabelAP
from xfer.nn.device_crop import DRAWS, DeviceCrop
from xfer.nn.dropout import Dropout
from xfer.nn.jpeg import decode_squares
from xfer.ops.fixed import constants, to_host
from xfer.recipe.option import When, one_of
from xfer.recipe.tables import AUGMENTED
from xfer.task import CachedFeatures, DeviceCrops, ManySides, Stage, Task, option
from xfer.types import Batch, ClassPrediction, DataInfo, Sample

if TYPE_CHECKING:
    from xfer.backbones.base import Backbone
    from xfer.data.sources.base import Bundle
    from xfer.recipe.tables import DataTable
    from xfer.types import Source


@dataclass(frozen=True, slots=True)
class Options:
    """The [task] table of a classification recipe."""

    head: str = option(
        "auto", "tail: the net's own fc6-fc7, then a new layer; flat: a new layer on the whole "
        "last map; avg: on its global average; auto: tail, but flat if the weights have only the "
        "convolutions, and avg for nets without a tail",
        choices=("auto", "tail", "flat", "avg"),
    )  # fmt: skip
    layer: str = option("", "map that the head reads; empty: the last")
    dropout: float = option(
        0.5, "dropout before the new layer and, with head=tail, in the net's own fc6 and fc7",
        min=0, max=1,
    )  # fmt: skip
    norm: bool = option(
        True, "layer norm before the new layer", when={"task.head": one_of("flat", "avg")}
    )
    label_smoothing: float = option(
        0.1, "part of each target spread over all classes", min=0, max=1,
        when={"kind": one_of("classify")},
    )  # fmt: skip
    class_weights: bool = option(False, "weight the loss by 1 / frequency of the class")
    mixup: float = option(0.0, "alpha of mixup; 0: none", min=0)
    cutmix: float = option(0.0, "alpha of cutmix; 0: none", min=0)
    crop: str = option(
        "part", "training crops; part: a random part with data.crop_area of the picture, scaled; "
        "window: the picture at the test's short side, then a random square",
        choices=("part", "window"), when=AUGMENTED,
    )  # fmt: skip
    lighting: float = option(
        0.0, "PCA lighting: random shift along the principal components of the training colours, "
        "its deviation as a multiple of theirs; 0: none", min=0,
    )  # fmt: skip
    sides: tuple[int, ...] = option(
        (), "sides of the training pictures, pixels, each for an equal part of the run; empty: "
        "as in the test", min=1,
    )  # fmt: skip


class Classify(Task, DeviceCrops, CachedFeatures, ManySides, Explains):
    """A backbone with one new linear layer, trained to name the class of a picture.

    Shapes: batch.images uint8 (N, 3, H, W), or (N * V, 3, H, W) with V views of each picture;
    batch.targets["label"] int64 (N,), or float32 (N, C) with 1, 0 and -1 (unknown).
    Raises XferError for options that don't fit the backbone or the data.
    """

    kinds: ClassVar[tuple[str, ...]] = ("classify", "multilabel")
    decides: ClassVar[dict[str, str]] = {"dropout": "dropout"}
    Options = Options
    exports = ExportedLabels
    cuts = ("mixup", "cutmix", "crop", "lighting", "sides")
    counts_when: ClassVar[Mapping[str, When | str]] = {
        "data.crop_area": {"task.crop": one_of("part")},
    }

    def __init__(
        self, backbone: Backbone, info: DataInfo, options: Options, data: DataTable
    ) -> None:
        super().__init__(backbone, info, options, data)
        self.multilabel = kinds.get(info.kind).several
        count = len(info.classes)
        if self.multilabel and (options.mixup or options.cutmix):
            raise XferError(
                "mixup and cutmix need one label per picture", "task.mixup=0 task.cutmix=0"
            )
        if options.layer and options.layer not in backbone.specs:
            raise XferError(
                f"task.layer: {backbone.name} has no map {options.layer!r}",
                f"choose from {', '.join(backbone.specs)}",
            )
        self.layer = options.layer or backbone.last
        self.options = replace(options, head=self._choose_head(options.head), layer=self.layer)
        if self.options.head != "tail":
            backbone.tail = None  # its parameters would neither train nor be used
        backbone.check_side(min((self.preprocess.size, *options.sides)), self.layer)
        width, self.grid = self._input_of_head()
        norm = [nn.LayerNorm(width)] if options.norm and self.options.head != "tail" else []
        last = nn.Linear(width, count)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        tail = backbone.tail
        drop = Dropout(options.dropout) if tail is None else tail.drop(options.dropout)
        self.head = nn.Sequential(*norm, drop, last)
        self.register_buffer("class_weight", None, persistent=False)
        self.register_buffer("light", None, persistent=False)
        self._mixing: Any = None
        self._whole: tuple[int, int] | None = None  # size of pictures whose crops the device cuts
        # determined now: once stages are frozen they pass no gradient
        deep = self.layer == backbone.last or self.options.head == "tail"
        needed = backbone.stages() if deep else backbone.stages_to(self.layer)
        self._needed = frozenset(name for name, _ in needed)

    def _choose_head(self, head: str) -> str:
        own = self.backbone.tail
        on_last = self.layer == self.backbone.last
        if head == "auto":
            if own is None or not on_last:
                return "avg" if own is None else "flat"
            report = self.backbone.weight_report
            return "tail" if report is None or report.has_tail else "flat"
        if head == "tail" and own is None:
            raise XferError(
                f"task.head=tail: {self.backbone.name} has no fc6, fc7", "task.head=avg"
            )
        if head == "tail" and not on_last:
            raise XferError(f"task.head=tail reads {self.backbone.last}, not {self.layer}")
        return head

    def _input_of_head(self) -> tuple[int, tuple[int, int] | None]:
        """Length of the vector that the new layer reads, and the grid it is flattened from."""
        channels, tail = self.backbone.specs[self.layer].channels, self.backbone.tail
        if tail is not None:
            return tail.out_features, None
        if self.options.head == "avg":
            return channels, (1, 1)
        side = self.preprocess.size
        with torch.no_grad():
            self.backbone.eval()
            maps = self.backbone(torch.zeros(1, 3, side, side), want=(self.layer,))
            self.backbone.train()
        shape = maps[self.layer].shape
        return channels * shape[2] * shape[3], (shape[2], shape[3])

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.layer,)

    def fit_labels(self, labels: np.ndarray) -> None:
        """Computes class weights from the training labels, if task.class_weights is set."""
        if not self.options.class_weights:
            return
        if self.multilabel:
            raise XferError("task.class_weights needs one label per picture")
        counts = np.bincount(labels[labels >= 0], minlength=len(self.info.classes))
        weight = counts.sum() / (len(counts) * np.maximum(counts, 1))
        self.class_weight = torch.tensor(weight, dtype=torch.float32)

    def fit_data(self, bundle: Bundle) -> None:
        """Computes the principal colours of the training pictures, if task.lighting is set."""
        if self.options.lighting:
            from xfer.data.transforms.pca_colours import principal_colours

            self.light = torch.from_numpy(principal_colours(bundle.splits["train"]))

    @property
    def short_side(self) -> int:
        """Twice the evaluation side, so that even small crops are hardly enlarged."""
        return 2 * self.preprocess.resize

    def transform(self, train: bool, tta: str = "none") -> Callable[..., Any]:
        if train and self._whole is not None:
            return self.transform_at(self.preprocess.size)
        return _Cut(self.pixels(train, tta))

    def pixels(self, train: bool, tta: str = "none") -> Callable[..., np.ndarray]:
        size, resize = self.preprocess.size, self.preprocess.resize
        if train:
            return self._training(size)
        return EvalTransform(size, resize, crops="10crop" if tta == "10crop" else "centre")

    def choose_crops(self, train: Source, gpu: bool, frozen: bool = False) -> str:
        chosen = crop_on(self.data, train, gpu, frozen)
        size = handed_over(train, self.preprocess.resize, self.short_side)
        self._whole = size if chosen == "device" else None
        return chosen

    def _cropped(self, batch: Batch) -> Tensor:
        """A batch's pictures; if they are whole pictures, a crop of each."""
        targets, images = batch.targets, batch.images
        if "draws" not in targets:
            return images
        if "files" in targets:
            files: Files = targets["files"]
            assert self._whole is not None
            images = decode_squares(files.data, files.ids, files.places, self._whole, images.device)
        own, data = self.preprocess, self.data
        crop = DeviceCrop(
            data.crop_area, window=own.size / own.resize if self.options.crop == "window" else 0,
            flip=data.flip, strength=STRENGTH if data.augment == "standard" else 0,
        )  # fmt: skip
        return crop(images, targets["draws"], targets["side"])

    def _training(self, size: int) -> Callable[..., np.ndarray]:
        data = self.data
        window = self.preprocess.resize * size // self.preprocess.size
        return TrainTransform(
            size, area=data.crop_area, flip=data.flip, augment=data.augment,
            window=window if self.options.crop == "window" else 0,
        )  # fmt: skip

    @property
    def sides(self) -> tuple[int, ...]:
        return self.options.sides

    def transform_at(self, side: int) -> Callable[..., Any]:
        if self._whole is None:
            return _Cut(self._training(side))
        coded = self.data.decode == "device"
        return HandFiles(side, DRAWS) if coded else Whole(self._whole, side, DRAWS)

    def collate(self, items: list[Any]) -> Batch:
        ids = tuple(item[0] for item in items)
        images = [item[1] for item in items]
        views = len(images[0]) if images[0].ndim == 4 else 1
        flat = images if views == 1 else [view for image in images for view in image]
        labels = [item[2] for item in items]
        targets: dict[str, Any] = {"views": views}
        if len(items[0]) > 3:
            draws = np.stack([item[3] for item in items])
            targets |= {"draws": torch.from_numpy(draws[:, :DRAWS]), "side": items[0][4]}
            if self.data.decode == "device":
                targets["files"] = Files(ids, images, draws[:, DRAWS:])
                flat = [np.empty((0, 0, 3), np.uint8)] * len(ids)
        if labels[0] is not None:
            if self.multilabel:
                targets["label"] = torch.from_numpy(np.stack(labels).astype(np.float32))
            else:
                targets["label"] = torch.tensor(labels, dtype=torch.int64)
        return Batch(stack_images(flat), ids, targets)

    @property
    def head_width(self) -> int:
        own = self.options
        # these work on pictures, not on vectors
        needs_pictures = own.mixup or own.cutmix or own.lighting or own.sides or self._whole
        return 0 if needs_pictures else int(self.head[-1].in_features)  # pyright: ignore[reportArgumentType]

    @property
    def head_reads(self) -> str:
        # task.crop is not in the [data] table, but changes what the crops show
        return f"{self.options.head} of {self.layer}, {self.options.crop}"

    def head_input(self, images: Tensor) -> Tensor:
        return self._features(self.backbone.normalise(images))

    def logits(self, images: Tensor) -> Tensor:
        """Scores before softmax of normalised images (N, 3, H, W): float32 (N, C)."""
        return self.head(self._features(images)).float()

    def _features(self, images: Tensor) -> Tensor:
        """The head's input for normalised images: (N, D)."""
        if self.options.head == "tail":
            assert self.backbone.tail is not None
            name = self.backbone.tail.names[-1]
            return self.backbone(images, want=(name,))[name]
        maps = self.backbone(images, want=(self.layer,))[self.layer]
        assert self.grid is not None
        return F.adaptive_avg_pool2d(maps, self.grid).flatten(1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        labels: Tensor = batch.targets["label"]
        target, smoothing = labels, self.options.label_smoothing
        if "features" in batch.targets:
            logits = self.head(batch.targets["features"].flatten(0, 1)).float()
        else:
            images = self.backbone.normalise(self._cropped(batch))
            if self.options.lighting and self.training:
                images = self._lit(images)
            if self.options.mixup or self.options.cutmix:
                images, target = self._mix(images, labels)
                smoothing = 0.0  # timm's mixing has smoothed the targets
            logits = self.logits(images)
        if self.multilabel:
            known = labels >= 0
            loss = F.binary_cross_entropy_with_logits(logits, labels.clamp(min=0), reduction="none")
            return {"bce": (loss * known).sum() / known.sum().clamp(min=1)}
        loss = F.cross_entropy(logits, target, weight=self.class_weight, label_smoothing=smoothing)
        return {"cross_entropy": loss}

    def loss_weights(self, batch: Batch) -> dict[str, Tensor]:
        labels: Tensor = batch.targets["label"]
        if self.multilabel:
            return {"bce": (labels >= 0).sum()}
        # torch divides the loss of soft targets, which mixing makes, by the number of pictures
        if self.class_weight is None or self.options.mixup or self.options.cutmix:
            return {}
        return {"cross_entropy": self.class_weight[labels].sum()}

    class_weight: Tensor | None

    def _lit(self, images: Tensor) -> Tensor:
        """Shifts each picture by a random amount along each principal component of the colours.

        Shapes: normalised (N, 3, H, W) in and out.
        Source: Krizhevsky et al. 2012, sec. 4.1; scaled by the components' standard deviations, as
        in their code, where the paper's text has eigenvalues.
        """
        own = self.backbone.preprocess
        draws = torch.randn(len(images), 3, device=images.device) * self.options.lighting
        shift = draws @ self.light  # pyright: ignore[reportOperatorIssue]
        if own.channels == "bgr":
            shift = shift.flip(1)
        shift = shift * own.scale / constants(own.std, shift)
        return images + shift[:, :, None, None].to(images.dtype)

    def _mix(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mixup (Zhang 2018) and cutmix (Yun 2019) from timm; an odd last image is not mixed."""
        if self._mixing is None:
            from timm.data.mixup import Mixup

            options = self.options
            self._mixing = Mixup(
                options.mixup, options.cutmix, label_smoothing=options.label_smoothing,
                num_classes=len(self.info.classes),
            )  # fmt: skip
        even = len(images) - len(images) % 2
        count, smoothing = len(self.info.classes), self.options.label_smoothing
        rest = F.one_hot(labels[even:], count) * (1 - smoothing) + smoothing / count
        if even == 0:
            return images, rest
        mixed, soft = self._mixing(images[:even], labels[:even])
        if even == len(images):
            return mixed, soft
        return torch.cat([mixed, images[even:]]), torch.cat([soft, rest.to(soft)])

    @torch.no_grad()
    def predict(self, batch: Batch, tta: str = "none") -> list[ClassPrediction]:
        """Probabilities per picture: the mean over the views (Krizhevsky 2012, sec. 4.1)."""
        if "features" in batch.targets:
            scores = self._probabilities(self.head(batch.targets["features"].flatten(0, 1)))
        else:
            images = self.backbone.normalise(batch.images)
            scores = self._probabilities(self.logits(images))
            if tta == "flip":
                mirrored = self._probabilities(self.logits(images.flip(-1)))
                scores = (scores + mirrored) / 2
        views = batch.targets.get("views", 1)
        if views > 1:
            scores = scores.view(-1, views, scores.shape[1]).mean(1)
        (table,) = to_host([scores])
        return [ClassPrediction(i, row) for i, row in zip(batch.ids, table, strict=True)]

    def _probabilities(self, logits: Tensor) -> Tensor:
        return logits.float().sigmoid() if self.multilabel else logits.float().softmax(1)

    def target_of(self, prediction: ClassPrediction, label: int | None) -> Target:
        return Target(int(prediction.scores.argmax()) if label is None else label)

    def score_of(self, batch: Batch, target: Target) -> Tensor:
        return self.logits(self.backbone.normalise(batch.images))[:, target.label]

    def shown(self, batch: Batch, height: int, width: int) -> Shown:
        own = self.preprocess
        part = EvalTransform(own.size, own.resize).part_of(height, width)
        return Shown(part, (own.size, own.size))

    def metric(self) -> Any:
        kind = MultiLabelAP if self.multilabel else Accuracy
        return kind(self.info.classes)

    def stages(self) -> list[Stage]:
        trunk = self.backbone.stages()
        used = [Stage(name, module) for name, module in trunk if name in self._needed]
        return [*used, Stage("head", self.head, "head")]

    def chance_loss(self) -> float | None:
        return math.log(2) if self.multilabel else math.log(len(self.info.classes))


class _Cut:
    """The transform: (id, pixels, label) of a sample."""

    def __init__(self, pixels: Callable[..., np.ndarray]) -> None:
        self.pixels = pixels
        self.shape = getattr(pixels, "shape", None)
        self.rows = getattr(pixels, "rows", None)

    def __call__(self, sample: Sample, *rng_and_place: Any) -> tuple[str, np.ndarray, Any]:
        return sample.id, self.pixels(sample.image, *rng_and_place), sample.label
