"""What becomes of a Caffe net: the recipe of its run, and the weights of its task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from xfer.importing.caffe_net import CaffeNet
from xfer.task import Task


class Plan(ABC):
    """One kind of head.

    recipe   | the recipe that the run's is made from
    settings | what the net changes in it: {"backbone": "caffenet", "task.head": "fcn32s"}
    outputs  | scores per region or pixel, background included
    background | whether the background is a class like any other: first here as in the file
    """

    recipe: str
    settings: dict[str, Any]
    outputs: int
    background: bool

    @abstractmethod
    def tensors(self, net: CaffeNet, task: Task) -> dict[str, Tensor]:
        """All weights of the task that this recipe makes, by their names in its state."""
