"""`coco`: COCO's json, in COCO's own tree or as written by Label Studio, CVAT, Roboflow, LVIS:
boxes, boxes with outlines (instances), or outlines drawn as masks, see `segment`.

    annotations/instances_SPLIT.json   COCO 2014 and 2017, CVAT; pictures in SPLIT/, images/...
    annotations/SPLIT.json             or with another word: train_annotations.json
    SPLIT/_annotations.coco.json       Roboflow: a json in each split's folder, with the pictures
    result.json, images/               Label Studio; any folder with one json, or that json alone

Pictures are found by path from the json's folder or the usual folders near it, else by a name that
only one picture there has; data.images names another folder. Classes are the json's, by rising id.
Roboflow's parent class is left out if no annotation uses it. A picture that is listed twice keeps
both entries.
"""

from __future__ import annotations

import itertools
import mmap
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from xfer import kinds
from xfer.boxes import Boxes
from xfer.data.images.size import sizes_of
from xfer.data.images.walk import is_junk, listing, readable, subfolders
from xfer.data.inspect.checks import MOST
from xfer.data.pack.reader import NAME as PACK
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.readers.coco.json import CocoTable, read_coco_json
from xfer.data.readers.coco.polygons import object_mask
from xfer.data.readers.coco.segment import Placed, coco_masks, outlines_of
from xfer.data.readers.side_files.via import is_via
from xfer.data.readers.table.locate import Locator, split_of_folder
from xfer.data.readers.unlisted import note_unlisted
from xfer.data.sources.box_rules import NAMED, leave_out, settle
from xfer.data.sources.boxes import BoxSource, box_table
from xfer.data.sources.instances import InstanceSource, outlined
from xfer.data.sources.split_names import WHOLE, role_of, role_word
from xfer.errors import DataError, XferError
from xfer.files import NotAFile, at_home, open_file
from xfer.types import DataInfo

PREFIX = "instances_"
FOLDER = "annotations"


@FORMATS.register("coco")
class Coco:
    """One COCO json, or one per split."""

    kinds: ClassVar[tuple[str, ...]] = ("detect", "segment", "instance")
    low_priority: ClassVar[bool] = False
    takes_images: ClassVar[bool] = True
    fixed_kind: ClassVar[bool] = True  # so that a large json is not read twice

    def recognise(self, path: Path) -> str | None:
        if path.is_file():
            own = path.suffix.casefold() == ".json" and not is_via(path)
            return "a COCO json" if own else None
        files = find_jsons(path)
        listed = ", ".join(str(file.relative_to(path)) for file in files.values() or several(path))
        return f"COCO {listed}" if listed else None

    def load(self, path: Path, options: ReadOptions) -> Reading:
        files = {WHOLE: path} if path.is_file() else find_jsons(path)
        if not files and (rivals := several(path)):
            raise XferError(
                f"{path} holds several COCO jsons, and their names don't say which split each is",
                " or ".join(f"coco:{file}" for file in rivals[:4])
                + "; names that do: train.json, val.json",
            )
        if not files:
            raise DataError(
                f"{path}: no COCO json in it",
                "annotations/instances_*.json, _annotations.coco.json in each split, or coco:FILE",
            )
        reading = Reading({})
        root = path if path.is_dir() else path.parent
        for split, file in files.items():
            masks = bool(options.kind) and not kinds.get(options.kind).boxes
            both = bool(options.kind) and kinds.get(options.kind).outlined
            table = read_coco_json(file, masks=masks or both, skip_bad=options.skip_bad)
            reading.skipped.extend(table.skipped)
            reading.notes.extend(f"{file.name}: {line}" for line in table.notes)
            folders = _folders(root, file, split, options.images)
            if masks:
                placed = _placed(table, root, split, folders, options, reading)
                reading.parts[split] = coco_masks(
                    table, root, split, placed, _classes(table, reading), options, reading
                )
                continue
            reading.parts[split] = coco_source(table, root, split, folders, options, reading)
        _note_shared(reading)
        note_unlisted(reading)
        folders = {file.parent for file in files.values()}
        others = [f.name for folder in sorted(folders) for f in _jsons(folder)
                  if f not in files.values()]  # fmt: skip
        reading.leave("json", "jsons", others if path.is_dir() else ())
        return reading


def _note_shared(reading: Reading) -> None:
    """Warn about pictures shared by two of train, val and test: a leak, or a missing folder whose
    pictures' names were found in another one. In smaller sets the bytes of all are compared."""
    if sum(map(len, reading.parts.values())) <= MOST:
        return
    boxed = {s: p for s, p in reading.parts.items() if role_of(s) and isinstance(p, BoxSource)}
    for (one, first), (two, other) in itertools.combinations(boxed.items(), 2):
        known = set(first.files)
        same = [name for name, file in zip(other.ids, other.files, strict=True) if file in known]
        if same and role_of(one) != role_of(two):
            named = ", ".join(same[:NAMED])
            more = ", ..." if len(same) > NAMED else ""
            reading.notes.append(
                f"warning: {len(same)} pictures are in both {one} and {two}: {named}{more}"
            )


def find_jsons(path: Path) -> dict[str, Path]:
    """Split name -> json, in a folder that holds COCO data; else empty."""
    tops = [f for f in subfolders(path) if f.name.casefold() == FOLDER]
    tops = [*tops, path]
    for top in tops:
        files = [f for f in _jsons(top) if f.name.startswith(PREFIX)]
        if files:
            return {_split_name(f): f for f in files}
    inside = {top.name: _coco_jsons(top) for top in subfolders(path) if role_of(top.name)}
    if any(inside.values()):
        chosen = {name: _usual(files) for name, files in inside.items()}
        return {name: files[0] for name, files in chosen.items() if len(files) == 1}
    for top in tops:
        files = _coco_jsons(top)
        named = {f.stem: f for f in files if role_of(f.stem)}
        if named:
            return named
        words = [(word, f) for f in files if (word := role_word(f.stem))]
        if len(files) > 1 and len({word for word, _ in words}) == len(words) > 0:
            return dict(words)
        if len(files) == 1:
            return {WHOLE: files[0]}
    return {}


def several(path: Path) -> list[Path]:
    """The jsons of a folder without a choice by `find_jsons`: their names say no split."""
    inside = [f for top in subfolders(path) if role_of(top.name) for f in _coco_jsons(top)]
    tops = [*(f for f in subfolders(path) if f.name.casefold() == FOLDER), path]
    return inside or next((files for top in tops if len(files := _coco_jsons(top)) > 1), [])


def _usual(files: list[Path]) -> list[Path]:
    """The json that has Roboflow's name, if there is one among several."""
    return [f for f in files if f.name.endswith(".coco.json")] or files


def _split_name(file: Path) -> str:
    """instances_train2017.json -> train2017; CVAT's instances_default.json -> all."""
    name = file.stem.removeprefix(PREFIX)
    return WHOLE if name.casefold() == "default" else name


def _jsons(folder: Path) -> list[Path]:
    named = [e for e in listing(folder) if e.name.casefold().endswith(".json")]
    return [Path(e.path) for e in named if not is_junk(e.name) and e.is_file()]


def _coco_jsons(folder: Path) -> list[Path]:
    """The jsons of a folder whose text names images, annotations and categories."""
    own = [f for f in _jsons(folder) if not f.name.startswith("panoptic_")]
    return [f for f in own if f.name.endswith(".coco.json") or _sniff(f)]


def _sniff(file: Path) -> bool:
    try:
        with open_file(file) as opened:
            head = opened.read(256)
            # a pack's index.json that is cut off is for the pack's reader to name
            if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] != b"{" or PACK.encode() in head:
                return False
            with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as text:
                keys = (b'"images"', b'"categories"', b'"annotations"')
                there = [text.find(key) >= 0 for key in keys]
                # also accept a file that is cut off before a list: reading it reports that
                return all(there) or (any(there) and text[-64:].rstrip()[-1:] != b"}")
    except (OSError, ValueError, NotAFile):
        return False


def _folders(root: Path, file: Path, split: str, images: str) -> list[Path]:
    """Folders to look for a json's pictures in: the one that the user named, or the usual ones."""
    if images:
        folder = at_home(images).absolute()
        if not folder.is_dir():
            raise DataError(f"data.images={images}: no such folder")
        return [folder, folder / split]
    in_annotations = file.parent.name.casefold() == FOLDER
    if in_annotations:
        root = file.parent.parent
    names = [split, f"images/{split}", "images", "", "data", "train2017", "val2017",
             "train2014", "val2014"]  # fmt: skip
    if role := role_of(split):
        beside = [f for top in (root, root / "images") for f in subfolders(top)]
        names += [str(f.relative_to(root)) for f in beside if split_of_folder(f.name) == role]
    if split == WHOLE:
        names = ["images/default", "images/Train", *names]
    if not in_annotations and file.parent != root:
        root = file.parent
        names = ["", "images", root.name]
    return [root.absolute() / name for name in names]


def _placed(
    table: CocoTable,
    root: Path,
    split: str,
    folders: list[Path],
    options: ReadOptions,
    reading: Reading,
) -> Placed:
    """The pictures of a json. Raises DataError naming missing ones, unless they may be left out."""
    path = table.path
    locator = Locator(root.absolute() / path.name, folders, role_of(split))
    found = locator.find_all(table.file_names)
    places, lost = found.places, found.lost(table.file_names)
    reading.notes.extend(f"{path.name}: {line}" for line in found.notes(table.file_names))
    if len(lost) == len(places):
        where = locator.places() or ", ".join(map(str, folders))
        what = f"none of its {len(places)} pictures is there" if places else "it lists no pictures"
        why = f": {lost[0][0]} ({lost[0][1]})" if lost else ""
        hint = f"looked in {where}; data.images=DIR names their folder"
        raise DataError(f"{path}: {what}{why}", hint if places else None)
    leave_out(str(path), "pictures are not there", lost, options.skip_bad, reading.skipped)
    kept = [i for i, place in enumerate(places) if place is not None]
    files = [str(places[i]) for i in kept]
    sizes = table.sizes[kept]
    unsized = np.flatnonzero(~sizes.any(1))
    if len(unsized):
        sizes[unsized] = sizes_of([root / files[i] for i in unsized.tolist()])
    return Placed(kept, files, sizes, _names(table, kept, reading))


def coco_source(
    table: CocoTable,
    root: Path,
    split: str,
    folders: list[Path],
    options: ReadOptions,
    reading: Reading,
) -> BoxSource:
    """The source of one json; adds notes to `reading`.

    Raises: DataError naming missing pictures, unless they may be left out.
    """
    path = table.path
    placed = _placed(table, root, split, folders, options, reading)
    kept, files, sizes, ids = placed.kept, placed.files, placed.sizes, placed.ids
    where_to = np.full(len(table.file_names), -1)
    where_to[kept] = np.arange(len(kept))
    picture = where_to[table.picture]
    rows = np.flatnonzero(picture >= 0)
    picture = picture[rows]
    settled = settle(table.boxes_xywh[rows], picture, sizes, ids, root, files, "xywh")
    reading.notes.extend(f"{path.name}: {line}" for line in settled.lines)
    classes = _classes(table, reading)
    place_of = np.full(len(table.categories), -1)
    place_of[classes] = np.arange(len(classes))
    keep = settled.keep
    rows, picture, boxes = rows[keep], picture[keep], settled.boxes_xyxy[keep]
    areas = None if settled.changed else table.areas[rows]
    objects = Boxes.of(boxes, place_of[table.category[rows]], crowd=table.crowd[rows], area=areas)
    names = tuple(table.categories[c] for c in classes)
    info = DataInfo(readable(root.name), "detect", names, role_of(split) or split)
    own_ids = [table.image_ids[i] for i in kept], [table.category_ids[c] for c in classes]
    if not options.kind or not kinds.get(options.kind).outlined:
        return BoxSource(
            info, root, files, box_table(picture, objects, settled.sizes), ids, *own_ids
        )
    outlines = outlines_of(table, rows, settled.sizes[picture], settled.changed, reading)
    own = outlined(picture, objects, outlines, settled.sizes)
    instances = replace(info, kind=options.kind)
    return InstanceSource(instances, root, files, own, ids, *own_ids, draw=object_mask)


def _names(table: CocoTable, kept: list[int], reading: Reading) -> list[str]:
    """Ids of the samples: the file names, with the json's id for a file that is listed twice."""
    seen: set[str] = set()
    names: list[str] = []
    for i in kept:
        name = readable(table.file_names[i].replace("\\", "/"))
        names.append(f"{name}#{table.image_ids[i]}" if name in seen else name)
        seen.add(name)
    if len(seen) < len(names):
        twice = len(names) - len(seen)
        reading.notes.append(
            f"{table.path.name}: warning: {twice} pictures are listed more than once"
        )
    return names


def _classes(table: CocoTable, reading: Reading) -> list[int]:
    """The indices of the classes. Roboflow writes a parent of all of them, which is not a class.

    Raises: DataError if two classes have the same name.
    """
    used = set(table.category.tolist())
    parents = {
        c for c, name in enumerate(table.categories)
        if c not in used and table.parents[c] == "none"
        and any(table.parents[o] == name for o in range(len(table.categories)) if o != c)
    }  # fmt: skip
    if parents:
        listed = ", ".join(table.categories[c] for c in sorted(parents))
        reading.notes.append(f"{table.path.name}: the parent class {listed} has no boxes: left out")
    classes = [c for c in range(len(table.categories)) if c not in parents]
    names = [table.categories[c] for c in classes]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise DataError(f"{table.path}: several categories are called {', '.join(twice)}")
    return classes
