"""xfer: fine-tune a pretrained vision backbone on a task of your own.

Public names are loaded on first use, so that `import xfer` stays quick and imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xfer import ask as ask
    from xfer.api import finetune, pretrain, sweep
    from xfer.backbones.build import create_backbone
    from xfer.doctor.check import check_data
    from xfer.errors import DataError, DivergedError, XferError
    from xfer.exporting.write import export
    from xfer.extraction.extract import features
    from xfer.extraction.extractor import FeatureExtractor
    from xfer.inference.evaluate import evaluate
    from xfer.inference.model import load, predict
    from xfer.notebook.sheet import show
    from xfer.probing.run import probe
    from xfer.recipe.tables import Recipe
    from xfer.train.loop import fit

__version__ = "0.1.0"

_HOME = {
    "check_data": "xfer.doctor.check",
    "create_backbone": "xfer.backbones.build",
    "DataError": "xfer.errors",
    "DivergedError": "xfer.errors",
    "XferError": "xfer.errors",
    "evaluate": "xfer.inference.evaluate",
    "export": "xfer.exporting.write",
    "features": "xfer.extraction.extract",
    "FeatureExtractor": "xfer.extraction.extractor",
    "fit": "xfer.train.loop",
    "finetune": "xfer.api",
    "pretrain": "xfer.api",
    "load": "xfer.inference.model",
    "predict": "xfer.inference.model",
    "probe": "xfer.probing.run",
    "Recipe": "xfer.recipe.tables",
    "show": "xfer.notebook.sheet",
    "sweep": "xfer.api",
}

__all__ = [
    "DataError",
    "DivergedError",
    "FeatureExtractor",
    "Recipe",
    "XferError",
    "check_data",
    "create_backbone",
    "evaluate",
    "export",
    "features",
    "finetune",
    "fit",
    "load",
    "predict",
    "pretrain",
    "probe",
    "show",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name == "ask":  # a room of functions: xfer.ask.lr
        return importlib.import_module("xfer.ask")
    if name not in _HOME:
        raise AttributeError(f"module 'xfer' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "ask"])
