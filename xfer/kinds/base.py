"""The contract of a kind of data: what is known about a picture, and everything that depends on it.

Your own kind is a subclass under `@register`, in any file; sources and tasks refer to it by `name`.
Everything but `name` and `holds` has a default; xfer/kinds/labels.py is an example.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xfer.errors import XferError
from xfer.kinds.findings import Finding
from xfer.metrics.example import Example, Panel
from xfer.registry import Registry
from xfer.types import Batch, DataInfo, Sample, Source

UNJUDGED = -1
PLUS = "+"  # between the names of the kinds that a joint kind is made of
Table = list[dict[str, Any]]


class Kind:
    """One kind of data.

    name      | its name in DataInfo.kind, packs and model files
    holds     | what such data hold, in words: "one label per picture"
    needs     | what such data need, for an error about pictures without labels
    labelled  | False: only pictures, nothing is known about them
    classes   | whether labels are indices into class names, matched by name between splits
    several   | whether `labels()` is int8 (N, C): 1 yes, 0 no, -1 unknown
    placed    | whether labels are in pixels of the picture, so it is not shrunk when decoded
    boxes     | whether each sample has boxes
    outlined  | whether each box has a mask
    segments  | whether each sample has segments
    ignores   | whether data.ignore can leave out values
    graded    | whether a prediction is more or less right, not right or wrong
    task      | module:Class of the task that learns from such data, if it is not xfer's own
    also      | kinds that the same data can be used as: boxes also say which classes occur
    files     | suffixes of the names of the pictures that `draw_prediction` writes
    hub_task  | what the Hugging Face Hub calls such a task, for card.md; "other" if it has no name

    Shapes: labels | what `Source.labels` returns, (N,) or (N, C) | table | int64 (old classes,)
    """

    name: ClassVar[str]
    holds: ClassVar[str]
    needs: ClassVar[str] = ""
    labelled: ClassVar[bool] = True
    classes: ClassVar[bool] = True
    several: ClassVar[bool] = False
    placed: ClassVar[bool] = False
    boxes: ClassVar[bool] = False
    outlined: ClassVar[bool] = False
    segments: ClassVar[bool] = False
    ignores: ClassVar[bool] = False
    graded: ClassVar[bool] = False
    task: ClassVar[str] = ""
    also: ClassVar[tuple[str, ...]] = ()
    files: ClassVar[tuple[str, ...]] = ("",)
    hub_task: ClassVar[str] = "other"

    # --- what a source must hold: `xfer.testing.check_source` calls these

    def check_labels(self, labels: NDArray[Any], count: int, info: DataInfo) -> None:
        """Raises AssertionError unless `labels` is what `labels()` of such a source returns."""
        assert len(labels) == count, f"labels() holds {len(labels)} rows for {count} samples"

    def check_sample(self, sample: Sample, label: Any, info: DataInfo) -> None:
        """Raises AssertionError unless a sample holds what it must, matching its `labels()` row."""

    # --- before training

    def known(self, labels: NDArray[Any]) -> NDArray[np.bool_] | None:
        """bool (N,): which samples are labelled; None: all."""
        return None

    def used_classes(self, source: Source) -> tuple[str, ...]:
        """The classes that occur among a source's samples."""
        return source.info.classes

    def check_truth(
        self, title: str, role: str, source: Source, classes: Sequence[str], learn: bool
    ) -> None:
        """Raises DataError if a split can't be learnt from; reads no picture.

        Args: title: name of the data, role: name of the split, for messages; learn: whether a model
            is to be trained, not only scored.
        """

    def check_pictures(self, title: str, role: str, source: Source, learn: bool) -> list[str]:
        """Like `check_truth`, but may read the pictures or masks. Returns: lines for people."""
        return []

    def find(self, splits: Mapping[str, Source], classes: Sequence[str]) -> list[Finding]:
        """What is odd in the labels of these splits (role -> source), whatever format they were
        read from; reads no picture and no mask, and is run whenever data are opened."""
        return []

    def find_in_pictures(
        self, splits: Mapping[str, Source], classes: Sequence[str]
    ) -> list[Finding]:
        """Like `find`, for what only the pictures or masks tell; for `xfer data check`."""
        return []

    def check_scored(self, title: str, role: str, source: Source) -> None:
        """Raises DataError if a split holds nothing to compare predictions with."""

    def strata(self, source: Source) -> NDArray[np.int64] | NDArray[np.int8]:
        """Classes by which a val split is stratified: (N,) or (N, C)."""
        return np.full(len(source), UNJUDGED, np.int64)

    # --- classes by name

    def relabel(self, sample: Sample, table: NDArray[np.int64], classes: int) -> Sample:
        """The sample with other class indices; table[old] is the new one."""
        return sample

    def relabel_labels(
        self, labels: NDArray[Any], table: NDArray[np.int64], classes: int
    ) -> NDArray[Any]:
        """Like `relabel`, for what `labels()` returns."""
        return labels

    # --- data shown to people

    def summary(self, source: Source) -> dict[str, Any]:
        """Summary of a split, for `xfer data show --json`: at least "images" and "classes"
        {name: count}."""
        return {"images": len(source), "classes": {}}

    def items(self, source: Source) -> list[list[Any]]:
        """[id, label in plain values] of each sample, for `xfer data show --list`."""
        return [[i, _plain(row)] for i, row in zip(source.ids, source.labels(), strict=True)]

    def tables(self, splits: Mapping[str, dict[str, Any]]) -> list[Table]:
        """The summaries of all splits as tables, the first with the number of pictures."""
        totals = {"class": "(pictures)", **{name: one["images"] for name, one in splits.items()}}
        names = dict.fromkeys(c for one in splits.values() for c in one["classes"])
        counts = [
            {"class": c, **{name: one["classes"].get(c, 0) for name, one in splits.items()}}
            for c in names
        ]
        return [[totals, *counts]]

    def caption(self, sample: Sample, classes: Sequence[str]) -> str:
        """The label of a sample, in a few words below its picture."""
        return "" if sample.label is None else str(sample.label)

    def tinted(self, sample: Sample, classes: Sequence[str]) -> NDArray[np.uint8]:
        """A sample's picture for a small sheet, with its label where that is in every pixel."""
        return sample.image

    def draw_split(
        self, role: str, source: Source, indices: Sequence[int], folder: Path
    ) -> list[Path]:
        """Draw some samples of a split with their labels into a folder; returns the files.

        SPLIT-STEM.png for each sample if labels are in pixels, see `draw_sample`; else SPLIT.png
        with all of them.
        """
        from xfer.drawing.mosaic import SIDE, Tile, mosaic

        classes = source.info.classes
        if self.placed:
            files = _file_names(role, source, indices, folder)
            for i, path in zip(indices, files, strict=True):
                self.draw_sample(source[i], classes, path)
            return files
        read = getattr(source, "read", None)
        samples = [source[i] if read is None else read(i, 2 * SIDE) for i in indices]
        tiles = [Tile(s.image, (self.caption(s, classes),), name=s.id) for s in samples]
        path = folder / f"{role}.png"
        mosaic(tiles, path, role)
        return [path]

    def draw_sample(self, sample: Sample, classes: Sequence[str], path: Path) -> None:
        """Write a sample's picture with its label, as PNG."""
        from xfer.drawing.mosaic import Tile, mosaic

        mosaic([Tile(sample.image, (self.caption(sample, classes), sample.id))], path)

    def draw_all(
        self, splits: Mapping[str, Source], classes: Sequence[str], folder: Path
    ) -> list[Path]:
        """Draw an overview of all splits, if there is one; returns the files."""
        return []

    # --- in a report

    def panels(
        self, example: Example, image: NDArray[np.uint8], classes: Sequence[str]
    ) -> list[Panel]:
        """The views of a scored picture, uint8 (H, W, 3), side by side: the picture with the marks
        of the example; where labels are in pixels, the truth beside the prediction."""
        return [Panel("", image, example.marks)]

    def batch_panels(self, batch: Batch, classes: Sequence[str]) -> list[Panel]:
        """The pictures of a training batch as the net is shown them, with their labels where these
        are in pixels: one per picture. Targets under names of a task's own are left out."""
        views = len(batch.images) // max(1, len(batch))
        pictures = batch.images[::views].permute(0, 2, 3, 1).cpu().numpy()
        return [Panel("", np.ascontiguousarray(picture)) for picture in pictures]

    # --- in a notebook

    def pictured(self, sample: Sample, classes: Sequence[str], side: int) -> NDArray[np.uint8]:
        """A sample's picture, uint8 (h, w, 3), its longest side at most `side` px, with its label
        where that is in pixels."""
        from xfer.drawing.inline import shrunk

        return shrunk(self.tinted(sample, classes), side)

    def pictured_prediction(
        self, image: NDArray[np.uint8], prediction: Any, classes: Sequence[str], side: int
    ) -> NDArray[np.uint8]:
        """Like `pictured`, for a prediction and its picture, uint8 (H, W, 3)."""
        from xfer.drawing.inline import shrunk

        return shrunk(image, side)

    def legend(self, classes: Sequence[str]) -> list[tuple[str, str]]:
        """(class, colour) of what `pictured` paints without naming it."""
        return []

    def phrase(self, prediction: Any, classes: Sequence[str]) -> str:
        """A prediction in a few words, below its picture."""
        row = self.table_row(prediction, classes)
        parts = [f"{key} {_short(value)}" for key, value in row.items() if key != "id"]
        return ", ".join(parts)

    # --- predictions

    def collect(self) -> Any:
        """An empty list for predictions, or a sequence with `extend` that takes less memory."""
        return []

    def describe(self, prediction: Any, classes: Sequence[str]) -> dict[str, Any]:
        """A prediction as plain values, "id" first: a row of JSON."""
        fields = getattr(prediction, "__dataclass_fields__", None) or vars(prediction)
        return {name: _plain(getattr(prediction, name)) for name in fields}

    def table_row(
        self, prediction: Any, classes: Sequence[str], min_score: float | None = None
    ) -> dict[str, Any]:
        """A prediction as one line of a table, with flat values."""
        row = self.describe(prediction, classes)
        return {key: value for key, value in row.items() if not isinstance(value, dict)}

    def csv_rows(
        self, predictions: Sequence[Any], classes: Sequence[str]
    ) -> tuple[list[str], Table]:
        """Columns and lines of a csv file. Lists are joined by blanks; dicts get a column per key:
        scores become score:NAME."""
        lines: Table = []
        for row in (self.describe(one, classes) for one in predictions):
            line: dict[str, Any] = {}
            for key, value in row.items():
                if isinstance(value, dict):
                    names = [name for name in classes if name in value] or list(value)
                    prefix = key.removesuffix("s")
                    line |= {f"{prefix}:{name}": _digits(value[name]) for name in names}
                else:
                    line[key] = " ".join(map(str, value)) if isinstance(value, list) else value
            lines.append(line)
        return list(lines[0]) if lines else [], lines

    def at_least(self, prediction: Any, score: float) -> Any:
        """The parts of a prediction with at least this score. Raises XferError if they have no
        scores."""
        raise XferError(f"--min-score is for boxes; these predictions are {self.holds}")

    def calibrated(self, prediction: Any, temperature: float) -> Any:
        """A prediction with calibrated probabilities, see `xfer.metrics.calibration`. Raises as
        `check_calibrated`."""
        self.check_calibrated()
        return prediction

    def check_calibrated(self) -> None:
        """Raises XferError if predictions have no probabilities that a temperature mends."""
        raise XferError(
            f"calibrated probabilities are those of whole pictures' classes; these predictions are "
            f"{self.holds}, whose scores are ranks, and xfer fits no temperature to them"
        )

    def coco_results(
        self,
        predictions: Sequence[Any],
        category_ids: Sequence[int | str],
        files: Sequence[str] = (),
    ) -> Any:
        """COCO's results format, a list or a dict for json. Raises XferError for predictions that
        it can't hold.

        Args: files: for results that name pictures, the stems that `Predictions.draw` writes.
        """
        raise XferError(
            f"COCO results are boxes; these predictions are {self.holds}", "--format json or csv"
        )

    def colour(self, label: int) -> str:
        """The colour of a class on pictures, #rrggbb."""
        from xfer.drawing.boxes import colour_of

        return colour_of(label)

    def layer(self, prediction: Any, classes: Sequence[str], side: int) -> NDArray[np.uint8] | None:
        """What a prediction says of every pixel, to be laid over the picture: colours and opacity,
        uint8 (h, w, 4), of the picture's proportions and at most `side` pixels long. None if it
        says nothing of pixels."""
        return None

    def draw_prediction(
        self,
        image: NDArray[np.uint8],
        prediction: Any,
        classes: Sequence[str],
        path: Path,
        min_score: float | None = None,
    ) -> None:
        """Write the picture, uint8 (H, W, 3), with its prediction, as PNG.

        Raises: XferError for min_score if the parts of a prediction have no scores.
        """
        from xfer.drawing.mosaic import Tile, mosaic

        if min_score is not None:
            self.at_least(prediction, min_score)
        lines = (self.phrase(prediction, classes), str(prediction.id))
        mosaic([Tile(image, lines)], path)


def _file_names(role: str, source: Source, indices: Sequence[int], folder: Path) -> list[Path]:
    """SPLIT-STEM.png for each sample; with the index if two pictures have the same stem."""
    files: list[Path] = []
    for i in indices:
        path = folder / f"{role}-{PurePath(str(source.ids[i])).stem}.png"
        files.append(path if path not in files else path.with_stem(f"{path.stem}-{i}"))
    return files


def _plain(value: Any) -> Any:
    """numpy's numbers and arrays as plain Python values."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


def _digits(value: Any) -> Any:
    return f"{value:.6f}" if isinstance(value, float) else value


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def moved(labels: NDArray[Any], table: NDArray[np.int64], classes: int, unknown: int) -> NDArray:
    """Labels (N,) or (N, C) with the new class indices.

    Args: unknown: the value in labels (N, C) for a class that the source does not have.
    """
    if labels.ndim == 1:
        return np.where(labels < 0, labels, table[labels])
    moved_labels = np.full((len(labels), classes), unknown, labels.dtype)
    moved_labels[:, table] = labels
    return moved_labels


KINDS: Registry[Kind] = Registry("kind of data", "xfer.kinds", "xfer.kinds")
_MAKERS: dict[str, Callable[[tuple[Kind, ...]], Kind]] = {}


def joins(make: Callable[[tuple[Kind, ...]], Kind]) -> Callable[[tuple[Kind, ...]], Kind]:
    """Decorator for what makes the joint kind of several."""
    _MAKERS[PLUS] = make
    return make


def register(kind: type[Kind]) -> type[Kind]:
    """Decorator: register a kind under its `name`.

    Raises: XferError if another kind has the name; the same class may be registered again.
    """
    known = KINDS.known(kind.name)
    if known is not None and _place(type(known)) == _place(kind):
        KINDS.forget(kind.name)  # its module was run again
    KINDS.register(kind.name)(kind())
    return kind


def _place(kind: type[Kind]) -> tuple[str, str]:
    return kind.__module__, kind.__qualname__


def words(name: str) -> str:
    """What data of that kind hold, in words; the name of an unknown kind."""
    known = all(part in KINDS.names() for part in name.split(PLUS))
    return get(name).holds if known else f"{name!r} data"


def get(name: str) -> Kind:
    """The kind of that name; A+B is the joint kind of A and B. Raises XferError if one is not
    registered."""
    if PLUS in name:
        KINDS.names()  # loads them
        return _MAKERS[PLUS](tuple(get(part) for part in name.split(PLUS)))
    if name not in KINDS.names():
        raise XferError(
            f"unknown kind of data {name!r}",
            f"xfer knows {', '.join(KINDS.names())}; your own kind is known once the module that "
            "registers it is imported, see docs/extending.md",
        )
    kind: Any = KINDS.get(name)
    if isinstance(kind, type):  # an installed package's entry point: its module registers it
        kind = KINDS.known(name) or kind()
    return kind
