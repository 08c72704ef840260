"""Scores another tool's detections: `xfer eval --detections FILE --data SPEC`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.images.limits import check_size
from xfer.data.readers.coco.polygons import object_mask
from xfer.data.readers.coco.results import CocoResults, read_coco_results
from xfer.data.readers.panoptic.document import is_panoptic
from xfer.data.sources.box_forms import from_xyxy, judge
from xfer.data.sources.written import Id
from xfer.errors import DataError, XferError, nearest
from xfer.inference.ground_truth import GroundTruth, open_truth
from xfer.inference.result_numbers import class_numbers, picture_numbers
from xfer.inference.score_panoptic import score_panoptic
from xfer.locking.sole_writer import sole_writer
from xfer.metrics.boxes import FoundBoxes
from xfer.metrics.detection import DetectionAP, usual_primary
from xfer.metrics.instances import InstanceAP
from xfer.metrics.object_masks import FoundObjects
from xfer.metrics.panoptic import PanopticQuality
from xfer.objects.mask import ObjectMask, as_column

SCHEMA = 1
NAMED = 5


def score_detections(
    detections: Path | str,
    data: str,
    *,
    split: str = "",
    out: Path | None = None,
    overwrite: bool = False,
    data_keys: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Scores a COCO results json against true boxes, or masks if it has a "segmentation".

    A panoptic json is scored by panoptic quality, see `score_panoptic`.

    Pictures are matched by the annotation file's ids, by path, by name or by stem; classes by the
    file's category ids, by name if the results list categories, else by number: 1 is the first,
    unless the results count otherwise, see `result_numbers`.

    Args:
        detections: the results; data: a spec of data with boxes, or a COCO json.
        split: val, test or train, if the data have several.
        out: a folder for result.json and plots/.
        overwrite: replace an earlier result there.
        data_keys: images, path, label, split, as in `open_data`: how `data` are read.
        say: called with a line for each oddity in the results.

    Returns: {"data", "split", "images", "detections", "boxes", "primary", "metrics", "protocol",
        "warnings"}.
    Raises: DataError for files that are missing or broken and for results in which no picture or no
        class is known, XferError if `out` is in use.
    """
    if out is not None:
        check_out(out, overwrite)
    if is_panoptic(Path(detections)):
        quality, about = score_panoptic(Path(detections), data, split, data_keys or {}, say)
        result: dict[str, Any] = {"schema": SCHEMA, "task": "panoptic", **_scored(
            detections, data, quality, about
        )}  # fmt: skip
        if out is not None:
            _write(out, result, quality, quality.classes, say)
        return result
    results = read_coco_results(detections)
    masks, boxes_alone = bool(results.outlines), list[str]()
    try:
        truth = open_truth(data, split, data_keys, masks)
    except DataError as error:
        if not masks:
            raise
        truth = open_truth(data, split, data_keys)
        boxes_alone.append(f"only the boxes of {results.path} are scored: {error.message}")
        masks, results = False, replace(results, outlines=())
    ignored = truth.boxes.boxes.ignored
    if len(ignored) and ignored.all():
        raise DataError(
            f"{data}: nothing to score: all {len(ignored)} boxes are crowds (iscrowd) or difficult",
            "set iscrowd to 0 for boxes of single objects",
        )
    boxes, warnings = matched(results, truth)
    warnings = [*truth.notes, *boxes_alone, *warnings]
    for line in warnings:
        say(f"warning: {line}")
    metric = (
        InstanceAP(truth.classes) if masks
        else DetectionAP(truth.classes, usual_primary(truth.format, truth.name))
    )  # fmt: skip
    metric.add(truth.ids, truth.boxes, boxes)
    about = {"split": truth.split, "images": len(truth.ids), "boxes": len(results),
             "warnings": warnings}  # fmt: skip
    task = "instance" if masks else "detect"
    result = {"schema": SCHEMA, "task": task, **_scored(detections, data, metric, about)}
    if out is not None:
        _write(out, result, metric, truth.classes, say)
    return result


def _scored(
    detections: Path | str,
    data: str,
    metric: DetectionAP | PanopticQuality,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """What a result says of a metric that has seen all pictures."""
    return {
        "detections": str(detections),
        "data": data,
        **about,
        "primary": metric.primary,
        "metrics": metric.compute(),
        "protocol": metric.protocol(),
    }


def check_out(out: Path, overwrite: bool) -> None:
    """Raises XferError if the folder can't take a result."""
    if out.exists() and not out.is_dir():
        raise XferError(f"{out} is a file, not a folder", "choose another --out")
    if (out / "recipe.toml").exists():
        raise XferError(f"{out} is a run folder", "choose another --out")
    if (out / "result.json").exists() and not overwrite:
        raise XferError(f"{out} holds a result", "--overwrite, or choose another --out")
    if (out / "classes.txt").exists() and not (out / "result.json").exists():
        raise XferError(f"{out} holds another classes.txt", "choose another --out")


def matched(results: CocoResults, truth: GroundTruth) -> tuple[FoundBoxes, list[str]]:
    """The results as boxes of the truth's pictures and classes, and warnings about them."""
    path, warnings = results.path, list[str]()
    if not len(results):
        warnings.append(f"{path}: no detections; every box counts as missed")
    numbers = {v for v in results.image_ids if isinstance(v, int)}
    by_name: Mapping[Id, int] = {}  # YOLO's image_id is the number that the file is called
    if truth.misnamed and numbers and numbers <= truth.numbered.keys():
        if numbers <= truth.images.keys():
            warnings.append(
                f"{path}: image_id is read as the data's id, but {len(truth.misnamed)} of its "
                "pictures have a file name that is the id of another: "
                + ", ".join(truth.misnamed[:NAMED])
            )
        else:
            by_name = {number: truth.numbered[number] for number in numbers}
            lost = ", ".join(map(str, sorted(numbers - truth.images.keys())[:NAMED]))
            warnings.append(
                f"{path}: image_id is read as the name of the file: all of them are such names, "
                f"while {lost} is not an id of the data"
            )
    files = {v for v in results.image_ids if isinstance(v, str) and v not in truth.images}
    # the results give files, the data have names without extension (VOC) or in another folder
    by_file = {v: i for v in files for n in (Path(v).name, Path(v).stem)
               if (i := truth.images.get(n)) is not None}  # fmt: skip
    none = np.full(len(results), -1)
    meant, lines = picture_numbers(
        results.image_ids, {**truth.images, **by_file, **by_name}, len(truth.ids),
        FoundBoxes(none, none, results.boxes_xywh, results.scores), truth.boxes,
    )  # fmt: skip
    warnings += [f"{path}: {line}" for line in lines]
    image = _indices(path, results.image_ids, meant, "image_id", "pictures", warnings)
    # a text that is no id may be the class's name
    categories: Mapping[Id, int] = {
        **{name: c for c, name in enumerate(truth.classes)}, **truth.categories
    }  # fmt: skip
    if results.categories:
        index = {name: c for c, name in enumerate(truth.classes)}
        categories = {key: index[n] for key, n in results.categories.items() if n in index}
        unknown = sorted(set(results.categories.values()) - set(index))
        if unknown and not categories:
            hint = nearest(unknown[0], index)
            raise DataError(f"{path}: its classes are not the data's: {unknown[0]}", hint)
    written = _in_pixels(results, image, truth, warnings)
    if not results.categories:
        nameless = FoundBoxes(image, np.full_like(image, -1), written, results.scores)
        categories, lines = class_numbers(
            results.category_ids, categories, len(truth.classes), nameless, truth.boxes
        )
        warnings += [f"{path}: {line}" for line in lines]
    label = _indices(path, results.category_ids, categories, "category_id", "classes", warnings)
    known = (image >= 0) & (label >= 0)
    boxes = FoundBoxes(image[known], label[known], written[known], results.scores[known])
    if results.outlines:
        boxes = _with_masks(results, truth, np.flatnonzero(known), boxes)
    flat = (boxes.xywh[:, 2:] <= 0).any(1)
    if flat.any():
        warnings.append(f"{path}: {int(flat.sum())} boxes have no area: they match nothing")
    rows = np.column_stack([boxes.image, boxes.label, boxes.xywh, boxes.score])
    duplicates = len(rows) - len(np.unique(rows, axis=0))
    if duplicates:
        warnings.append(f"{path}: {duplicates} duplicate detections; they count as wrong")
    return boxes, warnings


def _with_masks(
    results: CocoResults, truth: GroundTruth, rows: NDArray[np.int64], boxes: FoundBoxes
) -> FoundObjects:
    """The boxes with the masks of these rows of the results. Raises DataError for one that can't be
    drawn, or is of another size than its picture."""
    drawn: list[ObjectMask] = []
    for row, picture in zip(rows.tolist(), boxes.image.tolist(), strict=True):
        outline, (height, width) = results.outlines[row], truth.sizes[picture].tolist()
        try:
            if not outline:
                raise DataError("it has no segmentation, the others do")
            check_size(width, height)
            drawn.append(object_mask(outline, height, width))
        except DataError as error:
            raise DataError(f"{results.path}: entry {row}: {error.message}") from None
    return FoundObjects(boxes.image, boxes.label, boxes.xywh, boxes.score, as_column(drawn))


def _in_pixels(
    results: CocoResults, image: NDArray[np.int64], truth: GroundTruth, warnings: list[str]
) -> NDArray[np.float64]:
    """The boxes as x, y, width, height in pixels, whatever form they are in; adds a warning."""
    known = np.flatnonzero(image >= 0)
    form = judge(results.boxes_xywh[known], image[known], truth.sizes, "xywh")
    if not form.warning:
        return results.boxes_xywh
    warnings.append(f"{results.path}: {form.warning.removeprefix('warning: ')}")
    boxes = results.boxes_xywh.copy()
    if form.changes("xywh"):
        size = truth.sizes[image[known]]
        boxes[known] = from_xyxy(form.corners(boxes[known], size), "xywh")
    return boxes


def _indices(
    path: Path | str,
    ids: Sequence[Id],
    known: Mapping[Id, int],
    key: str,
    noun: str,
    warnings: list[str],
) -> NDArray[np.int64]:
    """Index of each id, -1 for unknown ones. Raises DataError if none is known."""
    indices = np.array([known.get(value, -1) for value in ids], np.int64)
    unknown = list(dict.fromkeys(v for v, i in zip(ids, indices.tolist(), strict=True) if i < 0))
    if not unknown:
        return indices
    listed = ", ".join(map(str, unknown[:NAMED])) + (", ..." if len(unknown) > NAMED else "")
    if (indices < 0).all():
        valid = ", ".join(str(k) for k in list(known)[:NAMED])
        raise DataError(
            f"{path}: none of its {noun} is in the data: {key} {listed}",
            f"the data have {valid}{', ...' if len(known) > NAMED else ''}",
        )
    warnings.append(
        f"{path}: {int((indices < 0).sum())} detections of {len(unknown)} {noun} that the "
        f"data don't have are left out: {key} {listed}"
    )
    return indices


def _write(
    out: Path,
    result: dict[str, Any],
    metric: DetectionAP | PanopticQuality,
    classes: Sequence[str],
    say: Callable[[str], None],
) -> None:
    """Writes plots/, classes.txt and, last, result.json."""
    from xfer.files import write_text
    from xfer.report.plots import plot_run

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise XferError(
            f"{out} can't be created: {error.strerror}", "choose another --out"
        ) from None
    with sole_writer(out, inside=True):
        write_text(out / "classes.txt", "".join(f"{name}\n" for name in classes))
        try:
            plot_run(out, [], metric, None, classes)
        except Exception as error:
            say(f"warning: plots/ is incomplete: {type(error).__name__}: {error}")
        text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
        write_text(out / "result.json", text)
