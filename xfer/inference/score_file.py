"""Scoring boxes that any tool has found: `xfer eval --detections FILE --data SPEC`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfer.data.readers.coco.json import Id
from xfer.data.readers.coco.results import CocoResults, read_coco_results
from xfer.data.sources.box_rules import looks_like_xyxy
from xfer.errors import DataError, XferError, nearest
from xfer.inference.ground_truth import GroundTruth, open_truth
from xfer.metrics.boxes import FoundBoxes
from xfer.metrics.detection import DetectionAP, usual_primary

SCHEMA = 1
NAMED = 5


def score_detections(
    detections: Path | str,
    data: str,
    *,
    split: str = "",
    out: Path | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Scores a COCO results json against true boxes.

    Pictures are known by the annotation file's ids, by path, by name or by stem; classes by the
    file's category ids, by name where the results list categories, else by number: 1 is the first.

    Args:
        detections: the results; data: a spec of data with boxes, or a COCO json.
        split: val, test or train, where the data have several.
        out: a folder for result.json and plots/.
        overwrite: replace an earlier result there.
        say: told what is odd about the results, a line each.

    Returns: {"data", "split", "images", "detections", "boxes", "primary", "metrics", "protocol",
        "warnings"}.
    Raises: DataError for files that are missing or broken and for results of which no picture or
        no class is known, XferError where `out` is in use.
    """
    if out is not None:
        check_out(out, overwrite)
    truth = open_truth(data, split)
    found = read_coco_results(detections)
    boxes, warnings = matched(found, truth)
    for line in warnings:
        say(f"warning: {line}")
    metric = DetectionAP(truth.classes, usual_primary(truth.format, truth.name))
    metric.add(truth.ids, truth.boxes, boxes)
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "task": "detect",
        "detections": str(detections),
        "data": data,
        "split": truth.split,
        "images": len(truth.ids),
        "boxes": len(found),
        "primary": metric.primary,
        "metrics": metric.compute(),
        "protocol": metric.protocol(),
        "warnings": warnings,
    }
    if out is not None:
        _write(out, result, metric, truth.classes, say)
    return result


def check_out(out: Path, overwrite: bool) -> None:
    """Raises XferError where the folder can't take a result."""
    if out.exists() and not out.is_dir():
        raise XferError(f"{out} is a file, not a folder", "choose another --out")
    if (out / "recipe.toml").exists():
        raise XferError(f"{out} is a run folder", "choose another --out")
    if (out / "result.json").exists() and not overwrite:
        raise XferError(f"{out} holds a result", "--overwrite, or choose another --out")
    if (out / "classes.txt").exists() and not (out / "result.json").exists():
        raise XferError(f"{out} holds another classes.txt", "choose another --out")


def matched(found: CocoResults, truth: GroundTruth) -> tuple[FoundBoxes, list[str]]:
    """The results as boxes of the truth's pictures and classes, and what is odd about them."""
    warnings: list[str] = []
    if not len(found):
        warnings.append(f"{found.path}: no detections; every box counts as missed")
    if truth.misnamed and any(isinstance(v, int) for v in found.image_ids):
        warnings.append(
            f"{found.path}: image_id is read as the data's id, and {len(truth.misnamed)} of its "
            f"pictures are called by another one's: {', '.join(truth.misnamed[:NAMED])}"
        )
    files = {v for v in found.image_ids if isinstance(v, str) and v not in truth.images}
    # a file where the data have names without endings (VOC), or in another folder
    called = {v: i for v in files for n in (Path(v).name, Path(v).stem)
              if (i := truth.images.get(n)) is not None}  # fmt: skip
    image = _places(
        found, found.image_ids, {**truth.images, **called}, "image_id", "pictures", warnings
    )
    categories = dict(truth.categories)
    if found.categories:
        index = {name: c for c, name in enumerate(truth.classes)}
        categories = {key: index[n] for key, n in found.categories.items() if n in index}
        unknown = sorted(set(found.categories.values()) - set(index))
        if unknown and not categories:
            hint = nearest(unknown[0], index)
            raise DataError(f"{found.path}: its classes are not the data's: {unknown[0]}", hint)
    label = _places(found, found.category_ids, categories, "category_id", "classes", warnings)
    known = (image >= 0) & (label >= 0)
    boxes = FoundBoxes(image[known], label[known], found.boxes_xywh[known], found.scores[known])
    if looks_like_xyxy(boxes.xywh, boxes.image, truth.sizes):
        warnings.append(
            f"{found.path}: most boxes would leave their pictures: they look like x1, y1, x2, y2; "
            "COCO's are x, y, width, height"
        )
    flat = (boxes.xywh[:, 2:] <= 0).any(1)
    if flat.any():
        warnings.append(f"{found.path}: {int(flat.sum())} boxes have no area: they find nothing")
    rows = np.column_stack([boxes.image, boxes.label, boxes.xywh, boxes.score])
    again = len(rows) - len(np.unique(rows, axis=0))
    if again:
        warnings.append(f"{found.path}: {again} detections are there twice; they count as wrong")
    return boxes, warnings


def _places(
    found: CocoResults,
    ids: Sequence[Id],
    known: dict[Id, int],
    key: str,
    what: str,
    warnings: list[str],
) -> NDArray[np.int64]:
    """Index of each id, -1 for unknown ones. Raises DataError where none is known."""
    places = np.array([known.get(value, -1) for value in ids], np.int64)
    strange = list(dict.fromkeys(v for v, p in zip(ids, places.tolist(), strict=True) if p < 0))
    if not strange:
        return places
    named = ", ".join(map(str, strange[:NAMED])) + (", ..." if len(strange) > NAMED else "")
    if (places < 0).all():
        have = ", ".join(str(k) for k in list(known)[:NAMED])
        raise DataError(
            f"{found.path}: none of its {what} is in the data: {key} {named}",
            f"the data have {have}{', ...' if len(known) > NAMED else ''}",
        )
    warnings.append(
        f"{found.path}: {int((places < 0).sum())} detections of {len(strange)} {what} that the "
        f"data don't have are left out: {key} {named}"
    )
    return places


def _write(
    out: Path,
    result: dict[str, Any],
    metric: DetectionAP,
    classes: Sequence[str],
    say: Callable[[str], None],
) -> None:
    """plots/, classes.txt and, last of all, result.json."""
    from xfer.files import write_text
    from xfer.report.plots import plot_run

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise XferError(f"{out} can't be made: {error.strerror}", "choose another --out") from None
    write_text(out / "classes.txt", "".join(f"{name}\n" for name in classes))
    try:
        plot_run(out, [], metric, None, classes)
    except Exception as error:
        say(f"warning: plots/ is not complete: {type(error).__name__}: {error}")
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    write_text(out / "result.json", text)
