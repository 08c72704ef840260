"""`masks`: pictures with mask files, one class per pixel, or one object per value, see `objects`.

    images/x.jpg, masks/x.png       with or without split folders on either level, see `layout`
    classes.txt, class_dict.csv     class names of the masks' numbers or colours, see `class_table`
    train.txt, val.txt              which pictures are in which split, see `official_lists`

If two folders or endings may hold the masks, data.label names the truth; if two folders may hold
the pictures, data.images does. Several masks of a picture that are parts of one are joined.

Masks are read as numbers, or palette indices; as colours if a table gives colours and the masks
show these. Palettes that give an index different colours are asked about. Without a table the
numbers in the masks name the classes; 0 and 255 alone are background and foreground; if each mask
has the values 1 to n, these number objects (Penn-Fudan), which become one class. A table may leave
out the background; tables in each folder are matched by names. The value 255 is ignored, and so are
classes whose names say so (void, Unlabelled, ignore), or those that data.ignore names. Notes report
all of this.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from xfer import kinds
from xfer.data.images.walk import is_junk, listing, readable
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.readers.masks.class_table import NAMES
from xfer.data.readers.masks.folder_words import is_images
from xfer.data.readers.masks.layout import Pairs, find_layout, first_pair
from xfer.data.readers.masks.near_miss import near_miss
from xfer.data.readers.masks.objects import numbered_objects, object_class
from xfer.data.readers.masks.official_lists import split_by_lists
from xfer.data.readers.masks.several import check_parts
from xfer.data.readers.masks.tables import meanings
from xfer.data.sources.box_rules import leave_out
from xfer.data.sources.files import FileSource
from xfer.data.sources.masks import MaskFiles
from xfer.data.sources.split_names import WHOLE, role_of
from xfer.errors import DataError
from xfer.files import NotAFile, head_of
from xfer.kinds.findings import counted
from xfer.types import DataInfo

HEAD = 1 << 16  # bytes of a json
# found only in VOC, Cityscapes and ADE20K, which have formats of their own
OTHERS = ("ImageSets", "leftImg8bit", "objectInfo150.txt")


@FORMATS.register("masks")
class Masks:
    """Pictures and mask files."""

    kinds: ClassVar[tuple[str, ...]] = ("segment", "instance")
    low_priority: ClassVar[bool] = False
    takes_images: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("label",)

    def recognise(self, path: Path) -> str | None:
        if _is_other(path) or (mates := first_pair(path)) is None:
            return None
        above = {f for mate in mates for f in mate.parents if f.is_relative_to(path)}
        pictures = (mates[0], *mates[0].parents) if mates[0].is_dir() else mates[0].parents
        own = [f.name for f in pictures if f != path and f.is_relative_to(path)]
        mixed = not mates[0].is_dir() and mates[0].parent == mates[1].parent
        sure = not own or mixed or any(map(is_images, own))
        if any(map(_is_other, above)) or (not sure and _has_json(path)):
            return None
        if mates[0].is_dir():
            return "pictures and several forms of masks"
        masks = readable(os.path.relpath(mates[1], path))
        return f"pictures and masks, {readable(os.path.relpath(mates[0], path))} with {masks}"

    def explain(self, path: Path) -> DataError | None:
        fault = near_miss(path)
        return None if fault is None else DataError(f"{path}: {fault}", "images/x.jpg, masks/x.png")

    def load(self, path: Path, options: ReadOptions) -> Reading:
        layout = find_layout(path, options.named, options.label, options.images)
        if layout is None:
            where = f" with pictures in {options.images}" if options.images else ""
            none = DataError(f"{path}: no pictures with masks in it{where}", "images/ and masks/")
            raise self.explain(path) or none
        reading = Reading({})
        reading.leave("folder", "folders", [f"{name}/" for name in layout.left])
        parts = split_by_lists(path, layout.parts, reading)
        reading.leave("table", "tables", _tables(path))
        for part in parts:
            _note_unpaired(path, part, options.skip_bad, reading)
        check_parts(path, parts)
        masks = [mask for part in parts for picture, first in part.files
                 for mask in (first, *part.more.get(picture, ()))]  # fmt: skip
        objects = bool(options.kind) and kinds.get(options.kind).outlined
        if objects:
            name, line = object_class(path, masks, layout.folders)
            classes, codes, lines = (name,), {}, [line]
        else:
            classes, codes, lines = meanings(path, masks, layout.folders, options.ignore)
        reading.notes.extend(lines)
        for part in parts:
            info = DataInfo(
                readable(path.name), "segment", classes, role_of(part.name) or part.name
            )
            if not part.files:
                info = replace(info, kind="images", classes=())
                files = [str(p.relative_to(path)) for p in part.without_mask]
                reading.parts[part.name] = FileSource(info, path, files, np.full(len(files), -1))
                continue
            files = [str(picture.relative_to(path)) for picture, _ in part.files]
            own = [str(mask.relative_to(path)) for _, mask in part.files]
            more = {
                k: tuple(str(mask.relative_to(path)) for mask in part.more[picture])
                for k, (picture, _) in enumerate(part.files) if picture in part.more
            }  # fmt: skip
            if objects:
                info = replace(info, kind=options.kind)
                every = [(mask, *more.get(k, ())) for k, mask in enumerate(own)]
                reading.parts[part.name] = numbered_objects(
                    info, path, files, every, options, reading
                )
                continue
            if more:
                where = "" if part.name == WHOLE else f"{part.name}: "
                have = f"{counted(len(more), 'picture')} with several masks"
                reading.notes.append(f"{where}{have}, which are joined")
            code = [codes[mask.parent] for _, mask in part.files]
            reading.parts[part.name] = MaskFiles(info, path, files, own, code, more=more)
        return reading


def _tables(path: Path) -> list[str]:
    """The tables next to the folders that are not read: those of classes and of splits are."""
    return [
        e.name for e in listing(path)
        if e.name.casefold().endswith((".csv", ".tsv", ".xlsx")) and not is_junk(e.name)
        and e.name.casefold() not in NAMES and role_of(Path(e.name).stem) is None
    ]  # fmt: skip


def _has_json(path: Path) -> bool:
    """Whether a json may say what the pictures are, as COCO's do."""
    for folder in (path, path / "annotations"):
        for entry in listing(folder):
            if not entry.name.endswith(".json") or entry.name.casefold() in NAMES:
                continue
            try:
                head = head_of(entry.path, HEAD)
            except (OSError, NotAFile):
                continue
            if b'"images"' in head or b'"annotations"' in head:
                return True
    return False


def _is_other(folder: Path) -> bool:
    """Whether a folder is of a format of its own, or holds boxes too."""
    if any((folder / name).exists() for name in OTHERS):
        return True
    return any(e.name.endswith(".xml") for e in listing(folder / "Annotations"))


def _note_unpaired(path: Path, part: Pairs, skip_bad: bool, reading: Reading) -> None:
    """Pictures without a mask are an error if others have one; spare masks are noted."""
    if part.files and part.without_mask:
        lost = [(readable(str(p.relative_to(path))), "no mask") for p in part.without_mask]
        leave_out(str(path), "pictures have no mask", lost, skip_bad, reading.skipped)
    if part.without_picture:
        first = ", ".join(readable(p.name) for p in part.without_picture[:3])
        where = "" if part.name == WHOLE else f"{part.name}: "
        reading.notes.append(
            f"{where}{len(part.without_picture)} masks without a picture are left out ({first})"
        )
