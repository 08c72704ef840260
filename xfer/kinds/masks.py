"""Masks: the class of each pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError, XferError, listed
from xfer.kinds import mask_rows
from xfer.kinds.base import UNJUDGED, Kind, Table, moved, register
from xfer.kinds.findings import Finding
from xfer.kinds.labels import check_several_labels, named
from xfer.kinds.mask_findings import FEW, border_warning, find_in_masks
from xfer.kinds.pixel_counts import occurring, pixel_counts
from xfer.metrics.example import Example, Panel
from xfer.types import IGNORE, Batch, DataInfo, MaskPrediction, Sample, Source


@register
class MaskKind(Kind):
    """One class per pixel; `labels()` says which classes a mask holds, -1 before it is read."""

    name: ClassVar[str] = "segment"
    hub_task: ClassVar[str] = "image-segmentation"
    holds: ClassVar[str] = "masks"
    needs: ClassVar[str] = (
        "masks: a file of class values for each, as in VOC, Cityscapes or a folder masks/"
    )
    several: ClassVar[bool] = True
    placed: ClassVar[bool] = True
    ignores: ClassVar[bool] = True
    graded: ClassVar[bool] = True
    files: ClassVar[tuple[str, ...]] = ("", "_mask")

    def check_labels(self, labels: NDArray[Any], count: int, info: DataInfo) -> None:
        check_several_labels(labels, count, len(info.classes), (-1, 0, 1))

    def check_sample(self, sample: Sample, label: Any, info: DataInfo) -> None:
        assert sample.mask is not None, f"{sample.id}: no mask"

    def check_pictures(self, title: str, role: str, source: Source, learn: bool) -> list[str]:
        """Names the classes that no mask holds, and those along borders only; an error if fewer
        than two can be learnt."""
        classes = source.info.classes
        border = border_warning(role, source, FEW)
        lines = [] if border is None else [f"warning: {border.text}"]
        absent = [name for name, n in zip(classes, occurring(source), strict=True) if not n]
        if not absent:
            return lines
        if learn and len(classes) - len(absent) < 2:
            present = ", ".join(set(classes) - set(absent)) or "only ignored pixels"
            raise DataError(
                f"{title}: the masks of {role} hold {present}",
                "there must be at least two classes",
            )
        text = f"warning: no mask of {role} holds {listed(absent)}: nothing to learn from"
        return [*lines, text]

    def find_in_pictures(
        self, splits: Mapping[str, Source], classes: Sequence[str]
    ) -> list[Finding]:
        return find_in_masks(splits, classes)

    def strata(self, source: Source) -> NDArray[np.int64] | NDArray[np.int8]:
        return source.labels()

    def relabel(self, sample: Sample, table: NDArray[np.int64], classes: int) -> Sample:
        if sample.mask is None:
            return sample
        lut = np.full(256, IGNORE, np.uint8)
        lut[: len(table)] = table
        return replace(sample, mask=lut[sample.mask])

    def relabel_labels(
        self, labels: NDArray[Any], table: NDArray[np.int64], classes: int
    ) -> NDArray[Any]:
        return moved(labels, table, classes, UNJUDGED)

    def summary(self, source: Source) -> dict[str, Any]:
        """Reads every mask. Counts are of pictures; adds "pixels" {class: share of the labelled
        pixels} and "ignored", a share of all pixels."""
        counts, names = pixel_counts(source), source.info.classes
        pictures = (counts[:, :-1] > 0).sum(0).tolist()
        pixels = counts.sum(0)
        labelled, ignored = pixels[:-1].tolist(), int(pixels[-1])
        total = max(1, sum(labelled))
        return {
            "images": len(source),
            "classes": dict(zip(names, pictures, strict=True)),
            "pixels": {n: round(p / total, 6) for n, p in zip(names, labelled, strict=True)},
            "ignored": round(ignored / max(1, int(pixels.sum())), 6),
        }

    def items(self, source: Source) -> list[list[Any]]:
        present = (pixel_counts(source)[:, :-1] > 0).astype(np.int8)
        return [[i, named(row, source.info.classes)]
                for i, row in zip(source.ids, present, strict=True)]  # fmt: skip

    def tables(self, splits: Mapping[str, dict[str, Any]]) -> list[Table]:
        """Adds each class's share of the labelled pixels, with a column per split."""
        names = dict.fromkeys(c for one in splits.values() for c in one["pixels"])
        shares = [
            {"pixels": c, **{n: f"{one['pixels'].get(c, 0):.2%}" for n, one in splits.items()}}
            for c in names
        ]
        ignored = {n: f"{one['ignored']:.2%}" for n, one in splits.items()}
        return [*super().tables(splits), [*shares, {"pixels": "(ignored, of all)", **ignored}]]

    def tinted(self, sample: Sample, classes: Sequence[str]) -> NDArray[np.uint8]:
        from xfer.drawing.masks import blend, fitted

        if sample.mask is None:
            return sample.image
        return blend(sample.image, fitted(sample.mask, sample.image), classes)

    def draw_sample(self, sample: Sample, classes: Sequence[str], path: Path) -> None:
        from xfer.drawing.masks import draw_mask

        draw_mask(sample, classes, path)

    def collect(self) -> mask_rows.KeptMasks:
        return mask_rows.KeptMasks()

    def panels(
        self, example: Example, image: NDArray[np.uint8], classes: Sequence[str]
    ) -> list[Panel]:
        """The true mask, beside it the predicted one, and the pixels that are wrong."""
        from xfer.drawing.masks import blend, fitted, wrong_pixels

        if example.masks is None:
            return super().panels(example, image, classes)
        truth, predicted = (fitted(mask, image) for mask in example.masks.unpack())
        return [
            Panel("truth", blend(image, truth, classes)),
            Panel("predicted", blend(image, predicted, classes)),
            Panel("wrong pixels", wrong_pixels(image, truth, predicted)),
        ]

    def batch_panels(self, batch: Batch, classes: Sequence[str]) -> list[Panel]:
        """Under the masks that are learnt, and without padding, where the task names its targets as
        segment does: masks, sizes."""
        from xfer.drawing.masks import blend, fitted

        panels, targets = super().batch_panels(batch, classes), batch.targets
        if not {"masks", "sizes"} <= targets.keys():
            return panels
        shown: list[Panel] = []
        for panel, mask, (height, width) in zip(
            panels, targets["masks"], targets["sizes"].tolist(), strict=True
        ):
            image = panel.image[:height, :width]
            own = np.asarray(mask.cpu().numpy(), np.uint8)[:height, :width]
            shown.append(Panel("", blend(image, fitted(own, image), classes)))
        return shown

    def caption(self, sample: Sample, classes: Sequence[str]) -> str:
        if sample.mask is None:
            return ""
        return mask_rows.shares_in_words(MaskPrediction(sample.id, sample.mask, (0, 0)), classes)

    def pictured_prediction(
        self,
        image: NDArray[np.uint8],
        prediction: MaskPrediction,
        classes: Sequence[str],
        side: int,
    ) -> NDArray[np.uint8]:
        from xfer.drawing.inline import shrunk
        from xfer.drawing.masks import blend, fitted

        small = shrunk(image, side)
        return blend(small, fitted(prediction.mask, small), classes)

    def pictured(self, sample: Sample, classes: Sequence[str], side: int) -> NDArray[np.uint8]:
        from xfer.drawing.inline import shrunk

        return self.tinted(replace(sample, image=shrunk(sample.image, side)), classes)

    def legend(self, classes: Sequence[str]) -> list[tuple[str, str]]:
        from xfer.drawing.masks import is_background, mask_colour

        return [(n, mask_colour(c)) for c, n in enumerate(classes) if not is_background(n)]

    def phrase(self, prediction: MaskPrediction, classes: Sequence[str]) -> str:
        return mask_rows.shares_in_words(prediction, classes)

    def describe(self, prediction: MaskPrediction, classes: Sequence[str]) -> dict[str, Any]:
        """{"id", "width", "height", "labels": classes that occur, the largest first, "shares"}."""
        shares = prediction.shares(classes)
        order = sorted((name for name in shares if shares[name]), key=lambda name: -shares[name])
        height, width = prediction.size
        return {
            "id": prediction.id, "width": width, "height": height, "labels": order,
            "shares": {name: round(share, 6) for name, share in shares.items()},
        }  # fmt: skip

    def table_row(
        self, prediction: MaskPrediction, classes: Sequence[str], min_score: float | None = None
    ) -> dict[str, Any]:
        return mask_rows.table_row(prediction, classes)

    def csv_rows(
        self, predictions: Sequence[MaskPrediction], classes: Sequence[str]
    ) -> tuple[list[str], Table]:
        """A line per class in a picture, with its share."""
        lines = [line for one in predictions for line in mask_rows.csv_rows(one, classes)]
        return list(mask_rows.COLUMNS), lines

    def colour(self, label: int) -> str:
        from xfer.drawing.masks import mask_colour

        return mask_colour(label)

    def layer(
        self, prediction: MaskPrediction, classes: Sequence[str], side: int
    ) -> NDArray[np.uint8] | None:
        from xfer.drawing.masks import mask_layer

        return mask_layer(prediction.mask, classes, side)

    def draw_prediction(
        self,
        image: NDArray[np.uint8],
        prediction: MaskPrediction,
        classes: Sequence[str],
        path: Path,
        min_score: float | None = None,
    ) -> None:
        """An overlay, and <stem>_mask.png: a palette PNG of class indices, the picture's size."""
        from xfer.drawing.masks import draw_mask_prediction, save_palette

        if min_score is not None:
            raise XferError("--min-score is for boxes; these predictions are masks")
        draw_mask_prediction(image, prediction, classes, path)
        save_palette(prediction.mask, path.with_name(f"{path.stem}_mask.png"))
