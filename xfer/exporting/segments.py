"""Panoptic segmentation as tensors: what the decoders say, on their grid; merged outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from xfer.errors import XferError
from xfer.exporting.contract import (
    BATCH,
    MULTIPLE,
    SIZE,
    Choices,
    Exportable,
    padded_to,
    up_to_multiple,
)
from xfer.nn.views import View
from xfer.objects.segments import VOID, Segments
from xfer.pixels.centres import MOST, UNIT
from xfer.types import Batch, PanopticPrediction


class ExportedSegments(Exportable):
    """The two decoders of `tasks/panoptic.py`.

    Shapes:

    images | (N, 3, H, W)             | padded right and below to multiples of 32
    sizes  | int64 (N, 2)             | H, W of each picture without padding
    scores | float32 (N, C + 3, h, w) | out: scores of the classes before softmax, then the value
           |                          | of a centre and the way to it, down and right

    The pixel (y, x) of a picture reads the scores at (y - offset) / stride, (x - offset) / stride;
    `xfer.pixels.merge` makes segments of them.
    """

    script: ClassVar[str] = "segments"
    padded: ClassVar[bool] = True
    tolerance: ClassVar[float] = 0.02  # a centre just above the threshold is an object or none
    difference_words: ClassVar[str] = "largest share of a picture's pixels in another segment"

    def __init__(self, task: Any, choices: Choices) -> None:
        super().__init__(task, choices)
        if task.options.objects != "centres":
            raise XferError(
                f"a model with task.objects={task.options.objects} can't be exported",
                "task.objects=centres",
            )
        fixed = task.backbone.fixed_side
        if SIZE in choices.dynamic and fixed:
            raise XferError(
                f"--dynamic size: {task.backbone.name} takes only squares of {fixed} px",
                "--dynamic batch, or none",
            )
        self.least = up_to_multiple(task.least_side)
        self.side = fixed or max(self.least, up_to_multiple(task.long_side))
        sides = ("height", "width") if SIZE in choices.dynamic else (None, None)
        grid = ("rows", "columns") if SIZE in choices.dynamic else (None, None)
        self.inputs, self.outputs = ("images", "sizes"), ("scores",)
        self.axes = {
            "images": (BATCH, None, *sides), "sizes": (BATCH, None),
            "scores": (BATCH, None, *grid),
        }  # fmt: skip

    def forward(self, images: Tensor, sizes: Tensor) -> Tensor:
        return self.task.scores(self.normalised(images), sizes)

    def feed(self, batch: Batch) -> tuple[Tensor, ...]:
        return self.shown(self.framed(batch).images), batch.targets["sizes"]

    def framed(self, batch: Batch) -> Batch:
        height, width = (max(side, self.least) for side in batch.images.shape[2:])
        if SIZE not in self.choices.dynamic:
            height = width = self.side
        colour = self.task.backbone.mean_colour
        return replace(batch, images=padded_to(batch.images, height, width, colour))

    def read(self, outputs: Sequence[Tensor], batch: Batch) -> list[PanopticPrediction]:
        view = View(batch.images, batch.targets["sizes"])
        return self.task.segments_of([(outputs[0], view)], batch)

    def example(self) -> tuple[Tensor, ...]:
        height = width = self.side
        if SIZE in self.choices.dynamic:  # sides that differ, so that neither is taken for fixed
            height = max(self.least, up_to_multiple(self.task.preprocess.size))
            width = height + MULTIPLE
        images = self.pictures(height, width)
        sizes = torch.tensor([[height, width]]).repeat(len(images), 1)
        return images, sizes

    def view(self) -> dict[str, Any]:
        task = self.task
        return {
            "how": "fit", "short": task.preprocess.size, "long": task.long_side, "pad": MULTIPLE,
            "least": self.least, "side": 0 if SIZE in self.choices.dynamic else self.side,
            "colour": [round(value) for value in task.backbone.mean_colour], "decode": 0,
        }  # fmt: skip

    def describe(self) -> dict[str, Any]:
        spec = self.task.spec
        return {
            "grid": {"stride": spec.stride, "offset": spec.offset},
            "things": list(self.task.info.things),
            "merge": {**asdict(self.task.rules), "unit": UNIT, "most": MOST},
        }

    def difference(self, one: PanopticPrediction, two: PanopticPrediction) -> float:
        """The share of the pixels whose segments in the two are no match: of one class, and each
        the one that shares most pixels with the other."""
        table = np.zeros((len(one.segments) + 1, len(two.segments) + 1), np.int64)
        np.add.at(table, (one.segments.map, two.segments.map), 1)  # void, -1, is last
        alike = _labels(one.segments)[:, None] == _labels(two.segments)
        shared = np.where(alike, table, 0)
        best = (shared == shared.max(0)) & (shared == shared.max(1, keepdims=True))
        return 1 - float(shared[best].sum()) / max(1, int(table.sum()))


def _labels(segments: Segments) -> Any:
    """The class of each segment, and of void."""
    return np.append(segments.labels, VOID)
