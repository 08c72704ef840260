"""Scores of a detector: COCO's twelve figures, VOC's two, per class, and its kinds of errors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from xfer.boxes import Boxes
from xfer.errors import DataError, DivergedError, XferError
from xfer.metrics.boxes import Compare, FoundBoxes, TrueBoxes, overlaps, to_xywh
from xfer.metrics.coco_ap import Engine, coco_scores
from xfer.metrics.coco_figures import FIGURES, CocoScores
from xfer.metrics.detection_counts import matches_of
from xfer.metrics.detection_errors import Matching, error_costs, match
from xfer.metrics.example import Example, Mark, Role, natural_order, unique_names
from xfer.metrics.interval import Interval, bootstrap
from xfer.metrics.resampled import Ranked
from xfer.metrics.voc_ap import voc_scores
from xfer.objects.mask import ObjectMask
from xfer.types import Batch, BoxPrediction

MIN_SCORE = 0.5
Table = TypeVar("Table", TrueBoxes, FoundBoxes)
PRIMARIES = (*FIGURES, "voc_ap50_11pt", "voc_ap50_area")


def usual_primary(format: str, name: str = "") -> str:
    """The usual score for data of this format: VOC's for VOC, with 11 points for 2007."""
    if format != "voc":
        return "coco_ap"
    return "voc_ap50_11pt" if "voc07" in name or "VOC2007" in name else "voc_ap50_area"


class DetectionAP:
    """Collects detected and true boxes picture by picture, and scores them all at the end.

    A picture counts once, even if several processes have seen it; pictures rank by their ids (with
    numbers in them read as numbers), so that the result does not depend on any order.

    Args:
        classes: class names; a label is an index into them.
        primary: the number by which the best step is chosen: one of COCO's twelve, voc_ap50_11pt
            or voc_ap50_area.
        engine: what computes COCO's figures; auto: hotcoco if it is installed, else pycocotools.

    compute() returns
        coco_ap ... coco_ar_large | COCO's twelve figures; None where pycocotools gives -1, because
                                  | no box of that size counts
        voc_ap50_11pt, _area      | mean over the classes that occur
        per_class                 | {name: {"ap", "ap50", "voc_ap50_11pt", "voc_ap50_area", "n"}}:
                                  | n is the number of true boxes that count; None if n is 0
        errors                    | {kind: loss of AP50}, see detection_errors
        error_counts              | {kind: boxes}
    """

    unit: ClassVar[str] = "boxes"  # what `n` counts
    primaries: ClassVar[tuple[str, ...]] = PRIMARIES
    compare: Compare = staticmethod(overlaps)  # what errors and examples are matched by
    nothing: ClassVar[FoundBoxes] = FoundBoxes(
        np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0)
    )

    def __init__(
        self, classes: Sequence[str], primary: str = "coco_ap", engine: Engine = "auto"
    ) -> None:
        if primary not in self.primaries:
            known = ", ".join(self.primaries)
            raise XferError(f"unknown score {primary!r}", f"choose from {known}")
        self.classes = tuple(classes)
        self.primary = primary
        self.engine: Engine = engine
        self._parts: list[dict[str, Any]] = []
        self._coco: CocoScores | None = None

    def update(self, predictions: Sequence[BoxPrediction], batch: Batch) -> None:
        """Add one prediction per picture, in the order of `batch.ids`.

        Shapes: batch.targets["annotations"] | N Boxes, in pixels of the original pictures.
        Raises: DataError if the pictures have no annotations, DivergedError for boxes or scores
            that are not finite, XferError for labels that don't fit the classes.
        """
        truths: Sequence[Boxes] | None = batch.targets.get("annotations")
        if truths is None:
            raise DataError("nothing to compare with: these pictures have no boxes")
        if not len(predictions) == len(truths) == len(batch.ids):
            raise XferError(
                f"{len(predictions)} predictions, {len(truths)} annotations and "
                f"{len(batch.ids)} ids don't belong together"
            )
        for prediction, name in zip(predictions, batch.ids, strict=True):
            finite = np.isfinite(prediction.boxes).all() and np.isfinite(prediction.scores).all()
            if not finite:
                raise DivergedError(
                    f"the boxes of {name} are not finite", "a lower --lr, or --precision fp32"
                )
        true_image = np.repeat(np.arange(len(truths)), [len(t) for t in truths])
        found_image = np.repeat(np.arange(len(truths)), [len(p.labels) for p in predictions])
        truth = TrueBoxes.of(true_image, Boxes.join(truths))
        self.add(batch.ids, truth, self.collected(found_image, predictions))

    def collected(
        self, image: NDArray[np.int64], predictions: Sequence[BoxPrediction]
    ) -> FoundBoxes:
        """The predictions' boxes end to end. Args: image: of each box the index of its picture."""
        return FoundBoxes(
            image,
            _joined([p.labels for p in predictions], np.int64),
            to_xywh(_joined([p.boxes for p in predictions], np.float64, 4)),
            _joined([p.scores for p in predictions], np.float64),
        )

    def add(self, ids: Sequence[str], truth: TrueBoxes, found: FoundBoxes) -> None:
        """Add pictures; the `image` columns are indices into `ids`."""
        for boxes in (truth, found):
            label, image = boxes.label, boxes.image
            if len(label) and not 0 <= label.min() <= label.max() < len(self.classes):
                raise XferError(f"labels must be 0..{len(self.classes) - 1}, got {label.max()}")
            if len(image) and not 0 <= image.min() <= image.max() < len(ids):
                raise XferError(f"boxes of a picture that is not among the {len(ids)} ids")
        self._parts.append({"ids": list(ids), "truth": truth, "found": found})
        self._coco = None

    def state(self) -> dict[str, Any]:
        """All collected boxes as tables of arrays, which can be sent to another process."""
        if len(self._parts) != 1:
            ids = [name for part in self._parts for name in part["ids"]]
            truth, found = self._joined("truth", _NO_TRUTH), self._joined("found", self.nothing)
            self._parts = [{"ids": ids, "truth": truth, "found": found}]
        return self._parts[0]

    def load_states(self, states: Sequence[dict[str, Any]]) -> None:
        """Replace the collected boxes by several states, e.g. of all processes."""
        self._parts = list(states)
        self._coco = None

    def _joined(self, kind: str, none: Table) -> Table:
        """The parts' boxes in one table, with their pictures numbered through all parts."""
        starts = np.cumsum([0, *(len(part["ids"]) for part in self._parts)]).tolist()
        parts: list[Any] = [
            replace(part[kind], image=part[kind].image + start)
            for part, start in zip(self._parts, starts, strict=False)
        ]
        return none.join(parts) if parts else none

    def tables(self) -> tuple[list[str], TrueBoxes, FoundBoxes]:
        """Ids in natural order and all boxes, each picture once."""
        state = self.state()
        first: dict[str, int] = {}
        for place, name in enumerate(state["ids"]):
            first.setdefault(name, place)
        names = list(first)
        order = natural_order(names)
        moved = np.full(len(state["ids"]), -1)
        moved[[first[names[i]] for i in order]] = np.arange(len(order))
        return (
            [names[i] for i in order],
            _sorted(state["truth"], moved),
            _sorted(state["found"], moved),
        )

    def masks_of(self, boxes: TrueBoxes | FoundBoxes) -> Sequence[ObjectMask | None]:
        """The mask of each box, for drawing; a detector's have none."""
        return [None] * len(boxes)

    def coco(self) -> CocoScores:
        """COCO's figures with their tables; computed once."""
        if self._coco is None:
            ids, truth, found = self.tables()
            self._coco = coco_scores(truth, found, len(ids), len(self.classes), self.engine)
        return self._coco

    def curves(self) -> dict[str, NDArray[np.float64]]:
        """Class name -> precision at recall 0, .01 ... 1, IoU .5; for the classes that occur."""
        table = self.coco().precision[0]
        names = unique_names(self.classes)
        return {name: table[:, c] for c, name in enumerate(names) if table[0, c] > -1}

    def compute(self) -> dict[str, Any]:
        """The scores, fractions in 0..1. Raises DataError if no true box counts."""
        _, truth, found = self.tables()
        if truth.ignored.all():
            raise DataError("nothing to score: no picture has a box that counts")
        count = len(self.classes)
        coco = self.coco()
        voc = voc_scores(truth, found, count)
        _, costs, counts = error_costs(truth, found, count, self.compare)
        names = unique_names(self.classes)
        per_class = {
            name: {
                "ap": mean_of(coco.precision[:, :, c]),
                "ap50": mean_of(coco.precision[0, :, c]),
                "voc_ap50_11pt": voc[c].points,
                "voc_ap50_area": voc[c].area,
                "n": voc[c].count,
            }
            for c, name in enumerate(names)
        }
        return {
            **{name: float(v) if v > -1 else None
               for name, v in zip(FIGURES, coco.figures, strict=True)},
            "voc_ap50_11pt": _mean([v.points for v in voc if v.points is not None]),
            "voc_ap50_area": _mean([v.area for v in voc if v.area is not None]),
            "per_class": per_class,
            "errors": costs,
            "error_counts": counts,
        }  # fmt: skip

    @property
    def picture_ids(self) -> list[str]:
        """The pictures' ids, in the order of `per_picture`."""
        return self.tables()[0]

    def per_picture(self, figure: str = "") -> Ranked | None:
        """What resampling pictures needs; None for COCO's figures by size and its recalls."""
        ids, truth, found = self.tables()
        return matches_of(truth, found, len(ids), figure or self.primary)

    def interval(self, figure: str = "") -> Interval | None:
        """The interval of a score, by default of the primary one; None if it has none."""
        return bootstrap(self.per_picture(figure))

    def protocol(self) -> dict[str, str]:
        """What the numbers mean, in words."""
        return {
            "coco": "pycocotools' bbox figures: AP over IoU .50:.05:.95 and 101 recalls, at most "
            "100 boxes per picture and class; small < 32², medium < 96² <= large by the "
            "annotation's area, square pixels; crowd and difficult boxes are ignored regions",
            "voc": "average precision at IoU .5 by the VOC devkit's matching, all boxes; difficult "
            "boxes and crowds are neither rewarded nor punished; 11pt: mean over recall 0, .1 ... "
            "1 (VOC 2007), area: area under the curve (VOC 2010 on)",
            "errors": "loss of AP50 by each kind of error, IoU .5 and .1 (TIDE, Bolya 2020)",
        }

    def rows(self) -> list[dict[str, Any]]:
        """One dict per detected box: id, class, score, x1, y1, x2, y2; by picture and score."""
        ids, _, found = self.tables()
        order = np.lexsort((-found.score, found.image))
        found = found.take(order)
        names = unique_names(self.classes)
        columns = zip(found.image.tolist(), found.label.tolist(), found.score.tolist(),
                      found.xyxy.round(2).tolist(), strict=True)  # fmt: skip
        return [
            {
                "id": ids[image], "class": names[label], "score": round(score, 6),
                **dict(zip(("x1", "y1", "x2", "y2"), box, strict=True)),
            }
            for image, label, score, box in columns
        ]  # fmt: skip

    def examples(self) -> list[Example]:
        """Every picture with its right, missed and wrong boxes, in natural order of ids.

        Only detected boxes with a score of at least 0.5 are used, matched at an IoU of .5.
        """
        ids, truth, found = self.tables()
        detected = found.take(found.score >= MIN_SCORE)
        state = match(truth, detected, self.compare)
        detected = detected.take(state.kept)
        cells: list[list[tuple[int, int]]] = [[] for _ in ids]
        for image, row, column in _entries(truth, detected, state, len(self.classes)):
            cells[image].append((row, column))
        wrong = ~state.right & ~state.ignored
        missed = ~state.found & ~truth.ignored
        totals = np.bincount(truth.image[~truth.ignored], minlength=len(ids))
        marks: list[list[Mark]] = [[] for _ in ids]
        true_marks: list[list[Mark]] = [[] for _ in ids]
        for image, box, label, lost, left_out, mask in zip(
            truth.image.tolist(), truth.xyxy.tolist(), truth.label.tolist(), missed.tolist(),
            truth.ignored.tolist(), self.masks_of(truth), strict=True,
        ):  # fmt: skip
            text = self.classes[label] + (" (ignored)" if left_out else "")
            role = "missed" if lost else "truth"
            true_marks[image].append(Mark(tuple(box), role, text, mask))
        losses = [0.0] * len(ids)
        parts: tuple[tuple[Any, NDArray[np.bool_], Role], ...] = (
            (truth, missed, "missed"), (detected, wrong, "wrong"), (detected, state.right, "right"),
        )  # fmt: skip
        for boxes, which, role in parts:
            chosen = boxes.take(which)
            score = chosen.score if isinstance(chosen, FoundBoxes) else np.ones(len(chosen))
            cost = 1 - score if role == "right" else score
            for image, box, label, own, loss, mask in zip(
                chosen.image.tolist(), chosen.xyxy.tolist(), chosen.label.tolist(), score.tolist(),
                cost.tolist(), self.masks_of(chosen), strict=True,
            ):  # fmt: skip
                text = self.classes[label] + ("" if role == "missed" else f" {own:.2f}")
                marks[image].append(Mark(tuple(box), role, text, mask))
                losses[image] += loss
        return [
            _example(name, int(total), own, loss, true, where)
            for name, total, own, loss, true, where in zip(
                ids, totals, marks, losses, true_marks, cells, strict=True
            )
        ]

    @property
    def box_confusion(self) -> NDArray[np.int64]:
        """How often boxes of the row's class were detected as the column's: int64 (C + 1, C + 1).

        The last row is of detections where no box is: placed badly, found twice, or on nothing;
        the last column of true boxes that nothing was detected for. Only scores of at least 0.5
        count, at an IoU of .5; boxes on ignored ones are left out.
        """
        _, truth, found = self.tables()
        detected = found.take(found.score >= MIN_SCORE)
        state = match(truth, detected, self.compare)
        count = len(self.classes)
        matrix = np.zeros((count + 1, count + 1), np.int64)
        for _, row, column in _entries(truth, detected.take(state.kept), state, count):
            matrix[row, column] += 1
        return matrix


def _entries(
    truth: TrueBoxes, detected: FoundBoxes, state: Matching, nothing: int
) -> Iterator[tuple[int, int, int]]:
    """(picture, row, column) of each box in `box_confusion`; `nothing`: its last row."""
    taken = state.found.copy()
    for place in np.flatnonzero(~state.ignored).tolist():
        image, label = int(detected.image[place]), int(detected.label[place])
        target = int(state.target[place])
        if state.right[place]:
            yield image, label, label
        elif state.kind[place] == "cls" and not taken[target]:
            taken[target] = True
            yield image, int(truth.label[target]), label
        else:
            yield image, nothing, label
    for place in np.flatnonzero(~taken & ~truth.ignored).tolist():
        yield int(truth.image[place]), int(truth.label[place]), nothing


def _example(
    name: str, total: int, marks: list[Mark], loss: float, truth: list[Mark],
    cells: list[tuple[int, int]],
) -> Example:  # fmt: skip
    roles = [mark.role for mark in marks]
    right, wrong = roles.count("right"), roles.count("wrong")
    lines = [f"{right} of {total} found"]
    if wrong:
        lines.append(f"{wrong} wrong")
    good = right == total and not wrong
    return Example(
        name, tuple(lines), good, loss, tuple(marks), truth=tuple(truth), cells=tuple(cells)
    )


_NO_TRUTH = TrueBoxes.of(np.zeros(0, np.int64), Boxes.none())


def _joined(parts: Sequence[Any], dtype: Any, width: int = 0) -> NDArray[Any]:
    shape = (-1, width) if width else (-1,)
    return np.concatenate([np.zeros(0, dtype), *(np.asarray(p, dtype).ravel() for p in parts)]
                          ).reshape(shape)  # fmt: skip


def _sorted(boxes: Table, moved: NDArray[np.int64]) -> Table:
    """Boxes with the pictures' new indices, in their order; -1: a picture that was seen before."""
    image = moved[boxes.image]
    order = np.argsort(image, kind="stable")
    order = order[image[order] >= 0]
    return replace(boxes.take(order), image=image[order])


def mean_of(precision: NDArray[np.float64]) -> float | None:
    """The mean of a table of COCO's without its -1; None if nothing is left."""
    known = precision[precision > -1]
    return float(known.mean()) if len(known) else None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
