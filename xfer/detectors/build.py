"""Makes the detector that options ask for, on the maps of a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from torch import nn

from xfer.detectors.contract import Detector
from xfer.detectors.fcos import FCOS
from xfer.detectors.options import ONE_STAGE, DetectorOptions
from xfer.detectors.pyramid import pyramid_maps
from xfer.detectors.retina import RetinaNet
from xfer.detectors.ssd import SSD
from xfer.detectors.two_stage import TwoStage
from xfer.errors import XferError
from xfer.nn.levels import named_levels
from xfer.types import FeatureSpec

if TYPE_CHECKING:
    from xfer.backbones.base import Backbone

DEEPEST = "stride16"  # the deepest map that is fine enough for regions
FINEST_ANCHORS = 8  # distance of anchors with task.rpn_step=0 on finer maps, pixels

Own = TypeVar("Own", bound=DetectorOptions)


def resolved(options: Own, backbone: Backbone) -> Own:
    """The options with every `auto` replaced by what is chosen for this backbone.

    Raises: XferError for maps that the net does not have, and for a head that does not fit it.
    """
    decided = options.decided()
    if decided["detector"] in ONE_STAGE:
        maps = pyramid_maps(backbone.specs, options.levels, backbone.name)
        levels = tuple(spec.name for spec in maps)
        # no regions: the value is as good as another, and rebuilds the same detector
        return replace(options, **decided, head="fc", levels=levels)
    specs = _region_maps(options, backbone)
    return replace(
        options, **decided,
        head=_choose_head(options.head, backbone, specs),
        levels=tuple(spec.name for spec in specs),
        rpn_step=options.rpn_step or max(1, FINEST_ANCHORS // specs[0].stride),
    )  # fmt: skip


def build(
    backbone: Backbone,
    classes: int,
    options: DetectorOptions,
    side: int,
    two_stage: type[TwoStage] = TwoStage,
) -> tuple[Detector, list[tuple[str, nn.Module]]]:
    """The detector, and the stages of the backbone that it uses, shallow to deep.

    Args: options: of `resolved`; side: short side of the pictures, pixels; two_stage: the class of
        Fast and Faster R-CNN. A tail that the detector does not read is taken off the backbone.
    Raises: XferError for a side that is too small for the net, and for options that don't fit.
    """
    if options.detector in ONE_STAGE:
        if two_stage is not TwoStage:
            raise XferError(
                f"task.detector={options.detector} pools no regions, which this task needs",
                "task.detector=faster or fast",
            )
        specs = pyramid_maps(backbone.specs, options.levels, backbone.name)
        backbone.check_side(side, specs[-1].name)
        stages = backbone.stages_to(specs[-1].name)
        backbone.tail = None
        if options.detector == "ssd":
            return SSD(specs, options, classes, side), stages
        kind = FCOS if options.detector == "fcos" else RetinaNet
        return kind(specs, options, classes), stages
    specs = _region_maps(options, backbone)
    backbone.check_side(side, specs[-1].name)
    stages = backbone.stages_to(specs[-1].name)
    if options.head != "tail":
        backbone.tail = None  # its parameters would neither train nor be used
        cells, units = options.pool_size or 7, options.head_width
        return two_stage(specs, options, classes, None, cells, units, side), stages
    tail = backbone.tail
    assert tail is not None
    cells = tail.in_size[1]
    if options.pool_size not in (0, cells):
        raise XferError(
            f"task.pool_size={options.pool_size}: fc6 of {backbone.name} reads {cells} x "
            f"{cells} cells",
            "leave it out, or task.head=fc",
        )
    stages = [*stages, *tail.stages()]
    return two_stage(specs, options, classes, tail, cells, tail.out_features, side), stages


def _region_maps(options: DetectorOptions, backbone: Backbone) -> list[FeatureSpec]:
    """The maps that regions are pooled from, finest first."""
    specs = named_levels(backbone.specs, options.levels or (DEEPEST,), backbone.name)
    return sorted(specs, key=lambda spec: spec.stride)


def _choose_head(head: str, backbone: Backbone, specs: Sequence[FeatureSpec]) -> str:
    """tail or fc. The tail reads the map that feeds its net's last pooling."""
    tail, report = backbone.tail, backbone.weight_report
    fits = tail is not None and len(specs) == 1 and specs[0].channels == tail.in_size[0]
    if head == "auto":
        return "tail" if fits and (report is None or report.has_tail) else "fc"
    if head == "tail" and not fits:
        names = " and ".join(spec.name for spec in specs)
        raise XferError(
            f"task.head=tail: {backbone.name} has no fc6, fc7 that read {names}",
            "task.head=fc",
        )
    return head
