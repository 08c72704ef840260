"""The notebook that this process is the kernel of, if it is one; IPython is never imported for it.

A kernel has loaded IPython before any cell runs, so where it isn't loaded there is no notebook.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel: Jupyter's, VS Code's, Colab's; not a script, and
    not IPython in a terminal, where nothing can be shown in place."""
    ipython = sys.modules.get("IPython")
    get: Any = getattr(ipython, "get_ipython", None)
    shell = None if get is None else get()
    return getattr(shell, "kernel", None) is not None


def expect_no_widgets() -> None:
    """In a notebook: no warning of tqdm, which timm brings, that ipywidgets are not installed."""
    if in_notebook():
        warnings.filterwarnings("ignore", "IProgress not found")


class Display:
    """One output of a cell, whose content is replaced."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, html: str, text: str) -> None:
        """Shows this, in place of what was shown. Args: text: for where HTML can't be shown."""
        content = {"text/html": html, "text/plain": text}
        if self._handle is None:
            display: Any = sys.modules["IPython"].display  # loaded with IPython
            self._handle = display.display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)
