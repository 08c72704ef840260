"""Segmentation as tensors: scores on the head's grid, or class maps in the pictures' own sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from xfer.errors import DataError, XferError
from xfer.exporting.contract import (
    BATCH,
    MULTIPLE,
    SIZE,
    Choices,
    Exportable,
    Run,
    padded_to,
    up_to_multiple,
)
from xfer.nn.sliding_window import ScoreView, classes_of_pixels
from xfer.nn.views import View
from xfer.types import Batch, FeatureSpec, MaskPrediction

LONGEST = 5 / 3  # long side / short side of a file whose pictures all have one size


class ExportedMasks(Exportable):
    """FCN and the light decoder.

    Shapes:

    images    | (N, 3, H, W)          | padded right and below to multiples of 32
    sizes     | int64 (N, 2)          | H, W of each picture without padding
    originals | int64 (N, 2)          | with full_size: the H, W that its map shall have
    scores    | float32 (N, C, h, w)  | out, without full_size: before softmax, on the head's grid
    masks     | uint8 (N, H', W')     | out, with full_size: class indices; the largest of the
              |                       | originals, of which each picture fills its own

    The pixel (y, x) of a picture reads the scores at (y - offset) / stride, (x - offset) / stride.
    """

    script: ClassVar[str] = "masks"
    padded: ClassVar[bool] = True
    tolerance: ClassVar[float] = 2e-3
    difference_words: ClassVar[str] = "largest share of a picture's pixels with another class"
    knows: ClassVar[tuple[str, ...]] = ("full_size",)

    def __init__(self, task: Any, choices: Choices) -> None:
        super().__init__(task, choices)
        fixed = task.backbone.fixed_side
        if SIZE in choices.dynamic and fixed:
            raise XferError(
                f"--dynamic size: {task.backbone.name} takes only squares of {fixed} px",
                "--dynamic batch, or none",
            )
        short = task.preprocess.size if task.options.resize else task.options.window
        self.side = fixed or min(task.options.window, up_to_multiple(round(short * LONGEST)))
        self.least = up_to_multiple(task.least_side)
        sides = ("height", "width") if SIZE in choices.dynamic else (None, None)
        self.axes = {"images": (BATCH, None, *sides), "sizes": (BATCH, None)}
        self.inputs, self.outputs = ("images", "sizes"), ("scores",)
        grid = ("rows", "columns") if SIZE in choices.dynamic else (None, None)
        self.axes["scores"] = (BATCH, None, *grid)
        if choices.full_size:
            self.inputs, self.outputs = (*self.inputs, "originals"), ("masks",)
            self.axes |= {"originals": (BATCH, None), "masks": (BATCH, "tall", "wide")}

    @property
    def window(self) -> int:
        """Larger pictures are predicted in overlapping windows of this side, pixels."""
        own = self.task.options.window
        return own if SIZE in self.choices.dynamic else min(own, self.side)

    def forward(self, images: Tensor, sizes: Tensor, originals: Tensor | None = None) -> Tensor:
        scores = self.task.scores(self.normalised(images), sizes)
        if self.task.shift is not None:
            scores = scores - self.task.shift[:, None, None]
        if originals is None:
            return scores
        spec: FeatureSpec = self.task.head.spec
        matrices: list[Tensor] = []
        for axis in (0, 1):
            most = originals[:, axis].max().item()
            torch._check(most >= 1)
            places = torch.arange(most, device=scores.device, dtype=torch.float32) + 0.5
            shown, own = sizes[:, axis].float(), originals[:, axis].float()
            places = places[None] * (shown / own)[:, None] - 0.5
            matrices.append(_reading(spec, scores.shape[2 + axis], places, shown))
        wide = scores.float() @ matrices[1].transpose(1, 2)[:, None]
        return (matrices[0][:, None] @ wide).argmax(1).to(torch.uint8)

    def feed(self, batch: Batch) -> tuple[Tensor, ...]:
        images, sizes = batch.images, batch.targets["sizes"]
        if self.choices.full_size:
            return self._shown(images), sizes, batch.targets["originals"]
        side = self.window // MULTIPLE * MULTIPLE  # the first window; `predict` feeds them all
        return self._shown(images[:, :, :side, :side]), sizes.clamp(max=side)

    def framed(self, batch: Batch) -> Batch:
        if SIZE in self.choices.dynamic or max(batch.images.shape[2:]) > self.side:
            return batch
        colour = self.task.backbone.mean_colour
        return replace(batch, images=padded_to(batch.images, self.side, self.side, colour))

    def _shown(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        if SIZE not in self.choices.dynamic:
            if max(height, width) > self.side:
                raise DataError(
                    f"a picture of {height} x {width} px, where the file takes {self.side} x "
                    f"{self.side} px",
                    "export with --dynamic size, or without --full-size",
                )
            height = width = self.side
        height, width = max(height, self.least), max(width, self.least)
        return self.shown(padded_to(images, height, width, self.task.backbone.mean_colour))

    def predict(self, run: Run, batch: Batch) -> list[MaskPrediction]:
        if self.choices.full_size:
            return super().predict(run, batch)
        predictions: list[MaskPrediction] = []
        for part in self.parts(batch):

            def views(images: Tensor, sizes: Tensor, on_host: Tensor) -> list[ScoreView]:
                (scores,) = run(self._shown(images), sizes)
                return [ScoreView(scores, View(images, sizes))]

            masks = classes_of_pixels(
                part.images, part.read("sizes"), part.read("originals"), views,
                self.task.head.spec, self.window,
            )  # fmt: skip
            predictions += self._named(masks, part)
        return predictions

    def read(self, outputs: Sequence[Tensor], batch: Batch) -> list[MaskPrediction]:
        sizes = batch.targets["originals"].tolist()
        masks = [m[:h, :w].numpy() for m, (h, w) in zip(outputs[0], sizes, strict=True)]
        return self._named(masks, batch)

    def _named(self, masks: Sequence[Any], batch: Batch) -> list[MaskPrediction]:
        return [
            MaskPrediction(name, mask, (mask.shape[0], mask.shape[1]))
            for name, mask in zip(batch.ids, masks, strict=True)
        ]

    def example(self) -> tuple[Tensor, ...]:
        height = width = self.side
        if SIZE in self.choices.dynamic:  # sides that differ, so that neither is taken for fixed
            height = max(self.least, up_to_multiple(self.task.preprocess.size))
            width = height + MULTIPLE
        images = self.pictures(height, width)
        sizes = torch.tensor([[height, width]]).repeat(len(images), 1)
        return (images, sizes, sizes + 7) if self.choices.full_size else (images, sizes)

    def view(self) -> dict[str, Any]:
        task = self.task
        dynamic = SIZE in self.choices.dynamic
        return {
            "how": "fit", "short": task.preprocess.size if task.options.resize else 0, "long": 0,
            "pad": MULTIPLE, "least": self.least, "side": 0 if dynamic else self.side,
            "colour": [round(value) for value in task.backbone.mean_colour],
            "window": self.window // MULTIPLE * MULTIPLE, "decode": 0,
        }  # fmt: skip

    def describe(self) -> dict[str, Any]:
        spec = self.task.head.spec
        return {"grid": {"stride": spec.stride, "offset": spec.offset}}

    def difference(self, one: MaskPrediction, two: MaskPrediction) -> float:
        return float(np.mean(one.mask != two.mask))


def _reading(spec: FeatureSpec, cells: int, places: Tensor, sides: Tensor) -> Tensor:
    """(N, P, cells): `xfer.nn.upsample.reading` for each picture's own side.

    Args: places: (N, P), pixels of the net's input; sides: (N,), pixels without padding.
    """
    reach = sides + (spec.stride - 1) / 2 - spec.offset
    read = (reach / spec.stride).ceil().clamp(min=1, max=cells)
    at = ((places - spec.offset) / spec.stride).clamp(min=0)
    at = torch.minimum(at, read[:, None] - 1)
    centres = torch.arange(cells, device=places.device)
    return (1 - (at[..., None] - centres).abs()).clamp(min=0)
