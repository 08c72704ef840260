"""`via`: the VGG Image Annotator's project or export, json or csv: boxes or masks.

    via_region_data.json           next to the pictures, or one in each split's folder; a project
                                   file (_via_img_metadata) alike
    filename,...,region_shape_attributes,region_attributes     the same as csv

Rectangles, polygons, circles and ellipses are read; points and lines are counted. The class is the
region's only attribute; of several, `data.label=NAME` says which; without any there is one class,
`object`. Listed pictures without regions are background.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

from xfer.data.images.walk import is_junk, listing, readable, subfolders
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.readers.side_files.drawn import Drawn, drawn_source, ellipse, rectangle
from xfer.data.readers.table.locate import Locator
from xfer.data.readers.table.text import read_table
from xfer.data.readers.unlisted import note_unlisted
from xfer.data.sources.box_rules import leave_out
from xfer.data.sources.split_names import WHOLE, role_of, role_word
from xfer.data.sources.written import number
from xfer.errors import DataError, XferError, reader
from xfer.files import TABLE, NotAFile, at_home, head_of, json_of
from xfer.types import Source

ONE_CLASS = "object"
HEAD = 1 << 16
MOST = 20  # files in a folder; more are one for each picture
METADATA = "_via_img_metadata"


@FORMATS.register("via")
class Via:
    """A file of the VGG Image Annotator, or one per split."""

    kinds: ClassVar[tuple[str, ...]] = ("detect", "segment", "instance")
    low_priority: ClassVar[bool] = False
    takes_images: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("label",)

    def recognise(self, path: Path) -> str | None:
        names = [file.name for file in find_files(path).values()]
        return f"VIA, {', '.join(names)}" if names else None

    def load(self, path: Path, options: ReadOptions) -> Reading:
        files = find_files(path)
        if not files:
            raise DataError(f"{path}: no file of VIA in it", "via_region_data.json")
        reading = Reading({})
        for split, file in files.items():
            reading.parts[split] = _source(file, split, options, reading)
        note_unlisted(reading)
        return reading


def find_files(path: Path) -> dict[str, Path]:
    """Split name -> VIA's file."""
    if path.is_file():
        return {WHOLE: path} if is_via(path) else {}
    own = _inside(path)
    if len(own) == 1:
        return {WHOLE: own[0]}
    words = {word: file for file in own if (word := role_word(file.stem))}
    if own:
        return words if len(words) == len(own) else {}
    found = {folder.name: _inside(folder) for folder in subfolders(path) if role_of(folder.name)}
    return {name: files[0] for name, files in found.items() if len(files) == 1}


def _inside(folder: Path) -> list[Path]:
    files = [Path(e.path) for e in listing(folder) if not is_junk(e.name)]
    files = [f for f in files if f.suffix.casefold() in (".json", ".csv")]
    return [f for f in files if is_via(f)] if len(files) <= MOST else []


def is_via(file: Path) -> bool:
    """Whether a file is VIA's, by its beginning."""
    try:
        head = head_of(file, HEAD)
    except (OSError, NotAFile):
        return False
    if file.suffix.casefold() == ".csv":
        return b"region_shape_attributes" in head.partition(b"\n")[0]
    known = METADATA.encode() in head or b'"shape_attributes"' in head
    return file.suffix.casefold() == ".json" and known


Region = tuple[dict[str, Any], dict[str, Any]]  # shape and attributes


@reader
def read_via(file: Path) -> dict[str, list[Region]]:
    """Name of each picture -> its regions."""
    return _of_csv(file) if file.suffix.casefold() == ".csv" else _of_json(file)


def _of_json(file: Path) -> dict[str, list[Region]]:
    document: Any = json_of(file, TABLE)
    entries = document.get(METADATA, document) if isinstance(document, dict) else None
    if not isinstance(entries, dict):
        raise DataError(f"{file}: not a file of VIA")
    found: dict[str, list[Region]] = {}
    for entry in entries.values():
        name = entry.get("filename") if isinstance(entry, dict) else None
        if not isinstance(name, str):
            raise DataError(f"{file}: an entry without a filename: {str(entry)[:60]}")
        regions = entry.get("regions") or []
        regions = list(regions.values()) if isinstance(regions, dict) else regions  # VIA 1
        if not isinstance(regions, list):
            raise DataError(f"{file}: the regions of {name} are no list")
        own = found.setdefault(name, [])
        for region in regions:
            plain = region if isinstance(region, dict) else {}
            shape, about = plain.get("shape_attributes"), plain.get("region_attributes") or {}
            if not isinstance(shape, dict) or not isinstance(about, dict):
                raise DataError(f"{file}: a region of {name} has no shape_attributes")
            own.append((shape, about))
    return found


def _of_csv(file: Path) -> dict[str, list[Region]]:
    table = read_table(file)
    heads = {head.strip("#").casefold(): k for k, head in enumerate(table.header)}
    columns = [heads.get(n) for n in ("filename", "region_shape_attributes", "region_attributes")]
    if None in columns:
        raise DataError(f"{file}: VIA's csv has filename, region_shape_attributes and "
                        "region_attributes")  # fmt: skip
    name_at, shape_at, about_at = (k or 0 for k in columns)
    found: dict[str, list[Region]] = {}
    for number_of, row in enumerate(table.rows, 1):
        own = found.setdefault(row[name_at], [])
        try:
            shape, about = json.loads(row[shape_at] or "{}"), json.loads(row[about_at] or "{}")
        except (ValueError, RecursionError):
            raise DataError(f"{file}: row {number_of}: its attributes are not JSON") from None
        if not isinstance(shape, dict) or not isinstance(about, dict):
            raise DataError(f"{file}: row {number_of}: its attributes are no JSON object")
        if shape:
            own.append((shape, about))
    return found


def _source(file: Path, split: str, options: ReadOptions, reading: Reading) -> Source:
    """The source of one file; adds notes to `reading`."""
    found = read_via(file)
    label = _label(file, found, options.label, reading)
    cells = list(found)
    folders: list[str | Path] = ["", "images", split, *(f.name for f in subfolders(file.parent))]
    if options.images:
        folder = at_home(options.images).absolute()
        if not folder.is_dir():
            raise DataError(f"data.images={options.images}: no such folder")
        folders = [folder, folder / split]
    locator = Locator(file.absolute(), folders, role_of(split))
    places = locator.find_all(cells)
    reading.notes.extend(f"{file.name}: {line}" for line in places.notes(cells))
    lost = places.lost(cells)
    if len(lost) == len(cells):
        where = f"looked in {locator.places()}; data.images=DIR names their folder"
        raise DataError(f"{file}: none of its {len(cells)} pictures is there", where)
    leave_out(str(file), "pictures are not there", lost, options.skip_bad, reading.skipped)
    bad: list[tuple[str, str]] = []
    flat: Counter[str] = Counter()
    shapes: dict[str, list[Drawn]] = {}
    for name, place in zip(cells, places.places, strict=True):
        if place is None:
            continue
        own = shapes.setdefault(name, [])
        for shape, about in found[name]:
            sort = str(shape.get("name"))
            text = _class(about.get(label)) if label else ONE_CLASS
            drawn = _drawn(shape, text)
            if drawn is None and sort in ("point", "polyline"):
                flat[sort] += 1
            elif drawn is None or not text:
                bad.append((name, f"no {label} of a region" if drawn else f"a {sort} without size"))
            else:
                own.append(drawn)
    leave_out(str(file), "regions can't be used", bad, options.skip_bad, reading.skipped)
    reading.leave("shape without an area", "shapes without an area",
                  [sort for sort, n in flat.items() for _ in range(n)])  # fmt: skip
    classes = tuple(sorted({one.label for own in shapes.values() for one in own}))
    paths = dict(zip(cells, places.places, strict=True))
    return drawn_source(
        file.parent, split, classes, [str(paths[name]) for name in shapes],
        [readable(name) for name in shapes], [(0, 0)] * len(shapes), list(shapes.values()),
        [file] * len(shapes), options, reading,
    )  # fmt: skip


def _label(file: Path, found: dict[str, list[Region]], given: str, reading: Reading) -> str:
    """The attribute that holds the class; "": there is one class."""
    names = Counter(name for regions in found.values() for _, about in regions for name in about)
    if given:
        if given not in names:
            raise XferError(f"{file}: data.label={given}: no region has it",
                            f"attributes: {', '.join(names) or 'none'}")  # fmt: skip
        return given
    if len(names) > 1:
        flags = " or ".join(shlex.quote(f"data.label={name}") for name in list(names)[:4])
        raise XferError(f"{file}: which attribute is the class: {', '.join(names)}?", flags)
    if not names:
        reading.notes.append(f"{file.name}: regions have no attributes: all are {ONE_CLASS!r}")
    return next(iter(names), "")


def _class(value: Any) -> str:
    """The class in an attribute: its text, or the only box that is ticked."""
    if isinstance(value, dict):
        ticked = [name for name, on in value.items() if on]
        return ticked[0] if len(ticked) == 1 else ""
    return "" if value is None else str(value).strip()


def _drawn(shape: dict[str, Any], label: str) -> Drawn | None:
    """What a region draws; None if it has no area, or lacks a number."""
    sort = shape.get("name")

    def of(*keys: str) -> list[float]:
        return [n for key in keys if (n := number(shape.get(key))) is not None]

    if sort == "rect" and len(box := of("x", "y", "width", "height")) == 4:
        return rectangle(label, box[0], box[1], box[0] + box[2], box[1] + box[3])
    if sort == "circle" and len(circle := of("cx", "cy", "r")) == 3:
        return ellipse(label, circle[0], circle[1], circle[2], circle[2])
    if sort == "ellipse" and len(oval := of("cx", "cy", "rx", "ry")) == 4:
        return ellipse(label, *oval)
    x, y = shape.get("all_points_x"), shape.get("all_points_y")
    if sort == "polygon" and isinstance(x, list) and isinstance(y, list) and len(x) == len(y) > 2:
        points = [number(v) for pair in zip(x, y, strict=True) for v in pair]
        whole = [n for n in points if n is not None]
        return Drawn(label, (tuple(whole),)) if len(whole) == len(points) else None
    return None
