"""The contract of a net that leaves xfer: tensors in, tensors out, and how both are meant.

A task's class names one of these, `exports`, from which `xfer.export` makes a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from xfer.errors import XferError
from xfer.types import Batch

Run = Callable[..., tuple[Tensor, ...]]  # a file at work: inputs in order -> outputs in order

BATCH, SIZE = "batch", "size"
MULTIPLE = 32  # pictures of any shape are padded to multiples of this, pixels
TRACED = 2  # pictures in the batch that a net with a variable number of them is recorded with


@dataclass(frozen=True, slots=True)
class Choices:
    """What a user may choose about a file.

    softmax       | classification: probabilities, not the scores before softmax or sigmoid
    full_size     | segmentation: class maps in the pictures' own sizes, not scores on a coarse grid
    preprocessing | uint8 pictures in: normalisation and the order of channels are in the file
    dynamic       | what may vary from call to call: batch, size (height and width)
    for_onnx      | False: for torch.export, which has other means of suppression
    """

    softmax: bool = False
    full_size: bool = False
    preprocessing: bool = False
    dynamic: tuple[str, ...] = ()
    for_onnx: bool = True


class Exportable(nn.Module):
    """A task's net, as it is written to a file. It has no training mode.

    Args: task: in eval mode, on the CPU, in float32; choices: the user's.

    What one must have
        forward(images, *more) | tensors, named `outputs`; `self.normalised(images)` is what the
                               | backbone takes
        read(outputs, batch)   | what `task.predict(batch)` returns, from the outputs
    What it may have
        inputs      | names of what `forward` takes
        axes        | input or output -> name of each axis that may vary, or None; "height" and
                    | "width" vary with `size`, "batch" with `batch`, any other always
        feed(batch) | the inputs for a batch
        example()   | inputs to record the net with
        view()      | how a picture becomes the net's input, for the file's metadata
        script      | module of xfer.exporting.scripts whose text is written beside the file
        framed(b)   | a batch padded as the file needs it
        padded      | whether pictures are padded to multiples of 32, whatever their size
        difference  | between two predictions, to be at most `tolerance`
        knows       | names of the Choices that have an effect
    """

    inputs: tuple[str, ...] = ("images",)
    outputs: tuple[str, ...] = ("output",)
    script: ClassVar[str] = "values"
    tolerance: ClassVar[float] = 1e-3
    difference_words: ClassVar[str] = "largest difference of a number"
    knows: ClassVar[tuple[str, ...]] = ()
    padded: ClassVar[bool] = False
    axes: dict[str, tuple[str | None, ...]]

    def __init__(self, task: Any, choices: Choices) -> None:
        super().__init__()
        self.task, self.choices = task, choices
        own = task.backbone.preprocess
        self.bgr = own.channels == "bgr"
        scale = torch.tensor([own.scale / std for std in own.std])
        shift = torch.tensor([-m / std for m, std in zip(own.mean, own.std, strict=True)])
        self.register_buffer("scale", scale.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.view(1, 3, 1, 1), persistent=False)
        self.axes = {"images": (BATCH, None, None, None)}

    scale: Tensor
    shift: Tensor

    def normalised(self, images: Tensor) -> Tensor:
        """The backbone's input: the images as they are, or from uint8 with `preprocessing`."""
        if not self.choices.preprocessing:
            return images
        images = images.to(torch.float32)
        return (images.flip(1) if self.bgr else images) * self.scale + self.shift

    def shown(self, images: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) as the input `images`."""
        if self.choices.preprocessing:
            return images.contiguous()
        return self.task.backbone.normalise(images).contiguous()

    def feed(self, batch: Batch) -> tuple[Tensor, ...]:
        return (self.shown(batch.images),)

    def read(self, outputs: Sequence[Tensor], batch: Batch) -> list[Any]:
        raise NotImplementedError

    def predict(self, run: Run, batch: Batch) -> list[Any]:
        """What a file predicts for a batch: the counterpart of `task.predict(batch)`."""
        predictions: list[Any] = []
        for part in self.parts(batch):
            predictions += self.read(run(*self.feed(part)), part)
        return predictions

    def framed(self, batch: Batch) -> Batch:
        """The batch as the file is shown it. The run is compared on it: around a picture, padding
        is not quite the nothing that a net sees beyond its edge."""
        return batch

    def parts(self, batch: Batch) -> Iterator[Batch]:
        """The batch in parts that the file takes: whole, or a picture at a time."""
        if BATCH in self.choices.dynamic:
            yield batch
            return
        for n in range(len(batch)):
            yield batch.part(n, n + 1)

    def example(self) -> tuple[Tensor, ...]:
        side = self.task.preprocess.size
        return (self.pictures(side, side),)

    def pictures(self, height: int, width: int) -> Tensor:
        """Made-up pictures as the input `images`: the net is recorded with them."""
        count = TRACED if BATCH in self.choices.dynamic else 1
        noise = torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8)
        return self.shown(noise)

    def view(self) -> dict[str, Any]:
        """How a picture becomes the net's input: a centre crop, as most classifiers take."""
        own = self.task.preprocess
        return {
            "how": "crop", "short": own.resize, "size": own.size,
            "decode": self.task.short_side,
        }  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """More that a reader of the file must know; becomes part of its metadata."""
        return {}

    def difference(self, one: Any, two: Any) -> float:
        """How much two predictions for a picture differ: the largest difference of a number."""
        return _largest(self.task.describe(one), self.task.describe(two))


def exportable(task: Any, choices: Choices) -> Exportable:
    """The net of a task that a file is made from. Raises XferError if the task has none, or not as
    chosen."""
    if getattr(task, "exports", None) is None:
        reason = getattr(task, "not_exported", "") or f"the task {type(task).__name__}"
        raise XferError(f"{reason} can't be exported", "docs/extending.md: `exports`")
    return task.exports(task, choices).eval()


def _largest(one: Any, two: Any) -> float:
    """The largest difference of a number in two plain values of one form; infinite for others."""
    if isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        return max((_largest(value, two[key]) for key, value in one.items()), default=0.0)
    if isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        return max((_largest(a, b) for a, b in zip(one, two, strict=True)), default=0.0)
    if isinstance(one, int | float) and isinstance(two, int | float):
        return abs(float(one) - float(two))
    return 0.0 if one == two else float("inf")


def padded_to(images: Tensor, height: int, width: int, colour: Sequence[float]) -> Tensor:
    """uint8 pictures padded right and below with a colour, as batches are."""
    if (height, width) == tuple(images.shape[2:]):
        return images
    filling = torch.tensor(colour).round().to(torch.uint8).view(1, 3, 1, 1)
    whole = filling.expand(len(images), 3, height, width).clone()
    whole[:, :, : images.shape[2], : images.shape[3]] = images
    return whole


def up_to_multiple(side: int) -> int:
    """The next multiple of MULTIPLE."""
    return -(-side // MULTIPLE) * MULTIPLE
