"""Mask R-CNN: Faster R-CNN's detections, and a mask for each from a branch of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xfer.detectors.build import build
from xfer.detectors.contract import Found, Maps, Seen, Truth
from xfer.detectors.mask_branch import MaskBranch, chosen, mask_goals
from xfer.detectors.options import DetectorOptions
from xfer.detectors.two_stage import TwoStage
from xfer.errors import XferError
from xfer.nn.levels import named_levels
from xfer.ops.sampling import Sampled, shares_of
from xfer.recipe.option import option
from xfer.types import Batch

if TYPE_CHECKING:
    from xfer.backbones.base import Backbone


@dataclass(frozen=True, slots=True)
class MaskOptions(DetectorOptions):
    """A detector's options, and those of its masks."""

    mask_levels: tuple[str, ...] = option(
        (), "maps that masks are read from, merged as task.levels are; empty: these"
    )
    mask_width: int = option(128, "channels of the mask branch", min=1)
    mask_convs: int = option(4, "convolutions of the mask branch", min=0)
    mask_agnostic: bool = option(False, "one mask for all classes, instead of one per class")
    mask_weight: float = option(1.0, "weight of the mask loss", min=0)


Own = TypeVar("Own", bound=MaskOptions)


@dataclass(frozen=True, slots=True)
class OutlinedTruth(Truth):
    """The true objects of N pictures, and their masks on grids, see `ObjectGrids`.

    shares | N uint8 (G, g, g); places | N float32 (G, 4)
    """

    shares: Sequence[Tensor] = ()
    places: Sequence[Tensor] = ()

    @classmethod
    def of(cls, batch: Batch) -> Self:
        t = batch.targets
        return cls(
            t["sizes"], t["boxes"], t["labels"], t["crowds"], t.get("proposals"), t["shares"],
            t["places"],
        )  # fmt: skip


class MaskRCNN(TwoStage):
    """Mask R-CNN (He et al. 2017). Masks are learnt on the sampled regions that are objects, and
    predicted for the boxes that are found."""

    branch: MaskBranch
    mask_weight: float

    def learn_masks(self, branch: MaskBranch, weight: float) -> None:
        """Adds the branch for masks."""
        self.branch, self.mask_weight = branch, weight
        self.names = tuple(dict.fromkeys((*self.names, *branch.names)))

    def losses(self, maps: Maps, truth: Truth) -> dict[str, Tensor]:
        assert isinstance(truth, OutlinedTruth)
        learnt = self.learn(maps, truth)
        loss = self._mask_loss(maps, truth, learnt.sampled) * self.mask_weight
        return {**learnt.losses, "mask": loss}

    def _mask_loss(self, maps: Maps, truth: OutlinedTruth, sampled: Sampled) -> Tensor:
        """Cross-entropy of each cell, averaged over an object, the objects of a picture and the
        pictures (He et al. 2017, sec. 3)."""
        counts = [len(one) for one in sampled.regions]

        def leading(parts: Sequence[Tensor]) -> list[Tensor]:
            """Those of each picture's regions that may be objects: they were drawn first."""
            return [part[:first] for part, first in zip(parts, sampled.first, strict=True)]

        regions, objects = leading(sampled.regions), leading(sampled.objects.split(counts))
        labels = torch.cat(leading(sampled.labels.split(counts))).clamp(max=self.classes - 1)
        logits = chosen(self.branch(maps, regions), labels)
        rows = [one.clamp(min=0) for one in objects]
        shares = torch.cat([one[k] for one, k in zip(truth.shares, rows, strict=True)])
        places = torch.cat([one[k] for one, k in zip(truth.places, rows, strict=True)])
        goals = mask_goals(shares, places, torch.cat(regions))
        each = F.binary_cross_entropy_with_logits(logits, goals, reduction="none").mean((1, 2))
        return (each * shares_of([one >= 0 for one in objects])).sum()

    def masks(self, views: Sequence[Seen], found: Sequence[Found]) -> list[Tensor]:
        """The masks of detections: per picture float32 (K, 28, 28), the probability that each part
        of the box is in the object; a mean over the views."""
        counts = [len(one.boxes) for one in found]
        labels = torch.cat([one.labels for one in found])
        total: Tensor | None = None
        for seen in views:
            there = [seen.view.to(n, one.boxes) for n, one in enumerate(found)]
            own = chosen(self.branch(seen.maps, there), labels).sigmoid() / len(views)
            own = own.flip(-1) if seen.view.flipped else own
            total = own if total is None else total + own
        assert total is not None
        return list(total.split(counts))


def build_masked(
    backbone: Backbone, classes: int, options: MaskOptions, side: int
) -> tuple[MaskRCNN, list[tuple[str, nn.Module]]]:
    """Mask R-CNN, and the stages of the backbone that it uses; as `build`.

    Raises: XferError for maps of masks that lie beyond those that regions are pooled from.
    """
    names = options.mask_levels or options.levels
    specs = named_levels(backbone.specs, names, backbone.name)
    order = list(backbone.specs)
    last = max(order.index(name) for name in options.levels)
    beyond = [spec.name for spec in specs if order.index(spec.name) > last]
    if beyond:
        raise XferError(
            f"task.mask_levels: {', '.join(beyond)} is deeper than {order[last]}, the last map "
            "that regions are pooled from",
            "name it in task.levels, too",
        )
    head, stages = build(backbone, classes, options, side, MaskRCNN)
    assert isinstance(head, MaskRCNN)
    specs = sorted(specs, key=lambda spec: spec.stride)
    outputs = 1 if options.mask_agnostic else classes
    branch = MaskBranch(specs, options.mask_width, options.mask_convs, outputs)
    head.learn_masks(branch, options.mask_weight)
    return head, stages
