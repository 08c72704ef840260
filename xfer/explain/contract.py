"""What a task answers so that its predictions can be traced to places in a picture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from xfer.errors import XferError
from xfer.types import Batch, BoxPrediction, MaskPrediction


@dataclass(frozen=True, slots=True)
class Target:
    """What is explained.

    label  | class index
    box    | left, top, right, bottom in the picture's own pixels: of a detection
    region | bool (H, W) of the picture's own pixels: those of the class, in a segmentation
    """

    label: int
    box: tuple[float, float, float, float] | None = None
    region: NDArray[np.bool_] | None = None

    def inside(self, height: int, width: int) -> Tensor:
        """Which share of each pixel of a picture of this size is in the region: float32 (H, W)."""
        assert self.region is not None
        whole = torch.from_numpy(self.region.astype(np.float32))[None, None]
        return F.interpolate(whole, (height, width), mode="area")[0, 0]


@dataclass(frozen=True, slots=True)
class Shown:
    """The part of a picture that the net sees.

    part | left, top, right, bottom as shares of the picture, 0..1
    size | (h, w) at which it is shown, pixels of the batch, without padding
    """

    part: tuple[float, float, float, float]
    size: tuple[int, int]


class Explains(ABC):
    """For a task whose predictions can be explained: `xfer predict --explain`, `Model.explain`."""

    @abstractmethod
    def target_of(self, prediction: Any, label: int | None) -> Target:
        """What to explain of a prediction: a class, by default the one that it is surest of.
        Raises XferError if there is nothing of this class in it."""

    @abstractmethod
    def score_of(self, batch: Batch, target: Target) -> Tensor:
        """The score of the target, before softmax, in each picture of a batch: float (N,), with
        gradients. All N pictures are of one size and shown alike."""

    def shown(self, batch: Batch, height: int, width: int) -> Shown:
        """The part of a picture of height x width pixels that a batch of it shows; by default all
        of it, at the batch's own size or at that in its targets' "sizes"."""
        sizes = batch.targets.get("sizes")
        h, w = batch.images.shape[2:] if sizes is None else sizes[0].tolist()
        return Shown((0.0, 0.0, 1.0, 1.0), (int(h), int(w)))


class ExplainsBoxes(Explains):
    """For a task with a detector, `head`: the score of one box; `maps_of(images)` are the
    backbone's maps of normalised images."""

    def target_of(self, prediction: BoxPrediction, label: int | None) -> Target:
        labels = prediction.labels
        rows = np.arange(len(labels)) if label is None else np.flatnonzero(labels == label)
        if not len(rows):
            what = "nothing" if label is None else "no object of this class"
            raise XferError(f"{what} is found in the picture: no box to explain")
        best = rows[prediction.scores[rows].argmax()]
        left, top, right, bottom = prediction.boxes[best].tolist()
        return Target(int(labels[best]), (left, top, right, bottom))

    def score_of(self, batch: Batch, target: Target) -> Tensor:
        task: Any = self
        size, original = batch.targets["sizes"][0], batch.targets["originals"][0]
        scale = (size / original).flip(0).repeat(2)
        box = torch.tensor(target.box, device=batch.images.device) * scale
        maps = task.maps_of(task.backbone.normalise(batch.images))
        return task.head.class_scores(maps, box, target.label)


class ExplainsMasks(Explains):
    """For a segmentation: a class over the pixels that are predicted as it."""

    def target_of(self, prediction: MaskPrediction, label: int | None) -> Target:
        task: Any = self
        count = len(task.info.classes)  # what lies beyond is void
        counts = np.bincount(prediction.mask.ravel(), minlength=count)[:count]
        if label is None:  # the largest class, but for a background
            names = [name.casefold() for name in task.info.classes]
            others = [c for c in np.flatnonzero(counts).tolist() if names[c] != "background"]
            label = max(others, key=lambda c: counts[c]) if others else int(counts.argmax())
        if label >= len(counts) or not counts[label]:
            raise XferError("no pixel of the picture is predicted as this class")
        return Target(label, region=prediction.mask == label)
