"""How well every pixel is classified: one counted matrix over the set, and the boundary F."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError, XferError
from xfer.metrics.boundary import boundary_counts, boundary_f
from xfer.metrics.example import Example, PackedMasks, as_array, natural_order, unique_names
from xfer.types import Batch

if TYPE_CHECKING:
    from xfer.types import MaskPrediction

IGNORE = 255
PART = 1 << 20  # pixels counted at a time: memory stays flat for large pictures


class MeanIoU:
    """Counts pixels: how often row's class was called column's class, over the whole set.

    Counts are whole numbers, so the result does not depend on the order of pictures, batches or
    processes. Memory a picture: 24 bytes a class, and about 4 KB for its masks, small and packed.

    Args:
        classes: class names; a mask's values are indices into them, 255 is left out.

    compute() returns
        miou           | mean over the classes that occur in the truth of their IoU:
                       | right / (true + said - right), counted over the set
        pixel_acc      | share of the labelled pixels that are right
        mean_class_acc | mean over the classes that occur of right / true
        fw_iou         | IoU weighted by each class's share of the labelled pixels
        boundary_f     | mean over the classes with a true boundary of their F, see `boundary_f`;
                       | None where no picture has a boundary
        per_class      | {name: {"iou", "acc", "boundary_f", "n"}}: n true pixels; the others None
                       | where n is 0, boundary_f also where the class has no true boundary
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
        # a picture each: int64 (3, C), the true, said and right pixels of its classes
        self._pictures: list[NDArray[np.int64]] = []
        self._small: list[PackedMasks] = []

    def update(self, predictions: Sequence[MaskPrediction], batch: Batch) -> None:
        """Counts a prediction a picture, in the order of `batch.ids`.

        Shapes: batch.targets["masks"] | N uint8 (H, W), the pictures' own size, 255 = ignore.
        Raises: DataError where the pictures have no masks, XferError for masks that don't fit.
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

    def add(self, said: Any, truth: Any, name: str) -> None:
        """Counts one picture.

        Args:
            said: uint8 (H, W), class indices; truth: uint8 (H, W), 255 = ignore; tensors or arrays.
            name: the picture's id.

        Raises: XferError for shapes or values that don't fit.
        """
        said, truth = as_array(said), as_array(truth)
        count = len(self.classes)
        if said.shape != truth.shape or said.ndim != 2:
            raise XferError(f"{name}: a prediction of {said.shape} for a mask of {truth.shape}")
        if said.dtype != np.uint8 or truth.dtype != np.uint8:
            raise XferError(f"{name}: masks are uint8, not {said.dtype} and {truth.dtype}")
        if said.size and said.max() >= count:
            raise XferError(
                f"{name}: the prediction holds {said.max()}; classes are 0..{count - 1}"
            )
        # ignored pixels are counted as well, in a part of the matrix that is not looked at: that
        # is quicker than picking the others out
        table = np.zeros((IGNORE + 1, count), np.int64)
        for start in range(0, truth.size, PART):
            part = slice(start, start + PART)
            pairs = truth.ravel()[part].astype(np.intp) * count + said.ravel()[part]
            table += np.bincount(pairs, minlength=table.size).reshape(table.shape)
        unknown = np.flatnonzero(table[count:IGNORE].any(1))
        if len(unknown):
            raise XferError(
                f"{name}: the mask holds {unknown[0] + count}; classes are 0..{count - 1}, 255 is "
                "ignored"
            )
        matrix = table[:count]
        self._matrix += matrix
        self._boundary += boundary_counts(truth, said, count)
        self._ids.append(name)
        self._pictures.append(np.stack([matrix.sum(1), matrix.sum(0), matrix.diagonal()]))
        self._small.append(PackedMasks.of(truth, said))

    def state(self) -> dict[str, Any]:
        """All that was counted, as plain arrays: can be sent to another process."""
        none = np.zeros((0, 3, len(self.classes)), np.int64)
        return {
            "matrix": self._matrix,
            "boundary": self._boundary,
            "ids": list(self._ids),
            "pictures": np.stack(self._pictures) if self._pictures else none,
            "small": list(self._small),
        }

    def load_states(self, states: Sequence[dict[str, Any]]) -> None:
        """Replaces what was counted by the sum of several states, of all processes say."""
        self._clear()
        for state in states:
            self._matrix = self._matrix + state["matrix"]
            self._boundary = self._boundary + state["boundary"]
            self._ids += state["ids"]
            self._pictures += list(state["pictures"])
            self._small += state["small"]

    @property
    def confusion(self) -> NDArray[np.int64]:
        """How many pixels of row's class were called column's class: int64 (C, C)."""
        return self._matrix.copy()

    def compute(self) -> dict[str, Any]:
        """The scores, fractions in 0..1. Raises DataError where no labelled pixel was seen."""
        true, said = self._matrix.sum(1), self._matrix.sum(0)
        right = self._matrix.diagonal()
        total = int(true.sum())
        if not total:
            raise DataError("nothing to score: no picture has a labelled pixel")
        iou, acc = _ious(true, said, right), _shares(right, true)
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

    def protocol(self) -> dict[str, str]:
        """What the numbers mean, in words."""
        there = int((self._matrix.sum(1) > 0).sum())
        background = any(name.casefold() == "background" for name in self.classes)
        counted = ", background among them" if background else ""
        return {
            "miou": "mean of right / (true + said - right), pixels counted over the whole set in "
            f"one matrix; over the {there} of {len(self.classes)} classes that occur in the truth"
            f"{counted}; pixels to ignore are left out, what is said of them too",
            "pixel_acc": "share of the labelled pixels that are right",
            "mean_class_acc": "mean over the same classes of right / true",
            "fw_iou": "IoU weighted by each class's share of the labelled pixels",
            "boundary_f": "mean over the classes with a true boundary of F = 2PR / (P + R), "
            "boundary pixels within 0.75 % of the picture's diagonal of one of their class in the "
            "other mask, counted over the whole set (after Csurka 2013, which averages pictures); "
            "ignored pixels take the class of the nearest labelled one in both masks",
        }

    def rows(self) -> list[dict[str, Any]]:
        """One dict a picture: id, miou over the classes in its truth, pixel_acc; None: all of it
        is to be ignored."""
        found: list[dict[str, Any]] = []
        for i in natural_order(self._ids):
            true, said, right = self._pictures[i]
            total = int(true.sum())
            mean = _mean(_ious(true, said, right))
            found.append(
                {
                    "id": self._ids[i],
                    "miou": None if mean is None else round(mean, 6),
                    "pixel_acc": round(int(right.sum()) / total, 6) if total else None,
                }
            )
        return found

    def examples(self) -> list[Example]:
        """Every picture with labelled pixels, its mean IoU and its worst class, in order of `rows`.

        A picture is good where its mean IoU is that of the set or better.
        """
        whole = self.compute()["miou"]
        names = self.classes
        found: list[Example] = []
        for i in natural_order(self._ids):
            iou = _ious(*self._pictures[i])
            mean = _mean(iou)
            if mean is None:
                continue
            worst, c = min((v, c) for c, v in enumerate(iou) if v is not None)
            lines = (f"mIoU {mean:.2f}", f"worst: {names[c]} {worst:.2f}")
            found.append(Example(self._ids[i], lines, mean >= whole, 1 - mean, (), self._small[i]))
        return found


def _ious(true: NDArray[Any], said: NDArray[Any], right: NDArray[Any]) -> list[float | None]:
    """IoU a class, None where the truth has none of it."""
    union = true + said - right
    return [int(r) / int(u) if n else None for n, r, u in zip(true, right, union, strict=True)]


def _shares(part: NDArray[Any], whole: NDArray[Any]) -> list[float | None]:
    return [int(p) / int(w) if w else None for p, w in zip(part, whole, strict=True)]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return math.fsum(known) / len(known) if known else None
