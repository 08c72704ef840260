"""How a picture became what the net sees, so that more of what is known of it can follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Cut:
    """A part of a picture, scaled, perhaps mirrored, perhaps padded right and below.

    whole    | (H, W) of the picture, pixels
    part     | x, y, w, h of what is shown, in pixels of the picture
    size     | (h, w) that it is scaled to, pixels
    mirrored | left and right are exchanged, after scaling
    padded   | (h, w) with padding
    random   | whether it is for training: truth is then moved with the picture
    """

    whole: tuple[int, int]
    part: tuple[int, int, int, int]
    size: tuple[int, int]
    mirrored: bool = False
    padded: tuple[int, int] = (0, 0)
    random: bool = False

    @property
    def factor(self) -> tuple[float, float]:
        """(x, y): pixels of the result per pixel of the picture."""
        return self.size[1] / self.part[2], self.size[0] / self.part[3]

    def blank(self) -> NDArray[np.uint8]:
        """A black picture of the result's size, which takes no memory."""
        return np.broadcast_to(np.uint8(0), (*self.size, 3))

    def through(self, mask: NDArray[Any], void: int) -> NDArray[Any]:
        """A map (H, W) of the picture's pixels as the result has it, by nearest pixel.

        Args: void: its value where the result is padded.
        """
        x, y, w, h = self.part
        height, width = self.size
        part = mask[y : y + h, x : x + w]
        if part.shape != (height, width):
            nearest = cv2.INTER_NEAREST_EXACT
            part = np.asarray(cv2.resize(part, (width, height), interpolation=nearest), part.dtype)
        if self.mirrored:
            part = part[:, ::-1]
        if self.padded in ((0, 0), self.size):
            return np.ascontiguousarray(part)
        whole = np.full(self.padded, void, part.dtype)
        whole[:height, :width] = part
        return whole
