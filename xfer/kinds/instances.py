"""Instances: the objects in a picture, each with its box, its class and its pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xfer.kinds import instance_rows
from xfer.kinds.base import Table, register
from xfer.kinds.box_stats import quantiles
from xfer.kinds.boxes import BoxKind
from xfer.kinds.findings import Finding
from xfer.kinds.instance_findings import find_in_instances
from xfer.kinds.instance_stats import mask_stats
from xfer.metrics.example import Panel
from xfer.objects.paste import paste
from xfer.types import Batch, DataInfo, InstancePrediction, Sample, Source


@register
class InstanceKind(BoxKind):
    """Boxes with a class and a mask each; `labels()` as for boxes."""

    name: ClassVar[str] = "instance"
    hub_task: ClassVar[str] = "image-segmentation"
    holds: ClassVar[str] = "objects with masks"
    needs: ClassVar[str] = (
        "an outline for each object: a COCO json, YOLO's or labelme's polygons, masks that number "
        "objects, or Cityscapes' instanceIds"
    )
    outlined: ClassVar[bool] = True
    also: ClassVar[tuple[str, ...]] = ("detect", "multilabel")

    def check_sample(self, sample: Sample, label: Any, info: DataInfo) -> None:
        super().check_sample(sample, label, info)
        boxes = sample.boxes
        assert boxes is not None and boxes.masks is not None, f"{sample.id}: no masks"
        sizes = {mask.size for mask in boxes.masks.tolist()}
        same = sizes <= {sample.image.shape[:2]}
        assert same, f"{sample.id}: masks of {sizes}, the picture is {sample.image.shape[:2]}"

    def find_in_pictures(
        self, splits: Mapping[str, Source], classes: Sequence[str]
    ) -> list[Finding]:
        return [*super().find_in_pictures(splits, classes), *find_in_instances(splits, classes)]

    def summary(self, source: Source) -> dict[str, Any]:
        """As for boxes; reads every mask and adds "masks": how many objects touch or overlap
        another, are slivers, have holes, are empty; quantiles of "fill" (mask over box area)."""
        stats = mask_stats(source)
        return {
            **super().summary(source),
            "masks": {
                "touching": len(np.unique(stats.touching)),
                "overlapping": len(np.unique(stats.overlapping)),
                "slivers": int((stats.sliver & ~stats.empty).sum()),
                "with_holes": int(stats.holed.sum()),
                "empty": int(stats.empty.sum()),
                "fill": quantiles(stats.fill),
            },
        }

    def tables(self, splits: Mapping[str, dict[str, Any]]) -> list[Table]:
        """Adds how the masks meet and what they look like, with a column per split."""
        own = {name: one["masks"] for name, one in splits.items()}
        numbers = [key for key, value in next(iter(own.values())).items() if isinstance(value, int)]
        counts = [
            {"masks": key.replace("_", " "), **{n: one[key] for n, one in own.items()}}
            for key in numbers
        ]
        fill = [
            {"split": name, "of masks": "pixels, share of the box's", **one["fill"]}
            for name, one in own.items() if one["fill"] is not None
        ]  # fmt: skip
        return [*super().tables(splits), counts, fill]

    def tinted(self, sample: Sample, classes: Sequence[str]) -> NDArray[np.uint8]:
        from xfer.drawing.instances import tinted

        boxes = sample.boxes
        if boxes is None or boxes.masks is None:
            return sample.image
        return tinted(sample.image, boxes.masks.tolist())

    def batch_panels(self, batch: Batch, classes: Sequence[str]) -> list[Panel]:
        """As of boxes, with the objects' masks, where the task names its targets as instance does:
        shares, places."""
        panels, targets = super().batch_panels(batch, classes), batch.targets
        if not {"shares", "places"} <= targets.keys():
            return panels
        shown: list[Panel] = []
        for panel, shares, places in zip(panels, targets["shares"], targets["places"], strict=True):
            height, width = panel.image.shape[:2]
            grids = shares.cpu().numpy().astype(np.float32) / 255
            masks = paste(grids, places.cpu().numpy(), (height, width))
            marks = tuple(
                replace(mark, mask=mask) for mark, mask in zip(panel.marks, masks, strict=True)
            )
            shown.append(replace(panel, marks=marks))
        return shown

    def draw_sample(self, sample: Sample, classes: Sequence[str], path: Path) -> None:
        from xfer.drawing.instances import instances_on
        from xfer.files import replacing

        with replacing(path) as temporary:
            drawn = instances_on(sample.image, _annotated(sample), classes, scores=False)
            drawn.save(temporary, format="png")

    def pictured(self, sample: Sample, classes: Sequence[str], side: int) -> NDArray[np.uint8]:
        from xfer.drawing.instances import instances_on

        if sample.boxes is None or sample.boxes.masks is None:
            return super().pictured(sample, classes, side)
        own = _annotated(sample)
        return np.asarray(instances_on(sample.image, own, classes, scores=False, side=side))

    def pictured_prediction(
        self,
        image: NDArray[np.uint8],
        prediction: InstancePrediction,
        classes: Sequence[str],
        side: int,
    ) -> NDArray[np.uint8]:
        from xfer.drawing.instances import instances_on

        return np.asarray(instances_on(image, prediction, classes, side=side))

    def describe(self, prediction: InstancePrediction, classes: Sequence[str]) -> dict[str, Any]:
        """{"id", "boxes": [{"label", "score", "box", "segmentation": COCO's RLE}, ...]}."""
        return prediction.row(classes)

    def csv_rows(
        self, predictions: Sequence[InstancePrediction], classes: Sequence[str]
    ) -> tuple[list[str], Table]:
        """A line per object."""
        lines = [line for one in predictions for line in instance_rows.csv_rows(one, classes)]
        return list(instance_rows.COLUMNS), lines

    def at_least(self, prediction: InstancePrediction, score: float) -> InstancePrediction:
        return instance_rows.at_least(prediction, score)

    def coco_results(
        self,
        predictions: Sequence[InstancePrediction],
        category_ids: Sequence[int | str],
        files: Sequence[str] = (),
    ) -> Table:
        return instance_rows.coco_results(predictions, category_ids)

    def layer(
        self, prediction: InstancePrediction, classes: Sequence[str], side: int
    ) -> NDArray[np.uint8] | None:
        from xfer.drawing.instances import instance_layer

        return instance_layer(prediction, side)

    def draw_prediction(
        self,
        image: NDArray[np.uint8],
        prediction: InstancePrediction,
        classes: Sequence[str],
        path: Path,
        min_score: float | None = None,
    ) -> None:
        """Objects of at least `min_score`; None: 0.5, or the best few if none reaches it."""
        from xfer.drawing.instances import instances_on
        from xfer.files import replacing

        with replacing(path) as temporary:
            instances_on(image, prediction, classes, min_score).save(temporary, format="png")


def _annotated(sample: Sample) -> InstancePrediction:
    """The true objects of a sample as if they were found for sure."""
    assert sample.boxes is not None and sample.boxes.masks is not None
    boxes, size = sample.boxes.astype(np.float32), sample.image.shape[:2]
    sure = np.ones(len(boxes), np.float32)
    return InstancePrediction(
        sample.id, boxes.xyxy, sure, boxes.labels, (size[0], size[1]), sample.boxes.masks
    )
