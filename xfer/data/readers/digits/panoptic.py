"""`digits` as panoptic data: the scenes' digits are things, what is under them is stuff.

things | the digits of the scene, and in every fifth scene a crowd of small ones
stuff  | smooth, stripes, dots, in wavy regions, see `ground`
void   | in three of ten scenes, a smudge
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from xfer.data.readers.digits.ground import STUFF, Ground, ground
from xfer.data.readers.digits.pictures import CLASSES
from xfer.data.readers.digits.scenes import INK, SIDE, Arranged, SceneSource, standing_out
from xfer.kinds.base import UNJUDGED
from xfer.objects.segments import VOID, Segments
from xfer.types import DataInfo, Sample


class PanopticScenes(SceneSource):
    """Scenes of one split with segments; arguments as for SceneSource."""

    def __init__(
        self,
        split: str,
        ink: NDArray[np.uint8],
        labels: NDArray[np.int64],
        count: int,
        kind: str,
        arranged: list[Arranged] | None = None,
    ) -> None:
        super().__init__(split, ink, labels, count, "detect", arranged)
        classes = (*CLASSES, *STUFF)
        self.info = DataInfo("digits", kind, classes, split, self.info.licence, CLASSES)

    def __getitem__(self, i: int) -> Sample:
        own = self._ground_of(i)
        image, owners = self._draw(i, own)
        return Sample(self.ids[i], image, segments=self._segments(i, own, owners))

    def read_segments(self, i: int) -> Segments:
        """The segments of scene i."""
        segments = self[i].segments
        assert segments is not None
        return segments

    def labels(self) -> NDArray[np.int8]:
        return np.full((len(self), len(self.info.classes)), UNJUDGED, np.int8)

    def fingerprint(self) -> str:
        return hashlib.sha256(f"ground 1 {super().fingerprint()}".encode()).hexdigest()

    def _ground_of(self, i: int) -> Ground:
        rng = np.random.default_rng((self._seed, i, 2))
        return ground(rng, SIDE, self._frames, self.digit_labels)

    def _under(
        self, i: int, canvas: NDArray[np.float32], own: Ground | None
    ) -> NDArray[np.float32]:
        assert own is not None
        canvas = canvas + own.pattern[:, :, None]
        if own.label >= 0:
            mean = float(canvas[own.crowd >= INK].mean())
            grey = standing_out(mean, float(np.random.default_rng((self._seed, i, 3)).random()))
            canvas += own.crowd[:, :, None] * (grey - canvas)
        return canvas

    def _segments(self, i: int, own: Ground, owners: NDArray[np.uint8]) -> Segments:
        digits = [int(self.digit_labels[p.digit]) for p in self.placed[i]]
        labels = [*digits, *(len(CLASSES) + k for k in range(len(STUFF)))]
        crowd = [False] * len(labels)
        whole = len(digits) + own.stuff.astype(np.int32)
        whole[own.void] = VOID
        if own.label >= 0:
            whole[own.crowd >= INK] = len(labels)
            labels.append(own.label)
            crowd.append(True)
        whole = np.where(owners > 0, owners.astype(np.int32) - 1, whole)
        return Segments.of(whole, labels, crowd).without_empty()
