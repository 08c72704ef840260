"""The contract of a detector: maps of a backbone in, losses or boxes out.

It runs no backbone, so that several heads can share one pass of it, and knows nothing of files,
recipes or scores: the task transforms, collates, runs the backbone and measures.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from xfer.detectors.offset_stats import Proposed
from xfer.errors import XferError
from xfer.nn.views import View
from xfer.types import Batch

Maps = Mapping[str, Tensor]  # of a backbone, by name: (N, C, h, w)


@dataclass(frozen=True, slots=True)
class Truth:
    """The true boxes of N pictures, xyxy in pixels of the batch.

    sizes     | int64 (N, 2)      | H, W of each picture without padding
    boxes     | N float32 (G, 4)  | the objects
    labels    | N int64 (G,)      | their classes
    crowds    | N float32 (M, 4)  | regions that are neither object nor background
    proposals | N float32 (P, 4)  | for a detector that is given where to look, else None
    """

    sizes: Tensor
    boxes: Sequence[Tensor]
    labels: Sequence[Tensor]
    crowds: Sequence[Tensor]
    proposals: Sequence[Tensor] | None = None

    @classmethod
    def of(cls, batch: Batch) -> Truth:
        """That of a batch made by `xfer.detectors.batches.collate_boxes`."""
        t = batch.targets
        return cls(t["sizes"], t["boxes"], t["labels"], t["crowds"], t.get("proposals"))


@dataclass(frozen=True, slots=True)
class Seen:
    """One view of a batch and the backbone's maps of it."""

    view: View
    maps: Maps


class Found(NamedTuple):
    """A picture's detections, by falling score.

    boxes (K, 4), xyxy in pixels of the batch, inside the picture; scores (K,), 0..1; labels int64
    (K,). On a device K is always the most there may be; beyond the last detection scores are -1.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class Detector(nn.Module, ABC):
    """New layers on a backbone's maps, the rules by which they learn, and how boxes are read off.

    What a detector must have
        names                   | names of the backbone's maps that it reads
        losses(maps, truth)     | dict of named losses, scalars, each the mean over the pictures
        detect(views, sizes)    | Found of each picture, from one or several views of it
        class_scores(...)       | how sure it is of a class at a box, for explanations
    What it may have
        fit(sizes, pictures, .) | fits itself to the training boxes, before the first step
        propose(...)            | boxes that may hold an object of any class
        merging                 | how several views become one set of boxes, in words
    """

    names: tuple[str, ...]
    merging: ClassVar[str] = "detections of all views suppressed together"

    @abstractmethod
    def losses(self, maps: Maps, truth: Truth) -> dict[str, Tensor]: ...

    @abstractmethod
    def detect(
        self, views: Sequence[Seen], sizes: Tensor, proposals: Sequence[Tensor] | None = None
    ) -> list[Found]:
        """The detections of each picture, in pixels of the batch.

        Args: views: of the batch, itself or scaled and mirrored; sizes: (N, 2) H, W of each picture
            in the batch; proposals: N tensors (P, 4), for a detector that makes none.
        """

    @abstractmethod
    def class_scores(self, maps: Maps, box: Tensor, label: int) -> Tensor:
        """The score of a class for a box (4,), before softmax or sigmoid, in each picture: (N,),
        with gradients."""

    def propose(self, maps: Maps, sizes: Tensor, max_boxes: int) -> list[Tensor]:
        """N tensors (R, 4), R <= max_boxes, best first. Raises XferError if it proposes none."""
        raise XferError("this detector proposes no regions")

    def fit(
        self,
        sizes: Callable[[], NDArray[np.float64]],
        pictures: Callable[[], Iterable[Proposed]],
        mirrored: bool,
    ) -> dict[str, Any]:
        """Fits itself to the training boxes.

        Args:
            sizes: computes their widths and heights (R, 2), pixels of the batch.
            pictures: reads them with the proposals, for a detector that makes none.
            mirrored: whether half of the training pictures are mirrored.
        Returns: the options that now rebuild it, by name.
        """
        return {}
