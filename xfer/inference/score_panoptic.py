"""Scores another tool's segments: `xfer eval --detections FILE.json` of COCO's panoptic format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xfer.data.open import open_data
from xfer.data.readers.panoptic.document import (
    Annotated,
    Document,
    png_folder,
    read_document,
    read_png,
)
from xfer.data.readers.panoptic.reader import things_of
from xfer.data.sources.boxes import category_ids, image_ids
from xfer.data.sources.written import Id
from xfer.errors import DataError
from xfer.files import at_home, is_file
from xfer.kinds.segment_stats import segments_of
from xfer.metrics.panoptic import PanopticQuality
from xfer.objects.segments import Segments
from xfer.types import Source

NAMED = 5
ROLES = ("val", "test", "train")


@dataclass(frozen=True)
class Truth:
    """The true segments of one split.

    split      | its name
    classes, things | names
    categories | the id of a class in results -> its index
    images     | any name of a picture that results may use -> (its name, how to read its segments)
    """

    split: str
    classes: tuple[str, ...]
    things: tuple[str, ...]
    categories: dict[Id, int]
    images: dict[Id, tuple[str, Callable[[], Segments]]]


def score_panoptic(
    detections: Path,
    data: str,
    split: str,
    data_keys: Mapping[str, Any],
    say: Callable[[str], None],
) -> tuple[PanopticQuality, dict[str, Any]]:
    """Score a panoptic json, whose PNGs lie in the folder of its name, against true segments.

    A panoptic json as truth needs no pictures. Every true picture must have been predicted, as in
    panopticapi, whose figures these are; predictions of other pictures are left out.

    Returns: the metric, and "split", "images", "boxes" (segments found) and "warnings".
    Raises: DataError for files that are missing or broken, for a picture without a prediction, and
        for categories and segments that are not known.
    """
    truth = _truth(data, split, data_keys)
    results = read_document(detections, results=True)
    if results.bad:
        where, reason = results.bad[0]
        raise DataError(f"{detections}: {where} can't be used ({reason})")
    folder = png_folder(detections)
    found = {one.image: one for one in results.annotations}
    pairs = list(_pairs(detections, truth, found))
    warnings: list[str] = []
    others = len(found) - len(pairs)
    if others:
        warnings.append(f"{detections}: {others} pictures that the data don't have are left out")
    for line in warnings:
        say(f"warning: {line}")
    metric = PanopticQuality(truth.classes, truth.things)
    segments = 0
    for name, read_truth, one in pairs:
        known = {key: (_label(detections, truth, one, category), False)
                 for key, (category, _) in one.segments.items()}  # fmt: skip
        predicted = read_png(folder / one.png, known, name)
        segments += len(predicted)
        metric.add(predicted, read_truth(), name)
    about = {"split": truth.split, "images": len(pairs), "boxes": segments, "warnings": warnings}
    return metric, about


def _pairs(
    detections: Path, truth: Truth, found: Mapping[Id, Annotated]
) -> Iterator[tuple[str, Callable[[], Segments], Annotated]]:
    """The name of each true picture, how to read its segments, and what was found in it."""
    by_name: dict[str, Annotated] = {}
    for key, one in found.items():
        if key in truth.images:
            by_name[truth.images[key][0]] = one
    seen: set[str] = set()
    for name, read in truth.images.values():
        if name in seen:
            continue
        seen.add(name)
        if name not in by_name:
            raise DataError(
                f"{detections}: no prediction for picture {name}",
                "one annotation for each picture, also where no segment was found",
            )
        yield name, read, by_name[name]


def _label(file: Path, truth: Truth, one: Annotated, category: Id) -> int:
    if category not in truth.categories:
        listed = ", ".join(map(str, list(truth.categories)[:NAMED]))
        raise DataError(
            f"{file}: {one.png}: category_id {category!r} is not one of the data's",
            f"the data have {listed}, ...",
        )
    return truth.categories[category]


def _truth(data: str, split: str, data_keys: Mapping[str, Any]) -> Truth:
    head, colon, rest = data.partition(":")
    path = at_home(rest if colon and head == "panoptic" else data)
    if path.suffix.casefold() == ".json" and is_file(path):
        if split:
            raise DataError(f"{path} is a single file: it has no split {split!r}")
        return _of_document(read_document(path))
    bundle = open_data(data, kind="panoptic", cut=False, check=False, find=False, **data_keys)
    role = split or next((r for r in ROLES if r in bundle.splits), "")
    if role not in bundle.splits:
        raise DataError(f"{data}: no {role!r} split", f"it has {', '.join(bundle.splits)}")
    source = bundle.splits[role]
    if not source.info.things:
        raise DataError(f"{data} is read without segments: nothing to compare with")
    numbers = image_ids(source) or [None] * len(source)
    images: dict[Id, tuple[str, Callable[[], Segments]]] = {}
    for i, (name, number) in enumerate(zip(source.ids, numbers, strict=True)):
        entry = name, _reading(source, i)
        stem = Path(name).stem
        for key in (number, name, Path(name).name, stem, int(stem) if stem.isdecimal() else None):
            if key is not None:
                images.setdefault(key, entry)
    ids = category_ids(source) or {name: c + 1 for c, name in enumerate(bundle.classes)}
    known: dict[Id, int] = {ids[name]: c for c, name in enumerate(bundle.classes) if name in ids}
    return Truth(role, bundle.classes, source.info.things, known, images)


def _reading(source: Source, i: int) -> Callable[[], Segments]:
    return lambda: segments_of(source, i)


def _of_document(document: Document) -> Truth:
    if document.bad:
        where, reason = document.bad[0]
        raise DataError(f"{document.path}: {where} can't be used ({reason})")
    folder = png_folder(document.path, (document.path.parent.parent / document.path.stem,))
    classes = tuple(one.name for one in document.categories)
    label: dict[Id, int] = {one.id: c for c, one in enumerate(document.categories)}
    images: dict[Id, tuple[str, Callable[[], Segments]]] = {}
    for one in document.annotations:
        unknown = [key for key, _ in one.segments.values() if key not in label]
        if unknown:
            raise DataError(f"{document.path}: {one.png}: no category has the id {unknown[0]!r}")
        name = document.pictures[one.image]
        images[one.image] = name, _reading_png(folder / one.png, one, label, name)
        images.setdefault(name, images[one.image])
    things = things_of(document, classes)
    return Truth(document.path.stem, classes, things, label, images)


def _reading_png(
    file: Path, one: Annotated, label: Mapping[Id, int], name: str
) -> Callable[[], Segments]:
    known = {key: (label[category], crowd) for key, (category, crowd) in one.segments.items()}
    return lambda: read_png(file, known, name)
