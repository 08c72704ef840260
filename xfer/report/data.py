"""`xfer data show --draw`: some pictures of each split as they are labelled, box statistics."""

from __future__ import annotations

from pathlib import Path, PurePath

import numpy as np

from xfer.data.inspect.box_stats import collect
from xfer.data.sources.base import Bundle, read
from xfer.files import check_folder
from xfer.types import Sample

EACH = 12
SIDE = 400


def draw_data(bundle: Bundle, folder: Path) -> list[Path]:
    """Draws up to 12 pictures of each split, spread over it. With boxes: SPLIT-STEM.png each, and
    boxes.png with the sizes, shapes and classes of all; with masks: SPLIT-STEM.png each; else
    SPLIT.png, pictures with their labels.

    Returns: the files. Raises: DataError for a folder that can't be made or written into.
    """
    from xfer.report.boxes_overview import draw_boxes, overview
    from xfer.report.masks import draw_mask

    check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for role, source in bundle.splits.items():
        places = np.unique(np.linspace(0, len(source) - 1, min(EACH, len(source))).astype(int))
        if bundle.kind not in ("detect", "segment"):
            samples = [read(source, i, SIDE) for i in places.tolist()]
            files.append(_labelled(role, samples, bundle.classes, folder))
            continue
        for i in places.tolist():
            path = folder / f"{role}-{PurePath(str(source.ids[i])).stem}.png"
            # pictures of one name in two folders
            files.append(path if path not in files else path.with_stem(f"{path.stem}-{i}"))
            draw = draw_mask if bundle.kind == "segment" else draw_boxes
            draw(source[i], bundle.classes, files[-1])
    if bundle.kind == "detect":
        splits = {role: collect(source) for role, source in bundle.splits.items()}
        if any(len(boxes.labels) for boxes in splits.values()):
            files.append(folder / "boxes.png")
            overview(splits, bundle.classes, files[-1])
    return files


def _labelled(role: str, samples: list[Sample], classes: tuple[str, ...], folder: Path) -> Path:
    from xfer.report.mosaic import Tile, mosaic

    def words(label: object) -> str:
        if isinstance(label, np.ndarray):
            return ", ".join(classes[c] for c in np.flatnonzero(label == 1))
        return classes[label] if isinstance(label, int) else ""

    path = folder / f"{role}.png"
    mosaic([Tile(s.image, (words(s.label), s.id)) for s in samples], path, role)
    return path
