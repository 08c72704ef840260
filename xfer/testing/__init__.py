"""Contract checks for plug-ins, as functions: call them in your own tests.

`check_backbone`, `check_source` and `check_task` raise AssertionError, which names the failure.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xfer.testing.backbone import check_backbone
    from xfer.testing.source import check_source
    from xfer.testing.task import check_task

_HOME = {
    "check_backbone": "xfer.testing.backbone",
    "check_source": "xfer.testing.source",
    "check_task": "xfer.testing.task",
}

__all__ = ["check_backbone", "check_source", "check_task"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'xfer.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
