"""What a model has predicted: as plain values, tables, files and pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xfer.data.images.decode import decode
from xfer.errors import XferError
from xfer.explain.heat_maps import check_explains, explain
from xfer.files import check_folder
from xfer.inference.shown import predictions_card, predictions_line
from xfer.kinds.base import Kind
from xfer.kinds.findings import Finding
from xfer.runs.tables import rows_to_csv
from xfer.task import Task
from xfer.types import Sample


class Stems:
    """Names for the drawings of pictures: a picture's stem, with a number where that is taken.

    Args: files: suffixes of the names of what is written for each picture.
    """

    def __init__(self, files: Sequence[str]) -> None:
        self._files = files
        self._taken: set[str] = set()

    def name(self, id: str) -> str:
        """The name for the next picture."""
        stem = name = Path(id).stem
        number = 1
        while any(name + suffix in self._taken for suffix in self._files):
            number += 1
            name = f"{stem}-{number}"
        self._taken.update(name + suffix for suffix in self._files)
        return name


@dataclass(frozen=True, repr=False)
class Predictions(Sequence[Any]):
    """Predictions in the order of the pictures, which can also be had as rows of plain values.

    skipped  | (name, reason) of each picture that can't be read, with `skip_bad`
    findings | what is odd about those that were read
    names    | of the drawings, without ending; empty: from the ids
    """

    task: Task
    items: Sequence[Any]
    samples: tuple[Sample | Path, ...]
    category_ids: tuple[int | str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    findings: tuple[Finding, ...] = ()
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: Any) -> Any:
        return self.items[i]

    @property
    def kind(self) -> Kind:
        return self.task.kind

    def at_least(self, score: float) -> Predictions:
        """Drops boxes of a lower score. Raises XferError for predictions that aren't boxes."""
        return replace(self, items=tuple(self.kind.at_least(item, score) for item in self.items))

    def rows(self) -> list[dict[str, Any]]:
        """One dict per picture: id and scores by class name, or "boxes": label, score, corners."""
        return [self.task.describe(item) for item in self.items]

    def to_json(self) -> list[dict[str, Any]]:
        return self.rows()

    def to_table(self, min_score: float | None = None) -> list[dict[str, Any]]:
        """One flat dict per picture: for boxes, their number by class, those of at least 0.5 or
        `min_score`; for masks, the share of each class."""
        classes = self.task.info.classes
        return [self.kind.table_row(item, classes, min_score) for item in self.items]

    def to_csv(self) -> str:
        """One line per picture; lists are joined by spaces, scores get a column per class. For
        boxes, one line per box; for masks, one line per class in a picture."""
        if not self.items:
            return ""
        columns, lines = self.kind.csv_rows(self.items, self.task.info.classes)
        return rows_to_csv(lines) if lines else ",".join(columns) + "\n"

    def to_coco(self) -> Any:
        """COCO results, see `coco_results`; class ids are those of the COCO file the model was
        trained on, else 1 is the first. For segments, COCO's panoptic json, whose PNGs `draw`
        writes. Raises XferError for predictions that are neither boxes nor segments."""
        ids = self.category_ids or range(1, len(self.task.info.classes) + 1)
        return self.kind.coco_results(self.items, ids, self._stems())

    def _stems(self) -> Sequence[str]:
        """The name of each picture's drawing."""
        namer = Stems(self.kind.files)
        return self.names or [namer.name(item.id) for item in self.items]

    def draw(self, folder: Path | str, min_score: float | None = None) -> list[Path]:
        """Writes <stem>.png for each picture into the folder; equal stems get a number. For masks,
        also <stem>_mask.png, for segments <stem>_panoptic.png, see `draw_prediction`.

        Args:
            min_score: the lowest score drawn; None: 0.5, or the best few boxes if none reaches it.
        """
        folder = Path(folder)
        check_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        written: list[Path] = []
        classes = self.task.info.classes
        for item, sample, name in zip(self.items, self.samples, self._stems(), strict=True):
            image = sample.image if isinstance(sample, Sample) else decode(sample)
            written.append(folder / f"{name}.png")
            self.kind.draw_prediction(image, item, classes, written[-1], min_score)
        return written

    def __repr__(self) -> str:
        return predictions_line(self.kind, self.task.info.classes, self.items)

    def _repr_html_(self) -> str:
        remarks = [finding.text for finding in self.findings]
        remarks += [f"{name}: left out: {reason}" for name, reason in self.skipped]
        return predictions_card(
            self.kind, self.task.info.classes, self.items, self.samples, remarks
        )

    def explain(self, folder: Path | str) -> tuple[list[Path], list[tuple[str, str]]]:
        """Writes <stem>_grad_cam.png for each picture into the folder: where what is predicted was
        found, see `xfer.explain`.

        Returns: the files, and (id, reason) of pictures in which there is nothing to explain.
        Raises: XferError for a task that can't be explained.
        """
        folder = Path(folder)
        check_folder(folder)
        check_explains(self.task)
        folder.mkdir(parents=True, exist_ok=True)
        written: list[Path] = []
        left_out: list[tuple[str, str]] = []
        for item, sample, name in zip(self.items, self.samples, self._stems(), strict=True):
            path = folder / f"{name}_grad_cam.png"
            try:
                found = explain(self.task, sample.image if isinstance(sample, Sample) else sample)
            except XferError as error:
                left_out.append((item.id, error.message))
                continue
            written.append(found.draw(path))
        return written, left_out

    def __str__(self) -> str:
        return json.dumps(self.rows(), indent=1, ensure_ascii=False)
