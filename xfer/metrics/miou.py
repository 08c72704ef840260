"""Scores of pixel classification: one matrix of counts over the set, and the boundary F."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError, XferError
from xfer.metrics.boundary import boundary_counts, boundary_f
from xfer.metrics.example import Example, PackedMasks, as_array, natural_order, unique_names
from xfer.metrics.interval import Interval, bootstrap
from xfer.metrics.resampled import Ratios
from xfer.types import Batch

if TYPE_CHECKING:
    from xfer.types import MaskPrediction

IGNORE = 255
PART = 1 << 20  # pixels counted at a time: memory stays flat for large pictures


class MeanIoU:
    """Counts pixels: how often the row's class was predicted as the column's, over the whole set.

    Counts are whole numbers, so the result does not depend on the order of pictures, batches or
    processes. Memory per picture: 24 bytes per class, and about 4 KB for its compressed masks.

    Args:
        classes: class names; a mask's values are indices into them, 255 is ignored.

    compute() returns
        miou           | mean IoU over the classes that occur in the truth:
                       | right / (true + predicted - right), counted over the set
        pixel_acc      | share of the labelled pixels that are right
        mean_class_acc | mean of right / true over the classes that occur
        fw_iou         | IoU weighted by each class's share of the labelled pixels
        boundary_f     | mean F over the classes with a true boundary, see `boundary_f`; None if
                       | no picture has a boundary
        per_class      | {name: {"iou", "acc", "boundary_f", "n"}}: n true pixels; the others are
                       | None if n is 0, boundary_f also if the class has no true boundary
    """

    primary: ClassVar[str] = "miou"
    unit: ClassVar[str] = "pixels"  # what `n` counts

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        if not 1 <= len(self.classes) < IGNORE:
            raise XferError(f"masks hold 1 to {IGNORE - 1} classes, not {len(self.classes)}")
        self._clear()

    def _clear(self) -> None:
        count = len(self.classes)
        self._matrix = np.zeros((count, count), np.int64)
        self._boundary = np.zeros((4, count), np.int64)
        self._ids: list[str] = []
        # per picture: int64 (3, C), the true, predicted and right pixels of its classes
        self._pictures: list[NDArray[np.int64]] = []
        self._small: list[PackedMasks] = []

    def update(self, predictions: Sequence[MaskPrediction], batch: Batch) -> None:
        """Count one prediction per picture, in the order of `batch.ids`.

        Shapes: batch.targets["masks"] | N uint8 (H, W), the original size, 255 = ignore.
        Raises: DataError if the pictures have no masks, XferError for masks that don't fit.
        """
        truths = batch.targets.get("masks")
        if truths is None:
            raise DataError("nothing to compare with: these pictures have no masks")
        if not len(predictions) == len(truths) == len(batch.ids):
            raise XferError(
                f"{len(predictions)} predictions, {len(truths)} masks and {len(batch.ids)} ids "
                "don't belong together"
            )
        for prediction, truth, name in zip(predictions, truths, batch.ids, strict=True):
            self.add(prediction.mask, truth, name)

    def add(self, predicted: Any, truth: Any, name: str) -> None:
        """Count one picture.

        Args:
            predicted: uint8 (H, W), class indices; truth: uint8 (H, W), 255 = ignore; tensors or
                arrays.
            name: the picture's id.

        Raises: XferError for shapes or values that don't fit.
        """
        predicted, truth = as_array(predicted), as_array(truth)
        count = len(self.classes)
        if predicted.shape != truth.shape or predicted.ndim != 2:
            raise XferError(
                f"{name}: a prediction of {predicted.shape} for a mask of {truth.shape}"
            )
        if predicted.dtype != np.uint8 or truth.dtype != np.uint8:
            raise XferError(f"{name}: masks are uint8, not {predicted.dtype} and {truth.dtype}")
        if predicted.size and predicted.max() >= count:
            raise XferError(
                f"{name}: the prediction holds {predicted.max()}; classes are 0..{count - 1}"
            )
        # ignored pixels are counted too, in a part of the matrix that is not used: this is faster
        # than selecting the others
        table = np.zeros((IGNORE + 1, count), np.int64)
        for start in range(0, truth.size, PART):
            part = slice(start, start + PART)
            pairs = truth.ravel()[part].astype(np.intp) * count + predicted.ravel()[part]
            table += np.bincount(pairs, minlength=table.size).reshape(table.shape)
        unknown = np.flatnonzero(table[count:IGNORE].any(1))
        if len(unknown):
            raise XferError(
                f"{name}: the mask holds {unknown[0] + count}; classes are 0..{count - 1}, 255 is "
                "ignored"
            )
        matrix = table[:count]
        self._matrix += matrix
        self._boundary += boundary_counts(truth, predicted, count)
        self._ids.append(name)
        self._pictures.append(np.stack([matrix.sum(1), matrix.sum(0), matrix.diagonal()]))
        self._small.append(PackedMasks.of(truth, predicted))

    def state(self) -> dict[str, Any]:
        """All counts as plain arrays, which can be sent to another process."""
        none = np.zeros((0, 3, len(self.classes)), np.int64)
        return {
            "matrix": self._matrix,
            "boundary": self._boundary,
            "ids": list(self._ids),
            "pictures": np.stack(self._pictures) if self._pictures else none,
            "small": list(self._small),
        }

    def load_states(self, states: Sequence[dict[str, Any]]) -> None:
        """Replace the counts by the sum of several states, e.g. of all processes."""
        self._clear()
        for state in states:
            self._matrix = self._matrix + state["matrix"]
            self._boundary = self._boundary + state["boundary"]
            self._ids += state["ids"]
            self._pictures += list(state["pictures"])
            self._small += state["small"]

    @property
    def confusion(self) -> NDArray[np.int64]:
        """How many pixels of the row's class were predicted as the column's: int64 (C, C)."""
        return self._matrix.copy()

    def compute(self) -> dict[str, Any]:
        """The scores, fractions in 0..1. Raises DataError if no labelled pixel was counted."""
        true, predicted = self._matrix.sum(1), self._matrix.sum(0)
        right = self._matrix.diagonal()
        total = int(true.sum())
        if not total:
            raise DataError("nothing to score: no picture has a labelled pixel")
        iou, acc = _ious(true, predicted, right), _shares(right, true)
        outlines = boundary_f(self._boundary)
        per_class = {
            name: {"iou": iou[c], "acc": acc[c], "boundary_f": outlines[c], "n": int(true[c])}
            for c, name in enumerate(unique_names(self.classes))
        }
        weighted = [v * int(n) for v, n in zip(iou, true, strict=True) if v is not None]
        return {
            "miou": _mean(iou),
            "pixel_acc": int(right.sum()) / total,
            "mean_class_acc": _mean(acc),
            "fw_iou": math.fsum(weighted) / total,
            "boundary_f": _mean(outlines),
            "per_class": per_class,
        }

    @property
    def picture_ids(self) -> list[str]:
        """The pictures' ids, in the order of `per_picture`."""
        return [self._ids[i] for i in natural_order(self._ids)]

    def per_picture(self, figure: str = "") -> Ratios | None:
        """What resampling pictures needs, in natural order of ids; for miou, pixel_acc and
        mean_class_acc."""
        if not self._pictures:
            return None
        table = np.stack([self._pictures[i] for i in natural_order(self._ids)])
        true, predicted, right = table[:, 0], table[:, 1], table[:, 2]
        if figure in ("", "miou"):
            return Ratios(right, true + predicted - right, true)
        if figure == "mean_class_acc":
            return Ratios(right, true, true)
        if figure == "pixel_acc":
            total = true.sum(1, keepdims=True)
            return Ratios(right.sum(1, keepdims=True), total, total)
        return None

    def interval(self, figure: str = "") -> Interval | None:
        """The interval of a score, by default of the mean IoU; None if it has none."""
        return bootstrap(self.per_picture(figure))

    def protocol(self) -> dict[str, str]:
        """What the numbers mean, in words."""
        present = int((self._matrix.sum(1) > 0).sum())
        background = any(name.casefold() == "background" for name in self.classes)
        counted = ", including background" if background else ""
        return {
            "miou": "mean of right / (true + predicted - right), pixels counted over the whole set "
            f"in one matrix; over the {present} of {len(self.classes)} classes that occur in the "
            f"truth{counted}; ignored pixels are left out, and so are predictions for them",
            "pixel_acc": "share of the labelled pixels that are right",
            "mean_class_acc": "mean of right / true over the same classes",
            "fw_iou": "IoU weighted by each class's share of the labelled pixels",
            "boundary_f": "mean over the classes with a true boundary of F = 2PR / (P + R), "
            "boundary pixels within 0.75 % of the picture's diagonal of one of their class in the "
            "other mask, counted over the whole set (after Csurka 2013, which averages pictures); "
            "ignored pixels take the class of the nearest labelled one in both masks",
        }

    def rows(self) -> list[dict[str, Any]]:
        """One dict per picture: id, miou over the classes in its truth, pixel_acc; None if all of
        it is ignored."""
        rows: list[dict[str, Any]] = []
        for i in natural_order(self._ids):
            true, predicted, right = self._pictures[i]
            total = int(true.sum())
            mean = _mean(_ious(true, predicted, right))
            rows.append(
                {
                    "id": self._ids[i],
                    "miou": None if mean is None else round(mean, 6),
                    "pixel_acc": round(int(right.sum()) / total, 6) if total else None,
                }
            )
        return rows

    def examples(self) -> list[Example]:
        """Every picture with labelled pixels, its mean IoU and worst class, in the order of `rows`.

        A picture is good if its mean IoU is at least that of the set.
        """
        whole = self.compute()["miou"]
        names = self.classes
        examples: list[Example] = []
        for i in natural_order(self._ids):
            iou = _ious(*self._pictures[i])
            mean = _mean(iou)
            if mean is None:
                continue
            worst, c = min((v, c) for c, v in enumerate(iou) if v is not None)
            lines = (f"mIoU {mean:.2f}", f"worst: {names[c]} {worst:.2f}")
            example = Example(self._ids[i], lines, mean >= whole, 1 - mean, (), self._small[i])
            examples.append(example)
        return examples


def _ious(true: NDArray[Any], predicted: NDArray[Any], right: NDArray[Any]) -> list[float | None]:
    """IoU per class, None if the class is not in the truth."""
    union = true + predicted - right
    return [int(r) / int(u) if n else None for n, r, u in zip(true, right, union, strict=True)]


def _shares(part: NDArray[Any], whole: NDArray[Any]) -> list[float | None]:
    return [int(p) / int(w) if w else None for p, w in zip(part, whole, strict=True)]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return math.fsum(known) / len(known) if known else None
