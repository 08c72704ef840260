"""Where in a picture a model found what it predicts: Grad-CAM, and occlusion as a check."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xfer.explain.heat_maps import Explanation as Explanation
    from xfer.explain.heat_maps import explain as explain
    from xfer.explain.heat_maps import grad_cam as grad_cam
    from xfer.explain.heat_maps import occlusion as occlusion

__all__ = ["Explanation", "explain", "grad_cam", "occlusion"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("xfer.explain.heat_maps"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
