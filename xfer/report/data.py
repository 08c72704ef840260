"""`xfer data show --draw`: some pictures of each split with their labels, and statistics."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xfer import kinds
from xfer.data.sources.base import Bundle
from xfer.files import check_folder

EACH = 12


def draw_data(bundle: Bundle, folder: Path) -> list[Path]:
    """Draw up to 12 pictures of each split, spread over it, with their labels; see
    `Kind.draw_split` and `Kind.draw_all`.

    Returns: the files. Raises: DataError for a folder that can't be made or written into.
    """
    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    kind = kinds.get(bundle.kind)
    files: list[Path] = []
    for role, source in bundle.splits.items():
        places = np.unique(np.linspace(0, len(source) - 1, min(EACH, len(source))).astype(int))
        files += kind.draw_split(role, source, places.tolist(), folder)
    return files + kind.draw_all(bundle.splits, bundle.classes, folder)
