"""Boxes: the places and classes of the objects in a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError
from xfer.kinds import box_rows
from xfer.kinds.base import Kind, Table, moved, register
from xfer.kinds.box_findings import find_in_boxes
from xfer.kinds.box_sizes import find_odd_sizes
from xfer.kinds.box_stats import collect, every_box, has_boxes, per_class, summary
from xfer.kinds.findings import Finding
from xfer.kinds.labels import check_several_labels, named, spelt_alike
from xfer.metrics.example import Example, Mark, Panel
from xfer.types import Batch, BoxPrediction, DataInfo, Sample, Source


@register
class BoxKind(Kind):
    """Boxes with a class each; `labels()` says which classes have a box in a picture, 0 or 1."""

    name: ClassVar[str] = "detect"
    hub_task: ClassVar[str] = "object-detection"
    holds: ClassVar[str] = "boxes"
    needs: ClassVar[str] = (
        "boxes: a COCO json, VOC's Annotations, a YOLO data.yaml or a table of boxes"
    )
    several: ClassVar[bool] = True
    placed: ClassVar[bool] = True
    boxes: ClassVar[bool] = True
    also: ClassVar[tuple[str, ...]] = ("multilabel",)

    def check_labels(self, labels: NDArray[Any], count: int, info: DataInfo) -> None:
        check_several_labels(labels, count, len(info.classes), (0, 1))

    def check_sample(self, sample: Sample, label: Any, info: DataInfo) -> None:
        assert sample.boxes is not None, f"{sample.id}: no boxes"
        same = np.array_equal(np.unique(sample.boxes.labels), np.flatnonzero(label == 1))
        assert same, f"{sample.id}: the classes of its boxes are not those of its labels() row"

    def check_truth(
        self, title: str, role: str, source: Source, classes: Sequence[str], learn: bool
    ) -> None:
        if has_boxes(source):
            return
        crowds = len(every_box(source).boxes)
        if crowds:
            raise DataError(
                f"{title}: no boxes in {role}: all {crowds} are crowds (iscrowd 1), which are "
                "neither learnt nor scored",
                "set iscrowd to 0 for boxes of single objects",
            )
        raise DataError(f"{title}: no boxes in {role}")

    def find(self, splits: Mapping[str, Source], classes: Sequence[str]) -> list[Finding]:
        return [*spelt_alike(classes), *find_in_boxes(splits, classes)]

    def find_in_pictures(
        self, splits: Mapping[str, Source], classes: Sequence[str]
    ) -> list[Finding]:
        return find_odd_sizes(splits, classes)

    def check_scored(self, title: str, role: str, source: Source) -> None:
        if not has_boxes(source, scored=True):
            raise DataError(
                f"{title}: no box in {role} counts, so nothing could be scored",
                f"--{role} none, or another --{role}",
            )

    def strata(self, source: Source) -> NDArray[np.int64] | NDArray[np.int8]:
        return source.labels()

    def relabel(self, sample: Sample, table: NDArray[np.int64], classes: int) -> Sample:
        if sample.boxes is None:
            return sample
        return replace(sample, boxes=sample.boxes.relabelled(table))

    def relabel_labels(
        self, labels: NDArray[Any], table: NDArray[np.int64], classes: int
    ) -> NDArray[Any]:
        # a class that the file does not know has no box: it is absent
        return moved(labels, table, classes, 0)

    def summary(self, source: Source) -> dict[str, Any]:
        """Counts are of boxes; adds "boxes", see `box_stats.summary`."""
        stats = collect(source)
        return {
            "images": len(source),
            "classes": per_class(stats, source.info.classes),
            "boxes": summary(stats),
        }

    def items(self, source: Source) -> list[list[Any]]:
        names = source.info.classes
        return [[i, named(row, names)] for i, row in zip(source.ids, source.labels(), strict=True)]

    def tables(self, splits: Mapping[str, dict[str, Any]]) -> list[Table]:
        """Adds the numbers, sizes and shapes of the boxes, with a column per split."""
        own = {name: one["boxes"] for name, one in splits.items()}
        numbers = [key for key, value in next(iter(own.values())).items() if isinstance(value, int)]
        counts = [
            {"boxes": key.replace("_", " "), **{n: one[key] for n, one in own.items()}}
            for key in numbers
        ]
        sides = [
            {"split": name, "of boxes": what, **one[key]}
            for name, one in own.items()
            for key, what in (("width", "width, px"), ("height", "height, px"),
                              ("side", "side, share of the picture's"),
                              ("aspect", "width / height"))
            if one[key] is not None
        ]  # fmt: skip
        return [*super().tables(splits), counts, sides]

    def draw_sample(self, sample: Sample, classes: Sequence[str], path: Path) -> None:
        from xfer.drawing.boxes_overview import draw_boxes

        draw_boxes(sample, tuple(classes), path)

    def draw_all(
        self, splits: Mapping[str, Source], classes: Sequence[str], folder: Path
    ) -> list[Path]:
        from xfer.drawing.boxes_overview import overview

        stats = {role: collect(source) for role, source in splits.items()}
        if not any(len(boxes.labels) for boxes in stats.values()):
            return []
        overview(stats, tuple(classes), folder / "boxes.png")
        return [folder / "boxes.png"]

    def panels(
        self, example: Example, image: NDArray[np.uint8], classes: Sequence[str]
    ) -> list[Panel]:
        """The true boxes, and beside them those that were detected."""
        detected = tuple(mark for mark in example.marks if mark.role != "missed")
        said = "predicted" if detected else "predicted: none"
        return [Panel("truth", image, example.truth), Panel(said, image, detected)]

    def batch_panels(self, batch: Batch, classes: Sequence[str]) -> list[Panel]:
        """With the boxes that are learnt, and without padding, where the task names its targets as
        detect does: boxes, labels, sizes."""
        panels, targets = super().batch_panels(batch, classes), batch.targets
        if not {"boxes", "labels", "sizes"} <= targets.keys():
            return panels
        shown: list[Panel] = []
        for panel, boxes, labels, (height, width) in zip(
            panels, targets["boxes"], targets["labels"], targets["sizes"].tolist(), strict=True
        ):
            marks = tuple(
                Mark(tuple(box), "truth", classes[int(label)])
                for box, label in zip(boxes.tolist(), labels.tolist(), strict=True)
            )
            shown.append(Panel("", panel.image[:height, :width], marks))
        return shown

    def caption(self, sample: Sample, classes: Sequence[str]) -> str:
        if sample.boxes is None:
            return ""
        return box_rows.counts_in_words(sample.boxes.labels, classes)

    def pictured(self, sample: Sample, classes: Sequence[str], side: int) -> NDArray[np.uint8]:
        if sample.boxes is None:
            return super().pictured(sample, classes, side)
        from xfer.drawing.boxes import boxes_on

        boxes, size = sample.boxes, sample.image.shape[:2]
        sure = np.ones(len(boxes), np.float32)
        own = BoxPrediction(sample.id, boxes.xyxy, sure, boxes.labels, (size[0], size[1]))
        drawn = boxes_on(sample.image, own, classes, scores=False, side=side)
        return np.asarray(drawn)

    def pictured_prediction(
        self, image: NDArray[np.uint8], prediction: BoxPrediction, classes: Sequence[str], side: int
    ) -> NDArray[np.uint8]:
        from xfer.drawing.boxes import boxes_on

        return np.asarray(boxes_on(image, prediction, classes, side=side))

    def phrase(self, prediction: BoxPrediction, classes: Sequence[str]) -> str:
        sure = box_rows.at_least(prediction, box_rows.SURE)
        if len(sure.labels) or not len(prediction.scores):
            return box_rows.counts_in_words(sure.labels, classes)
        return f"none of {box_rows.SURE}; best score {float(prediction.scores.max()):.2f}"

    def describe(self, prediction: BoxPrediction, classes: Sequence[str]) -> dict[str, Any]:
        """{"id", "boxes": [{"label", "score", "box": [x1, y1, x2, y2]}, ...]}."""
        return prediction.row(classes)

    def table_row(
        self, prediction: BoxPrediction, classes: Sequence[str], min_score: float | None = None
    ) -> dict[str, Any]:
        """How many boxes of each class have at least `min_score` (0.5), and the best score."""
        return box_rows.table_row(prediction, classes, min_score)

    def csv_rows(
        self, predictions: Sequence[BoxPrediction], classes: Sequence[str]
    ) -> tuple[list[str], Table]:
        """A line per box."""
        lines = [line for one in predictions for line in box_rows.csv_rows(one, classes)]
        return list(box_rows.COLUMNS), lines

    def at_least(self, prediction: BoxPrediction, score: float) -> BoxPrediction:
        return box_rows.at_least(prediction, score)

    def coco_results(
        self,
        predictions: Sequence[BoxPrediction],
        category_ids: Sequence[int | str],
        files: Sequence[str] = (),
    ) -> Table:
        return box_rows.coco_results(predictions, category_ids)

    def draw_prediction(
        self,
        image: NDArray[np.uint8],
        prediction: BoxPrediction,
        classes: Sequence[str],
        path: Path,
        min_score: float | None = None,
    ) -> None:
        """Boxes of at least `min_score`; None: 0.5, or the best few if none reaches it."""
        from xfer.drawing.boxes import boxes_on
        from xfer.files import replacing

        with replacing(path) as temporary:
            boxes_on(image, prediction, classes, min_score).save(temporary, format="png")
