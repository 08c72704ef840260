"""`cityscapes`: leftImg8bit/SPLIT/CITY/X_leftImg8bit.png, gtFine/SPLIT/CITY/X_gtFine_labelIds.png.

The 19 of the 34 ids that are evaluated are classes, the others are ignored. labelTrainIds are read
if there are no labelIds, gtCoarse if there is no gtFine. The published masks of test are empty: its
pictures are read without masks. For objects instead of classes, see `cityscapes_instances`, for
both `panoptic.cityscapes`.

Source: mcordts/cityscapesScripts, helpers/labels.py.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from xfer import kinds
from xfer.data.images.walk import find_pictures, readable, subfolders
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.readers.cityscapes_instances import OBJECTS, instances
from xfer.data.readers.masks.class_table import ClassRow
from xfer.data.readers.masks.values import code_of
from xfer.data.readers.panoptic.cityscapes import CityscapesSegments
from xfer.data.sources.box_rules import leave_out
from xfer.data.sources.files import FileSource
from xfer.data.sources.masks import MaskFiles
from xfer.data.sources.split_names import role_of
from xfer.errors import DataError
from xfer.types import DataInfo

CLASSES = {
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17,
    "traffic light": 19, "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23,
    "person": 24, "rider": 25, "car": 26, "truck": 27, "bus": 28, "train": 31, "motorcycle": 32,
    "bicycle": 33,
}  # fmt: skip
IDS = 34
_ENDING = re.compile(r"_gt(?:Fine|Coarse)_(labelIds|labelTrainIds|instanceIds)$")


@FORMATS.register("cityscapes")
class Cityscapes:
    """The folder tree of Cityscapes."""

    kinds: ClassVar[tuple[str, ...]] = ("segment", "instance", "panoptic")
    low_priority: ClassVar[bool] = False
    takes_images: ClassVar[bool] = False

    def recognise(self, path: Path) -> str | None:
        truth = _truth(path)
        return None if truth is None else f"Cityscapes, leftImg8bit with {truth.name}"

    def load(self, path: Path, options: ReadOptions) -> Reading:
        truth = _truth(path)
        if truth is None:
            raise DataError(f"{path}: no Cityscapes in it", "leftImg8bit/ and gtFine/")
        kind = kinds.get(options.kind) if options.kind else None
        objects, whole = kind is not None and kind.outlined, kind is not None and kind.segments
        masks: dict[str, dict[tuple[str, str], Path]] = {
            "labelIds": {}, "labelTrainIds": {}, "instanceIds": {},
        }  # fmt: skip
        for file in find_pictures(truth):
            ending = _ENDING.search(file.stem)
            if ending:
                split = file.relative_to(truth).parts[0]
                masks[ending[1]][split, file.stem[: ending.start()]] = file
        which = "labelIds" if masks["labelIds"] or whole else "labelTrainIds"
        own = masks["instanceIds" if objects or whole else which]
        rows = [ClassRow(n, v if which == "labelIds" else i)
                for i, (n, v) in enumerate(CLASSES.items())]  # fmt: skip
        values = [row.value or 0 for row in rows]
        void = [v for v in range(IDS) if v not in values] if which == "labelIds" else []
        where = f"Cityscapes' classes, {'instanceIds' if whole else which}"
        classes, code, lines = code_of(path, rows, values, "value", where, options.ignore, void)
        reading = Reading({}, [] if objects else lines)
        for folder in subfolders(path / "leftImg8bit"):
            split = folder.name
            pictures = find_pictures(folder)
            mates = [own.get((split, p.stem.removesuffix("_leftImg8bit"))) for p in pictures]
            info = DataInfo(readable(path.name), "segment", classes, role_of(split) or split)
            if role_of(split) == "test" or not any(mates):
                files = [str(p.relative_to(path)) for p in pictures]
                if files:
                    none = np.full(len(files), -1, np.int64)
                    bare = replace(info, kind="images", classes=())
                    reading.parts[split] = FileSource(bare, path, files, none)
                continue
            if objects:
                reading.parts[split] = instances(path, split, pictures, own, options, reading)
                continue
            lost = [
                (readable(p.name), "no mask")
                for p, mate in zip(pictures, mates, strict=True)
                if mate is None
            ]
            leave_out(f"{path}, {split}", "pictures have no mask", lost, options.skip_bad,
                      reading.skipped)  # fmt: skip
            both = [(p, m) for p, m in zip(pictures, mates, strict=True) if m is not None]
            files, maps = ([str(one.relative_to(path)) for one in column]
                           for column in zip(*both, strict=True))  # fmt: skip
            if whole:
                things = tuple(name for name in classes if name in OBJECTS)
                info = replace(info, kind=options.kind, things=things)
                reading.parts[split] = CityscapesSegments(info, path, files, maps, CLASSES)
            else:
                reading.parts[split] = MaskFiles(info, path, files, maps, code)
        if not reading.labelled:
            ending = "instanceIds" if objects or whole else "labelIds"
            raise DataError(f"{path}: no picture has a mask in {truth.name}",
                            f"gtFine/SPLIT/CITY/*_gtFine_{ending}.png")  # fmt: skip
        return reading


def _truth(path: Path) -> Path | None:
    if not (path / "leftImg8bit").is_dir():
        return None
    return next((path / n for n in ("gtFine", "gtCoarse") if (path / n).is_dir()), None)
