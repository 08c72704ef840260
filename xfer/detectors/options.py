"""The options of all detectors, and which of them go together."""

from __future__ import annotations

from dataclasses import dataclass

from xfer.errors import XferError
from xfer.ops.nms import Suppression
from xfer.recipe.option import none_of, one_of, option, several, unset
from xfer.recipe.tables import AUGMENTED

TWO_STAGES, ONE_STAGE = ("fast", "faster"), ("fcos", "retina", "ssd")
REGIONS = {"task.detector": one_of(*TWO_STAGES)}
CELLS = {"task.detector": one_of(*ONE_STAGE)}
FOCAL = {"task.detector": one_of("fcos", "retina")}
SSD = {"task.detector": one_of("ssd")}
MATCHED = {"task.detector": one_of(*TWO_STAGES, "ssd")}
RPN = {"task.proposals": one_of("rpn")}
GIVEN = {"task.proposals": none_of("rpn", "none")}


@dataclass(frozen=True, slots=True)
class DetectorOptions:
    """What a recipe says of its detector, in its [task] table.

    A task adds its own by inheritance. `resolved` leaves no `auto`.
    Raises XferError where detector and proposals don't agree.
    """

    detector: str = option(
        "auto", "faster: Faster R-CNN; fast: Fast R-CNN, with proposals from elsewhere; fcos: "
        "FCOS, retina: RetinaNet, ssd: SSD, all in one stage; auto: faster with "
        "task.proposals=rpn, else fast", choices=("auto", *TWO_STAGES, *ONE_STAGE),
    )  # fmt: skip
    proposals: str = option(
        "auto", "rpn (trained jointly), selective_search, grid, or file:PATH; auto: "
        "selective_search with task.detector=fast, none in one stage, else rpn",
    )  # fmt: skip
    levels: tuple[str, ...] = option(
        (), "maps that regions are pooled from; several are merged on the grid of the finest; "
        "stride8: the deepest map with a stride of at most 8 pixels, whatever its name; "
        "empty: stride16; in one stage a pyramid's maps, empty: those of stride 8, 16 and 32",
    )  # fmt: skip
    width: int = option(
        256, "channels of merged levels, of a pyramid, or of SSD's further levels", min=1,
        when=({"task.levels": several()}, CELLS),
    )  # fmt: skip
    max_stride: int = option(
        64, "stride of the coarsest level; those beyond the net's maps are pooled, by SSD computed "
        "by convolutions", min=1, when=CELLS,
    )  # fmt: skip
    towers: int = option(
        2, "convolutions of each of the two towers on a pyramid", min=0, when=FOCAL
    )
    focal: tuple[float, float] = option(
        (0.25, 2.0), "alpha and gamma of the focal loss", min=0, when=FOCAL
    )
    centre_radius: float = option(
        1.5, "cells learn an object up to this distance from its centre, strides", above=0,
        when={"task.detector": one_of("fcos")},
    )  # fmt: skip
    box_scales: tuple[float, float] = option(
        (0.2, 0.9), "sides of default boxes on the second and on the coarsest level, parts of the "
        "picture's short side; the finest level has half of the first", above=0, rising=True,
        when=SSD,
    )  # fmt: skip
    negatives: float = option(
        3.0, "boxes of background learned for each that learns an object: the hardest", min=0,
        when=SSD,
    )  # fmt: skip
    candidates: int = option(1000, "boxes of each level before suppression", min=1, when=CELLS)
    pool: str = option(
        "align",
        "max: maxima with Caffe's rounding; align: bilinear",
        choices=("max", "align"),
        when=REGIONS,
    )
    pool_size: int = option(
        0, "side of a pooled region, cells; 0: what fc6 reads, else 7", min=0,
        when={**REGIONS, "task.head": one_of("fc")},
    )  # fmt: skip
    geometry: str = option(
        "seen", "where the cells of a map lie: seen: at the pixels that they see; caffe: where the "
        "code of Fast and Faster R-CNN has them, the first at pixel 0, anchors half a stride on",
        choices=("seen", "caffe"), when=REGIONS,
    )  # fmt: skip
    head: str = option(
        "auto", "tail: the net's own fc6-fc7; fc: two fresh layers; auto: tail if the weights "
        "have it", choices=("auto", "tail", "fc"), when=REGIONS,
    )  # fmt: skip
    head_width: int = option(
        1024, "units of fresh layers", min=1, when={**REGIONS, "task.head": one_of("fc")}
    )
    agnostic: bool = option(
        False, "one box per region for all classes, instead of one per class", when=REGIONS
    )
    regions: int = option(128, "regions sampled from each training picture", min=1, when=REGIONS)
    ohem: bool = option(
        False, "sample the regions with the highest losses among all proposals (OHEM), instead of "
        "drawing them", when=REGIONS,
    )  # fmt: skip
    object_share: float = option(
        0.25, "maximum share of these that may be objects", above=0, max=1,
        when={**REGIONS, "task.ohem": one_of(False)},
    )  # fmt: skip
    object_iou: float = option(
        0.5, "IoU from which a region or default box is an object", min=0, max=1, when=MATCHED
    )
    background_iou: tuple[float, float] = option(
        (0.0, 0.5),
        "IoU range in which a region is background",
        min=0,
        max=1,
        rising=True,
        when=REGIONS,
    )
    box_std: tuple[float, float, float, float] = option(
        (0.1, 0.1, 0.2, 0.2),
        "units of the box offsets that are learned",
        above=0,
        when=(
            {"task.detector": one_of("fast"), "task.box_stats": one_of("fixed")},
            {"task.detector": one_of("faster", "ssd")},
        ),
    )
    box_stats: str = option(
        "fixed", "fixed: offsets are divided by task.box_std; fitted: each class's offsets get "
        "mean 0 and deviation 1 over the training regions, as in Fast R-CNN's code",
        choices=("fixed", "fitted"), when=GIVEN,
    )  # fmt: skip
    box_units: tuple[float, ...] = option(
        (), "four means and four deviations of the offsets for each class, one after the other; "
        "empty: computed from the proposals of the training pictures",
        when={**GIVEN, "task.box_stats": one_of("fitted")},
    )  # fmt: skip
    box_beta: float = option(1.0, "error at which the box loss turns linear", above=0, when=MATCHED)
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
    most_proposals: int = option(2000, "most proposals per picture", min=1, when=GIVEN)
    scales: tuple[float, float] = option(
        (1.0, 1.0), "range of scales of training pictures", above=0, rising=True, when=AUGMENTED
    )
    long_side: int = option(0, "largest long side, pixels; 0: 5/3 of data.size", min=0)
    nms: float = option(
        0.3, "IoU above which the worse detection is suppressed", min=0, max=1,
        when={"task.nms_kind": one_of("hard", "linear")},
    )  # fmt: skip
    nms_kind: str = option(
        "hard", "hard: the worse detection goes; linear, gaussian: its score falls with the "
        "overlap (soft-NMS)",
        choices=("hard", "linear", "gaussian"),
    )  # fmt: skip
    nms_sigma: float = option(
        0.5, "squared overlap over which scores fall to 1/e", above=0,
        when={"task.nms_kind": one_of("gaussian")},
    )  # fmt: skip
    vote: float = option(
        0.0, "box voting: detections are averaged with those of at least this IoU; 0: none",
        min=0, max=1,
    )  # fmt: skip
    least_score: float = option(0.01, "lowest score of a detection", min=0, max=1)
    rounds: int = option(
        1, "times that regions are scored at test, each but the first where the one before found "
        "them; all detections count", min=1, when=REGIONS,
    )  # fmt: skip
    most_boxes: int = option(100, "most detections per picture", min=1)

    def __post_init__(self) -> None:
        detector, proposals = self.detector, self.proposals
        if detector in ONE_STAGE and proposals not in ("auto", "none"):
            raise XferError(
                f"task.detector={detector} needs no proposals, got task.proposals={proposals}",
                "leave out task.proposals, or task.detector=fast or faster",
            )
        if proposals == "none" and detector not in ONE_STAGE:
            raise XferError(
                f"task.detector={detector} needs proposals, got task.proposals=none",
                f"task.detector={' or '.join(ONE_STAGE)}, or leave out task.proposals",
            )
        if detector == "faster" and proposals not in ("auto", "rpn"):
            raise XferError(
                f"task.detector=faster proposes regions itself, not task.proposals={proposals}",
                "task.detector=fast, or leave out task.proposals",
            )
        if detector == "fast" and proposals == "rpn":
            raise XferError(
                "task.detector=fast has no network of its own for task.proposals=rpn",
                "task.detector=faster, or task.proposals=selective_search, grid or file:PATH",
            )

    @property
    def fits_offsets(self) -> bool:
        """Whether offsets have units of each class, fitted to given proposals."""
        return self.detector == "fast" and self.box_stats == "fitted"

    @property
    def suppression(self) -> Suppression:
        """How detections are chosen from all candidates."""
        return Suppression(
            self.nms, self.least_score, self.most_boxes, self.vote, self.nms_kind, self.nms_sigma
        )

    def decided(self) -> dict[str, str]:
        """The values of `auto` that follow from other options: the detector and its proposals."""
        detector, proposals = self.detector, self.proposals
        if proposals == "auto":
            usual = {"fast": "selective_search", **dict.fromkeys(ONE_STAGE, "none")}
            proposals = usual.get(detector, "rpn")
        if detector == "auto":
            detector = "faster" if proposals == "rpn" else "fast"
        return {"detector": detector, "proposals": proposals}
