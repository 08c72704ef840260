"""`labelme`: a json for each picture, of labelme or X-AnyLabeling: boxes, objects or masks.

    pictures/x.jpg, pictures/x.json       next to the pictures, in one folder or one for each split
    images/x.jpg, annotations/x.json      in folders of any name, see `layout`

{"shapes": [{"label", "points": [[x, y], ...], "shape_type", "group_id"}], "imagePath",
"imageHeight", "imageWidth"}. The picture of x.json is x.jpg, else the one that imagePath names; the
picture inside (imageData) is not read. Shapes with one label and one group_id are one object.
A picture without a json is background, where no list says otherwise; a line counts them. labelme
draws on the upright picture; boxes in the other frame are known by not fitting, see `box_frames`.
"""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from xfer.data.images.threads import cores
from xfer.data.images.walk import readable
from xfer.data.readers.base import FORMATS, Reading, ReadOptions
from xfer.data.readers.side_files.drawn import Drawn, drawn_source, ellipse, rectangle
from xfer.data.readers.side_files.layout import Part, Sort, loose_folders, loose_parts
from xfer.data.readers.side_files.pictures import background, find_pictures_of
from xfer.data.sources.box_rules import leave_out
from xfer.data.sources.written import number, picture_size
from xfer.errors import DataError, reader
from xfer.files import LARGE, at_home, bytes_of
from xfer.types import Source

NAMED = 3


def _is_labelme(head: bytes) -> bool:
    """Whether a json is labelme's, by its beginning."""
    return b'"shapes"' in head or (b'"version"' in head and b'"flags"' in head)


JSON = Sort(".json", _is_labelme)


@dataclass(frozen=True)
class LabelmeFile:
    """The content of a json: what is drawn, how many shapes of each sort have no area, (H, W) or
    (0, 0), and the picture's name or ""."""

    shapes: tuple[Drawn, ...]
    flat: Counter[str]
    size: tuple[int, int]
    picture: str


NOTHING = LabelmeFile((), Counter(), (0, 0), "")


@reader
def read_labelme(path: Path) -> LabelmeFile:
    """Read a json. Raises DataError, without the file's name, naming the first shape that can't be
    used."""
    try:
        document: Any = json.loads(bytes_of(path, LARGE))
    except DataError as error:
        raise DataError(error.message.removeprefix(f"{path}: ")) from None
    except OSError as error:
        raise DataError(error.strerror or str(error)) from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"not valid JSON: {str(error)[:80]}") from None
    entries = document.get("shapes") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise DataError("no list of shapes in it")
    shapes: list[Drawn] = []
    groups: dict[tuple[str, str], int] = {}
    flat: Counter[str] = Counter()
    for place, entry in enumerate(entries, 1):
        drawn, sort = _shape(entry, f"shape {place}")
        if drawn is None:
            flat[sort] += 1
            continue
        group = entry.get("group_id")
        key = (drawn.label, str(group))
        if group is not None and key in groups:
            first = shapes[groups[key]]
            shapes[groups[key]] = Drawn(first.label, first.outlines + drawn.outlines)
            continue
        groups[key] = len(shapes)
        shapes.append(drawn)
    size = picture_size(document.get("imageHeight"), document.get("imageWidth"))
    picture = document.get("imagePath")
    return LabelmeFile(tuple(shapes), flat, size, picture if isinstance(picture, str) else "")


def _shape(entry: Any, where: str) -> tuple[Drawn | None, str]:
    """What a shape draws, None if it has no area, and its sort."""
    if not isinstance(entry, dict) or not isinstance(entry.get("label"), str):
        raise DataError(f"{where} has no label")
    label, sort = entry["label"].strip(), str(entry.get("shape_type") or "polygon")
    if not label:
        raise DataError(f"{where} has an empty label")
    points = entry.get("points")
    if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise DataError(f"{where} ({label}): its points are not pairs of numbers")
    values = [n for p in points for v in p if (n := number(v)) is not None and np.isfinite(n)]
    if len(values) != 2 * len(points):
        raise DataError(f"{where} ({label}): a coordinate is not a finite number")
    if sort in ("rectangle", "mask") and len(points) == 2:
        return rectangle(label, *values), sort
    if sort == "circle" and len(points) == 2:
        x, y, far_x, far_y = values
        radius = float(np.hypot(far_x - x, far_y - y))
        return ellipse(label, x, y, radius, radius), sort
    if sort in ("polygon", "rectangle", "rotation", "mask") and len(points) >= 3:
        return Drawn(label, (tuple(values),), sort == "rectangle"), sort
    return None, sort


@FORMATS.register("labelme")
class Labelme:
    """A json of labelme for each picture."""

    kinds: ClassVar[tuple[str, ...]] = ("detect", "segment", "instance")
    low_priority: ClassVar[bool] = True  # class folders may hold such files too: asked
    takes_images: ClassVar[bool] = True

    def recognise(self, path: Path) -> str | None:
        folders = loose_folders(path, JSON)
        named = [folder.relative_to(path).as_posix() for folder in folders[:NAMED]]
        more = ", ..." if len(folders) > NAMED else ""
        return f"labelme's json in {', '.join(named)}{more}" if folders else None

    def load(self, path: Path, options: ReadOptions) -> Reading:
        reading = Reading({})
        parts = loose_parts(path, JSON, reading) if path.is_dir() else []
        if not parts:
            raise DataError(f"{path}: no json of labelme in it", "a folder with x.json for x.jpg")
        if options.images:
            images = at_home(options.images).absolute()
            if not images.is_dir():
                raise DataError(f"data.images={options.images}: no such folder")
            parts = [replace(part, pictures=(images,)) for part in parts]
        read = _read_all(path, parts, options.skip_bad, reading)
        flat: Counter[str] = Counter()
        for file in read.values():
            flat += file.flat
        reading.leave("shape without an area", "shapes without an area",
                      [sort for sort, n in flat.items() for _ in range(n)])  # fmt: skip
        for part in parts:
            reading.parts[part.name] = _source(path, part, read, options, reading)
        return reading


def _read_all(
    path: Path, parts: list[Part], skip_bad: bool, reading: Reading
) -> dict[tuple[Path, str], LabelmeFile]:
    """Every json once, by its folder and id."""
    keys = list(dict.fromkeys((part.top, name) for part in parts for name in part.ids))

    def look(key: tuple[Path, str]) -> LabelmeFile | str:
        try:
            return read_labelme(key[0] / f"{key[1]}.json")
        except DataError as error:
            return error.message

    with ThreadPoolExecutor(cores()) as pool:
        results = dict(zip(keys, pool.map(look, keys), strict=True))
    bad = [(f"{name}.json", why) for (_, name), why in results.items() if isinstance(why, str)]
    leave_out(str(path), "json files can't be used", bad, skip_bad, reading.skipped)
    return {key: file for key, file in results.items() if not isinstance(file, str)}


def _source(
    root: Path,
    part: Part,
    read: dict[tuple[Path, str], LabelmeFile],
    options: ReadOptions,
    reading: Reading,
) -> Source:
    """The source of one split; adds notes to `reading`."""
    ids = [name for name in part.ids if (part.top, name) in read]
    if not ids:
        raise DataError(f"{root}: no json of {part.name} can be used")
    stated = {name: read[part.top, name].picture for name in ids}
    places = find_pictures_of(root, part, ids, stated, JSON, options, reading)
    count = len(places)
    if not part.listed:
        places |= (more := background(root, part, places))
        if more:
            text = f"{part.name}: {len(more)} pictures without a json are background"
            reading.notes.append(f"warning: {text}" if len(more) > count else text)
    files = [read.get((part.top, name), NOTHING) for name in places]
    classes = tuple(sorted({s.label for file in files for s in file.shapes}))
    return drawn_source(
        root, part.name, classes, [str(place) for place in places.values()],
        [readable(name) for name in places], [file.size for file in files],
        [file.shapes for file in files],
        [part.top / f"{name}.json" if (part.top, name) in read else None for name in places],
        options, reading,
    )  # fmt: skip
