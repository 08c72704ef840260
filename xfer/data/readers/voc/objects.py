"""PASCAL VOC's objects: SegmentationObject/*.png numbers them, SegmentationClass tells their class.

255 is the border of objects, which belongs to none. An object's class is that of most of its
pixels; pixels that only one of the two files knows are left out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xfer.boxes import Boxes
from xfer.data.images.decode import DecodeError
from xfer.data.images.mask_file import read_mask_file
from xfer.data.readers.base import Reading, ReadOptions
from xfer.data.readers.masks.split_lists import stems
from xfer.data.readers.masks.values import BACKGROUNDS
from xfer.data.readers.object_maps import map_source, object_boxes
from xfer.data.readers.voc.masks import load_masks
from xfer.data.sources.instances import InstanceSource
from xfer.data.sources.masks import MaskFiles
from xfer.errors import DataError
from xfer.objects.mask import ObjectMask
from xfer.objects.numbered import masks_by_number
from xfer.types import IGNORE, DataInfo

FOLDERS = ("SegmentationObject", "SegmentationObjectPNG")


def load_objects(tree: Path, pictures: tuple[Path, ...], options: ReadOptions) -> Reading:
    """The splits of a VOC tree with masks, read as objects.

    Args: pictures: folders to search for pictures.

    Raises: DataError for a tree without SegmentationObject.
    """
    objects = stems([tree / name for name in FOLDERS])
    if not objects:
        raise DataError(
            f"{tree}: no SegmentationObject/*.png in it, and instances need masks that number "
            "objects",
            "--task detect learns from boxes, --task segment from classes of pixels",
        )
    semantic = load_masks(tree, pictures, options)
    reading = Reading({}, semantic.notes, semantic.skipped, semantic.unused)
    for split, source in semantic.parts.items():
        if not isinstance(source, MaskFiles):  # VOC 2012's test: pictures alone
            reading.parts[split] = source
            continue
        reading.parts[split] = _source(source, objects, options, reading)
    return reading


def _source(
    semantic: MaskFiles, objects: dict[str, Path], options: ReadOptions, reading: Reading
) -> InstanceSource:
    own = semantic.info
    things = [c for c, name in enumerate(own.classes) if name.casefold() not in BACKGROUNDS]
    place = np.full(IGNORE + 1, -1)
    place[things] = np.arange(len(things))
    names = tuple(own.classes[c] for c in things)
    info = DataInfo(own.name, options.kind, names, own.split, own.licence)

    def read(i: int) -> Boxes:
        file = objects.get(Path(semantic.masks[i]).stem)
        if file is None:
            raise DataError("no SegmentationObject")
        numbers, classes = read_mask_file(file), semantic.read_mask(i)
        if numbers.coloured or numbers.values.shape != classes.shape:
            raise DecodeError("SegmentationObject and SegmentationClass differ in size", str(file))
        values = np.where(place[classes] < 0, 0, numbers.values)
        values[values == IGNORE] = 0
        masks: list[ObjectMask] = []
        labels: list[int] = []
        for number, mask in masks_by_number(values).items():
            if number:
                masks.append(mask)
                labels.append(int(np.bincount(place[classes[values == number]]).argmax()))
        height, width = classes.shape
        return object_boxes(masks, labels, [False] * len(masks), (height, width))

    return map_source(info, semantic.root, semantic.files, read, options, reading, semantic.ids)
