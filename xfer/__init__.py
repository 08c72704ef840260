"""xfer: carry a pretrained vision backbone over to a task of your own.

Public names are loaded on first use, so that `import xfer` stays quick and imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xfer.api import finetune, pretrain
    from xfer.backbones.build import create_backbone
    from xfer.errors import DataError, DivergedError, XferError
    from xfer.evaluate import evaluate
    from xfer.loop import fit
    from xfer.predict import load
    from xfer.recipe import Recipe

__version__ = "0.1.0"

_HOME = {
    "create_backbone": "xfer.backbones.build",
    "DataError": "xfer.errors",
    "DivergedError": "xfer.errors",
    "XferError": "xfer.errors",
    "evaluate": "xfer.evaluate",
    "fit": "xfer.loop",
    "finetune": "xfer.api",
    "pretrain": "xfer.api",
    "load": "xfer.predict",
    "Recipe": "xfer.recipe",
}

__all__ = [
    "DataError",
    "DivergedError",
    "Recipe",
    "XferError",
    "create_backbone",
    "evaluate",
    "finetune",
    "fit",
    "load",
    "pretrain",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'xfer' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
