"""What tasks share that say something of every pixel: sizes, crops, padding, class weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from xfer.data.loading.collate import stack_padded
from xfer.data.transforms.masks import MaskStatistics, class_weights, mask_statistics
from xfer.explain.contract import ExplainsMasks, Target
from xfer.nn.levels import least_side
from xfer.nn.upsample import at_pixels
from xfer.recipe.option import When
from xfer.task import NO_CHANCE, Stage, Task
from xfer.types import Batch, DataInfo, FeatureSpec, Preprocess

if TYPE_CHECKING:
    from xfer.backbones.base import Backbone
    from xfer.data.sources.base import Bundle
    from xfer.recipe.tables import DataTable

SHORT = 480  # largest short side by default, pixels
ENLARGED = 4 / 3  # smaller pictures are enlarged, since small objects would cover only a few cells


class Shown(Protocol):
    """A picture as a transform leaves it, see `MaskItem` and `SegmentItem`."""

    @property
    def id(self) -> str: ...
    @property
    def image(self) -> NDArray[np.uint8]: ...
    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def shown(self) -> tuple[int, int]: ...


class PixelTask(Task, ExplainsMasks):
    """A head that reads maps of a backbone at every pixel, of pictures of any shape.

    Shapes: batch.images uint8 (N, 3, H, W), padded right and below; batch.targets has at least

    sizes     | int64 (N, 2) | H, W of each picture in the batch, without padding
    originals | int64 (N, 2) | H, W of the picture itself

    What a subclass must have, besides a task's own
        Options      | among them levels, crop and class_balance
        most_crop    | largest side of a training crop by default, pixels
        scores(x)    | of normalised images, padded by `reaching`: those of the classes come first
        spec         | geometry of `scores`
    At the end of its __init__, with `head` and `options.levels` chosen, it calls `read_maps`.
    """

    most_crop: ClassVar[int]
    counts_when: ClassVar[Mapping[str, When | str]] = {
        "data.crop_area": "task.crop and task.scales determine the crops",
        **NO_CHANCE,
    }
    any_shape = True
    options: Any
    head: Any
    class_weight: Tensor | None

    def __init__(self, backbone: Backbone, info: DataInfo, options: Any, data: DataTable) -> None:
        self._short = data.size or min(SHORT, backbone.preprocess.size)
        super().__init__(backbone, info, options, data)
        if backbone.fixed_side:
            self.options = replace(options, crop=min(self.crop, backbone.fixed_side))

    def read_maps(self, more: Sequence[tuple[str, nn.Module]] = ()) -> None:
        """Settles what follows from the maps that the head reads: the stages of the backbone that
        are used, and the smallest picture.

        Args: more: further stages between the backbone and the head.
        """
        backbone = self.backbone
        names = [name for name in backbone.map_names if name in self.reads]
        backbone.check_side(2 * backbone.preprocess.size, names[-1])  # pictures are of any size
        self._stages = [*backbone.stages_to(names[-1]), *more]
        self.register_buffer("class_weight", None, persistent=False)
        self._least = 0
        self.eval()
        self._least = least_side(self.scores)
        self.train()

    @property
    def spec(self) -> FeatureSpec:
        raise NotImplementedError

    def scores(self, images: Tensor, sizes: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def fit_data(self, bundle: Bundle) -> None:
        """Computes the picture size and class weights from the training pixels."""
        balance = self.options.class_balance
        if self.data.size and not balance:
            return
        statistics = mask_statistics(bundle.splits["train"])
        if not self.data.size:
            self._short = min(SHORT, round(statistics.short * ENLARGED))
        if balance:
            self.class_weight = torch.from_numpy(class_weights(self.grouped(statistics), balance))

    def grouped(self, statistics: MaskStatistics) -> MaskStatistics:
        """The statistics of what the loss of pixels tells apart: by default all classes."""
        return statistics

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
        return self.options.crop or max(1, min(self.most_crop, self._short) // 32) * 32

    @property
    def least_side(self) -> int:
        """Side of the smallest picture that reaches all maps, pixels; smaller ones are padded."""
        return self._least

    def reaching(self, images: Tensor) -> Tensor:
        """The images, padded if some map would have no cell: right and below, as batches are."""
        lacking = [max(0, self._least - side) for side in images.shape[2:]]
        return F.pad(images, (0, lacking[1], 0, lacking[0])) if any(lacking) else images

    def batch_of(self, items: Sequence[Shown], targets: dict[str, Any]) -> Batch:
        """Pictures padded to one size, with their sizes and these targets."""
        sizes = {
            "sizes": torch.tensor([item.shown for item in items]),
            "originals": torch.tensor([item.size for item in items]),
        }
        images = stack_padded([item.image for item in items], self.backbone.mean_colour)
        return Batch(images, tuple(item.id for item in items), sizes | targets)

    def score_of(self, batch: Batch, target: Target) -> Tensor:
        """The class's score before softmax, averaged over the target's pixels."""
        h, w = batch.targets["sizes"][0].tolist()
        scores = self.scores(self.backbone.normalise(batch.images), batch.targets["sizes"])
        logits = at_pixels(scores, self.spec, h, w)[:, target.label]
        inside = target.inside(h, w).to(logits)
        return (logits * inside).sum((1, 2)) / inside.sum()

    def stages(self) -> list[Stage]:
        used = [Stage(name, module) for name, module in self._stages]
        return [*used, Stage("head", self.head, "head")]
