"""xfer: carry a pretrained vision backbone over to a task of your own.

Public names are loaded on first use, so that `import xfer` stays quick and imports no torch.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xfer.api import finetune, pretrain
    from xfer.backbones.build import create_backbone
    from xfer.errors import DataError, DivergedError, XferError
    from xfer.evaluate import evaluate
    from xfer.features.extract import features
    from xfer.features.extractor import FeatureExtractor
    from xfer.loop import fit
    from xfer.predict import load
    from xfer.probe.program import probe
    from xfer.recipe.tables import Recipe

__version__ = "0.1.0"

_HOME = {
    "create_backbone": "xfer.backbones.build",
    "DataError": "xfer.errors",
    "DivergedError": "xfer.errors",
    "XferError": "xfer.errors",
    "evaluate": "xfer.evaluate",
    "features": "xfer.features.extract",
    "FeatureExtractor": "xfer.features.extractor",
    "fit": "xfer.loop",
    "finetune": "xfer.api",
    "pretrain": "xfer.api",
    "load": "xfer.predict",
    "probe": "xfer.probe.program",
    "Recipe": "xfer.recipe.tables",
}

__all__ = [
    "DataError",
    "DivergedError",
    "FeatureExtractor",
    "Recipe",
    "XferError",
    "create_backbone",
    "evaluate",
    "features",
    "finetune",
    "fit",
    "load",
    "pretrain",
    "probe",
]


class _Callable(ModuleType):
    """A module of ours that is called like a public function: it can be called as that."""

    def __call__(self, *words: Any, **named: Any) -> Any:
        return __getattr__(self.__name__.rpartition(".")[2])(*words, **named)


class _Package(ModuleType):
    """`xfer` itself. Importing `xfer.evaluate` puts the module where the function was."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _HOME and isinstance(value, ModuleType):
            value.__class__ = _Callable
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'xfer' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
