"""PASCAL VOC's masks: SegmentationClass/*.png, palette pictures read as indices.

0 is the background, 1 to 20 are the classes by name, 255 is the border of objects (ignored).
A split is a file of ImageSets/Segmentation with an id per line; without such files there is one
part, all. Trees of other tools bring their own class table (CVAT's labelmap.txt, labelme's
class_names.txt). SegmentationClassAug holds masks for ids that SegmentationClass lacks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xfer.data.images.walk import listing, readable
from xfer.data.readers.base import Reading, ReadOptions
from xfer.data.readers.masks.class_table import ClassRow, find_table
from xfer.data.readers.masks.palettes import check_palettes
from xfer.data.readers.masks.split_lists import find_all, read_lists, stems
from xfer.data.readers.masks.values import code_of, evenly, look, meaning
from xfer.data.sources.files import FileSource
from xfer.data.sources.masks import MaskFiles
from xfer.data.sources.split_names import WHOLE, role_of
from xfer.errors import DataError
from xfer.types import DataInfo

FOLDERS = (
    "SegmentationClass", "SegmentationClassPNG", "SegmentationClassRaw", "SegmentationClassAug",
)  # fmt: skip
CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip


def has_masks(tree: Path) -> bool:
    """Whether a folder is a VOC tree with masks."""
    lists = (tree / "ImageSets" / "Segmentation").is_dir()
    return lists and any(_has_png(tree / name) for name in FOLDERS)


def _has_png(folder: Path) -> bool:
    return any(entry.name.endswith(".png") for entry in listing(folder))


def voc_rows() -> list[ClassRow]:
    """VOC's 21 classes with their values."""
    return [ClassRow(name, value) for value, name in enumerate(CLASSES)]


def load_masks(tree: Path, pictures: tuple[Path, ...], options: ReadOptions) -> Reading:
    """The splits of a VOC tree with masks.

    Args:
        pictures: folders to search for pictures.

    Raises: DataError for a tree without masks, and for missing pictures or masks.
    """
    masks = stems([tree / name for name in FOLDERS])
    if not masks:
        raise DataError(f"{tree}: no masks in it", "SegmentationClass/*.png")
    reading = Reading({})
    table = find_table([tree])
    if table is None:
        looked = evenly(list(masks.values()))
        seen = zip(looked, look(looked), strict=True)
        check_palettes(tree, [(file, raw) for file, raw in seen if raw is not None])
        rows = voc_rows()
        values = [row.value or 0 for row in rows]
        classes, code, lines = code_of(tree, rows, values, "value", "VOC's classes", options.ignore)
    else:
        classes, code, lines = meaning(tree, list(masks.values()), table, options.ignore)
    reading.notes.extend(lines)
    lists = read_lists(tree / "ImageSets" / "Segmentation") or {WHOLE: tuple(masks)}
    for name, ids in lists.items():
        split = WHOLE if name == "default" else name
        kept, files, own = find_all(tree, split, ids, pictures, masks, options.skip_bad, reading)
        info = DataInfo(readable(tree.name), "segment", classes, role_of(split) or split)
        names = [readable(name) for name in kept]
        if own:
            reading.parts[split] = MaskFiles(info, tree, files, own, code, names)
        else:  # VOC 2012's test
            bare = DataInfo(info.name, "images", (), info.split)
            none = np.full(len(files), -1, np.int64)
            reading.parts[split] = FileSource(bare, tree, files, none, names)
    return reading
