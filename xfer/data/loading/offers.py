"""What a task may offer besides pictures cut on the host: cuts on the device, vectors, sizes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from xfer.types import Sample

if TYPE_CHECKING:
    import numpy as np

    from xfer.types import Source


class DeviceCrops(ABC):
    """For a task whose training crops may be cut on the device (data.crop_on, data.decode)."""

    @abstractmethod
    def choose_crops(self, train: Source, gpu: bool, frozen: bool = False) -> str:
        """host or device: where training crops are cut from now on, following data.crop_on.

        Args: train: the training pictures; gpu: whether the device is a GPU; frozen: whether each
            view will be seen only once, so that auto means the host.
        Raises: XferError if the device can't do what the recipe asks for.
        """


class CachedFeatures(ABC):
    """For a task whose head reads one vector per picture: with a frozen backbone, the vectors are
    computed once and the head trains from them."""

    @property
    @abstractmethod
    def head_width(self) -> int:
        """Length D of the vector that `head_input` makes from `pixels`; 0 if the head needs the
        pictures. With a length, forward and predict can work from batch.targets["features"]
        (N, V, D) alone."""

    @property
    @abstractmethod
    def head_reads(self) -> str:
        """Text that changes with what `head_input` takes from the backbone, and with the task's
        options that affect `pixels`: part of the key under which the vectors are cached."""

    @abstractmethod
    def pixels(self, train: bool, tta: str = "none") -> Callable[..., Any]:
        """(uint8 (H, W, 3), generator) -> the pixels that `transform` cuts, without labels."""

    @abstractmethod
    def head_input(self, images: Tensor) -> Tensor:
        """The head's input for uint8 images (N, 3, H, W): (N, head_width)."""


class ManySides(ABC):
    """For a task that can train at several picture sizes in turn."""

    @property
    @abstractmethod
    def sides(self) -> tuple[int, ...]:
        """Sides of training pictures, pixels, each for an equal share of the run; empty: one."""

    @abstractmethod
    def transform_at(self, side: int) -> Callable[[Sample, np.random.Generator], Any]:
        """`transform` for training pictures of this side."""
