"""The one file that uses albumentations (2.0.8, the last release under the MIT licence)."""

from __future__ import annotations

import os
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

# otherwise albumentations looks for a newer version over the network when it is imported
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

_own = threading.local()


def _strong() -> Any:
    import albumentations as A

    return A.Compose(
        [
            A.ColorJitter((0.6, 1.4), (0.6, 1.4), (0.6, 1.4), (-0.05, 0.05), p=0.8),
            A.ToGray(p=0.1),
            A.OneOf([A.GaussianBlur(p=1.0), A.MotionBlur(p=1.0), A.Sharpen(p=1.0)], p=0.2),
            A.Affine(rotate=(-15, 15), shear=(-8, 8), border_mode=4, p=0.5),
            A.CoarseDropout(
                num_holes_range=(1, 1), hole_height_range=(0.1, 0.35),
                hole_width_range=(0.1, 0.35), fill="random", p=0.25,
            ),
        ]
    )  # fmt: skip


def strong(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Change colours, blur or sharpen, rotate and shear, and erase a patch, each at random.

    The same state of `rng` alters a picture in the same way, in any thread.
    """
    if not hasattr(_own, "compose"):
        _own.compose = _strong()
    _own.compose.set_random_seed(int(rng.integers(2**31)))
    return _own.compose(image=np.ascontiguousarray(image))["image"]
