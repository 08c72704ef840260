"""`voc`: boxes from PASCAL VOC's XML, one file per picture; for masks, see `masks`.

    VOCdevkit/VOC20xx/{Annotations, JPEGImages, ImageSets/Main}   VOC 2007 to 2012
    {Annotations or annotations, JPEGImages or images}            any tool's export
    train/, valid/, test/ with x.jpg next to x.xml                Roboflow; also a single folder

A split is a file of ImageSets/Main with an id per line (train, val, trainval, test); the class
files in the same folder (cat_train.txt) are not read. Without ImageSets there is one part, all.
`trainval` is the training split if it is named, or if there is no `train`. Classes are those of a
split's objects, sorted by name; pictures of a split without any annotation file (VOC 2012's test)
have none.

VOC's boxes count pixels from 1 and include the last pixel: x1 and y1 are lowered by 1, and a box
with equal corners is one pixel wide. Exports that count from 0 are recognised by their zeros, see
`_from_one`.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from xfer import kinds
from xfer.boxes import Boxes
from xfer.data.images.size import sizes_of
from xfer.data.images.threads import cores
from xfer.data.images.walk import is_junk, is_picture, listing, readable, subfolders
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.readers.table.locate import Locator
from xfer.data.readers.voc.masks import FOLDERS, has_masks, load_masks
from xfer.data.readers.voc.xml import VocFile, read_voc_xml
from xfer.data.sources.box_rules import clean_boxes, leave_out
from xfer.data.sources.boxes import BoxSource, box_table
from xfer.data.sources.files import FileSource
from xfer.data.sources.split_names import WHOLE, role_of
from xfer.errors import DataError, XferError
from xfer.types import DataInfo, Source

ANNOTATIONS = ("Annotations", "annotations")
PICTURES = ("JPEGImages", "images", "Images", "")


@dataclass(frozen=True)
class Part:
    """One split on disk: the folders of its files, and its listed ids."""

    name: str
    xmls: Path
    pictures: tuple[Path, ...]
    ids: tuple[str, ...]


@FORMATS.register("voc")
class Voc:
    """PASCAL VOC's tree, or a folder with one XML per picture."""

    kinds: ClassVar[tuple[str, ...]] = ("detect", "segment")
    low_priority: ClassVar[bool] = False
    takes_images: ClassVar[bool] = True

    def recognise(self, path: Path) -> str | None:
        if not path.is_dir():
            return None
        trees = list(_trees(path))
        if trees:
            tops = [_xmls(t) or next(t / n for n in FOLDERS if (t / n).is_dir()) for t in trees]
            return f"VOC, {' and '.join(str(top.relative_to(path)) for top in tops)}"
        flat = _flat(path)
        return (
            f"VOC, XML next to the pictures in {', '.join(p.name for p in flat)}" if flat else None
        )

    def load(self, path: Path, options: ReadOptions) -> Reading:
        if not path.is_dir():
            raise DataError(f"{path}: not a folder", "VOC is a folder with Annotations")
        trees = list(_trees(path))
        if len(trees) > 1:
            which = " or ".join(f"voc:{tree}" for tree in trees)
            raise XferError(f"{path} holds several sets", f"choose one: {which}")
        masks = bool(options.kind) and not kinds.get(options.kind).boxes
        if trees and (masks or _xmls(trees[0]) is None):
            images = Path(options.images).expanduser().absolute() if options.images else None
            folders = tuple(trees[0] / name for name in PICTURES) if images is None else (images,)
            return load_masks(trees[0], folders, options)
        parts = _parts(trees[0]) if trees else _flat(path)
        if not parts:
            raise DataError(f"{path}: no annotations in it", "Annotations/*.xml, JPEGImages/")
        root = trees[0] if trees else path
        if options.images:
            images = Path(options.images).expanduser().absolute()
            if not images.is_dir():
                raise DataError(f"data.images={options.images}: no such folder")
            parts = [Part(p.name, p.xmls, (images,), p.ids) for p in parts]
        reading = Reading({})
        read = _read_all(parts, options.skip_bad, reading)
        from_one = _from_one([f for f in read.values() if f is not None], reading)
        for part in parts:
            reading.parts[part.name] = _source(root, part, read, from_one, options, reading)
        if not reading.labelled:
            raise DataError(f"{root}: none of the listed pictures has an XML in Annotations/")
        return reading


def _trees(path: Path, deep: int = 3) -> Iterator[Path]:
    """Folders with Annotations/*.xml or masks: the path itself, else VOCdevkit/VOC2007 below it."""
    if _xmls(path) is not None or has_masks(path):
        yield path
    elif deep:
        for folder in subfolders(path):
            if folder.name.startswith("VOC") or folder.name == "TrainVal":
                yield from _trees(folder, deep - 1)


def _xmls(tree: Path) -> Path | None:
    """The folder of a tree's annotation files."""
    return next((tree / name for name in ANNOTATIONS if _has_xml(tree / name)), None)


def _has_xml(folder: Path) -> bool:
    return any(e.name.endswith(".xml") and not is_junk(e.name) for e in listing(folder))


def _stems(folder: Path) -> tuple[str, ...]:
    names = [e.name for e in listing(folder) if not is_junk(e.name)]
    return tuple(name[:-4] for name in names if name.endswith(".xml"))


def _parts(root: Path) -> list[Part]:
    """The splits of a tree: the lists of ImageSets/Main, or everything as one."""
    xmls, pictures = _xmls(root) or root / ANNOTATIONS[0], tuple(root / name for name in PICTURES)
    parts: list[Part] = []
    for entry in listing(root / "ImageSets" / "Main"):
        if is_junk(entry.name) or not entry.name.endswith(".txt"):
            continue
        try:
            lines = Path(entry.path).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{entry.path}: {error}") from None
        ids = [_id(line.strip(), xmls) for line in lines if line.strip()]
        if ids and not _of_class(ids):
            name = "all" if entry.name == "default.txt" else entry.name.removesuffix(".txt")
            parts.append(Part(name, xmls, pictures, tuple(dict.fromkeys(ids))))
    return parts or [Part(WHOLE, xmls, pictures, _stems(xmls))]


def _id(listed: str, xmls: Path) -> str:
    """The id of an annotation file; some lists name the pictures instead."""
    if not is_picture(listed) or (xmls / f"{listed}.xml").is_file():
        return listed
    stem = listed.rpartition(".")[0]
    return stem if (xmls / f"{stem}.xml").is_file() else listed


def _of_class(lines: list[str]) -> bool:
    """Whether a list is for one class: an id and 1, -1 or 0 on each line."""
    return all(line.rpartition(" ")[2] in ("1", "-1", "0") and " " in line for line in lines)


def _flat(path: Path) -> list[Part]:
    """Splits, or one folder, with XML files next to the pictures."""
    tops = [f for f in subfolders(path) if role_of(f.name) and _has_xml(f)]
    if tops:
        return [Part(top.name, top, (top,), _stems(top)) for top in tops]
    return [Part(WHOLE, path, (path,), _stems(path))] if _has_xml(path) else []


def _read_all(
    parts: list[Part], skip_bad: bool, reading: Reading
) -> dict[tuple[Path, str], VocFile | None]:
    """Read every annotation file once, by its folder and id; None if there is none."""
    keys = list(dict.fromkeys((part.xmls, name) for part in parts for name in part.ids))

    def look(key: tuple[Path, str]) -> VocFile | str | None:
        folder, name = key
        file = folder / f"{name}.xml"
        if not file.is_file():
            return None
        try:
            return read_voc_xml(file)
        except DataError as error:
            return error.message

    with ThreadPoolExecutor(cores()) as pool:
        results = dict(zip(keys, pool.map(look, keys), strict=True))
    bad = [(f"{name}.xml", why) for (_, name), why in results.items() if isinstance(why, str)]
    where = str(parts[0].xmls if len({p.xmls for p in parts}) == 1 else parts[0].xmls.parent)
    leave_out(where, "annotation files can't be used", bad, skip_bad, reading.skipped)
    return {key: file for key, file in results.items() if not isinstance(file, str)}


def _from_one(files: list[VocFile], reading: Reading) -> bool:
    """Whether the boxes of a set count pixels from 1, as VOC's own do.

    A set that counts from 0 has boxes that start at 0, one that counts from 1 has them at 1. A few
    zeros among more ones are mistakes of the annotators: they are clipped.
    """
    starts = [min(box[:2]) for file in files for box in file.boxes]
    zeros, ones = sum(s == 0 for s in starts), sum(s == 1 for s in starts)
    if not zeros:
        return True
    if zeros < ones:
        reading.notes.append(f"{zeros} boxes start at 0, {ones} at 1: read as counted from 1")
        return True
    reading.notes.append(f"{zeros} boxes start at 0, {ones} at 1: read as counted from 0")
    return False


def _source(
    root: Path,
    part: Part,
    read: dict[tuple[Path, str], VocFile | None],
    from_one: bool,
    options: ReadOptions,
    reading: Reading,
) -> Source:
    """The source of one split; adds notes to `reading`."""
    ids = [name for name in part.ids if (part.xmls, name) in read]
    bare = [name for name in ids if read[part.xmls, name] is None]
    if bare and len(bare) < len(ids):
        lost = [(name, f"no {name}.xml") for name in bare]
        leave_out(
            f"{root}, {part.name}", "annotation files are not there", lost, options.skip_bad,
            reading.skipped,
        )  # fmt: skip
        ids = [name for name in ids if read[part.xmls, name] is not None]
        bare = []
    locator = Locator(root.absolute() / "x", [p.absolute() for p in part.pictures])
    places_of = {name: place for name in ids if (place := locator.find(name)) is not None}
    lost = [(name, "no such picture") for name in ids if name not in places_of]
    if not places_of:
        where = locator.places() or ", ".join(map(str, part.pictures))
        raise DataError(f"{root}: no picture of {part.name} is there", f"looked in {where}")
    leave_out(f"{root}, {part.name}", "pictures are not there", lost, options.skip_bad,
              reading.skipped)  # fmt: skip
    ids = list(places_of)
    names = [readable(name) for name in ids]
    files = [str(place) for place in places_of.values()]
    title, split = readable(root.name), role_of(part.name) or part.name
    if bare:
        info = DataInfo(title, "images", (), split)
        return FileSource(info, root, files, np.full(len(files), -1, np.int64), names)
    about = [file for name in ids if (file := read[part.xmls, name]) is not None]
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
    boxes, keep, warnings = clean_boxes(corners(written, from_one), picture, sizes, names)
    reading.notes.extend(f"{part.name}: {line}" for line in warnings)
    objects = Boxes.of(boxes[keep], labels[keep], difficult=difficult[keep])
    table = box_table(picture[keep], objects, sizes)
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
