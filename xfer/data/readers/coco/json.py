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

from xfer.data.sources.box_rules import leave_out
from xfer.errors import DataError

Id = int | str
LISTS = ("images", "annotations", "categories")
_KEPT_OF_IMAGE = ("id", "file_name", "height", "width")


@dataclass(frozen=True)
class CocoTable:
    """The content of a COCO json: N pictures, R annotations, C classes, each in the file's order.

    path           | the file
    image_ids      | N ints or texts, distinct
    file_names     | N texts
    sizes          | int64 (N, 2): height and width; (0, 0): not given
    annotation_ids | R ints or texts, distinct; 1 .. R if the file gives none
    picture        | int64 (R,): index of the annotation's picture
    category       | int64 (R,): index of its class
    boxes_xywh     | float64 (R, 4): as in the file, finite; if missing, the box around the polygons
    areas          | float64 (R,): the file's; width * height if it gives none
    crowd          | bool (R,)
    category_ids   | C ints or texts, distinct, rising
    categories     | C names
    parents        | C names of supercategories, or ""
    segmentations  | R polygons or RLEs as in the file; () unless requested
    skipped        | (name, reason) of each annotation that was left out
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

    @property
    def boxes_xyxy(self) -> NDArray[np.float64]:
        """float64 (R, 4): the boxes' corners, not clipped."""
        corner = self.boxes_xywh[:, :2]
        return np.concatenate([corner, corner + self.boxes_xywh[:, 2:]], axis=1)


def plain_id(value: Any) -> Id | None:
    """An id for comparison: 3, 3.0 and "3" are the same, "003" is another; None: not an id."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str):
        return int(value) if value.isdecimal() and str(int(value)) == value else value or None
    return value if isinstance(value, int) else None


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
    images: dict[Id | None, int] = {key: i for i, key in enumerate(image_ids)}
    classes: dict[Id | None, int] = {key: c for c, key in enumerate(category_ids)}
    bad: list[tuple[str, str]] = []
    good: list[int] = []
    picture, category = array("q"), array("q")
    for place, entry in enumerate(document["annotations"]):
        if not isinstance(entry, _Row):
            bad.append((f"annotation {_entry_label(entry, place)}", _fault(entry)))
            continue
        image, label = images.get(rows.image[entry]), classes.get(rows.category[entry])
        name = f"annotation {rows.label(entry, place)}"
        if image is None:
            bad.append((name, f"no image has the id {rows.image[entry]!r}"))
        elif label is None:
            bad.append((name, f"no category has the id {rows.category[entry]!r}"))
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

    def take(self, entry: dict[str, Any]) -> Any:
        """json's object_hook: makes an annotation its row's number; an invalid one stays a dict."""
        if "image_id" in entry:
            box, area = entry.get("bbox"), entry.get("area")
            if box is None:
                box = _around(entry.get("segmentation"))
            if box is None or "category_id" not in entry or not _four_numbers(box):
                entry.pop("segmentation", None)
                return entry
            self.ids.append(plain_id(entry.get("id")))
            self.image.append(plain_id(entry["image_id"]))
            self.category.append(plain_id(entry["category_id"]))
            self.boxes.extend(map(_float, box))
            self.areas.append(_float(area) if area is not None and _is_number(area) else math.nan)
            self.crowd.append(bool(entry.get("iscrowd")))
            if self.masks:
                self.segmentations.append(_packed(entry.get("segmentation")))
            return _Row(len(self.areas) - 1)
        if "file_name" in entry and "id" in entry:
            return {key: entry[key] for key in _KEPT_OF_IMAGE if key in entry}
        return entry

    def label(self, row: int, place: int) -> str:
        return f"{place} of the list" if self.ids[row] is None else str(self.ids[row])


def _packed(segmentation: Any) -> Any:
    """Polygons as arrays of 8 bytes per number, a quarter of a list's size; the rest unchanged."""
    if not isinstance(segmentation, list):
        return segmentation
    try:
        return [array("d", polygon) for polygon in segmentation]
    except TypeError:
        return segmentation


def _around(segmentation: Any) -> list[float] | None:
    """x, y, width and height of the box around polygons; None for anything else."""
    try:
        points = np.concatenate([np.reshape(p, (-1, 2)) for p in segmentation]).astype(np.float64)
        low, high = points.min(0), points.max(0)
    except (TypeError, ValueError, OverflowError):
        return None
    return [*low.tolist(), *(high - low).tolist()]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _float(value: int | float) -> float:
    """A number of the file as a float; infinite if it is too large."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _four_numbers(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))


def _entry_label(entry: Any, place: int) -> str:
    key = plain_id(entry.get("id")) if isinstance(entry, dict) else None
    return f"{place} of the list" if key is None else str(key)


def _fault(entry: Any) -> str:
    """Why an entry of `annotations` is invalid."""
    if not isinstance(entry, dict):
        return f"is a {type(entry).__name__}"
    for key in ("image_id", "category_id", "bbox"):
        if entry.get(key) in (None, []):
            panoptic = "segments_info" in entry
            return "panoptic: segments instead of boxes" if panoptic else f"no {key}"
    return f"its bbox is not a list of four numbers: {str(entry['bbox'])[:60]}"


def _document(path: Path, rows: _Rows) -> dict[str, Any]:
    """The file's top level with its three lists; annotations are collected in `rows`."""
    try:
        document = json.loads(path.read_bytes(), object_hook=rows.take)
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
        name = entry.get("file_name") if isinstance(entry, dict) else None
        if key is None or not isinstance(name, str) or not name:
            raise DataError(f"{path}: image {place} of the list has no id or no file_name")
        ids.append(key)
        names.append(name)
        size = [entry.get(key, 0) for key in ("height", "width")]
        if all(_is_number(n) and 0 < n < 2**31 for n in size):
            sizes[place] = size
    _distinct(path, "image", ids, names)
    return tuple(ids), tuple(names), sizes


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
