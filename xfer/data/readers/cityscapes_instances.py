"""Cityscapes' objects: gtFine/SPLIT/CITY/X_gtFine_instanceIds.png.

A value of 1000 or more is an object, class * 1000 + its number; one of 24 to 33 is a group of
objects of that class, read as a crowd. Only the eight classes whose objects are evaluated count.

Source: mcordts/cityscapesScripts, helpers/labels.py (hasInstances, not ignoreInEval).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from xfer.boxes import Boxes
from xfer.data.images.decode import DecodeError
from xfer.data.images.mask_file import read_mask_file
from xfer.data.images.walk import readable
from xfer.data.readers.base import Reading, ReadOptions
from xfer.data.readers.object_maps import map_source, object_boxes
from xfer.data.sources.box_rules import leave_out
from xfer.data.sources.instances import InstanceSource
from xfer.data.sources.split_names import role_of
from xfer.objects.numbered import masks_by_number
from xfer.types import DataInfo

OBJECTS = {"person": 24, "rider": 25, "car": 26, "truck": 27, "bus": 28, "train": 31,
           "motorcycle": 32, "bicycle": 33}  # fmt: skip
BASE = 1000
ENDING = "instanceIds"


def instances(
    path: Path, split: str, pictures: Sequence[Path], maps: Mapping[tuple[str, str], Path],
    options: ReadOptions, reading: Reading,
) -> InstanceSource:  # fmt: skip
    """The source of one split.

    Args: maps: (split, stem of a picture without its ending) -> the file of its objects.
    """
    mates = [maps.get((split, p.stem.removesuffix("_leftImg8bit"))) for p in pictures]
    lost = [(readable(p.name), f"no {ENDING}") for p, m in zip(pictures, mates, strict=True)
            if m is None]  # fmt: skip
    leave_out(f"{path}, {split}", f"pictures have no {ENDING}", lost, options.skip_bad,
              reading.skipped)  # fmt: skip
    both = [(p, m) for p, m in zip(pictures, mates, strict=True) if m is not None]
    files = [str(p.relative_to(path)) for p, _ in both]
    info = DataInfo(readable(path.name), options.kind, tuple(OBJECTS), role_of(split) or split)
    return map_source(info, path, files, lambda i: _objects(both[i][1]), options, reading)


def _objects(file: Path) -> Boxes:
    raw = read_mask_file(file)
    if raw.coloured:
        raise DecodeError(f"{ENDING} with colours instead of numbers", readable(str(file)))
    place = {value: k for k, value in enumerate(OBJECTS.values())}
    rows = [
        (mask, place[value // BASE if value >= BASE else value], value < BASE)
        for value, mask in masks_by_number(raw.values).items()
        if (value // BASE if value >= BASE else value) in place
    ]
    masks, labels, crowd = zip(*rows, strict=True) if rows else ((), (), ())
    height, width = raw.values.shape
    return object_boxes(list(masks), list(labels), list(crowd), (height, width))
