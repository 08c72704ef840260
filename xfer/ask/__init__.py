"""Questions that everyone who fine-tunes has, answered by small experiments on your own data.

    xfer.ask.lr("photos/")                   a range test, and short runs around its proposal
    xfer.ask.batch("photos/")                what fits, how fast, and the gradient's noise
    xfer.ask.overfit("runs/NAME")            is it, and what helps
    xfer.ask.augment("photos/")              which changes of the pictures help
    xfer.ask.freeze("photos/")               which stages to train
    xfer.ask.more_labels("photos/")          what twice the pictures would bring
    xfer.ask.backbone("photos/")             which net
    xfer.ask.everything("photos/")           all of it within one budget

Each spends at most `budget` minutes, trains on the same split with the same seeds, never looks at
the test split, and returns an `Answer`. `xfer ask` is the same on the command line.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xfer.ask.augmentations import augment
    from xfer.ask.batches import batch
    from xfer.ask.labels import more_labels
    from xfer.ask.nets import backbone
    from xfer.ask.overfitting import overfit
    from xfer.ask.rates import lr
    from xfer.ask.report import everything
    from xfer.ask.stages import freeze

_HOME = {
    "augment": "augmentations",
    "backbone": "nets",
    "batch": "batches",
    "everything": "report",
    "freeze": "stages",
    "lr": "rates",
    "more_labels": "labels",
    "overfit": "overfitting",
}

__all__ = [
    "augment",
    "backbone",
    "batch",
    "everything",
    "freeze",
    "lr",
    "more_labels",
    "overfit",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'xfer.ask' has no attribute {name!r}")
    return getattr(importlib.import_module(f"xfer.ask.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
