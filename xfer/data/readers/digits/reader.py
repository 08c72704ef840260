"""`digits`: handwritten digits that come with scikit-learn. Nothing is downloaded.

One digit per picture, see `pictures`; for boxes, masks, instances and segments they are drawn into
scenes, see `scenes`. The label of a scene is its tallest digit: with data.label=tallest, or where
scenes are read as labels and as something else.
"""

from __future__ import annotations

from typing import ClassVar

from xfer import kinds
from xfer.data.readers.base import EMBEDDED, Reading, ReadOptions
from xfer.data.readers.digits.pictures import digits
from xfer.errors import XferError

TALLEST = "tallest"


@EMBEDDED.register("digits")
class Digits:
    """One digit per picture, or scenes of several with boxes, masks, both or segments."""

    kinds: ClassVar[tuple[str, ...]] = ("classify", "detect", "segment", "instance", "panoptic")

    takes: ClassVar[tuple[str, ...]] = ("label",)

    def load(self, options: ReadOptions) -> Reading:
        placed = bool(options.kind) and kinds.get(options.kind).placed
        if options.label and (placed or options.label != TALLEST):
            raise XferError(
                f"data.label={options.label}: digits have no such label",
                f"data.label={TALLEST} labels each scene with its tallest digit, for classify",
            )
        beside = any(kinds.get(name).placed for name in options.beside)
        if not placed and (options.label or beside):
            from xfer.data.readers.digits.labelled import LabelledScenes
            from xfer.data.readers.digits.scenes import scenes

            return scenes("classify", LabelledScenes)
        if options.kind and kinds.get(options.kind).placed:
            from xfer.data.readers.digits.panoptic import PanopticScenes
            from xfer.data.readers.digits.scenes import scenes

            make = PanopticScenes if kinds.get(options.kind).segments else None
            return scenes(options.kind, make)
        return digits()
