"""Classification as tensors: scores or probabilities of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from xfer.errors import XferError
from xfer.exporting.contract import BATCH, SIZE, Choices, Exportable
from xfer.types import Batch, ClassPrediction


class ExportedLabels(Exportable):
    """A classifier.

    Shapes: images (N, 3, S, S) -> logits or probabilities float32 (N, C).
    Raises: XferError for pictures of variable size, if its head takes a single size.
    """

    script: ClassVar[str] = "labels"
    difference_words: ClassVar[str] = "largest difference of a probability"
    knows: ClassVar[tuple[str, ...]] = ("softmax",)

    def __init__(self, task: Any, choices: Choices) -> None:
        super().__init__(task, choices)
        sides = (None, None)
        if SIZE in choices.dynamic:
            if task.grid != (1, 1):
                raise XferError(
                    f"--dynamic size: the head of this classifier ({task.options.head}) reads "
                    f"pictures of {task.preprocess.size} px alone",
                    "leave size out, or train with task.head=avg",
                )
            sides = ("height", "width")
        self.outputs = ("probabilities" if choices.softmax else "logits",)
        self.axes = {"images": (BATCH, None, *sides), self.outputs[0]: (BATCH, None)}

    def forward(self, images: Tensor) -> Tensor:
        logits = self.task.logits(self.normalised(images))
        return self._probabilities(logits) if self.choices.softmax else logits

    def _probabilities(self, logits: Tensor) -> Tensor:
        return logits.sigmoid() if self.task.multilabel else logits.softmax(1)

    def read(self, outputs: Sequence[Tensor], batch: Batch) -> list[ClassPrediction]:
        table = outputs[0] if self.choices.softmax else self._probabilities(outputs[0])
        rows = table.numpy()
        return [ClassPrediction(i, row) for i, row in zip(batch.ids, rows, strict=True)]

    def describe(self) -> dict[str, Any]:
        return {"several": self.task.multilabel}
