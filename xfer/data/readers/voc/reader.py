"""`voc`: boxes from PASCAL VOC's XML, one file per picture; for masks, see `masks`;
for objects with masks, `objects`.

    VOCdevkit/VOC20xx/{Annotations, JPEGImages, ImageSets/Main}   VOC 2007 to 2012
    {Annotations or annotations, JPEGImages or images}            any tool's export
    train/, valid/, test/ with x.jpg next to x.xml                Roboflow; also a single folder
    annots/ or labels/ beside images/, in each split or below     `xml`: folders of any name

A split is a file of ImageSets/Main with an id per line (train, val, trainval, test); the class
files in the same folder (cat_train.txt) are not read. Without ImageSets, see `layout`, there may be
lists beside the annotations, or there is one part, all. `trainval` is the training split if it is
named, or if there is no `train`. Classes are those of a split's objects, sorted by name; pictures
of a split without any annotation file (VOC 2012's test) have none.

The picture of x.xml is x.jpg; where there is none, the one that <filename> names. Where no list
says otherwise, a picture without an annotation file is background, as in YOLO's sets; a line counts
them.

VOC's boxes count pixels from 1 and include the last pixel: x1 and y1 are lowered by 1, and a box
with equal corners is one pixel wide. Exports that count from 0 are recognised by their zeros, see
`_from_one`.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from xfer import kinds
from xfer.boxes import Boxes
from xfer.data.images.size import sizes_of
from xfer.data.images.threads import cores
from xfer.data.images.walk import readable
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.readers.side_files.layout import Part, loose_folders, loose_parts
from xfer.data.readers.side_files.pictures import background, find_pictures_of
from xfer.data.readers.voc.layout import PICTURES, XML, flat_parts, tree_parts, trees, xml_folder
from xfer.data.readers.voc.masks import FOLDERS, load_masks
from xfer.data.readers.voc.objects import load_objects
from xfer.data.readers.voc.xml import VocFile, read_voc_xml
from xfer.data.sources.box_rules import leave_out, settle
from xfer.data.sources.boxes import BoxSource, box_table
from xfer.data.sources.files import FileSource
from xfer.data.sources.split_names import role_of
from xfer.errors import DataError, XferError
from xfer.files import at_home, is_file
from xfer.types import DataInfo, Source

NAMED = 3


@FORMATS.register("voc")
class Voc:
    """PASCAL VOC's tree, or a folder with one XML per picture."""

    kinds: ClassVar[tuple[str, ...]] = ("detect", "segment", "instance")
    low_priority: ClassVar[bool] = False
    takes_images: ClassVar[bool] = True

    def recognise(self, path: Path) -> str | None:
        if not path.is_dir():
            return None
        found = list(trees(path))
        if found:
            tops = [xml_folder(t) or next(t / n for n in FOLDERS if (t / n).is_dir())
                    for t in found]  # fmt: skip
            return f"VOC, {' and '.join(str(top.relative_to(path)) for top in tops)}"
        flat = flat_parts(path)
        return (
            f"VOC, XML next to the pictures in {', '.join(p.name for p in flat)}" if flat else None
        )

    def load(self, path: Path, options: ReadOptions) -> Reading:
        if not path.is_dir():
            raise DataError(f"{path}: not a folder", "VOC is a folder with Annotations")
        found = list(trees(path))
        if len(found) > 1:
            which = " or ".join(f"voc:{tree}" for tree in found)
            raise XferError(f"{path} holds several sets", f"choose one: {which}")
        masks = bool(options.kind) and not kinds.get(options.kind).boxes
        objects = bool(options.kind) and kinds.get(options.kind).outlined
        if objects and not found:
            raise DataError(f"{path}: boxes without masks", "--task detect learns from boxes")
        if found and (masks or objects or xml_folder(found[0]) is None):
            images = at_home(options.images).absolute() if options.images else None
            folders = tuple(found[0] / name for name in PICTURES) if images is None else (images,)
            return (load_objects if objects else load_masks)(found[0], folders, options)
        reading = Reading({})
        parts = tree_parts(found[0], reading) if found else flat_parts(path)
        return load_parts(found[0] if found else path, parts or loose_parts(path, XML, reading),
                          options, reading)  # fmt: skip


@FORMATS.register("xml")
class Xml:
    """VOC's XML in folders of any name, with the pictures in others."""

    kinds: ClassVar[tuple[str, ...]] = ("detect",)
    low_priority: ClassVar[bool] = True
    takes_images: ClassVar[bool] = True

    def recognise(self, path: Path) -> str | None:
        if Voc().recognise(path) is not None:
            return None
        folders = loose_folders(path, XML)
        named = [folder.relative_to(path).as_posix() for folder in folders[:NAMED]]
        more = ", ..." if len(folders) > NAMED else ""
        return f"VOC's XML in {', '.join(named)}{more}" if folders else None

    def load(self, path: Path, options: ReadOptions) -> Reading:
        reading = Reading({})
        return load_parts(path, loose_parts(path, XML, reading), options, reading)


def load_parts(root: Path, parts: list[Part], options: ReadOptions, reading: Reading) -> Reading:
    """Reads the splits of a set into `reading`."""
    if not parts:
        raise DataError(f"{root}: no annotations in it", "Annotations/*.xml, JPEGImages/")
    if options.images:
        images = at_home(options.images).absolute()
        if not images.is_dir():
            raise DataError(f"data.images={options.images}: no such folder")
        parts = [replace(part, pictures=(images,)) for part in parts]
    read = _read_all(parts, options.skip_bad, reading)
    from_one = _from_one([f for f in read.values() if f is not None], reading)
    for part in parts:
        reading.parts[part.name] = _source(root, part, read, from_one, options, reading)
    if not reading.labelled:
        raise DataError(f"{root}: none of the listed pictures has an XML in Annotations/")
    return reading


def _read_all(
    parts: list[Part], skip_bad: bool, reading: Reading
) -> dict[tuple[Path, str], VocFile | None]:
    """Read every annotation file once, by its folder and id; None if there is none."""
    keys = list(dict.fromkeys((part.top, name) for part in parts for name in part.ids))

    def look(key: tuple[Path, str]) -> VocFile | str | None:
        folder, name = key
        file = folder / f"{name}.xml"
        if not is_file(file):
            return None
        try:
            return read_voc_xml(file)
        except DataError as error:
            return error.message

    with ThreadPoolExecutor(cores()) as pool:
        results = dict(zip(keys, pool.map(look, keys), strict=True))
    bad = [(f"{name}.xml", why) for (_, name), why in results.items() if isinstance(why, str)]
    where = str(parts[0].top if len({p.top for p in parts}) == 1 else parts[0].top.parent)
    leave_out(where, "annotation files can't be used", bad, skip_bad, reading.skipped)
    return {key: file for key, file in results.items() if not isinstance(file, str)}


def _from_one(files: list[VocFile], reading: Reading) -> bool:
    """Whether the boxes of a set count pixels from 1, as VOC's own do.

    A set that counts from 0 has boxes that start at 0, one that counts from 1 has them at 1. A few
    zeros among more ones are mistakes of the annotators: they are clipped.
    """
    boxes = [box for file in files for box in file.boxes]
    if boxes and max(max(box) for box in boxes) <= 1:  # shares of the picture, see `box_forms`
        return False
    starts = [min(box[:2]) for box in boxes]
    zeros, ones = sum(s == 0 for s in starts), sum(s == 1 for s in starts)
    if not zeros:
        return True
    if zeros < ones:
        reading.notes.append(f"{zeros} boxes start at 0, {ones} at 1: read as counted from 1")
        return True
    reading.notes.append(f"{zeros} boxes start at 0, {ones} at 1: read as counted from 0")
    return False


NOTHING = VocFile((), (), (), (0, 0))


def _source(
    root: Path,
    part: Part,
    read: dict[tuple[Path, str], VocFile | None],
    from_one: bool,
    options: ReadOptions,
    reading: Reading,
) -> Source:
    """The source of one split; adds notes to `reading`."""
    ids = [name for name in part.ids if (part.top, name) in read]
    bare = [name for name in ids if read[part.top, name] is None]
    if bare and len(bare) < len(ids):
        lost = [(name, f"no {name}.xml") for name in bare]
        leave_out(
            f"{root}, {part.name}", "annotation files are not there", lost, options.skip_bad,
            reading.skipped,
        )  # fmt: skip
        ids = [name for name in ids if read[part.top, name] is not None]
        bare = []
    stated = {name: "" if (file := read[part.top, name]) is None else file.picture for name in ids}
    places_of = find_pictures_of(root, part, ids, stated, XML, options, reading)
    ids = list(places_of)
    if not part.listed and not bare:
        more = background(root, part, places_of)
        if more:
            text = f"{part.name}: {len(more)} pictures without an annotation file are background"
            reading.notes.append(f"warning: {text}" if len(more) > len(ids) else text)
        places_of |= more
        read = {**read, **{(part.top, name): NOTHING for name in more}}
        ids = list(places_of)
    names = [readable(name) for name in ids]
    files = [str(place) for place in places_of.values()]
    title, split = readable(root.name), role_of(part.name) or part.name
    if bare:
        info = DataInfo(title, "images", (), split)
        return FileSource(info, root, files, np.full(len(files), -1, np.int64), names)
    about = [file for name in ids if (file := read[part.top, name]) is not None]
    sizes = np.array([file.size for file in about], np.int64).reshape(-1, 2)
    unsized = np.flatnonzero(~sizes.any(1))
    if len(unsized):
        sizes[unsized] = sizes_of([root / files[i] for i in unsized.tolist()])
    classes = tuple(sorted({name for file in about for name in file.names}))
    places = {name: c for c, name in enumerate(classes)}
    picture = np.repeat(np.arange(len(about)), [len(file.names) for file in about])
    labels = np.array([places[name] for file in about for name in file.names], np.int64)
    difficult = np.array([flag for file in about for flag in file.difficult], bool)
    written = np.array([box for file in about for box in file.boxes], np.float64).reshape(-1, 4)
    settled = settle(corners(written, from_one), picture, sizes, names, root, files)
    reading.notes.extend(f"{part.name}: {line}" for line in settled.lines)
    keep = settled.keep
    objects = Boxes.of(settled.boxes_xyxy[keep], labels[keep], difficult=difficult[keep])
    table = box_table(picture[keep], objects, settled.sizes)
    return BoxSource(DataInfo(title, "detect", classes, split), root, files, table, names)


def corners(written: NDArray[np.float64], from_one: bool) -> NDArray[np.float64]:
    """VOC's corners (R, 4) as xyxy from 0, right and bottom exclusive.

    Counted from 1, the last pixel's number equals the exclusive end. Counted from 0, exports write
    x + width; equal corners still mean one pixel.
    """
    boxes = written.copy()
    if from_one:
        boxes[:, :2] -= 1
    else:
        boxes[:, 2:] += boxes[:, 2:] == boxes[:, :2]
    return boxes
