"""Things of a panoptic task by Mask R-CNN, beside a decoder that knows stuff and `other`.

Source: Kirillov et al. 2019, "Panoptic Feature Pyramid Networks".  Differs: Mask R-CNN reads maps
that are merged into one, not a pyramid; the decoder is that of `xfer.nn.decoder`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfer.data.transforms.boxes import MAX_SAMPLED, scale_of
from xfer.data.transforms.masks import MaskStatistics
from xfer.data.transforms.objects import segment_grids
from xfer.detectors.build import resolved
from xfer.detectors.contract import Maps, Seen
from xfer.detectors.mask_rcnn import MaskOptions, MaskRCNN, OutlinedTruth, build_masked
from xfer.kinds.segment_stats import segments_of
from xfer.nn.views import View
from xfer.objects.paste import paste
from xfer.objects.segments import VOID, Segments
from xfer.ops.fixed import to_host
from xfer.pixels.merge import mean_of_views
from xfer.pixels.merge_masks import MaskRules, merged_masks
from xfer.pixels.panoptic_options import Options
from xfer.types import Batch, FeatureSpec, Source

if TYPE_CHECKING:
    from xfer.backbones.base import Backbone

RPN_STEP = 0  # anchors are 8 pixels apart, also on finer maps


@dataclass(frozen=True, slots=True)
class ObjectTargets:
    """The things that are seen in a training picture, in its pixels.

    boxes  | float32 (R, 4), xyxy, tight around the pixels that are seen
    labels | int64 (R,), index among the classes of things
    crowds | float32 (M, 4), boxes of crowds of things
    shares, places | their masks, see `ObjectGrids`
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    crowds: NDArray[np.float32]
    shares: NDArray[np.uint8]
    places: NDArray[np.float32]


def class_channels(things: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(C,): the channel of each class in the decoder: stuff in order, then one for all things."""
    return np.where(things, (~things).sum(), np.cumsum(~things) - 1)


def collapsed(statistics: MaskStatistics, things: NDArray[np.bool_]) -> MaskStatistics:
    """The statistics of the decoder's channels: of stuff, and of all things as one class."""
    pixels, seen = statistics.pixels, statistics.seen
    # the pictures with any thing: at most those of all classes together, and all there are
    any_thing = min(seen[things].sum(), pixels.sum())
    return replace(
        statistics,
        pixels=np.append(pixels[~things], pixels[things].sum()),
        seen=np.append(seen[~things], any_thing),
    )


class ObjectMasks:
    """What Mask R-CNN learns from segments, and how its objects become segments.

    Args: things: bool (C,), which classes are; options: those of the task. It holds no weights:
        `build` makes the head, which the other methods are given.
    """

    def __init__(self, things: NDArray[np.bool_], options: Options) -> None:
        self.options = options
        self.classes = np.flatnonzero(things)
        self.index = np.cumsum(things) - 1  # of a class of things among these
        self.things = things
        self.stuff = np.append(np.flatnonzero(~things), VOID)  # of each channel of the decoder

    def build(self, backbone: Backbone, side: int) -> MaskRCNN:
        """The head. Args: side: short side of the pictures, pixels. Raises: as `build_masked`."""
        own = self.options
        asked = MaskOptions(
            detector="faster", levels=own.object_levels, width=own.object_width, head="fc",
            head_width=own.object_units, regions=own.regions, anchors=own.anchors,
            anchor_count=own.anchor_count, rpn_width=own.object_width, rpn_step=RPN_STEP,
            nms=own.nms, least_score=own.least_score, most_boxes=own.most_objects,
            mask_levels=own.mask_levels, mask_width=own.object_width, mask_convs=own.mask_convs,
            mask_agnostic=own.mask_agnostic,
        )  # fmt: skip
        head, _ = build_masked(backbone, len(self.classes), resolved(asked, backbone), side)
        return head

    def fit(self, head: MaskRCNN, source: Source, short: int, long: int) -> dict[str, Any]:
        """Fits the anchors to the objects of the training pictures, scaled to these sides; returns
        the options that now rebuild the head, by name."""

        def sizes() -> NDArray[np.float64]:
            chosen = np.arange(len(source))
            if len(chosen) > MAX_SAMPLED:
                chosen = np.random.default_rng(0).choice(chosen, MAX_SAMPLED, replace=False)
            sides: list[NDArray[np.float64]] = [np.zeros((0, 2))]
            for i in chosen.tolist():
                own = segments_of(source, i)
                boxes = own.as_boxes(self.things[own.labels] & ~own.crowd)
                sides.append(boxes.sides * scale_of(*own.size, short, long))
            return np.concatenate(sides)

        # it proposes regions itself: no proposals of others have to be read
        return head.fit(sizes, lambda: (), False)

    def teach(self, segments: Segments) -> ObjectTargets:
        """The targets of a picture, from its segments as it is shown."""
        seen = self.things[segments.labels] & (segments.areas() > 0)
        boxes = segments.boxes().astype(np.float32)
        rows = np.flatnonzero(seen & ~segments.crowd)
        grids = segment_grids(segments, rows, boxes[rows])
        return ObjectTargets(
            boxes[rows], self.index[segments.labels[rows]], boxes[seen & segments.crowd],
            grids.shares, grids.places,
        )  # fmt: skip

    @staticmethod
    def collate(each: Sequence[ObjectTargets]) -> dict[str, Any]:
        """The targets of a batch: of each name, N tensors."""
        return {
            one.name: [torch.from_numpy(getattr(own, one.name)) for own in each]
            for one in fields(ObjectTargets)
        }

    def losses(self, head: MaskRCNN, maps: Maps, batch: Batch) -> dict[str, Tensor]:
        """Those of Mask R-CNN, weighted."""
        losses = head.losses(maps, OutlinedTruth.of(batch))
        return {name: self.options.object_weight * loss for name, loss in losses.items()}

    def merged(
        self, head: MaskRCNN, scores: Sequence[Tensor], seen: Sequence[Seen], spec: FeatureSpec,
        batch: Batch,
    ) -> list[tuple[Segments, NDArray[np.float32]]]:  # fmt: skip
        """The segments of each picture, at its size in the batch, and how sure each is.

        Args: scores: the decoder's, of each view (N, K, h, w), on the grid of `spec`; seen: the
            views with the backbone's maps.
        """
        found = head.detect(seen, batch.targets["sizes"])
        masks = [one.float() for one in head.masks(seen, found)]
        sizes = batch.read("sizes").tolist()
        views: list[tuple[Tensor, View]] = [
            (own, one.view) for own, one in zip(scores, seen, strict=True)
        ]
        tensors: list[Tensor] = []
        for n, size in enumerate(sizes):
            best = mean_of_views(views, spec, n, size, 0).max(0)
            tensors += [*found[n], masks[n], *best]
        arrays = to_host(tensors)
        options = self.options
        rules = MaskRules(
            options.least_score, options.overlap, options.least_stuff, options.least_thing
        )
        result: list[tuple[Segments, NDArray[np.float32]]] = []
        for size, boxes, sure, labels, grids, chance, channel in zip(
            sizes, *(arrays[k::6] for k in range(6)), strict=True
        ):
            real = sure >= 0  # what a device has filled up is not
            pasted = paste(grids[real], boxes[real], tuple(size))
            result.append(merged_masks(
                [one.pixels().astype(bool) for one in pasted], self.classes[labels[real]],
                sure[real], self.stuff[channel], chance, rules,
            ))  # fmt: skip
        return result
