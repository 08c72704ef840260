"""COCO's json as arrays: what the exports of all tools have in common, checked entry by entry.

Polygons, most of such a file, are dropped while it is being read unless they are requested: about
100 bytes of an annotation are kept.
"""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.readers.coco.counting import categories_from, counting_note, images_from
from xfer.data.readers.coco.loose_ids import LooseIds
from xfer.data.readers.coco.polygons import box_around
from xfer.data.sources.box_rules import leave_out
from xfer.data.sources.written import Id, flag, number, numbers, picture_size, plain_id
from xfer.errors import DataError, reader
from xfer.files import bytes_of

LISTS = ("images", "annotations", "categories")
_NUMBERS = {int, float}
_LARGEST = 2**62  # larger ones may not fit into a float
_KEPT_OF_IMAGE = ("id", "file_name", "coco_url", "height", "width")


@dataclass(frozen=True)
class CocoTable:
    """The content of a COCO json: N pictures, R annotations, C classes, each in the file's order.

    path           | the file
    image_ids      | N ints or texts, distinct
    file_names     | N texts; from coco_url where there is no file_name (LVIS)
    sizes          | int64 (N, 2): height and width; (0, 0): not given
    annotation_ids | R ints or texts, distinct; 1 .. R if the file gives none
    picture        | int64 (R,): index of the annotation's picture
    category       | int64 (R,): index of its class
    boxes_xywh     | float64 (R, 4): as in the file, finite; if missing, the box around the outline
    areas          | float64 (R,): the file's; width * height if it gives none
    crowd          | bool (R,)
    category_ids   | C ints or texts, distinct, rising
    categories     | C names
    parents        | C names of supercategories, or ""
    segmentations  | R polygons or RLEs as in the file; () unless requested
    skipped        | (name, reason) of each annotation that was left out
    notes          | lines about what was read otherwise than it is written
    """

    path: Path
    image_ids: tuple[Id, ...]
    file_names: tuple[str, ...]
    sizes: NDArray[np.int64]
    annotation_ids: tuple[Id, ...]
    picture: NDArray[np.int64]
    category: NDArray[np.int64]
    boxes_xywh: NDArray[np.float64]
    areas: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    category_ids: tuple[Id, ...]
    categories: tuple[str, ...]
    parents: tuple[str, ...]
    segmentations: tuple[Any, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def boxes_xyxy(self) -> NDArray[np.float64]:
        """float64 (R, 4): the boxes' corners, not clipped."""
        corner = self.boxes_xywh[:, :2]
        return np.concatenate([corner, corner + self.boxes_xywh[:, 2:]], axis=1)


@reader
def read_coco_json(path: Path | str, *, masks: bool = False, skip_bad: bool = False) -> CocoTable:
    """Read a COCO json of any tool. Pictures are not looked for.

    Args:
        masks: keep the segmentations, see xfer/data/readers/coco/polygons.py.
        skip_bad: leave out annotations that can't be used, and list them in `skipped`.

    Raises: DataError for a file that is cut off or not a COCO json, repeated ids, annotations of
        unknown pictures or classes, and coordinates that are not finite numbers.
    """
    path = Path(path)
    rows = _Rows(masks)
    document = _document(path, rows)
    image_ids, names, sizes = _images(path, document["images"])
    category_ids, categories, parents = _categories(path, document["categories"])
    shown = set(rows.image)
    own_images, counted = images_from(path, image_ids, shown)
    images = LooseIds(own_images, names, shown, files=True)
    used = set(rows.category)
    start = categories_from(category_ids, used)
    own_ids = category_ids if start is None else tuple(start + c for c in range(len(categories)))
    classes = LooseIds(own_ids, categories, used)
    bad: list[tuple[str, str]] = []
    good: list[int] = []
    picture, category = array("q"), array("q")
    for place, entry in enumerate(document["annotations"]):
        if not isinstance(entry, _Row):
            bad.append((f"annotation {_entry_label(entry, place)}", _fault(entry)))
            continue
        image, label = images.find(rows.image[entry]), classes.find(rows.category[entry])
        name = f"annotation {rows.label(entry, place)}"
        if image is None:
            bad.append((name, f"no image has the id {rows.image[entry]!r}{images.example()}"))
        elif label is None:
            key = rows.category[entry]
            bad.append((name, f"no category has the id {key!r}{classes.example()}"))
        elif not all(map(math.isfinite, rows.boxes[4 * entry : 4 * entry + 4])):
            bad.append((f"{name} of {names[image]}", "a coordinate is not finite"))
        else:
            good.append(entry)
            picture.append(image)
            category.append(label)
    skipped: list[tuple[str, str]] = []
    leave_out(str(path), "annotations can't be used", bad, skip_bad, skipped)
    keep = np.array(good, np.int64)
    boxes = np.array(rows.boxes, np.float64).reshape(-1, 4)[keep]
    areas = np.array(rows.areas, np.float64)[keep]
    ids = [rows.ids[k] for k in good]
    if all(key is None for key in ids):
        ids = list(range(1, len(ids) + 1))
    _distinct(path, "annotation", ids)
    return CocoTable(
        path, image_ids, names, sizes, tuple(i if i is not None else -1 for i in ids),
        np.array(picture, np.int64), np.array(category, np.int64), boxes,
        np.where(np.isfinite(areas), areas, boxes[:, 2] * boxes[:, 3]),
        np.array(rows.crowd, bool)[keep], category_ids, categories, parents,
        tuple(rows.segmentations[k] for k in good) if masks else (), tuple(skipped),
        (*images.notes("annotations name their picture"),
         *classes.notes("annotations name their category"), *rows.notes(),
         *counted, *counting_note("categories", start, category_ids[0] if category_ids else "")),
    )  # fmt: skip


class _Row(int):
    """The number of an annotation's row; a type of its own, unlike a number in the file."""


class _Rows:
    """Collects annotations while the json is parsed: arrays instead of dicts."""

    def __init__(self, masks: bool) -> None:
        self.masks = masks
        self.ids: list[Id | None] = []
        self.image: list[Id | None] = []
        self.category: list[Id | None] = []
        self.boxes, self.areas, self.crowd = array("d"), array("d"), array("b")
        self.segmentations: list[Any] = []
        self.derived = 0

    def take(self, entry: dict[str, Any]) -> Any:
        """json's object_hook: makes an annotation its row's number; an invalid one stays a dict."""
        if "image_id" in entry:
            box = _four_numbers(entry.get("bbox"))
            if box is None and entry.get("bbox") in (None, [], ""):
                box = box_around(entry.get("segmentation"))
                self.derived += box is not None
            crowd = entry.get("iscrowd")
            crowd = bool(crowd) if type(crowd) is int else flag(crowd)
            if box is None or crowd is None or "category_id" not in entry:
                entry.pop("segmentation", None)
                return entry
            area = entry.get("area")
            area = area if type(area) is float else number(area)
            self.ids.append(plain_id(entry.get("id")))
            self.image.append(plain_id(entry["image_id"]))
            self.category.append(plain_id(entry["category_id"]))
            self.boxes.extend(box)
            self.areas.append(math.nan if area is None else area)
            self.crowd.append(crowd)
            if self.masks:
                self.segmentations.append(_packed(entry.get("segmentation")))
            return _Row(len(self.areas) - 1)
        if "id" in entry and ("file_name" in entry or "coco_url" in entry):
            return {key: entry[key] for key in _KEPT_OF_IMAGE if key in entry}
        return entry

    def notes(self) -> list[str]:
        text = "annotations have no bbox: the boxes are those around their outlines"
        return [f"{self.derived} {text}"] * bool(self.derived)

    def label(self, row: int, place: int) -> str:
        return f"{place} of the list" if self.ids[row] is None else str(self.ids[row])


def _packed(segmentation: Any) -> Any:
    """Polygons as arrays of 8 bytes per number, a quarter of a list's size; the rest unchanged."""
    if not isinstance(segmentation, list):
        return segmentation
    try:
        return [array("d", polygon) for polygon in segmentation]
    except (TypeError, OverflowError):  # told when it is drawn
        return segmentation


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _four_numbers(box: Any) -> Any:
    """A bbox as four numbers; None if it is something else."""
    plain = type(box) is list and len(box) == 4 and {*map(type, box)} <= _NUMBERS
    return box if plain and -_LARGEST < min(box) <= max(box) < _LARGEST else numbers(box, 4)


def _entry_label(entry: Any, place: int) -> str:
    key = plain_id(entry.get("id")) if isinstance(entry, dict) else None
    return f"{place} of the list" if key is None else str(key)


def _fault(entry: Any) -> str:
    """Why an entry of `annotations` is invalid."""
    if not isinstance(entry, dict):
        return f"is a {type(entry).__name__}"
    if flag(entry.get("iscrowd")) is None:
        return f"its iscrowd is {str(entry['iscrowd'])[:40]!r}, not 0 or 1"
    for key in ("image_id", "category_id", "bbox"):
        if entry.get(key) in (None, [], ""):
            panoptic = "segments_info" in entry
            return "panoptic: segments instead of boxes" if panoptic else f"no {key}"
    return f"its bbox is not a list of four numbers: {str(entry['bbox'])[:60]}"


def _document(path: Path, rows: _Rows) -> dict[str, Any]:
    """The file's top level with its three lists; annotations are collected in `rows`."""
    try:
        document = json.loads(bytes_of(path), object_hook=rows.take)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        end = len(error.doc)
        where = f"cut off after {end:,} characters" if error.pos >= end - 1 else f"{error}"
        if error.msg.startswith("Unterminated string"):
            where = f"cut off after {end:,} characters"
        raise DataError(f"{path}: not valid JSON: {where}", "download or export it again") from None
    except (RecursionError, ValueError) as error:
        raise DataError(f"{path}: not valid JSON: {str(error)[:80]}") from None
    if isinstance(document, list):
        content = "a list, perhaps of detections" if document else "an empty list"
        raise DataError(
            f"{path}: {content}; annotations are an object with {', '.join(LISTS)}",
            "detections are scored with `xfer eval --detections FILE --data SPEC`",
        )
    if not isinstance(document, dict):
        raise DataError(f"{path}: a {type(document).__name__}, not a COCO json")
    lacking = [key for key in LISTS if not isinstance(document.get(key), list)]
    if lacking:
        has = ", ".join(list(document)[:8]) or "nothing"
        raise DataError(f"{path}: no list of {', '.join(lacking)} in it; it has {has}")
    return document


def _images(
    path: Path, entries: list[Any]
) -> tuple[tuple[Id, ...], tuple[str, ...], NDArray[np.int64]]:
    ids: list[Id] = []
    names: list[str] = []
    sizes = np.zeros((len(entries), 2), np.int64)
    for place, entry in enumerate(entries):
        key = plain_id(entry.get("id")) if isinstance(entry, dict) else None
        name = _file_name(entry) if isinstance(entry, dict) else None
        if key is None or not isinstance(name, str) or not name:
            raise DataError(f"{path}: image {place} of the list has no id or no file_name")
        ids.append(key)
        names.append(name)
        sizes[place] = picture_size(entry.get("height"), entry.get("width"))
    _distinct(path, "image", ids, names)
    return tuple(ids), tuple(names), sizes


def _file_name(entry: dict[str, Any]) -> Any:
    """The name of a picture; LVIS gives the path in COCO's url instead."""
    return entry.get("file_name") or entry.get("coco_url")


def _categories(
    path: Path, entries: list[Any]
) -> tuple[tuple[Id, ...], tuple[str, ...], tuple[str, ...]]:
    """Ids, names and parents by rising id (numbers before texts), the order of the classes."""
    rows: list[tuple[bool, Id, str, str]] = []
    for place, entry in enumerate(entries):
        key = plain_id(entry.get("id")) if isinstance(entry, dict) else None
        name = entry.get("name") if isinstance(entry, dict) else None
        if key is None or not isinstance(name, str) or not name:
            raise DataError(f"{path}: category {place} of the list has no id or no name")
        parent = entry.get("supercategory")
        rows.append((isinstance(key, str), key, name, parent if isinstance(parent, str) else ""))
    _distinct(path, "category", [key for _, key, _, _ in rows], [row[2] for row in rows])
    rows.sort(key=lambda row: row[:2])
    return tuple(r[1] for r in rows), tuple(r[2] for r in rows), tuple(r[3] for r in rows)


def _distinct(path: Path, what: str, ids: Sequence[Id | None], names: Sequence[str] = ()) -> None:
    """Raises DataError if an id occurs twice, since it is not clear which entry is meant."""
    if len(set(ids)) == len(ids):
        return
    first: dict[Any, int] = {}
    for place, key in enumerate(ids):
        before = first.setdefault(key, place)
        if before != place:
            both = f" ({names[before]} and {names[place]})" if names else ""
            count = len(ids) - len(set(ids))
            more = f", and {count - 1} more repeat" if count > 1 else ""
            raise DataError(f"{path}: the {what} id {key!r} occurs twice{both}{more}",
                            "ids must be distinct: export the file again")  # fmt: skip
