"""`digits`: handwritten digits that come with scikit-learn. Nothing is downloaded.

One digit per picture, see `pictures`; for boxes, masks, instances and segments they are drawn into
scenes, see `scenes`.
"""

from __future__ import annotations

from typing import ClassVar

from xfer import kinds
from xfer.data.readers.base import EMBEDDED, Reading, ReadOptions
from xfer.data.readers.digits.pictures import digits


@EMBEDDED.register("digits")
class Digits:
    """One digit per picture, or scenes of several with boxes, masks, both or segments."""

    kinds: ClassVar[tuple[str, ...]] = ("classify", "detect", "segment", "instance", "panoptic")

    def load(self, options: ReadOptions) -> Reading:
        if options.kind and kinds.get(options.kind).placed:
            from xfer.data.readers.digits.panoptic import PanopticScenes
            from xfer.data.readers.digits.scenes import scenes

            make = PanopticScenes if kinds.get(options.kind).segments else None
            return scenes(options.kind, make)
        return digits()
