"""Segments: things, whose objects are told apart, and stuff, which is one segment per class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xfer.errors import DataError, listed
from xfer.kinds import segment_rows
from xfer.kinds.base import Kind, Table, register
from xfer.kinds.findings import Finding, counted, finding
from xfer.kinds.labels import named
from xfer.kinds.masks import MaskKind
from xfer.kinds.pixel_counts import pixel_counts
from xfer.kinds.segment_stats import SegmentStats, segment_stats
from xfer.metrics.example import Example, Panel
from xfer.objects.segments import Segments
from xfer.types import Batch, DataInfo, PanopticPrediction, Sample, Source

MOSTLY = 0.5  # share of a picture in no segment from which it is named


@register
class PanopticKind(MaskKind):
    """Segments over the whole picture; which classes are things is in `DataInfo.things`.

    `labels()` says which classes have a segment in a picture, -1 before it is read.
    """

    name: ClassVar[str] = "panoptic"
    holds: ClassVar[str] = "segments of things and stuff"
    needs: ClassVar[str] = (
        "segments: a panoptic json with a PNG for each picture, as in COCO, or Cityscapes' "
        "instanceIds; panoptic:PATH reads COCO's whole tree so"
    )
    segments: ClassVar[bool] = True
    files: ClassVar[tuple[str, ...]] = ("", "_panoptic")

    def check_sample(self, sample: Sample, label: Any, info: DataInfo) -> None:
        own = sample.segments
        assert own is not None, f"{sample.id}: no segments"
        assert isinstance(own, Segments), f"{sample.id}: segments are a {type(own).__name__}"
        assert own.size == sample.image.shape[:2], (
            f"{sample.id}: the segments' map differs in size from the picture"
        )
        Segments.of(own.map, own.labels, own.crowd)
        assert not len(own) or 0 <= own.labels.min() <= own.labels.max() < len(info.classes), (
            f"{sample.id}: a segment's label is not a class"
        )
        known = np.asarray(label) >= 0
        present = np.isin(np.arange(len(info.classes)), own.labels)
        assert (present[known] == (np.asarray(label)[known] == 1)).all(), (
            f"{sample.id}: the classes of its segments are not those of its labels() row"
        )
        assert set(info.things) <= set(info.classes), "things that are no classes"

    def check_pictures(self, title: str, role: str, source: Source, learn: bool) -> list[str]:
        info = source.info
        if learn and not info.things:
            raise DataError(
                f"{title}: none of its {len(info.classes)} classes is a thing, so there are no "
                "objects to tell apart",
                "--task segment learns the class of each pixel",
            )
        return super().check_pictures(title, role, source, learn)

    def find_in_pictures(
        self, splits: Mapping[str, Source], classes: Sequence[str]
    ) -> list[Finding]:
        found = super().find_in_pictures(splits, classes)
        for role, source in splits.items():
            stats = segment_stats(source)
            without = np.flatnonzero(stats.empty).tolist()
            if without:
                head = f"{counted(int(stats.empty.sum()), 'segment')} of {role} without a pixel"
                found.append(finding("empty_segment", head, [[source.ids[i]] for i in without]))
            void = np.flatnonzero(stats.void > MOSTLY).tolist()
            if void:
                head = f"{counted(len(void), 'picture')} of {role} mostly in no segment"
                lines = [f"{source.ids[i]} ({stats.void[i]:.0%})" for i in void]
                found.append(finding("mostly_void", head, [[source.ids[i]] for i in void], lines))
            split = [source.info.classes[c] for c in np.flatnonzero(stats.split).tolist()]
            if split:
                text = (
                    f"several segments of one picture of {role} are the same stuff: "
                    f"{listed(split)}; they are scored apart, and predicted as one"
                )
                found.append(Finding("split_stuff", text))
        return found

    def relabel(self, sample: Sample, table: NDArray[np.int64], classes: int) -> Sample:
        if sample.segments is None:
            return sample
        return replace(sample, segments=sample.segments.relabelled(table))

    def summary(self, source: Source) -> dict[str, Any]:
        """Reads every map. Adds to what masks say "segments": {"things", "stuff", "crowds",
        "per_image", "classes": {name: number}}."""
        stats = segment_stats(source)
        return {**super().summary(source), "segments": _numbers(stats, source)}

    def tables(self, splits: Mapping[str, dict[str, Any]]) -> list[Table]:
        """Adds how many segments there are, with a column per split."""
        own = {role: one["segments"] for role, one in splits.items()}
        keys = {
            "things": "things",
            "stuff": "stuff",
            "crowds": "crowds",
            "per_image": "per picture",
        }
        rows = [
            {"segments": words, **{role: one[key] for role, one in own.items()}}
            for key, words in keys.items()
        ]
        return [*super().tables(splits), rows]

    def items(self, source: Source) -> list[list[Any]]:
        present = (pixel_counts(source)[:, :-1] > 0).astype(np.int8)
        return [[i, named(row, source.info.classes)]
                for i, row in zip(source.ids, present, strict=True)]  # fmt: skip

    def caption(self, sample: Sample, classes: Sequence[str]) -> str:
        if sample.segments is None:
            return ""
        return segment_rows.counts_in_words(sample.segments, classes)

    def tinted(self, sample: Sample, classes: Sequence[str]) -> NDArray[np.uint8]:
        from xfer.drawing.segments import blend, fitted

        if sample.segments is None:
            return sample.image
        return blend(sample.image, fitted(sample.segments, sample.image.shape), classes)

    def draw_sample(self, sample: Sample, classes: Sequence[str], path: Path) -> None:
        from xfer.drawing.segments import draw_segments

        if sample.segments is None:
            raise DataError(f"{sample.id}: no segments are known for this picture")
        draw_segments(sample.image, sample.segments, classes, path)

    # --- in a report, in a notebook

    def panels(
        self, example: Example, image: NDArray[np.uint8], classes: Sequence[str]
    ) -> list[Panel]:
        """The true segments, beside them the predicted ones, and what is in no match."""
        from xfer.drawing.segments import blend, fitted, wrong_pixels
        from xfer.metrics.panoptic import matches

        if example.segments is None:
            return Kind.panels(self, example, image, classes)
        truth, predicted = (fitted(one, image.shape) for one in example.segments.unpack())
        return [
            Panel("truth", blend(image, truth, classes)),
            Panel("predicted", blend(image, predicted, classes)),
            Panel("not matched", wrong_pixels(image, truth, predicted, matches(truth, predicted))),
        ]

    def batch_panels(self, batch: Batch, classes: Sequence[str]) -> list[Panel]:
        """Under the segments that are learnt, and without padding, where the task names its targets
        as panoptic does: maps, map_labels, sizes."""
        from xfer.drawing.segments import blend

        panels, targets = Kind.batch_panels(self, batch, classes), batch.targets
        if not {"maps", "map_labels", "sizes"} <= targets.keys():
            return panels
        shown: list[Panel] = []
        each = zip(panels, targets["maps"], targets["map_labels"], targets["sizes"].tolist(),
                   strict=True)  # fmt: skip
        for panel, own, labels, (height, width) in each:
            whole = own.cpu().numpy()[:height, :width].astype(np.int32)
            segments = Segments.of(whole, labels.cpu().numpy())
            shown.append(Panel("", blend(panel.image[:height, :width], segments, classes)))
        return shown

    def pictured_prediction(
        self,
        image: NDArray[np.uint8],
        prediction: PanopticPrediction,
        classes: Sequence[str],
        side: int,
    ) -> NDArray[np.uint8]:
        from xfer.drawing.inline import shrunk
        from xfer.drawing.segments import blend, fitted

        small = shrunk(image, side)
        return blend(small, fitted(prediction.segments, small.shape), classes)

    def layer(
        self, prediction: PanopticPrediction, classes: Sequence[str], side: int
    ) -> NDArray[np.uint8] | None:
        from xfer.drawing.segments import layer

        return layer(prediction.segments, classes, side)

    # --- predictions

    def collect(self) -> segment_rows.KeptSegments:
        return segment_rows.KeptSegments()

    def phrase(self, prediction: PanopticPrediction, classes: Sequence[str]) -> str:
        return segment_rows.counts_in_words(prediction.segments, classes)

    def describe(self, prediction: PanopticPrediction, classes: Sequence[str]) -> dict[str, Any]:
        """{"id", "width", "height", "segments": [{"label", "score", "area", "box"}, ...]}."""
        return segment_rows.row(prediction, classes)

    def table_row(
        self, prediction: PanopticPrediction, classes: Sequence[str], min_score: float | None = None
    ) -> dict[str, Any]:
        shown = prediction if min_score is None else self.at_least(prediction, min_score)
        return segment_rows.table_row(shown, classes)

    def csv_rows(
        self, predictions: Sequence[PanopticPrediction], classes: Sequence[str]
    ) -> tuple[list[str], Table]:
        """A line per segment."""
        lines = [line for one in predictions for line in segment_rows.csv_rows(one, classes)]
        return list(segment_rows.COLUMNS), lines

    def at_least(self, prediction: PanopticPrediction, score: float) -> PanopticPrediction:
        """Less sure segments become void."""
        sure = prediction.scores >= score
        kept = prediction.segments.chosen(sure)
        return replace(prediction, segments=kept, scores=prediction.scores[sure])

    def coco_results(
        self,
        predictions: Sequence[PanopticPrediction],
        category_ids: Sequence[int | str],
        files: Sequence[str] = (),
    ) -> dict[str, Any]:
        """COCO's panoptic json for the PNGs that `draw` writes."""
        named_files = files or [f"{Path(one.id).stem}" for one in predictions]
        pngs = [f"{stem}_panoptic.png" for stem in named_files]
        return segment_rows.coco_panoptic(predictions, category_ids, pngs)

    def draw_prediction(
        self,
        image: NDArray[np.uint8],
        prediction: PanopticPrediction,
        classes: Sequence[str],
        path: Path,
        min_score: float | None = None,
    ) -> None:
        """An overlay, and <stem>_panoptic.png: COCO's panoptic PNG, the picture's size."""
        from xfer.drawing.segments import draw_segments, save_panoptic

        if min_score is not None:
            prediction = self.at_least(prediction, min_score)
        draw_segments(image, prediction.segments, classes, path)
        save_panoptic(prediction.segments, path.with_name(f"{path.stem}_panoptic.png"))


def _numbers(stats: SegmentStats, source: Source) -> dict[str, Any]:
    info = source.info
    things = np.array([name in info.things for name in info.classes], bool)
    return {
        "things": int(stats.segments[things].sum()),
        "stuff": int(stats.segments[~things].sum()),
        "crowds": stats.crowds,
        "per_image": round(float(stats.segments.sum()) / max(1, len(source)), 2),
        "classes": dict(zip(info.classes, stats.segments.tolist(), strict=True)),
    }
