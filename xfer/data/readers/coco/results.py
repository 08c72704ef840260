"""Detections of any detector, from a COCO results json.

    [{"image_id": 42, "category_id": 18, "bbox": [x, y, width, height], "score": 0.98}, ...]

or with "segmentation", an RLE, in place of the box or beside it; or a COCO annotation json whose
annotations carry a `score`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.readers.coco.polygons import box_around
from xfer.data.sources.written import Id, number, numbers, plain_id
from xfer.errors import DataError, reader
from xfer.files import bytes_of

KEYS = ("image_id", "category_id", "bbox", "score")
FORM = 'a list of {"image_id", "category_id", "bbox": [x, y, width, height], "score"}'


@dataclass(frozen=True)
class CocoResults:
    """The content of a results json, in the file's order.

    path         | the file
    image_ids    | R ints or texts
    category_ids | R ints or texts
    boxes_xywh   | float64 (R, 4), finite
    scores       | float64 (R,), finite
    categories   | {id: name} if the file lists categories, else empty
    outlines     | R segmentations as in the file, if the results are masks, else empty
    """

    path: Path
    image_ids: tuple[Id, ...]
    category_ids: tuple[Id, ...]
    boxes_xywh: NDArray[np.float64]
    scores: NDArray[np.float64]
    categories: dict[Id, str]
    outlines: tuple[Any, ...] = ()

    def __len__(self) -> int:
        return len(self.scores)


@reader
def read_coco_results(path: Path | str) -> CocoResults:
    """Read a results json.

    Raises: DataError for a file that is missing, cut off or not a results json, and for entries
        that lack a key, a box of four finite numbers or a finite score, naming the first.
    """
    path = Path(path)
    document = _document(path)
    categories: dict[Id, str] = {}
    rows: Any = document
    if isinstance(document, dict):
        rows = document.get("annotations")
        listed = document.get("categories")
        for entry in listed if isinstance(listed, list) else ():
            key = plain_id(entry.get("id")) if isinstance(entry, dict) else None
            if key is not None and isinstance(entry.get("name"), str):
                categories[key] = entry["name"]
    if not isinstance(rows, list):
        raise DataError(f"{path}: not COCO results", FORM)
    outlines: tuple[Any, ...] = ()
    if rows and isinstance(rows[0], dict) and rows[0].get("segmentation"):
        outlines = tuple(row.get("segmentation") if isinstance(row, dict) else None for row in rows)
        rows = [_boxed(row) for row in rows]
    try:
        images = _ids([row["image_id"] for row in rows])
        labels = _ids([row["category_id"] for row in rows])
        boxes = _numbers([_listed(row["bbox"]) for row in rows]).reshape(len(rows), 4)
        scores = _numbers([_plain(row["score"]) for row in rows]).reshape(len(rows))
    except (KeyError, TypeError, ValueError, OverflowError):
        raise DataError(f"{path}: {_first_wrong(rows)}", FORM) from None
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise DataError(f"{path}: {_first_wrong(rows)}", FORM)
    return CocoResults(path, images, labels, boxes, scores, categories, outlines)


def _boxed(row: Any) -> Any:
    """A result with a mask, with the box around it if it has none."""
    if not isinstance(row, dict) or "bbox" in row or not row.get("segmentation"):
        return row
    return {**row, "bbox": box_around(row["segmentation"]) or [0.0, 0.0, 0.0, 0.0]}


def _document(path: Path) -> Any:
    try:
        return json.loads(bytes_of(path))
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text") from None
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: not valid JSON: {str(error)[:80]}", "if it is cut off, write it again"
        ) from None


def _ids(values: Sequence[Any]) -> tuple[Id, ...]:
    """Ids for comparison. Raises ValueError for anything that is not an id."""
    known: dict[Any, Id] = {}
    for value in set(values):
        key = plain_id(value)
        if key is None:
            raise ValueError
        known[value] = key
    return tuple(known[value] for value in values)


def _plain(value: Any) -> Any:
    """A number that is written as text as a number; anything else unchanged."""
    found = number(value) if isinstance(value, str) else None
    return value if found is None else found


def _listed(box: Any) -> Any:
    """Four numbers that are written as text as numbers; anything else unchanged."""
    texts = isinstance(box, str) or any(isinstance(one, str) for one in box)
    found = numbers(box, 4) if texts else None
    return box if found is None else found


def _numbers(values: Sequence[Any]) -> NDArray[np.float64]:
    """Numbers, nested or not. Raises ValueError or TypeError for texts, booleans and null."""
    found = np.array(values)
    if found.size and found.dtype.kind not in "iuf":
        raise ValueError
    return found.astype(np.float64)


def _first_wrong(rows: list[Any]) -> str:
    """What is wrong with the first entry that can't be used."""
    for place, row in enumerate(rows):
        where = f"entry {place} of {len(rows)}"
        if not isinstance(row, dict):
            return f"{where} is a {type(row).__name__}"
        lacking = [key for key in KEYS if key not in row]
        if lacking == ["score"] and not any("score" in r for r in rows if isinstance(r, dict)):
            return "no entry has a score: these are annotations, not detections"
        if lacking:
            return f"{where} has no {', '.join(lacking)}"
        for key in ("image_id", "category_id"):
            value = row[key]
            if isinstance(value, (list, dict)) or plain_id(value) is None:
                return f"{where}: its {key} is {value!r}"
        for key, shape in (("bbox", (4,)), ("score", ())):
            try:
                values = _numbers(_listed(row[key]) if shape else _plain(row[key]))
            except (TypeError, ValueError, OverflowError):
                values = None
            if values is None or values.shape != shape or not np.isfinite(values).all():
                expected = "four finite numbers" if shape else "a finite number"
                return f"{where}: its {key} is {str(row[key])[:60]}, not {expected}"
    return "not COCO results"
