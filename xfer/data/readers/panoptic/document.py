"""COCO's panoptic json: pictures, categories, and the segments of each picture.

    {"images": [{"id", "file_name", ...}], "categories": [{"id", "name", "isthing"}],
     "annotations": [{"image_id", "file_name": "1.png", "segments_info":
       [{"id", "category_id", "iscrowd", "area", "bbox"}]}]}

The PNG of an annotation lies in the folder of the json's name; its colours are the segments' ids,
R + 256 G + 65536 B, and 0 is void. Source: cocodataset.org/#format-data, panopticapi.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.decode import DecodeError
from xfer.data.images.mask_file import read_mask_file
from xfer.data.images.walk import has_picture, readable
from xfer.data.readers.coco.counting import images_from
from xfer.data.sources.mask_codes import colour_codes
from xfer.data.sources.written import Id, plain_id
from xfer.errors import DataError, reader
from xfer.files import bytes_of
from xfer.objects.segments import Segments

LISTS = ("images", "annotations", "categories")


@dataclass(frozen=True, slots=True)
class Category:
    """A class: its id and name; thing: whether its objects are told apart, None if not said."""

    id: Id
    name: str
    thing: bool | None


@dataclass(frozen=True, slots=True)
class Annotated:
    """A picture's segments: `image` is its id, `png` the name of its map, `segments` says the
    category and whether it is a crowd of each segment's id."""

    image: Id
    png: str
    segments: dict[int, tuple[Id, bool]]


@dataclass(frozen=True)
class Document:
    """What a panoptic json holds.

    pictures    | file names by id, as annotations write the id
    categories  | by rising id; empty for results that list none
    annotations | in the file's order
    bad         | (where, reason) of annotations that can't be used
    notes       | warnings
    """

    path: Path
    pictures: dict[Id | None, str]
    categories: tuple[Category, ...]
    annotations: tuple[Annotated, ...]
    bad: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


@reader
def read_document(file: Path, results: bool = False) -> Document:
    """Read a panoptic json.

    Args: results: it is what a model found: pictures and categories need not be listed.
    Raises: DataError for a file that is not one.
    """
    document = _loaded(file)
    needed = LISTS[1:2] if results else LISTS
    if not isinstance(document, dict) or not all(
        isinstance(document.get(key), list) for key in needed
    ):
        raise DataError(f"{file}: not a panoptic json: it needs lists of {', '.join(needed)}")
    lists = {key: list(document.get(key) or ()) for key in LISTS}
    pictures, notes = _pictures(file, lists["images"], lists["annotations"])
    kept: list[Annotated] = []
    bad: list[tuple[str, str]] = []
    for place, entry in enumerate(lists["annotations"]):
        try:
            one = _annotated(entry)
        except (KeyError, TypeError, ValueError) as error:
            bad.append((f"annotation {place} of the list", f"{type(error).__name__}: {error}"))
            continue
        if one.image in pictures or results:
            kept.append(one)
        else:
            bad.append((f"annotation {place} of the list", f"no image has the id {one.image!r}"))
    categories = _categories(file, lists["categories"])
    return Document(file, pictures, categories, tuple(kept), tuple(bad), tuple(notes))


def is_panoptic(file: Path) -> bool:
    """Whether a json holds segments instead of boxes; False for a file that is no json."""
    try:
        document = json.loads(bytes_of(file))
    except (OSError, ValueError, RecursionError, DataError):
        return False
    rows = document.get("annotations") if isinstance(document, dict) else None
    return isinstance(rows, list) and any(
        isinstance(row, dict) and "segments_info" in row for row in rows
    )


@reader
def _loaded(file: Path) -> Any:
    try:
        return json.loads(bytes_of(file))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: {str(error)[:100]}") from None


def _annotated(entry: dict[str, Any]) -> Annotated:
    image = plain_id(entry["image_id"])
    if image is None:
        raise ValueError(f"image_id {entry['image_id']!r}")
    segments: dict[int, tuple[Id, bool]] = {}
    for one in entry["segments_info"]:
        category = plain_id(one["category_id"])
        if category is None:
            raise ValueError(f"category_id {one['category_id']!r}")
        segments[int(one["id"])] = category, bool(one.get("iscrowd", 0))
    return Annotated(image, str(entry["file_name"]), segments)


def _categories(file: Path, entries: list[Any]) -> tuple[Category, ...]:
    try:
        rows = [(plain_id(entry["id"]), str(entry["name"]), entry.get("isthing"))
                for entry in entries]  # fmt: skip
    except (KeyError, TypeError, AttributeError):
        raise DataError(f"{file}: a category has no id or no name") from None
    keys, names = [row[0] for row in rows], [row[1] for row in rows]
    if None in keys or len(set(keys)) < len(keys) or len(set(names)) < len(names):
        raise DataError(f"{file}: two categories have the same id or name")
    rows.sort(key=lambda row: (isinstance(row[0], str), row[0]))
    return tuple(
        Category(key, name, None if thing is None else bool(thing))
        for key, name, thing in rows
        if key is not None
    )


def _pictures(
    file: Path, images: list[Any], annotations: list[Any]
) -> tuple[dict[Id | None, str], list[str]]:
    """The names of the pictures by their ids as annotations write them, and warnings."""
    try:
        ids = [plain_id(entry["id"]) for entry in images]
        names = [str(entry["file_name"]) for entry in images]
    except (KeyError, TypeError):
        raise DataError(f"{file}: an image has no id or no file_name") from None
    used = {plain_id(e.get("image_id")) for e in annotations if isinstance(e, dict)}
    own, lines = images_from(file, [key for key in ids if key is not None], used)
    known = ids if None in ids else own
    return dict(zip(known, names, strict=True)), lines


def png_folder(file: Path, others: Sequence[Path] = ()) -> Path:
    """The folder of a json's PNGs: its own name without .json, or one of `others`.

    Raises: DataError if there is none with pictures.
    """
    folder = next((f for f in (file.with_suffix(""), *others) if has_picture(f)), None)
    if folder is None:
        raise DataError(f"{file}: its masks are not there", f"{file.stem}/*.png next to it")
    return folder


def read_png(
    file: Path, segments: dict[int, tuple[int, bool]], name: str, void: int = 0
) -> Segments:
    """The segments of a panoptic PNG.

    Args: segments: id -> class index, -1 for void, and whether it is a crowd; name: of the picture.
    Raises: DecodeError for a PNG that can't be read, or holds an id that is not among `segments`.
    """
    shown = readable(file.name)
    try:
        raw = read_mask_file(file)
    except DecodeError as error:
        raise DecodeError(f"mask {shown}: {error.reason}", name) from None
    if raw.coloured:
        ids: NDArray[np.int32] = colour_codes(np.asarray(raw.values, np.uint8)[:, :, ::-1])
    else:  # read as grey: a colour of three equal parts
        ids = raw.values.astype(np.int32) * 0x10101
    try:
        return Segments.from_ids(ids, segments, void)
    except DataError as error:
        raise DecodeError(f"mask {shown}: {error.message}", name) from None
