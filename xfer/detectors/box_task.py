"""What tasks that find boxes share: pictures scaled and padded, a detector, views, proposals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from xfer.data.transforms.boxes import BoxItem, BoxTransform, box_sizes
from xfer.detectors.batches import MULTISCALE, collate_boxes, views_of
from xfer.detectors.build import resolved
from xfer.detectors.contract import Detector, Found, Maps, Seen
from xfer.detectors.offset_stats import Proposed
from xfer.explain.contract import ExplainsBoxes
from xfer.kinds.annotation import annotation
from xfer.ops.boxes import clip
from xfer.proposals.by_source import ProposalsBySource
from xfer.proposals.propose import check_method
from xfer.task import NO_CHANCE, Proposes, Stage, Task
from xfer.types import Batch, DataInfo, Sample

if TYPE_CHECKING:
    from xfer.backbones.base import Backbone
    from xfer.data.sources.base import Bundle
    from xfer.recipe.tables import DataTable
    from xfer.types import Source

LONG = 5 / 3  # most of long side / short side


class BoxTask(Task, ExplainsBoxes, Proposes):
    """A detector (see `xfer.detectors`) on the maps of a backbone.

    Shapes: batches are those of `xfer.detectors.batches.collate_boxes`.

    What a subclass must have, besides a task's own
        Options       | a subclass of DetectorOptions
        short         | default short side of the pictures, pixels
        build_head()  | the detector, and the stages of the backbone that it uses
    What it may have
        merging       | how several views become one prediction, in words

    Raises XferError for options that don't fit the backbone.
    """

    short: ClassVar[int]
    cuts = ("scales", "long_side")
    counts_when = NO_CHANCE
    any_shape = True
    size_words = "pictures are scaled to this long side, and padded"
    views: ClassVar[dict[str, str]] = {
        "none": "one view",
        "flip": "picture and mirror image",
        "multiscale": f"scales {', '.join(map(str, MULTISCALE))} with mirror images",
    }
    options: Any
    head: Any

    def __init__(self, backbone: Backbone, info: DataInfo, options: Any, data: DataTable) -> None:
        super().__init__(backbone, info, options, data)
        self.options = resolved(options, backbone)
        if self._needs_proposals:
            check_method(self.options.proposals)
        self.head, self._stages = self.build_head()
        self._proposals = ProposalsBySource(self.options.proposals, options.most_proposals)

    def build_head(self) -> tuple[Detector, list[tuple[str, nn.Module]]]:
        raise NotImplementedError

    @property
    def reads(self) -> tuple[str, ...]:
        return tuple(self.head.names)

    @property
    def _needs_proposals(self) -> bool:
        return self.options.detector == "fast"

    @property
    def picture_side(self) -> int:
        return self.data.size or self.short

    @property
    def long_side(self) -> int:
        """Largest long side, pixels."""
        return self.backbone.fixed_side or self.options.long_side or round(self.picture_side * LONG)

    def fit_data(self, bundle: Bundle) -> None:
        """Fits anchors, or the units of offsets, to the training boxes."""
        train, short = bundle.splits["train"], self.preprocess.size
        fitted = self.head.fit(
            lambda: box_sizes(train, short, self.long_side),
            lambda: self._proposed(train),
            self.data.flip and self.data.augment != "none",
        )
        self.options = replace(self.options, **fitted)

    def prepare(self, source: Source, say: Callable[[str], None] | None = None) -> None:
        """Computes or reads the proposals of a source, before `transform` is called."""
        if self._needs_proposals:
            self._proposals.prepare(source, say)

    def _proposed(self, train: Source) -> Iterator[Proposed]:
        """The objects and proposals of all training pictures."""
        self.prepare(train)
        proposals = self._proposals.of(train)
        for i in range(len(train)):
            known = annotation(train, i)
            single = ~known.crowd
            boxes = known.xyxy[single].astype(np.float32)
            yield Proposed(boxes, known.labels[single], proposals.of(i))

    def transform(
        self, train: bool, tta: str = "none"
    ) -> Callable[[Sample, np.random.Generator], Any]:
        data, options, short = self.data, self.options, self.preprocess.size
        lookup = self._proposals.lookup() if self._needs_proposals else None
        if train:
            return BoxTransform(
                short, self.long_side, train=True, flip=data.flip, augment=data.augment,
                area=data.crop_area, scales=options.scales, propose=lookup,
            )  # fmt: skip
        scale = max(MULTISCALE) if tta == "multiscale" else 1
        return BoxTransform(round(short * scale), round(self.long_side * scale), propose=lookup)

    def collate(self, items: list[BoxItem]) -> Batch:
        return collate_boxes(items, self.backbone.mean_colour)

    def maps_of(self, images: Tensor) -> Maps:
        """The backbone's maps of normalised images that the detector reads."""
        return self.backbone(images, want=self.head.names)

    def find(self, batch: Batch, tta: str) -> tuple[list[Seen], list[Found]]:
        """The views of a batch, and the detections of each picture in pixels of the batch."""
        sizes = batch.targets["sizes"]
        on_host = batch.read("sizes")
        views = views_of(self.backbone.normalise(batch.images), sizes, tta, on_host)
        seen = [Seen(view, self.maps_of(view.images)) for view in views]
        return seen, self.head.detect(seen, sizes, batch.targets.get("proposals"))

    @torch.no_grad()
    def propose(self, batch: Batch, max_boxes: int) -> list[Tensor]:
        """The detector's own proposals, from one view, in each picture's own pixels."""
        sizes = batch.targets["sizes"]
        maps = self.maps_of(self.backbone.normalise(batch.images))
        proposals = self.head.propose(maps, sizes, max_boxes)
        each = zip(proposals, sizes, batch.targets["originals"], strict=True)
        return [clip(own * (full / size).flip(0).repeat(2), full) for own, size, full in each]

    def stages(self) -> list[Stage]:
        used = (Stage(name, module) for name, module in self._stages)
        return [*used, Stage("head", self.head, "head")]

    @property
    def merging(self) -> str:
        """How several views become one prediction, in words."""
        return self.head.merging

    def view_protocol(self, tta: str) -> str:
        """A description of how the pictures were shown."""
        merging = f", {self.merging}" if tta != "none" else ""
        size = self.preprocess.size
        return (
            f"{self.views[tta]}{merging}, short side {size} px, long side at most "
            f"{self.long_side} px"
        )
