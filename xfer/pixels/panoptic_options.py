"""The options of the task panoptic, for both ways of finding things."""

from __future__ import annotations

from dataclasses import dataclass

from xfer.recipe.option import one_of, option, unset

CENTRES = {"task.objects": one_of("centres")}
MASKS = {"task.objects": one_of("masks")}


@dataclass(frozen=True, slots=True)
class Options:
    """The [task] table of a panoptic recipe."""

    objects: str = option(
        "centres", "how things are found: centres: by a decoder of centres and of each pixel's way "
        "to its own; masks: by Mask R-CNN, whose objects are laid over the stuff",
        choices=("centres", "masks"),
    )  # fmt: skip
    levels: tuple[str, ...] = option(
        (), "maps that the decoders read, one per stride; empty: the deepest of each stride from 4 "
        "to 32",
    )  # fmt: skip
    width: int = option(128, "channels of the decoder of classes; that of centres has half", min=16)
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
        4.0,
        "of the Gaussian around an object's centre, pixels of the net's input",
        above=0,
        when=CENTRES,
    )
    centre_weight: float = option(60.0, "weight of the loss of centres", min=0, when=CENTRES)
    offset_weight: float = option(
        3.0, "weight of the loss of the ways to them", min=0, when=CENTRES
    )
    least_centre: float = option(0.15, "lowest value of a centre", above=0, max=1, when=CENTRES)
    centre_window: int = option(
        5, "a centre is the largest value in a window of this side, cells of the finest map; odd",
        min=1, when=CENTRES,
    )  # fmt: skip
    least_stuff: float = option(
        0.01, "smaller regions of stuff are left void, share of the picture", min=0, max=1
    )
    least_thing: float = option(
        0.0005, "smaller objects are left void, share of the picture", min=0, max=1
    )
    object_levels: tuple[str, ...] = option(
        ("stride8", "stride16"), "maps that Mask R-CNN's regions are pooled from, merged on the "
        "grid of the finest; stride8: the deepest map with a stride of at most 8 pixels",
        when=MASKS,
    )  # fmt: skip
    mask_levels: tuple[str, ...] = option(
        ("stride4", "stride8", "stride16"), "the same for its masks", when=MASKS
    )
    object_width: int = option(
        128, "channels of these merged maps, of the rpn and of the mask branch", min=1, when=MASKS
    )
    object_units: int = option(1024, "units of the two layers that read a region", min=1,
                               when=MASKS)  # fmt: skip
    mask_convs: int = option(4, "convolutions of the mask branch", min=0, when=MASKS)
    mask_agnostic: bool = option(
        False, "one mask for all classes, instead of one per class", when=MASKS
    )
    anchors: tuple[float, ...] = option(
        (), "width, height, width, height ... of the rpn's anchors, in pixels of the net's input; "
        "empty: fitted to the training objects", above=0, when=MASKS,
    )  # fmt: skip
    anchor_count: int = option(9, "anchors to fit", min=1, when={**MASKS, "task.anchors": unset()})
    regions: int = option(128, "regions sampled from each training picture", min=1, when=MASKS)
    object_weight: float = option(
        1.0, "weight of Mask R-CNN's losses beside that of the classes of pixels", min=0,
        when=MASKS,
    )  # fmt: skip
    nms: float = option(
        0.5, "IoU of boxes above which the less sure object of a class is left out", min=0, max=1,
        when=MASKS,
    )  # fmt: skip
    least_score: float = option(0.5, "lowest score of an object", min=0, max=1, when=MASKS)
    overlap: float = option(
        0.5, "an object of which surer ones cover a larger share is left out", min=0, max=1,
        when=MASKS,
    )  # fmt: skip
    most_objects: int = option(100, "most objects per picture", min=1, when=MASKS)
