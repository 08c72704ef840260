"""True boxes to score results against, and the names by which results may refer to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer import kinds
from xfer.boxes import Boxes
from xfer.data.images.limits import check_size
from xfer.data.open import open_data
from xfer.data.readers.coco.json import CocoTable, read_coco_json
from xfer.data.readers.coco.polygons import object_mask
from xfer.data.sources.box_forms import from_xyxy, judge
from xfer.data.sources.boxes import category_ids, image_ids
from xfer.data.sources.written import Id, plain_id, whole_number
from xfer.errors import DataError
from xfer.files import at_home, is_file
from xfer.kinds.annotation import annotation
from xfer.metrics.boxes import TrueBoxes
from xfer.objects.mask import ObjectMask, as_column

ROLES = ("val", "test", "train")


@dataclass(frozen=True)
class GroundTruth:
    """The true boxes of one split.

    name, format, split | what the user called the data; how they were read; which part
    ids        | N texts, one per picture: they order equal scores, numbers compared as numbers
    images     | any name that results may use for a picture -> its index
    classes    | C names
    categories | any name that results may use for a class -> its index
    boxes      | the true boxes
    sizes      | int64 (N, 2): height and width; (0, 0): unknown
    misnamed   | pictures whose file name is the id of another picture
    numbered   | number that is a file's name -> its index, where pictures have ids besides
    notes      | warnings about how the data were read
    """

    name: str
    format: str
    split: str
    ids: tuple[str, ...]
    images: dict[Id, int]
    classes: tuple[str, ...]
    categories: dict[Id, int]
    boxes: TrueBoxes
    sizes: NDArray[np.int64]
    misnamed: tuple[str, ...] = ()
    numbered: Mapping[int, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def open_truth(
    data: str, split: str = "", data_keys: Mapping[str, Any] | None = None, masks: bool = False
) -> GroundTruth:
    """The true boxes that a spec names; no picture is decoded, and a COCO json needs none.

    A COCO json given as a file is read as it is, boxes neither clipped nor dropped, so that its
    figures equal pycocotools', unless its boxes are in another form than COCO's (a warning).
    Everything else is read as training would read it.

    Args:
        split: val, test or train; by default the first of these that exists.
        data_keys: images, path, label, split, as in `open_data`.
        masks: with the objects' masks.

    Raises: DataError, if masks are wanted, for data without them.
    """
    head, colon, rest = data.partition(":")
    path = at_home(rest if colon and head == "coco" else data)
    if path.suffix.casefold() == ".json" and is_file(path):
        if split:
            raise DataError(f"{path} is a single file: it has no split {split!r}")
        return _from_json(path, masks)
    wanted = "instance" if masks else "detect"
    bundle = open_data(data, kind=wanted, cut=False, check=False, find=False, **data_keys or {})
    kind = kinds.get(bundle.kind)
    if masks and not kind.outlined:
        raise DataError(f"{data} holds {kind.holds}: no masks to compare with")
    if not kind.boxes:
        raise DataError(f"{data} holds {kind.holds}: no boxes to compare with")
    role = split or next((r for r in ROLES if r in bundle.splits), "")
    if role not in bundle.splits:
        raise DataError(f"{data}: no {role!r} split", f"it has {', '.join(bundle.splits)}")
    source = bundle.splits[role]
    per_picture = [annotation(source, i) for i in range(len(source))]
    image = np.repeat(np.arange(len(per_picture)), [len(boxes) for boxes in per_picture])
    boxes = TrueBoxes.of(image, Boxes.join(per_picture))
    coco_ids = image_ids(source)
    names = dict(category_ids(source) or {})
    for other in bundle.splits.values():  # other splits may have ids that this split's file lacks
        for name, key in (category_ids(other) or {}).items():
            if name not in names and key not in names.values():
                names[name] = key
    images: dict[Id, int] = {} if coco_ids is None else {key: i for i, key in enumerate(coco_ids)}
    numbered = {} if coco_ids is None else _numbered(source.ids)
    misnamed = _misnamed(images, source.ids, numbered)
    _add_names(images, source.ids, numbers=coco_ids is None)
    classes = bundle.classes
    return GroundTruth(
        bundle.name, bundle.format, role, tuple(source.ids), images, classes,
        {(names[name] if names else c + 1): c for c, name in enumerate(classes)
         if name in names or not names},
        boxes, np.array([b.size for b in per_picture], np.int64).reshape(-1, 2), misnamed, numbered,
        tuple(note.replace("warning: ", "", 1) for note in bundle.notes if "warning: " in note),
    )  # fmt: skip


def _from_json(path: Path, masks: bool = False) -> GroundTruth:
    table = read_coco_json(path, masks=masks)
    images: dict[Id, int] = {key: i for i, key in enumerate(table.image_ids)}
    numbered = _numbered(table.file_names)
    misnamed = _misnamed(images, table.file_names, numbered)
    _add_names(images, table.file_names, numbers=False)
    form = judge(table.boxes_xywh, table.picture, table.sizes, "xywh")
    notes = [*table.notes, *([form.warning.removeprefix("warning: ")] if form.warning else [])]
    written, areas = table.boxes_xywh, table.areas
    if form.changes("xywh"):
        written, areas = from_xyxy(form.corners(written, table.sizes[table.picture]), "xywh"), None
    boxes = TrueBoxes.of_xywh(table.picture, written, table.category, area=areas, crowd=table.crowd)
    if masks:
        boxes = replace(boxes, boxes=replace(boxes.boxes, masks=_masks(table)))
    return GroundTruth(
        str(path), "coco", path.stem, tuple(map(str, table.image_ids)), images, table.categories,
        {key: c for c, key in enumerate(table.category_ids)}, boxes, table.sizes, misnamed,
        numbered,
        tuple(f"{path}: {line}" for line in notes),
    )  # fmt: skip


def _masks(table: CocoTable) -> NDArray[np.object_]:
    """The mask of every annotation. Raises DataError for one that can't be drawn."""
    drawn: list[ObjectMask] = []
    for place, (outline, picture) in enumerate(
        zip(table.segmentations, table.picture.tolist(), strict=True)
    ):
        height, width = table.sizes[picture].tolist()
        where = f"{table.path}: annotation {table.annotation_ids[place]}"
        if not outline or not height:
            what = "its picture has no height and width" if outline else "has no outline"
            raise DataError(f"{where}: {what}, and masks can't be compared")
        try:
            check_size(width, height)
            drawn.append(object_mask(outline, height, width))
        except DataError as error:
            raise DataError(f"{where}: {error.message}") from None
    return as_column(drawn)


def _numbered(files: Sequence[str]) -> dict[int, int]:
    """Numbers that are names of files, without their ending -> index; none that occurs twice."""
    found: dict[int, list[int]] = {}
    for i, file in enumerate(files):
        number = whole_number(Path(file).stem)
        if number is not None:
            found.setdefault(number, []).append(i)
    return {number: which[0] for number, which in found.items() if len(which) == 1}


def _misnamed(
    images: dict[Id, int], files: Sequence[str], numbered: Mapping[int, int]
) -> tuple[str, ...]:
    """The files whose name is the id of another picture: 2.jpg that is not image 2."""
    return tuple(files[i] for number, i in numbered.items() if images.get(number, i) != i)


def _add_names(images: dict[Id, int], files: Sequence[str], numbers: bool) -> None:
    """Adds each picture's path, name and stem, if that is unambiguous.

    Args:
        numbers: a stem that is a number (000042) is also known as that number.
    """
    for form in (str, lambda f: Path(f).name, lambda f: Path(f).stem):
        taken: dict[Id, list[int]] = {}
        for i, file in enumerate(files):
            text = form(file)
            key: Id = plain_id(text) or text
            taken.setdefault(key, []).append(i)
            number = whole_number(text)
            if numbers and number is not None and number != key:
                taken.setdefault(number, []).append(i)
        for key, which in taken.items():
            if len(which) == 1 and (numbers or isinstance(key, str)):
                images.setdefault(key, which[0])
