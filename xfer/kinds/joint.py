"""Several kinds of data at once: pictures with a label and a mask, with masks and boxes, ...

A joint kind is named after its parts, "classify+segment", and made when it is asked for. A class is
named after the part that it belongs to: "classify.cat", "segment.sky"; a row of `labels()` is the
parts' rows side by side, as int8 1, 0 and -1, whatever form they have alone. A source of these
has `parts`: the name of each kind -> the same pictures as that kind (`data.together`).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xfer.errors import XferError
from xfer.kinds.base import PLUS, UNJUDGED, Kind, Table, joins
from xfer.kinds.findings import Finding
from xfer.metrics.example import Example, Panel
from xfer.types import Batch, DataInfo, Sample, Source

DOT = "."
SMALLEST = 480  # longest side of a drawing with boxes, pixels


@dataclass(frozen=True, slots=True)
class JointPrediction:
    """Predictions of several heads for one picture.

    id    | sample id or path
    parts | what each head predicts, in the order of the joint kind's parts
    """

    id: str
    parts: tuple[Any, ...]


class JointKind(Kind):
    """What all combinations share; `joint` makes a subclass for each.

    parts | the kinds, at least two, each with classes
    """

    parts: ClassVar[tuple[Kind, ...]]
    needs: ClassVar[str] = (
        "one spec that holds all of it, or data.also=SPEC for what else is known of the same "
        "pictures: a csv of labels, a folder of masks"
    )
    several: ClassVar[bool] = True
    graded: ClassVar[bool] = True

    # --- the parts

    def classes_of(self, part: Kind, classes: Sequence[str]) -> tuple[str, ...]:
        """A part's own names of its classes."""
        start = part.name + DOT
        return tuple(name.removeprefix(start) for name in classes if name.startswith(start))

    def info_of(self, part: Kind, info: DataInfo) -> DataInfo:
        """What the data contain for one part alone."""
        return replace(
            info, kind=part.name, classes=self.classes_of(part, info.classes),
            things=self.classes_of(part, info.things),
        )  # fmt: skip

    def join(self, infos: Sequence[DataInfo]) -> DataInfo:
        """The parts' infos as one."""

        def named(info: DataInfo, classes: Sequence[str]) -> list[str]:
            return [f"{info.kind}{DOT}{name}" for name in classes]

        return replace(
            infos[0], kind=self.name,
            classes=tuple(name for info in infos for name in named(info, info.classes)),
            things=tuple(name for info in infos for name in named(info, info.things)),
        )  # fmt: skip

    def rows_of(self, part: Kind, labels: NDArray[Any], info: DataInfo) -> NDArray[Any]:
        """A part's `labels()` from those of the joint kind."""
        start = part.name + DOT
        own = labels[:, [name.startswith(start) for name in info.classes]]
        if part.several:
            return own
        return np.where((own == 1).any(1), own.argmax(1), UNJUDGED).astype(np.int64)

    def join_rows(
        self, rows: Sequence[NDArray[Any]], infos: Sequence[DataInfo]
    ) -> NDArray[np.int8]:
        """The parts' `labels()` side by side, int8 (N, C)."""
        columns: list[NDArray[np.int8]] = []
        for own, info in zip(rows, infos, strict=True):
            if own.ndim == 1:
                each = (own[:, None] == np.arange(len(info.classes))).astype(np.int8)
                each[own < 0] = UNJUDGED
                own = each
            columns.append(own.astype(np.int8))
        return np.concatenate(columns, 1)

    def _each(self, classes: Sequence[str]) -> list[tuple[Kind, tuple[str, ...]]]:
        return [(part, self.classes_of(part, classes)) for part in self.parts]

    def _sources(self, source: Source) -> list[tuple[Kind, Source]]:
        parts: Mapping[str, Source] = source.parts  # pyright: ignore[reportAttributeAccessIssue]
        return [(part, parts[part.name]) for part in self.parts]

    def _by_role(self, splits: Mapping[str, Source]) -> list[tuple[Kind, dict[str, Source]]]:
        return [
            (part, {role: dict(self._sources(source))[part] for role, source in splits.items()})
            for part in self.parts
        ]

    # --- what a source must hold, and before training

    def check_labels(self, labels: NDArray[Any], count: int, info: DataInfo) -> None:
        assert labels.dtype == np.int8, f"labels() are {labels.dtype}, not int8"
        assert labels.shape == (count, len(info.classes)), (
            f"labels() are {labels.shape}, not (N, C)"
        )
        for part in self.parts:
            own = self.info_of(part, info)
            part.check_labels(self.rows_of(part, labels, info), count, own)

    def check_sample(self, sample: Sample, label: Any, info: DataInfo) -> None:
        for part in self.parts:
            own = self.rows_of(part, np.asarray(label)[None], info)[0]
            part.check_sample(sample, own, self.info_of(part, info))

    def used_classes(self, source: Source) -> tuple[str, ...]:
        return tuple(
            f"{part.name}{DOT}{name}"
            for part, own in self._sources(source)
            for name in part.used_classes(own)
        )

    def check_truth(
        self, title: str, role: str, source: Source, classes: Sequence[str], learn: bool
    ) -> None:
        for part, own in self._sources(source):
            part.check_truth(title, role, own, self.classes_of(part, classes), learn)

    def check_pictures(self, title: str, role: str, source: Source, learn: bool) -> list[str]:
        each = (part.check_pictures(title, role, s, learn) for part, s in self._sources(source))
        return [line for lines in each for line in lines]

    def find(self, splits: Mapping[str, Source], classes: Sequence[str]) -> list[Finding]:
        each = (p.find(own, self.classes_of(p, classes)) for p, own in self._by_role(splits))
        return [finding for findings in each for finding in findings]

    def find_in_pictures(
        self, splits: Mapping[str, Source], classes: Sequence[str]
    ) -> list[Finding]:
        each = (
            p.find_in_pictures(own, self.classes_of(p, classes)) for p, own in self._by_role(splits)
        )
        return [finding for findings in each for finding in findings]

    def check_scored(self, title: str, role: str, source: Source) -> None:
        for part, own in self._sources(source):
            part.check_scored(title, role, own)

    def strata(self, source: Source) -> NDArray[np.int64] | NDArray[np.int8]:
        return source.labels()

    # --- data shown to people

    def summary(self, source: Source) -> dict[str, Any]:
        """{"images", "classes", "parts": {kind: its own summary}}."""
        own = {part.name: part.summary(one) for part, one in self._sources(source)}
        counts = {
            f"{kind}{DOT}{name}": count
            for kind, one in own.items() for name, count in one["classes"].items()
        }  # fmt: skip
        return {"images": len(source), "classes": counts, "parts": own}

    def items(self, source: Source) -> list[list[Any]]:
        each = {part.name: part.items(own) for part, own in self._sources(source)}
        return [
            [name, {kind: rows[i][1] for kind, rows in each.items()}]
            for i, name in enumerate(source.ids)
        ]

    def tables(self, splits: Mapping[str, dict[str, Any]]) -> list[Table]:
        """The tables of each part, under its name."""
        found: list[Table] = []
        for part in self.parts:
            own = part.tables({role: one["parts"][part.name] for role, one in splits.items()})
            found += [[_titled(row, part.name) for row in table] for table in own]
        return found

    def caption(self, sample: Sample, classes: Sequence[str]) -> str:
        each = (part.caption(sample, own) for part, own in self._each(classes))
        return "; ".join(text for text in each if text)

    def tinted(self, sample: Sample, classes: Sequence[str]) -> NDArray[np.uint8]:
        for part, own in self._each(classes):
            sample = replace(sample, image=part.tinted(sample, own))
        return sample.image

    def draw_sample(self, sample: Sample, classes: Sequence[str], path: Path) -> None:
        from xfer.drawing.captioned import captioned

        unplaced = [(part, own) for part, own in self._each(classes) if not part.placed]
        lines = [part.caption(sample, own) for part, own in unplaced]
        captioned(self._drawn(sample, classes), [line for line in lines if line], path)

    def _drawn(self, sample: Sample, classes: Sequence[str]) -> NDArray[np.uint8]:
        """The picture in its own size, with what is known of its pixels."""
        image = sample.image
        for part, own, side in self._layers(image, classes):
            image = part.pictured(replace(sample, image=image), own, side)
        return image

    def _layers(
        self, image: NDArray[np.uint8], classes: Sequence[str]
    ) -> list[tuple[Kind, tuple[str, ...], int]]:
        """What is drawn on a picture in turn, and at which size (longest side, pixels): boxes come
        last, and small pictures are enlarged for their tags."""
        placed = [(part, own) for part, own in self._each(classes) if part.placed]
        placed.sort(key=lambda one: one[0].boxes)
        longest = max(image.shape[:2])
        sides = [longest] * len(placed)
        if placed and placed[-1][0].boxes:
            sides[-1] = max(longest, SMALLEST)
        return [(part, own, side) for (part, own), side in zip(placed, sides, strict=True)]

    # --- in a report, in a notebook

    def panels(
        self, example: Example, image: NDArray[np.uint8], classes: Sequence[str]
    ) -> list[Panel]:
        each = [p.panels(example, image, own) for p, own in self._each(classes) if p.placed]
        return [panel for panels in each for panel in panels] or super().panels(
            example, image, classes
        )

    def batch_panels(self, batch: Batch, classes: Sequence[str]) -> list[Panel]:
        """Under what the first part in pixels learns, where the task names its targets NAME.key, as
        a task with several heads does."""
        panels = super().batch_panels(batch, classes)
        for part, own in self._each(classes):
            if not part.placed:
                continue
            for head in dict.fromkeys(key.partition(DOT)[0] for key in batch.targets):
                start = head + DOT
                targets = {
                    key.removeprefix(start): value
                    for key, value in batch.targets.items() if key.startswith(start)
                }  # fmt: skip
                shown = part.batch_panels(replace(batch, targets=targets), own)
                plain = Kind.batch_panels(part, batch, own)
                if any(a.image.shape != b.image.shape or a.marks or (a.image != b.image).any()
                       for a, b in zip(shown, plain, strict=True)):  # fmt: skip
                    return shown
        return panels

    def pictured(self, sample: Sample, classes: Sequence[str], side: int) -> NDArray[np.uint8]:
        from xfer.drawing.inline import shrunk

        return shrunk(self._drawn(sample, classes), side)

    def pictured_prediction(
        self,
        image: NDArray[np.uint8],
        prediction: JointPrediction,
        classes: Sequence[str],
        side: int,
    ) -> NDArray[np.uint8]:
        from xfer.drawing.inline import shrunk

        return shrunk(self._overlaid(image, prediction, classes), side)

    def _overlaid(
        self, image: NDArray[np.uint8], prediction: JointPrediction, classes: Sequence[str]
    ) -> NDArray[np.uint8]:
        """The picture in its own size, with what is predicted of its pixels."""
        for part, own, side in self._layers(image, classes):
            said = prediction.parts[self.parts.index(part)]
            image = part.pictured_prediction(image, said, own, side)
        return image

    def legend(self, classes: Sequence[str]) -> list[tuple[str, str]]:
        return [entry for part, own in self._each(classes) for entry in part.legend(own)]

    def phrase(self, prediction: JointPrediction, classes: Sequence[str]) -> str:
        pairs = zip(self._each(classes), prediction.parts, strict=True)
        return "; ".join(part.phrase(said, own) for (part, own), said in pairs)

    # --- predictions

    def describe(self, prediction: JointPrediction, classes: Sequence[str]) -> dict[str, Any]:
        """{"id", kind: {what the kind's own row holds}, ...}."""
        row: dict[str, Any] = {"id": prediction.id}
        for (part, own), said in zip(self._each(classes), prediction.parts, strict=True):
            row[part.name] = {k: v for k, v in part.describe(said, own).items() if k != "id"}
        return row

    def table_row(
        self, prediction: JointPrediction, classes: Sequence[str], min_score: float | None = None
    ) -> dict[str, Any]:
        row: dict[str, Any] = {"id": prediction.id}
        for (part, own), said in zip(self._each(classes), prediction.parts, strict=True):
            line = part.table_row(said, own, min_score)
            row |= {f"{part.name}{DOT}{k}": v for k, v in line.items() if k != "id"}
        return row

    def csv_rows(
        self, predictions: Sequence[JointPrediction], classes: Sequence[str]
    ) -> tuple[list[str], Table]:
        """The lines of each part, with its kind in the first column; columns that a part does not
        have are empty."""
        columns: dict[str, None] = {"kind": None}
        found: Table = []
        for k, (part, own) in enumerate(self._each(classes)):
            names, lines = part.csv_rows([one.parts[k] for one in predictions], own)
            columns |= dict.fromkeys(names)
            found += [{"kind": part.name, **line} for line in lines]
        return list(columns), [{name: line.get(name, "") for name in columns} for line in found]

    def at_least(self, prediction: JointPrediction, score: float) -> JointPrediction:
        """With what each part has of at least this score; parts without scores stay as they are."""
        kept: list[Any] = []
        for part, said in zip(self.parts, prediction.parts, strict=True):
            with contextlib.suppress(XferError):
                said = part.at_least(said, score)
            kept.append(said)
        if all(a is b for a, b in zip(kept, prediction.parts, strict=True)):
            return super().at_least(prediction, score)
        return replace(prediction, parts=tuple(kept))

    def check_calibrated(self) -> None:
        raise XferError(
            f"these predictions are {self.holds}; xfer fits a temperature to classifiers alone"
        )

    def coco_results(
        self,
        predictions: Sequence[JointPrediction],
        category_ids: Sequence[int | str],
        files: Sequence[str] = (),
    ) -> Any:
        raise XferError(
            f"COCO results hold one kind of truth; these predictions are {self.holds}",
            "--format json or csv",
        )

    def layer(
        self, prediction: JointPrediction, classes: Sequence[str], side: int
    ) -> NDArray[np.uint8] | None:
        """The first part's that says something of pixels."""
        for (part, own), said in zip(self._each(classes), prediction.parts, strict=True):
            if (layer := part.layer(said, own, side)) is not None:
                return layer
        return None

    def draw_prediction(
        self,
        image: NDArray[np.uint8],
        prediction: JointPrediction,
        classes: Sequence[str],
        path: Path,
        min_score: float | None = None,
    ) -> None:
        """One picture with what all parts predict, and the files that parts write beside it."""
        from xfer.drawing.captioned import captioned

        if min_score is not None:
            prediction = self.at_least(prediction, min_score)
        each = [(p, own, said) for (p, own), said in
                zip(self._each(classes), prediction.parts, strict=True)]  # fmt: skip
        for part, own, said in each:
            if part.placed and len(part.files) > 1:
                part.draw_prediction(image, said, own, path)
        overlaid = self._overlaid(image, prediction, classes)
        unplaced = [one for one in each if not one[0].placed]
        if not unplaced:
            captioned(overlaid, (), path)
        for part, own, said in unplaced:
            part.draw_prediction(overlaid, said, own, path)


def _titled(row: dict[str, Any], title: str) -> dict[str, Any]:
    """A row of a table, its first column under a title."""
    (first, value), *rest = row.items()
    return {f"{title}: {first}": value, **dict(rest)}


@joins
@functools.lru_cache(maxsize=64)
def joint(parts: tuple[Kind, ...]) -> JointKind:
    """The joint kind of these. Raises XferError for kinds that can't be joined."""
    for part in parts:
        if not (part.labelled and part.classes):
            raise XferError(f"{part.holds} can't be joined with another kind of data")
        if parts.count(part) > 1:
            raise XferError(f"{part.holds} can't be joined with {part.holds}")
    about = {
        "parts": parts,
        "name": PLUS.join(part.name for part in parts),
        "holds": " and ".join(part.holds for part in parts),
        "placed": any(part.placed for part in parts),
        "files": tuple(dict.fromkeys(name for part in parts for name in part.files)),
    }
    return type("Joint", (JointKind,), about)()
